"""What the end-to-end tests share: flags, calls, and what is in a stopped node's log."""

import asyncio
import contextlib
import itertools
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc

import engines
from pyraft_lite.core.entry import EntryType
from pyraft_lite.rpc.client import call_leader, channel_options
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc
from pyraft_lite.rpc.targets import grpc_target
from pyraft_lite.storage import FileSnapshotStore, LmdbStore
from raftexample.dutch import number_word
from raftexample.local_cluster import PATIENCE, LocalCluster, program

SLOWLY = ("--concurrency", "1")
"""Has hammer take so long that something can happen meanwhile."""

ENGINE = ("--grpc_engine", engines.chosen)

FLAGS = (
    *ENGINE,
    *("--heartbeat_timeout", "1s"),
    *("--election_timeout", "1s"),
    *("--leader_lease_timeout", "1s"),
)
"""The default timeouts, but for a leader that does not give up so soon when the machine is busy."""

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


@contextlib.contextmanager
def paused(hammer: "subprocess.Popen[str]") -> Iterator[None]:
    """Keeps hammer from getting ahead meanwhile; what it has sent is under way all the same."""
    hammer.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        hammer.send_signal(signal.SIGCONT)


def progress(cluster: LocalCluster, beyond: int) -> None:
    """Waits until some node has applied more than ``beyond``."""
    cluster.wait_for(
        lambda: max(cluster.applied_index(n) or 0 for n, node in cluster.nodes.items() if node.is_running) > beyond,
        f"index {beyond} is applied",
    )


def assert_nothing_lost(cluster: LocalCluster, words: list[str]) -> None:
    """Every word is in the log of every node, and all logs hold the same."""
    cluster.wait_until_equal()
    for name in cluster.nodes:
        assert cluster.stop(name) == 0
    logs = [logged_words(cluster, name) for name in cluster.nodes]
    assert not set(words) - set(logs[0])
    assert logs[0] == logs[1] == logs[2]


def finish(hammer: "subprocess.Popen[str]") -> str:
    """Waits for hammer; returns what it printed, fails if it failed."""
    output, errors = hammer.communicate(timeout=90)
    assert hammer.returncode == 0, errors
    return output


def stats(cluster: LocalCluster, name: str) -> dict[str, str]:
    """What ``raftadmin stats`` says of a node."""
    return dict(
        re.findall(r'key: "(.*)"\s+value: "(.*)"', cluster.check_raftadmin(cluster.nodes[name].address, "stats"))
    )


def term(cluster: LocalCluster, name: str) -> int:
    """The term that a node is in."""
    return int(stats(cluster, name)["term"])


def members(cluster: LocalCluster, name: str) -> dict[str, str]:
    """The configuration as a node has it: suffrages by id."""
    printed = cluster.check_raftadmin(cluster.nodes[name].address, "get_configuration")
    servers = re.findall(r'servers: \{\s+(?:suffrage: (\w+)\s+)?id: "(.*)"', printed)
    return {id: suffrage or "VOTER" for suffrage, id in servers}


class Writers:
    """Add words through whoever leads, in a thread, until the end of the block; what failed is not tried again.

    Args:
        cluster: Where to.
        count: How many words may be under way at a time.
    """

    def __init__(self, cluster: LocalCluster, count: int = 8) -> None:
        self.acknowledged: list[str] = []
        self._cluster = cluster
        self._count = count
        self._done = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Writers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def wait_for_more(self, count: int) -> None:
        """Waits until ``count`` more words than now are acknowledged."""
        goal = len(self.acknowledged) + count
        self._cluster.wait_for(lambda: len(self.acknowledged) >= goal, f"{goal} words are acknowledged")

    async def _run(self) -> None:
        numbers = itertools.count()
        target = grpc_target(self._cluster.target)
        async with grpc.aio.insecure_channel(target, options=channel_options("Example")) as channel:
            stub = example_pb2_grpc.ExampleStub(channel)
            await asyncio.gather(*(self._write(stub, numbers) for _ in range(self._count)))

    async def _write(self, stub: example_pb2_grpc.ExampleStub, numbers: Iterator[int]) -> None:
        while not self._done.is_set():
            word = f"word {next(numbers)}"
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call_leader(stub.AddWord, example_pb2.AddWordRequest(word=word), timeout=PATIENCE)
                self.acknowledged.append(word)


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
