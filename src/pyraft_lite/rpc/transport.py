"""The sending end of the transport: RPCs to peers over gRPC."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from pyraft_lite.core import messages as core
from pyraft_lite.core.configuration import Server
from pyraft_lite.core.messages import Peer, Request, Response
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.address import NO_SUCH_FAMILY, resolve
from pyraft_lite.rpc.failure import failure_of
from pyraft_lite.rpc.grpc_channel import GrpcChannel
from pyraft_lite.rpc.grpc_connection import CallError, GrpcConnection
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pipeline import GrpcPipeline
from pyraft_lite.rpc.transport_service import RaftTransportService
from pyraft_lite.rpc.wire import WireError
from pyraft_lite.runtime.transport import FailureKind, Pipeline, RpcHandler, TransportError

SNAPSHOT_CHUNK_BYTES = 256 * 1024
"""The most of a snapshot that one message holds: so little that sender, wire and receiver are at work at once, and that
no heartbeat waits long for one to be packed."""

RESTORED_PER_DEADLINE = 16 * 1024 * 1024
"""How many bytes of snapshot a peer is trusted to restore within one deadline."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a peer may take, in seconds.

    Attributes:
        control: To answer a heartbeat, a vote, a pre-vote or TimeoutNow.
        append: To answer entries, sent alone or in a pipeline.
        snapshot: To take one piece of a snapshot; and when it has all, to answer, for every RESTORED_PER_DEADLINE bytes
            of it: the peer may restore its state machine first.
    """

    control: float = 1.0
    append: float = 5.0
    snapshot: float = 10.0


@dataclass(frozen=True, slots=True)
class _Method:
    """How to make one kind of RPC.

    Attributes:
        name: The method's.
        encode: Makes the message for a request.
        response: Parses the response.
        decode: Makes of it what it says.
    """

    name: str
    encode: Callable[[Any], Message]
    response: type[Message]
    decode: Callable[[Any], Any]

    @property
    def path(self) -> str:
        return f"/RaftTransport/{self.name}"


_APPEND = _Method("AppendEntries", wire.encode_append_request, pb.AppendEntriesResponse, wire.decode_append_response)
_VOTE = _Method("RequestVote", wire.encode_vote_request, pb.RequestVoteResponse, wire.decode_vote_response)
_PRE_VOTE = _Method(
    "RequestPreVote", wire.encode_pre_vote_request, pb.RequestPreVoteResponse, wire.decode_pre_vote_response
)
_TIMEOUT_NOW = _Method(
    "TimeoutNow", wire.encode_timeout_now_request, pb.TimeoutNowResponse, wire.decode_timeout_now_response
)
_SNAPSHOT = _Method(
    "InstallSnapshot", wire.encode_snapshot_request, pb.InstallSnapshotResponse, wire.decode_snapshot_response
)

_UNARY: dict[type[Request], _Method] = {
    core.AppendEntriesRequest: _APPEND,
    core.RequestVoteRequest: _VOTE,
    core.RequestPreVoteRequest: _PRE_VOTE,
    core.TimeoutNowRequest: _TIMEOUT_NOW,
}

T = TypeVar("T")


class GrpcTransport:
    """The :class:`~pyraft_lite.runtime.transport.Transport` over gRPC, in plaintext.

    What peers send comes in through :attr:`service`, to be added to whatever serves the node's port.

    Args:
        local: This node, as its answers name it.
        deadlines: How long peers may take.
    """

    def __init__(self, local: Peer, deadlines: Deadlines | None = None) -> None:
        self.service = RaftTransportService(local)
        self._deadlines = deadlines or Deadlines()
        self._channels: dict[str, GrpcChannel] = {}
        self._encode_append = wire.AppendRequestEncoder()
        self._encode_heartbeat = wire.AppendRequestEncoder()  # One of its own: a term's heartbeats are all the same.
        # What has a connection of its own: nothing small is to wait behind it.
        self._pipelines: set[GrpcPipeline] = set()
        self._snapshots: set[GrpcConnection] = set()
        self._closed = False

    def bind(self, handler: RpcHandler, /) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Transport.bind`."""
        self.service.bind(handler)

    async def send(self, to: Server, request: Request, /) -> Response:
        """See :meth:`pyraft_lite.runtime.transport.Transport.send`."""
        method = _UNARY[type(request)]
        deadline = self._deadlines.control
        if not isinstance(request, core.AppendEntriesRequest):
            payload = method.encode(request).SerializeToString()
        elif request.is_heartbeat:
            payload = self._encode_heartbeat(request)
        else:
            payload = self._encode_append(request)
            deadline = self._deadlines.append
        rpc = f"{method.name} to {to.address}"
        payload = await _outcome(rpc, self._channel(to.address).unary(method.path, payload, deadline))
        response: Response = _decoded(rpc, method, payload)
        return response

    def pipeline(self, to: Server, /) -> Pipeline:
        """See :meth:`pyraft_lite.runtime.transport.Transport.pipeline`."""
        if self._closed:
            raise _closed()
        pipeline = GrpcPipeline(to.address, self._deadlines.append, self._encode_append)
        pipeline.closed.add_done_callback(lambda _: self._pipelines.discard(pipeline))
        self._pipelines.add(pipeline)
        return pipeline

    async def install_snapshot(
        self, to: Server, request: core.InstallSnapshotRequest, chunks: AsyncIterator[bytes], /
    ) -> core.InstallSnapshotResponse:
        """See :meth:`pyraft_lite.runtime.transport.Transport.install_snapshot`."""
        if self._closed:
            raise _closed()
        rpc = f"{_SNAPSHOT.name} to {to.address}"
        progress = self._deadlines.snapshot
        connection = GrpcConnection(to.address)
        connection.closed.add_done_callback(lambda _: self._snapshots.discard(connection))
        self._snapshots.add(connection)
        try:
            upload = connection.upload(_SNAPSHOT.path)
            async with aclosing(_snapshot_messages(request, chunks)) as messages:
                async for message in messages:
                    if not await _within(progress, rpc, upload.send(*message)):
                        break  # The peer has answered before it had it all; its answer says why.
            restore = progress * (1 + request.size // RESTORED_PER_DEADLINE)
            payload = await _within(restore, rpc, upload.finish())
        finally:
            connection.close()
        response: core.InstallSnapshotResponse = _decoded(rpc, _SNAPSHOT, payload)
        return response

    async def until_disconnected(self, address: str, /) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Transport.until_disconnected`."""
        await self._channel(address).until_lost()
        if self._closed:
            raise _closed()

    async def is_refused(self, address: str, /) -> bool:
        """See :meth:`pyraft_lite.runtime.transport.Transport.is_refused`."""
        try:
            async with asyncio.timeout(self._deadlines.control):
                return await _is_refused(address)
        except (ValueError, OSError):
            return False

    async def close(self) -> None:
        """Breaks all connections to peers and ends their streams to us; every later call raises TransportError."""
        self._closed = True
        self.service.close()
        pipelines = list(self._pipelines)
        for pipeline in pipelines:
            pipeline.close()
        for connection in self._snapshots:
            connection.close()
        await asyncio.gather(
            *(pipeline.closed for pipeline in pipelines),
            *(connection.closed for connection in self._snapshots),
            *(channel.close() for channel in self._channels.values()),
        )

    def _channel(self, address: str) -> GrpcChannel:
        """The one channel to ``address``."""
        if self._closed:
            raise _closed()
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = GrpcChannel(address)
        return channel


def _closed() -> TransportError:
    return TransportError(FailureKind.UNREACHABLE, "the transport is closed")


async def _snapshot_messages(
    request: core.InstallSnapshotRequest, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[Sequence[bytes | memoryview], None]:
    """What the snapshot is, and then the snapshot in pieces; each in the parts that it is sent in."""
    yield (wire.encode_snapshot_request(request).SerializeToString(),)
    async for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(chunk), SNAPSHOT_CHUNK_BYTES):
            yield wire.encode_snapshot_data(view[start : start + SNAPSHOT_CHUNK_BYTES])


async def _outcome(rpc: str, call: Awaitable[T]) -> T:
    """What ``call`` returns; raises TransportError in place of CallError."""
    try:
        return await call
    except CallError as error:
        raise failure_of(rpc, error.code, error.details) from error


async def _within(seconds: float, rpc: str, call: Awaitable[T]) -> T:
    """As :func:`_outcome`, but fails with TIMEOUT after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await _outcome(rpc, call)
    except TimeoutError:
        raise TransportError(FailureKind.TIMEOUT, f"{rpc}: no progress for {seconds:g} s") from None


def _decoded(rpc: str, method: _Method, payload: bytes) -> Any:
    """What a response says."""
    try:
        return method.decode(method.response.FromString(payload))
    except DecodeError as error:
        raise TransportError(FailureKind.REJECTED, f"{rpc}: the response is unreadable: {error}") from error
    except WireError as error:
        raise TransportError(FailureKind.REJECTED, f"{rpc}: the response makes no sense: {error}") from error


async def _is_refused(address: str) -> bool:
    """True if every address that ``address`` stands for, and that this machine can have, refuses a connection."""
    loop = asyncio.get_running_loop()
    refused = False
    for family, place in await resolve(address):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                await loop.sock_connect(probe, place)
            except ConnectionRefusedError:
                refused = True
            except OSError as error:
                if error.errno not in NO_SUCH_FAMILY:
                    raise
            else:
                return False
    return refused
