"""Words are streamed while leaders die and hand over: no acknowledged word is lost, and each is where it was said to
be."""

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import pytest

from e2e.harness import FLAGS, HAMMER_LINE, HAMMER_WORDS, assert_nothing_lost, finish, logged_words, progress
from pyraft_lite.core.entry import EntryType
from pyraft_lite.rpc.client import channel_options
from pyraft_lite.rpc.leader_stream import stream_to_leader
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc
from pyraft_lite.rpc.targets import grpc_target
from pyraft_lite.storage import LmdbStore
from raftexample.local_cluster import PATIENCE, LocalCluster

pytestmark = pytest.mark.timeout(180)

STREAMS = 3
REQUEST_WORDS = 20


class Streams:
    """Streams of words to whoever leads, in a thread, until the end of the block.

    Attributes:
        acknowledged: Word and commit index.
    """

    def __init__(self, cluster: LocalCluster) -> None:
        self.acknowledged: list[tuple[str, int]] = []
        self._cluster = cluster
        self._numbers = itertools.count()
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Streams":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def wait_for_more(self, count: int) -> None:
        """Waits until ``count`` more words than now are acknowledged."""
        goal = len(self.acknowledged) + count
        self._cluster.wait_for(
            lambda: len(self.acknowledged) >= goal or not self._thread.is_alive(), f"{goal} words are acknowledged"
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._stream_all())
        except BaseException as error:
            self._failure = error

    async def _stream_all(self) -> None:
        target = grpc_target(self._cluster.target)
        async with grpc.aio.insecure_channel(target, options=channel_options("Example")) as channel:
            stub = example_pb2_grpc.ExampleStub(channel)
            await asyncio.gather(*(self._stream(stub) for _ in range(STREAMS)))

    async def _stream(self, stub: example_pb2_grpc.ExampleStub) -> None:
        async for request, response in stream_to_leader(stub.AddWords, self._requests(), timeout=PATIENCE, window=4):
            self.acknowledged.extend(zip(request.words, response.commit_indexes, strict=True))

    async def _requests(self) -> AsyncGenerator[example_pb2.AddWordsRequest, None]:
        while not self._done.is_set():
            yield example_pb2.AddWordsRequest(words=[f"word {next(self._numbers)}" for _ in range(REQUEST_WORDS)])


def log_of(cluster: LocalCluster, name: str) -> dict[int, str]:
    """The words by index in the log of a stopped node."""
    store = LmdbStore(cluster.directory / name)
    try:
        words = {}
        index = store.first_index()
        while index <= store.last_index():
            for entry in store.entries(index, store.last_index(), 1 << 20):
                if entry.type is EntryType.COMMAND:
                    words[entry.index] = entry.data.decode()
                index = entry.index + 1
        return words
    finally:
        store.close()


def assert_all_are_where_they_were_said_to_be(cluster: LocalCluster, acknowledged: list[tuple[str, int]]) -> None:
    cluster.wait_until_equal()
    for name in cluster.nodes:
        assert cluster.stop(name) == 0
    logs = [log_of(cluster, name) for name in cluster.nodes]
    assert logs[0] == logs[1] == logs[2]
    for word, index in acknowledged:
        assert logs[0].get(index) == word
    assert len({word for word, _ in acknowledged}) == len(acknowledged), "each is acknowledged once"


def test_streamed_words_survive_kills_and_transfers_of_the_leader(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        with Streams(cluster) as streams:
            for event in ("kill", "transfer", "stop", "kill", "transfer"):
                streams.wait_for_more(300)
                leader = cluster.leader()
                if event == "transfer":
                    cluster.check_raftadmin("--leader", cluster.target, "leadership_transfer")
                    streams.wait_for_more(300)
                    continue
                if event == "kill":
                    cluster.kill(leader)
                else:
                    assert cluster.stop(leader) == 0
                streams.wait_for_more(300)
                cluster.start(leader)
        assert_all_are_where_they_were_said_to_be(cluster, streams.acknowledged)


def test_forwarded_streams_survive_the_death_of_the_leader(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=(*FLAGS, "--forward_to_leader")) as cluster:
        cluster.form()
        leader = cluster.leader()
        follower = next(name for name in cluster.nodes if name != leader)
        address = cluster.nodes[follower].address

        async def stream() -> list[tuple[str, int]]:
            """Words through the follower, without following the leader; the leader dies in the middle."""
            acknowledged: list[tuple[str, int]] = []

            async def requests() -> AsyncGenerator[example_pb2.AddWordsRequest, None]:
                for number in range(100):
                    yield example_pb2.AddWordsRequest(words=[f"word {number}"])

            async with grpc.aio.insecure_channel(address, options=channel_options()) as channel:
                method = example_pb2_grpc.ExampleStub(channel).AddWords
                async for request, response in stream_to_leader(method, requests(), timeout=PATIENCE, window=4):
                    acknowledged += zip(request.words, response.commit_indexes, strict=True)
                    if len(acknowledged) == 50:
                        await asyncio.to_thread(cluster.kill, leader)
            return acknowledged

        acknowledged = asyncio.run(stream())
        assert [word for word, _ in acknowledged] == [f"word {number}" for number in range(100)]
        cluster.start(leader)
        assert_all_are_where_they_were_said_to_be(cluster, acknowledged)


def test_hammer_streams_its_words_through_a_kill_and_a_transfer(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        hammer = cluster.start_hammer("--mode", "stream", "--duration", "6", "--rate", "500", "--json")
        progress(cluster, 300)
        victim = cluster.leader()
        cluster.kill(victim)
        progress(cluster, 800)
        cluster.start(victim)
        cluster.check_raftadmin("--leader", cluster.target, "leadership_transfer")
        assert hammer.poll() is None, "hammer was done too soon for this test to show anything"
        summary = json.loads(finish(hammer))
        assert (summary["acknowledged"], summary["errors"]) == (3000, 0)
        cluster.wait_until_equal()
        assert cluster.stop("nodeA") == 0
        assert {f"{number}".rjust(16, "x") for number in range(1, 3001)} <= set(logged_words(cluster, "nodeA"))


def test_hammers_own_job_can_be_streamed(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        assert HAMMER_LINE.fullmatch(finish(cluster.start_hammer("--mode", "stream")))
        assert_nothing_lost(cluster, HAMMER_WORDS)


def test_an_idle_stream_ends_when_its_leader_stops(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()

        async def stream() -> None:
            async with grpc.aio.insecure_channel(cluster.nodes["nodeA"].address) as channel:
                call = example_pb2_grpc.ExampleStub(channel).AddWords()
                await call.write(example_pb2.AddWordsRequest(words=["word"]))
                assert await call.read()
                stopping = asyncio.create_task(asyncio.to_thread(cluster.stop, "nodeA"))
                with pytest.raises(grpc.aio.AioRpcError) as ended:
                    await call.read()
                assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
                assert ended.value.details() == "raft is already shutdown"
                assert await stopping == 0

        asyncio.run(stream())
