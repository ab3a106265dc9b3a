"""What clients of a mixed cluster saw, through kills of its leaders, could have happened one thing at a time."""

import asyncio
import dataclasses
import itertools
import threading
import time
from pathlib import Path

import grpc
import pytest
from mixed_cluster import MixedCluster, is_go

from pyraft_lite.rpc.client import channel_options
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc
from pyraft_lite.rpc.targets import grpc_target
from pyraft_lite.sim.linearizability import NotLinearizable, Operation, check
from pyraft_lite.sim.models import Append, AppendLists, Elements

WRITERS = 3
PACE = 0.02
KILLS = 4
WORDS = "words"
"""The key of the one list there is."""


class Historian:
    """Adds words and reads them all, without trying anything twice, and writes down what came of it."""

    def __init__(self, cluster: MixedCluster) -> None:
        self.history: list[Operation] = []
        self._cluster = cluster
        self._target = cluster.target
        # A Go node does not know linearizable reads.
        self._readers = [node.address for name, node in cluster.nodes.items() if not is_go(name)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="historian")

    def __enter__(self) -> "Historian":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def reads(self) -> int:
        """How many reads have been answered."""
        return sum(isinstance(operation.input, Elements) for operation in self.history)

    def wait_for(self, count: int) -> None:
        """Returns when so many more operations have ended."""
        wanted = len(self.history) + count
        self._cluster.wait_for(lambda: len(self.history) >= wanted, "clients got on")

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                tasks.create_task(self._write(writer))
            for address in self._readers:
                tasks.create_task(self._read(address))

    async def _write(self, writer: int) -> None:
        options = [*channel_options("Example"), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(grpc_target(self._target), options=options) as channel:
            stub = example_pb2_grpc.ExampleStub(channel)
            for number in itertools.count():
                if self._stop.is_set():
                    return
                word = f"{writer}-{number}"
                called = time.monotonic()
                try:
                    await stub.AddWord(example_pb2.AddWordRequest(word=word), timeout=5, wait_for_ready=True)
                    returned = time.monotonic()
                except grpc.aio.AioRpcError:
                    returned = None  # It may have happened, or happen yet.
                self.history.append(Operation(Append(WORDS, word), called, returned))
                await asyncio.sleep(PACE)

    async def _read(self, address: str) -> None:
        request = example_pb2.GetWordsRequest(consistency=example_pb2.GetWordsRequest.LINEARIZABLE)
        async with grpc.aio.insecure_channel(address, options=channel_options()) as channel:
            stub = example_pb2_grpc.ExampleStub(channel)
            while not self._stop.is_set():
                called = time.monotonic()
                try:
                    words = tuple((await stub.GetWords(request, timeout=5)).best_words)
                except grpc.aio.AioRpcError:
                    pass  # What was not read says nothing.
                else:
                    self.history.append(Operation(Elements(WORDS), called, time.monotonic(), words))
                await asyncio.sleep(PACE * 2)


@pytest.mark.timeout(240)
def test_a_history_with_kills_is_linearizable(tmp_path: Path) -> None:
    with MixedCluster(tmp_path, ("py1", "go1", "py2")) as cluster:
        cluster.form()
        with Historian(cluster) as historian:
            for target in itertools.islice(itertools.cycle(("py2", "go1", "py1")), KILLS):
                historian.wait_for(60)
                leader = cluster.leader()
                cluster.kill(leader)
                cluster.leader()
                cluster.start(leader)
                cluster.transfer(target)
            historian.wait_for(60)
        called = time.monotonic()
        words = cluster.wait_for_words()
    assert historian.reads() > 20
    assert verdict(historian.history, words, called) is None
    # Would the loss of a word be seen?
    added = [operation.input.value for operation in historian.history if is_acknowledged(operation)]
    assert verdict(historian.history, [word for word in words if word != added[-1]], called)


def is_acknowledged(operation: Operation) -> bool:
    return isinstance(operation.input, Append) and operation.returned is not None


def verdict(history: list[Operation], words: list[str], called: float) -> NotLinearizable | None:
    """Checks a history that ends with a read of ``words``.

    That read settles in which order they were added. To say so in each Append's output, and to leave out those that
    never came to be, spares the checker the search.
    """
    places = {word: place for place, word in enumerate(words, 1)}
    settled = [Operation(Elements(WORDS), called, time.monotonic(), tuple(words))]
    for operation in history:
        if isinstance(operation.input, Elements):
            settled.append(operation)
        elif operation.input.value in places:
            settled.append(dataclasses.replace(operation, output=places[operation.input.value]))
        elif is_acknowledged(operation):
            settled.append(operation)
    return check(AppendLists(), settled)
