"""Real nodes in one event loop: LMDB, files and gRPC over loopback, and a state machine that keeps a journal."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from engines import chosen_engine
from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.messages import Peer
from pyraft_lite.rpc.engine import ServerEngine
from pyraft_lite.rpc.pb import raft_transport_pb2_grpc
from pyraft_lite.rpc.transport import GrpcTransport
from pyraft_lite.runtime import Config, Observation, Raft, Settings, State, bootstrap_cluster
from pyraft_lite.runtime.fsm import Sink
from pyraft_lite.storage import FileSnapshotStore, LmdbStore
from raftexample.local_cluster import free_ports

QUICK = Settings(heartbeat_timeout=0.5, election_timeout=0.5, leader_lease_timeout=0.4, commit_timeout=0.01)


class Journal:
    """A state machine that keeps all commands; :attr:`gate` holds it back while cleared."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def apply(self, entry: Entry) -> int:
        self.gate.wait()
        if entry.data == b"poison":
            raise RuntimeError("poisoned")
        self.threads.add(threading.get_ident())
        self.commands.append(entry.data)
        return len(self.commands)

    def snapshot(self) -> "JournalSnapshot":
        return JournalSnapshot(b"\n".join(self.commands))

    def restore(self, source: BinaryIO) -> None:
        data = source.read()
        self.commands = data.split(b"\n") if data else []


@dataclass
class JournalSnapshot:
    data: bytes

    def persist(self, sink: Sink) -> None:
        sink.write(self.data)


@dataclass
class Member:
    """One node; :meth:`start` again after :meth:`stop` is a restart from disk."""

    id: str
    address: str
    directory: Path
    settings: Settings = QUICK
    limits: Mapping[str, int] = field(default_factory=dict)
    journal: Journal = field(init=False)
    raft: Raft = field(init=False)
    store: LmdbStore = field(init=False)
    snapshots: FileSnapshotStore = field(init=False)
    _engine: ServerEngine = field(init=False)
    running: bool = False
    make_store: Callable[[Path], LmdbStore] = LmdbStore

    def open(self) -> None:
        self.store = self.make_store(self.directory)
        self.snapshots = FileSnapshotStore(self.directory)

    async def start(self, *, bootstrap: bool = False) -> None:
        self.open()
        if bootstrap:
            configuration = Configuration((Server(self.id, self.address),))
            bootstrap_cluster(self.store, self.store, self.snapshots, configuration)
        self.journal = Journal()
        transport = GrpcTransport(Peer(self.id, self.address))
        config = Config(local_id=self.id, local_address=self.address, settings=self.settings, **self.limits)  # type: ignore[arg-type]
        self.raft = Raft(config, self.journal, self.store, self.store, self.snapshots, transport)
        await self.raft.start()
        self._engine = chosen_engine()
        raft_transport_pb2_grpc.add_RaftTransportServicer_to_server(transport.service, self._engine)
        await self._engine.start(self.address)
        self.running = True

    async def stop(self) -> None:
        if self.running:
            self.running = False
            self.journal.gate.set()
            if isinstance(self.store, WatchedStore):
                self.store.gate.set()
            await self.raft.shutdown()
            await self._engine.stop()
            self.store.close()

    async def until_applied(self, index: int) -> None:
        """Waits until this node has applied ``index``."""
        while self.raft.applied_index < index:  # noqa: ASYNC110 - nothing tells of it from outside
            await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[Observation], bool]) -> None:
        """Waits for a change of role that meets the condition, unless what is now does."""
        changed = asyncio.Event()
        stop = self.raft.observe(lambda _: changed.set())
        try:
            while not condition(Observation(self.raft.state, 0, self.raft.leader)):
                await changed.wait()
                changed.clear()
        finally:
            stop()


class Members(dict[str, Member]):
    """The nodes of a cluster by id."""

    async def leader(self) -> Member:
        """The leader, once there is one."""
        running = [member for member in self.values() if member.running]
        waits = [asyncio.create_task(member.until(lambda now: now.state is State.LEADER)) for member in running]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return next(member for member in running if member.raft.state is State.LEADER)

    def followers(self) -> list[Member]:
        return [m for m in self.values() if m.running and m.raft.state is State.FOLLOWER]

    async def until_equal(self, index: int) -> None:
        """Waits until all running nodes have applied ``index``."""
        for member in self.values():
            if member.running:
                await member.until_applied(index)


class WatchedStore(LmdbStore):
    """A real store that counts commits, and holds them back or fails them when told to. All of them are waited for."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.commits = 0
        self.fails = False
        self.steps: list[int] = []
        self._depth = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        if self._depth == 0:
            self.entered.set()
            self.gate.wait()
            self.commits += 1
            if self.fails:
                raise StorageError("no space left on device")
        self._depth += 1
        try:
            with super().transaction():
                yield
        finally:
            self._depth -= 1

    def fileno(self) -> None:
        return None

    def compact(self, to_index: int, limit: int) -> bool:
        before = self.first_index()
        more = super().compact(to_index, limit)
        self.steps.append((self.first_index() or to_index + 1) - before)
        return more


@contextlib.asynccontextmanager
async def cluster(
    directory: Path,
    size: int = 3,
    settings: Settings = QUICK,
    make_store: Callable[[Path], LmdbStore] = LmdbStore,
    **limits: int,
) -> AsyncIterator[Members]:
    """A cluster of so many voters, with limits of :class:`Config`; at its end all are stopped."""
    names = [f"node{number}" for number in range(1, size + 1)]
    members = Members(
        (name, Member(name, f"127.0.0.1:{port}", directory / name, settings, limits, make_store=make_store))
        for name, port in zip(names, free_ports(size), strict=True)
    )
    try:
        for member in members.values():
            await member.start(bootstrap=member.id == names[0])
        leader = await members.leader()
        for name in names[1:]:
            await leader.raft.add_voter(name, members[name].address)
        yield members
    finally:
        for member in members.values():
            await member.stop()
