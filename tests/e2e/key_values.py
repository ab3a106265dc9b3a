"""A cluster of examples/kv_store.py, and clients that note what they see of it."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from pyraft_lite.core.errors import NotLeaderError, TransferInProgressError
from pyraft_lite.core.state import State
from pyraft_lite.rpc.client import channel_options, find_leader
from pyraft_lite.sim.linearizability import Operation
from pyraft_lite.sim.models import CompareAndSet, Get, Put
from pyraft_lite.storage import FileSnapshotStore
from raftexample.local_cluster import LocalCluster, LocalNode

EXAMPLE = Path(__file__).parents[2] / "examples" / "kv_store.py"

REFUSED = (NotLeaderError.message, TransferInProgressError.message)
"""What a node answers to a write that it has done nothing about. After any other error it may yet happen."""

SHARED_KEYS = ("x", "y", "z")
"""What all clients fight over."""

OPTIONS = [*channel_options(), ("grpc.use_local_subchannel_pool", 1)]


class KeyValueCluster(LocalCluster):
    """Nodes of a key-value store.

    Args:
        directory: Where data and logs go.
        size: How many nodes.
        flags: For every node.
        program: What the nodes run.
    """

    bootstrap_flag = "--bootstrap"

    def __init__(self, directory: Path, size: int = 3, flags: Sequence[str] = (), program: Path = EXAMPLE) -> None:
        super().__init__(directory, names="abcde"[:size], flags=flags)
        self.program = program

    def command(self, node: LocalNode) -> list[str]:
        data = self.directory / node.name
        return [sys.executable, str(self.program), "--id", node.name, "--address", node.address, "--data", str(data)]

    @contextlib.contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """These nodes do nothing, as if their machines hung, until the end of the block."""
        processes = [self._running(name) for name in names]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)

    def leader_but(self, *names: str) -> str:
        """The leader, once it is none of these."""
        others = [name for name, node in self.nodes.items() if name not in names and node.is_running]
        return self.wait_for(
            lambda: next((name for name in others if self.state(name) is State.LEADER), None),
            f"one of {others} leads",
        )

    def followers(self) -> list[str]:
        """All running nodes but the leader."""
        leader = self.leader()
        return [name for name, node in self.nodes.items() if node.is_running and name != leader]

    def final_state(self, name: str) -> dict[str, str]:
        """All that a node of an idle cluster has applied, as it writes it into a snapshot."""
        applied = self.applied_index(name)
        assert applied is not None
        self.check_raftadmin(self.nodes[name].address, "snapshot")
        snapshots = FileSnapshotStore(self.directory / name)
        meta, source = snapshots.open(snapshots.list()[0].id)
        assert meta.index >= applied  # A leader that is elected meanwhile adds an entry.
        with source:
            state: dict[str, str] = json.load(source)
        return state


class History:
    """What clients saw. Reads that failed are left out, as are writes that were refused: they are to have no effect.

    It may be used by several threads.

    Attributes:
        operations: For the checker.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._outcomes: list[str] = []

    @property
    def outcomes(self) -> Counter[str]:
        """How many operations were answered, were refused, and have an outcome that is unknown."""
        return Counter(self._outcomes)

    @contextlib.contextmanager
    def note(self, input: Get | Put | CompareAndSet) -> Iterator[Callable[[bytes], None]]:
        """Notes one call, made in the block: its answer, given to what the block gets, or how it failed."""
        called = time.monotonic()
        is_read = isinstance(input, Get)

        def answered(answer: bytes) -> None:
            output = json.loads(answer)
            self.operations.append(Operation(input, called, time.monotonic(), output, is_read))

        try:
            yield answered
        except grpc.RpcError as error:
            if error.details() in REFUSED:
                self._outcomes.append("refused")
            else:
                self._outcomes.append("unknown")
                if not is_read:
                    self.operations.append(Operation(input, called))
            raise
        self._outcomes.append("answered")

    def add_final_reads(self, state: dict[str, str]) -> None:
        """After all is over, this is what every key has."""
        now = time.monotonic()
        for key in {operation.input.key for operation in self.operations}:
            self.operations.append(Operation(Get(key), now, now, state.get(key), is_read=True))


