"""A Raft node that does what a test tells it, and what serves it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from engines import chosen_engine
from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.errors import NotLeaderError, RaftError
from pyraft_lite.rpc.admin_service import AdminService
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.health import LeaderHealth
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleServicer, add_ExampleServicer_to_server
from pyraft_lite.rpc.pb.raft_admin_pb2_grpc import add_RaftAdminServicer_to_server
from pyraft_lite.runtime.api import Applied, Leader, Observation, State
from raftexample.local_cluster import program as command


@dataclass
class ScriptedRaft:
    """Ends every operation as ``outcomes`` has it under its name: a value, an error, a future of either, or what a
    function of the operation's arguments makes. Records all calls; ``watched`` tells that a client watches its health.
    """

    state: State = State.LEADER
    leader: Leader = field(default_factory=Leader)
    last_index: int = 0
    applied_index: int = 0
    last_contact: float | None = None
    configuration: Configuration = field(default_factory=Configuration)
    counters: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[object, ...]] = field(default_factory=list)
    observers: list[Callable[[Observation], None]] = field(default_factory=list)
    watched: asyncio.Event = field(default_factory=asyncio.Event)

    def _begin(self, name: str, *arguments: object) -> Any:
        self.calls.append((name, *arguments))
        outcome = self.outcomes.get(name, 0)
        return outcome(*arguments) if callable(outcome) else outcome

    async def _end(self, name: str, *arguments: object) -> Any:
        return await _outcome(self._begin(name, *arguments))

    async def apply(self, data: bytes, extensions: bytes = b"") -> Applied:
        return Applied(await self._end("apply", data, extensions), None)

    def propose(self, data: bytes, done: Callable[[Applied | RaftError], None], extensions: bytes = b"") -> None:
        """Ends as :meth:`apply` does."""

        def ended(applying: "asyncio.Task[Applied]") -> None:
            if not applying.cancelled():  # By the end of the test.
                error = applying.exception()
                assert error is None or isinstance(error, RaftError)
                done(error or applying.result())

        asyncio.ensure_future(self.apply(data, extensions)).add_done_callback(ended)

    def apply_all(self, commands: Sequence[bytes]) -> Awaitable[list[Applied]]:
        """Each command ends as if by :meth:`apply`; all begin at once."""
        begun = [self._begin("apply", command, b"") for command in commands]

        async def end() -> list[Applied]:
            return [Applied(await _outcome(each), None) for each in begun]

        return asyncio.ensure_future(end())

    async def barrier(self) -> int:
        return int(await self._end("barrier"))

    async def add_voter(self, server_id: str, address: str, previous_index: int = 0) -> int:
        return int(await self._end("add_voter", server_id, address, previous_index))

    async def add_nonvoter(self, server_id: str, address: str, previous_index: int = 0) -> int:
        return int(await self._end("add_nonvoter", server_id, address, previous_index))

    async def demote_voter(self, server_id: str, previous_index: int = 0) -> int:
        return int(await self._end("demote_voter", server_id, previous_index))

    async def remove_server(self, server_id: str, previous_index: int = 0) -> int:
        return int(await self._end("remove_server", server_id, previous_index))

    async def leadership_transfer(self, server_id: str = "", address: str = "") -> None:
        await self._end("leadership_transfer", server_id, address)

    async def snapshot(self) -> str:
        return str(await self._end("snapshot"))

    async def verify_leader(self) -> None:
        await self._end("verify_leader")

    async def read_index(self, lease: bool = False) -> int:
        return int(await self._end("read_index", lease))

    async def shutdown(self) -> None:
        await self._end("shutdown")

    def stats(self) -> dict[str, str]:
        return self.counters

    def observe(self, observer: Callable[[Observation], None]) -> Callable[[], None]:
        self.observers.append(observer)
        return lambda: self.observers.remove(observer)

    def become(self, state: State) -> None:
        """Changes the node's state, as an election would; a node that does not lead takes no operation."""
        self.state = state
        for observer in self.observers:
            observer(Observation(state, term=1, leader=self.leader))

    def refuse_unless_leading(self, *_: object) -> RaftError | int:
        """An outcome for what only the leader does."""
        return self.applied_index if self.state is State.LEADER else NotLeaderError()


async def _outcome(outcome: Any) -> Any:
    if isinstance(outcome, asyncio.Future):
        outcome = await outcome
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class WatchedHealth(LeaderHealth):
    """Tells the node when someone begins to watch."""

    def __init__(self, raft: ScriptedRaft) -> None:
        super().__init__(raft, ("Example", "quis.RaftLeader"))
        self._watched = raft.watched

    async def Watch(self, request: HealthCheckRequest, context: CallContext) -> AsyncIterator[HealthCheckResponse]:
        self._watched.set()
        async for response in super().Watch(request, context):
            yield response


@contextlib.asynccontextmanager
async def serving(
    raft: ScriptedRaft, example: ExampleServicer | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[str]:
    """Serves RaftAdmin, health, and Example if there is one, on a real port; yields the address."""
    engine = chosen_engine()
    admin = AdminService(raft)
    health = WatchedHealth(raft)
    add_RaftAdminServicer_to_server(admin, engine)
    add_HealthServicer_to_server(health, engine)
    if example is not None:
        add_ExampleServicer_to_server(example, engine)
    host = address.rpartition(":")[0]
    port = await engine.start(address)
    try:
        yield f"{host}:{port}"
    finally:
        health.close()
        await engine.stop()
        admin.close()


async def run(program: str, *arguments: str | bytes) -> tuple[int, str, str]:
    """Runs one of the programs as a user would; returns its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *command(program),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    assert "Traceback" not in errors.decode(), errors.decode()
    return process.returncode, output.decode(), errors.decode()
