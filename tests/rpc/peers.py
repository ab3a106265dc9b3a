"""What the tests of the transport share: a handler that records, and nodes that serve on a port of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engines import chosen_engine
from pyraft_lite.core.configuration import Server
from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Peer,
    Request,
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    RequestVoteResponse,
    Response,
    TimeoutNowResponse,
)
from pyraft_lite.rpc.engine import ServerEngine
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import add_RaftTransportServicer_to_server
from pyraft_lite.rpc.transport import Deadlines, GrpcTransport
from pyraft_lite.runtime.transport import Answer, Pipeline, TransportError

ALICE = Peer("alice", "alice.test:1")

# Long enough that only a call that hangs ever meets them.
PATIENT = Deadlines(control=30, append=30, snapshot=30)


def yes(request: Request) -> Response:
    """A response to ``request`` that repeats its term."""
    match request:
        case AppendEntriesRequest():
            return AppendEntriesResponse(request.term, last_log=request.prev_index, success=True)
        case RequestVoteRequest():
            return RequestVoteResponse(request.term, granted=True)
        case RequestPreVoteRequest():
            return RequestPreVoteResponse(request.term, granted=True)
        case _:
            return TimeoutNowResponse()


@dataclass
class Handler:
    """Records what comes in and answers it with ``answer`` or, a snapshot, ``take``."""

    answer: Callable[[Request], Awaitable[Response]] | None = None
    take: Callable[[InstallSnapshotRequest, AsyncIterator[bytes]], Awaitable[InstallSnapshotResponse]] | None = None
    requests: list[Request] = field(default_factory=list)
    received: bytes = b""

    def handle(self, request: Request, answer: Answer, /) -> None:
        self.requests.append(request)
        if self.answer is None:
            answer(yes(request))
            return

        def ended(answering: "asyncio.Future[Response]") -> None:
            if not answering.cancelled():  # By the end of the test.
                error = answering.exception()
                assert error is None or isinstance(error, RaftError)
                answer(error or answering.result())

        asyncio.ensure_future(self.answer(request)).add_done_callback(ended)

    async def handle_snapshot(
        self, request: InstallSnapshotRequest, chunks: AsyncIterator[bytes], /
    ) -> InstallSnapshotResponse:
        self.requests.append(request)
        if self.take:
            return await self.take(request, chunks)
        async for chunk in chunks:
            self.received += chunk
        return InstallSnapshotResponse(request.term, success=True)


@asynccontextmanager
async def listening(engine: ServerEngine, address: str = "localhost:0") -> AsyncIterator[str]:
    """Runs ``engine``; yields the address to dial."""
    port = await engine.start(address)
    try:
        yield f"localhost:{port}"
    finally:
        await engine.stop()


@asynccontextmanager
async def serving_node(
    handler: Handler | None, address: str = "localhost:0"
) -> AsyncIterator[tuple[Server, GrpcTransport]]:
    """A node ``bob`` that answers peers with ``handler``, and its transport."""
    transport = GrpcTransport(Peer("bob", "bob.test:1"))
    if handler:
        transport.bind(handler)
    engine = chosen_engine()
    add_RaftTransportServicer_to_server(transport.service, engine)
    try:
        async with listening(engine, address) as dialled:
            yield Server("bob", dialled), transport
    finally:
        await transport.close()


@asynccontextmanager
async def serving(handler: Handler, address: str = "localhost:0") -> AsyncIterator[Server]:
    """A node ``bob`` that answers peers with ``handler``."""
    async with serving_node(handler, address) as (bob, _):
        yield bob


@asynccontextmanager
async def calling(deadlines: Deadlines = PATIENT) -> AsyncIterator[GrpcTransport]:
    """The transport of a node ``alice``."""
    transport = GrpcTransport(ALICE, deadlines)
    try:
        yield transport
    finally:
        await transport.close()


def append(index: int) -> AppendEntriesRequest:
    """An append that can be told from others by its ``prev_index``."""
    return AppendEntriesRequest(term=1, sender=ALICE, prev_index=index, prev_term=1)


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The chunks, one by one."""
    for chunk in chunks:
        yield chunk


def send(pipeline: Pipeline, request: AppendEntriesRequest) -> "asyncio.Future[AppendEntriesResponse]":
    """Sends on a stream; the future ends as the request does."""
    future: asyncio.Future[AppendEntriesResponse] = asyncio.get_running_loop().create_future()

    def answered(answer: AppendEntriesResponse | TransportError) -> None:
        if future.cancelled():
            return
        if isinstance(answer, TransportError):
            future.set_exception(answer)
            future.exception()  # Marks it as seen: a test that looks at others leaves no "never retrieved" behind.
        else:
            future.set_result(answer)

    pipeline.send(request, answered)
    return future