def method(input: Get | Put | CompareAndSet) -> str:
    """The gRPC method for an operation."""
    return "/KeyValue/Read" if isinstance(input, Get) else "/KeyValue/Write"


def request(input: Get | Put | CompareAndSet) -> bytes:
    """An operation as the store's clients send it."""
    match input:
        case Get(key):
            return json.dumps(key).encode()
        case Put(key, value):
            return json.dumps(["put", key, value]).encode()
        case CompareAndSet(key, expected, value):
            return json.dumps(["compare_and_set", key, expected, value]).encode()


@contextlib.contextmanager
def connected(cluster: KeyValueCluster, name: str) -> Iterator[grpc.Channel]:
    """A channel to this very node."""
    with grpc.insecure_channel(cluster.nodes[name].address, options=OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(10)
        yield channel


def call(cluster: KeyValueCluster, history: History, name: str, input: Get | Put) -> None:
    """Has this very node do something, and notes it; whether it failed is in the history."""
    with connected(cluster, name) as channel:
        call_through(channel, history, input)


def call_through(channel: grpc.Channel, history: History, input: Get | Put) -> None:
    """Has the node at the end of a channel do something, and notes it."""
    with contextlib.suppress(grpc.RpcError), history.note(input) as answered:
        answered(channel.unary_unary(method(input))(request(input), timeout=10))


class Clients:
    """Use the store from a thread of their own, each one operation at a time, until the end of the block.

    Args:
        cluster: Its leader is used.
        count: How many clients.

    Attributes:
        history: What they saw.
        acknowledged: The values of keys that were put once each.
    """

    CALL_TIMEOUT = 1.0
    """Seconds; who is paused longer has his clients go to another leader."""

    def __init__(self, cluster: LocalCluster, count: int = 6) -> None:
        self.history = History()
        self.acknowledged: dict[str, str] = {}
        self._cluster = cluster
        self._count = count
        self._done = threading.Event()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "Clients":
        self._running = self._thread.submit(lambda: asyncio.run(self._run()))
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.shutdown()
        self._running.result()

    def wait_for_more(self, count: int) -> None:
        """Waits until ``count`` more operations than now are answered."""
        goal = self.history.outcomes["answered"] + count

        def reached() -> bool:
            return self.history.outcomes["answered"] >= goal or self._running.done()

        self._cluster.wait_for(reached, f"{goal} operations are answered")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(self._count):
                clients.create_task(self._client(f"client{number}"))

    async def _client(self, name: str) -> None:
        inputs = self._inputs(name)
        while not self._done.is_set():
            with contextlib.suppress(grpc.RpcError, TimeoutError):
                async with asyncio.timeout(1):
                    leader = await find_leader(self._cluster.target)
                async with grpc.aio.insecure_channel(leader, options=OPTIONS) as channel:
                    while not self._done.is_set():
                        await self._call(channel, next(inputs))

    async def _call(self, channel: grpc.aio.Channel, input: Get | Put | CompareAndSet) -> None:
        with self.history.note(input) as answered:
            answered(await channel.unary_unary(method(input))(request(input), timeout=self.CALL_TIMEOUT))
        if isinstance(input, Put) and input.key not in SHARED_KEYS:
            self.acknowledged[input.key] = str(input.value)

    def _inputs(self, name: str) -> Iterator[Get | Put | CompareAndSet]:
        """What a client does; no value is written twice, so that each read tells which write it saw."""
        dice = random.Random(name)
        for number in itertools.count():
            key = dice.choice(SHARED_KEYS)
            value = f"{name} {number}"
            match dice.choices(["get", "put", "compare and set", "own"], [40, 20, 30, 10])[0]:
                case "get":
                    yield Get(key)
                case "put":
                    yield Put(key, value)
                case "compare and set":
                    yield CompareAndSet(key, self._newest(key), value)
                case _:
                    yield Put(value, value)

    def _newest(self, key: str) -> object:
        """What one of the last answers says the value is, most likely; None if none does."""
        for operation in reversed(self.history.operations[-50:]):
            match operation:
                case Operation(input=Get(about), output=str(value)) if about == key:
                    return value
                case Operation(input=Put(about, value)) if about == key:
                    return value
                case Operation(input=CompareAndSet(about, _, value), output=True) if about == key:
                    return value
        return None
