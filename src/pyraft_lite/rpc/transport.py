"""The sending end of the transport: RPCs to peers over gRPC."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from pyraft_lite.core import messages as core
from pyraft_lite.core.configuration import Server
from pyraft_lite.core.messages import Peer, Request, Response
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.address import NO_SUCH_FAMILY, resolve
from pyraft_lite.rpc.failure import failure_of
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import RaftTransportStub
from pyraft_lite.rpc.pipeline import GrpcPipeline
from pyraft_lite.rpc.transport_service import RaftTransportService
from pyraft_lite.rpc.wire import WireError
from pyraft_lite.runtime.transport import FailureKind, Pipeline, RpcHandler, TransportError

SNAPSHOT_CHUNK_BYTES = 256 * 1024
"""The most of a snapshot that one message holds: so little that sender, wire and receiver are at work at once, and that
no heartbeat waits long for one to be packed."""

RESTORED_PER_DEADLINE = 16 * 1024 * 1024
"""How many bytes of snapshot a peer is trusted to restore within one deadline."""

_CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    # A peer's connection is its own, and so is the trouble with it.
    ("grpc.use_local_subchannel_pool", 1),
    # A peer that comes back, perhaps at another IP address, is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # In spite of its name: how long an attempt to connect may take.
    ("grpc.dns_min_time_between_resolutions_ms", 500),
    # A connection that has gone dead with calls under way is given up, so that a new one is tried.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


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
class _Unary:
    """How to make one kind of unary RPC."""

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Response]


_UNARY: dict[type[Request], _Unary] = {
    core.AppendEntriesRequest: _Unary("AppendEntries", wire.encode_append_request, wire.decode_append_response),
    core.RequestVoteRequest: _Unary("RequestVote", wire.encode_vote_request, wire.decode_vote_response),
    core.RequestPreVoteRequest: _Unary("RequestPreVote", wire.encode_pre_vote_request, wire.decode_pre_vote_response),
    core.TimeoutNowRequest: _Unary("TimeoutNow", wire.encode_timeout_now_request, wire.decode_timeout_now_response),
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
        self._channels: dict[str, tuple[grpc.aio.Channel, RaftTransportStub]] = {}
        self._encode_append = wire.AppendRequestEncoder()
        self._pipelines: set[GrpcPipeline] = set()
        self._closed = False

    def bind(self, handler: RpcHandler, /) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Transport.bind`."""
        self.service.bind(handler)

    async def send(self, to: Server, request: Request, /) -> Response:
        """See :meth:`pyraft_lite.runtime.transport.Transport.send`."""
        unary = _UNARY[type(request)]
        carries_entries = isinstance(request, core.AppendEntriesRequest) and not request.is_heartbeat
        deadline = self._deadlines.append if carries_entries else self._deadlines.control
        rpc = f"{unary.name} to {to.address}"
        method = getattr(self._stub(to.address), unary.name)
        message = await _outcome(rpc, method(unary.encode(request), timeout=deadline))
        return _decoded(rpc, unary.decode, message)

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
        rpc = f"InstallSnapshot to {to.address}"
        progress = self._deadlines.snapshot
        call = self._stub(to.address).InstallSnapshot(None)
        try:
            try:
                await _within(progress, rpc, call.write(wire.encode_snapshot_request(request)))
                async for chunk in chunks:
                    for start in range(0, len(chunk), SNAPSHOT_CHUNK_BYTES):
                        piece = pb.InstallSnapshotRequest(data=chunk[start : start + SNAPSHOT_CHUNK_BYTES])
                        await _within(progress, rpc, call.write(piece))
                await _within(progress, rpc, call.done_writing())
            except (asyncio.InvalidStateError, grpc.aio.InternalError):
                pass  # The peer has answered before it had it all; its answer says why.
            restore = progress * (1 + request.size // RESTORED_PER_DEADLINE)
            message = await _within(restore, rpc, call)
        finally:
            call.cancel()
        return _decoded(rpc, wire.decode_snapshot_response, message)

    async def until_disconnected(self, address: str, /) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Transport.until_disconnected`."""
        channel, _ = self._connect(address)
        connected = False
        while True:
            state = channel.get_state(try_to_connect=True)
            if self._closed:
                raise _closed()
            if connected and state is not grpc.ChannelConnectivity.READY:
                return
            connected = state is grpc.ChannelConnectivity.READY
            await channel.wait_for_state_change(state)

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
        await asyncio.gather(*(pipeline.closed for pipeline in pipelines))
        for channel, _ in self._channels.values():
            await channel.close(None)

    def _stub(self, address: str) -> RaftTransportStub:
        """The stub of the one channel to ``address``; it connects when first used, and fails fast while it cannot."""
        return self._connect(address)[1]

    def _connect(self, address: str) -> tuple[grpc.aio.Channel, RaftTransportStub]:
        if self._closed:
            raise _closed()
        if address not in self._channels:
            channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
            self._channels[address] = (channel, RaftTransportStub(channel))
        return self._channels[address]


def _closed() -> TransportError:
    return TransportError(FailureKind.UNREACHABLE, "the transport is closed")


async def _outcome(rpc: str, call: Awaitable[T]) -> T:
    """What ``call`` returns; raises TransportError in place of what grpcio raises."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise failure_of(rpc, error.code(), error.details()) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Not we were cancelled, the call was: its channel has been closed.
        raise _closed() from None


async def _within(seconds: float, rpc: str, call: Awaitable[T]) -> T:
    """As :func:`_outcome`, but fails with TIMEOUT after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await _outcome(rpc, call)
    except TimeoutError:
        raise TransportError(FailureKind.TIMEOUT, f"{rpc}: no progress for {seconds:g} s") from None


def _decoded(rpc: str, decode: Callable[[Any], T], message: object) -> T:
    """What a response says; grpcio gives None for one it could not parse."""
    if message is None:
        raise TransportError(FailureKind.REJECTED, f"{rpc}: the response is unreadable")
    try:
        return decode(message)
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
