"""What the end-to-end tests share: quick flags, calls, and what is in a stopped node's log."""

import re
import socket
import subprocess
from pathlib import Path

import grpc

import engines
from pyraft_lite.core.entry import EntryType
from pyraft_lite.rpc.pb import example_pb2
from pyraft_lite.storage import FileSnapshotStore, LmdbStore
from raftexample.dutch import number_word
from raftexample.local_cluster import LocalCluster, program

QUICK = (
    *("--grpc_engine", engines.chosen),
    *("--heartbeat_timeout", "600ms"),
    *("--election_timeout", "600ms"),
    *("--leader_lease_timeout", "500ms"),
)

HAMMER_WORDS = [number_word(number) for number in range(1, 2000)]
HAMMER_LINE = re.compile(
    r'read_at_index:\d+ best_words:"éénduizend negenhonderdnegenennegentig" '
    r'best_words:"éénduizend negenhonderdnegenenzeventig" best_words:"éénduizend negenhonderdzevenennegentig"\n'
)


def add_word(cluster: LocalCluster, name: str, word: str, timeout: float = 5) -> int:
    """AddWord on this very node; returns the commit index, raises grpc.RpcError."""
    request = example_pb2.AddWordRequest(word=word)
    return call(cluster, name, "AddWord", request, example_pb2.AddWordResponse, timeout).commit_index


def get_words(cluster: LocalCluster, name: str, *, linearizable: bool = False) -> example_pb2.GetWordsResponse:
    """GetWords on this very node."""
    consistency = example_pb2.GetWordsRequest.LINEARIZABLE if linearizable else example_pb2.GetWordsRequest.LOCAL
    request = example_pb2.GetWordsRequest(consistency=consistency)
    return call(cluster, name, "GetWords", request, example_pb2.GetWordsResponse, 5)


def call(cluster, name, method, request, response, timeout):  # type: ignore[no-untyped-def]
    with grpc.insecure_channel(cluster.nodes[name].address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        stub = channel.unary_unary(
            f"/Example/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return stub(request, timeout=timeout)


def logged_words(cluster: LocalCluster, name: str) -> list[str]:
    """All commands in the log of a stopped node that has never compacted it."""
    directory = cluster.directory / name
    store = LmdbStore(directory)
    try:
        assert not FileSnapshotStore(directory).list(), "the log is not the whole story"
        words = []
        index = store.first_index()
        while index <= store.last_index():
            for entry in store.entries(index, store.last_index(), 1 << 20):
                if entry.type is EntryType.COMMAND:
                    words.append(entry.data.decode())
                index = entry.index + 1
        return words
    finally:
        store.close()


def finish(hammer: "subprocess.Popen[str]") -> str:
    """Waits for hammer; returns what it printed, fails if it failed."""
    output, errors = hammer.communicate(timeout=90)
    assert hammer.returncode == 0, errors
    return output


def run_node(*flags: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A node that is expected to end at once."""
    return subprocess.run(
        [*program("raft_example"), *flags], cwd=cwd, capture_output=True, text=True, timeout=30, check=False
    )


def taken_port() -> socket.socket:
    """A socket that listens on a loopback port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener
