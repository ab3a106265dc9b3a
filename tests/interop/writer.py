"""Writes that go on in the background while a test does things to the cluster."""

import asyncio
import itertools
import threading
from types import TracebackType

import grpc

from pyraft_lite.rpc.client import call_leader, channel_options
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc
from pyraft_lite.rpc.targets import grpc_target
from raftexample.local_cluster import LocalCluster

WORKERS = 4
PACE = 0.01
"""Seconds between a worker's words, so that nodes and tests get their share of the machine."""


class Writer:
    """Adds words to whoever leads, as a careful client would, until it is stopped. A context manager.

    Args:
        cluster: Whose nodes to write to; those planned later are not known to it.
        timeout: Seconds that a word may take, with its retries and the wait for a leader.

    Attributes:
        acknowledged: The words that were acknowledged, in the order of their acknowledgements.
        failed: The words that were not, each with why; they may be in the log all the same.
    """

    def __init__(self, cluster: LocalCluster, timeout: float = 20.0) -> None:
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self._target = cluster.target
        self._timeout = timeout
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), name="writer")

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Returns when so many more words have been acknowledged."""
        with self._progress:
            wanted = len(self.acknowledged) + count
            if not self._progress.wait_for(lambda: len(self.acknowledged) >= wanted, timeout=60):
                raise AssertionError(f"only {len(self.acknowledged)} of {wanted} words were acknowledged")

    def check(self, words: list[str]) -> None:
        """Fails unless every acknowledged word is among ``words``."""
        assert not self._thread.is_alive(), "writes are still under way"
        assert self.acknowledged, "nothing was written"
        missing = set(self.acknowledged) - set(words)
        assert not missing, (
            f"{len(missing)} of {len(self.acknowledged)} acknowledged words are lost: {sorted(missing)[:10]}"
        )

    async def _write(self) -> None:
        # Its own connections: those of another writer may wait for a frozen node.
        options = [*channel_options("Example"), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(grpc_target(self._target), options=options) as channel:
            stub = example_pb2_grpc.ExampleStub(channel)
            await asyncio.gather(*(self._work(stub, worker) for worker in range(WORKERS)))

    async def _work(self, stub: example_pb2_grpc.ExampleStub, worker: int) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            word = f"{worker}-{number}"
            try:
                await call_leader(stub.AddWord, example_pb2.AddWordRequest(word=word), timeout=self._timeout)
            except grpc.aio.AioRpcError as error:
                self.failed.append(f"{word}: {error.code().name}: {error.details()}")
            else:
                with self._progress:
                    self.acknowledged.append(word)
                    self._progress.notify_all()
            await asyncio.sleep(PACE)
