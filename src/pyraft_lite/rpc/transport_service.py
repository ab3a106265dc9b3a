"""The receiving end of the transport: the RaftTransport service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError

from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.messages import Peer, Request
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.append_stream import AppendStream
from pyraft_lite.rpc.direct import attend
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb import raft_transport_pb2_grpc as pb_grpc
from pyraft_lite.rpc.status import abort_with
from pyraft_lite.rpc.wire import WireError
from pyraft_lite.runtime.settle import settle
from pyraft_lite.runtime.transport import RpcHandler

Message = TypeVar("Message")
Answer = TypeVar("Answer")


class RaftTransportService(pb_grpc.RaftTransportServicer):
    """Hands what peers send to an :class:`~pyraft_lite.runtime.transport.RpcHandler`.

    A message that makes no sense is refused with INVALID_ARGUMENT and why; a RaftError of the handler ends the RPC with
    its status (see ``status``).
    """

    def __init__(self, local: Peer) -> None:
        self._local = local
        self._handler: RpcHandler | None = None
        self._streams: set[AppendStream] = set()

    def bind(self, handler: RpcHandler) -> None:
        """Says who answers; until then every RPC fails."""
        self._handler = handler

    def close(self) -> None:
        """Ends the append streams once they have answered what they took in; else they outlast any grace period."""
        for stream in list(self._streams):
            stream.end()

    @property
    def _bound(self) -> RpcHandler:
        if self._handler is None:
            raise RaftError("raft is not running yet")
        return self._handler

    async def AppendEntries(self, request: pb.AppendEntriesRequest, context: CallContext) -> pb.AppendEntriesResponse:
        return await self._unary(request, context, wire.decode_append_request, wire.encode_append_response)

    async def RequestVote(self, request: pb.RequestVoteRequest, context: CallContext) -> pb.RequestVoteResponse:
        return await self._unary(request, context, wire.decode_vote_request, wire.encode_vote_response)

    async def RequestPreVote(
        self, request: pb.RequestPreVoteRequest, context: CallContext
    ) -> pb.RequestPreVoteResponse:
        return await self._unary(request, context, wire.decode_pre_vote_request, wire.encode_pre_vote_response)

    async def TimeoutNow(self, request: pb.TimeoutNowRequest, context: CallContext) -> pb.TimeoutNowResponse:
        return await self._unary(request, context, wire.decode_timeout_now_request, wire.encode_timeout_now_response)

    async def _unary(
        self,
        message: Message,
        context: CallContext,
        decode: Callable[[Message], Request],
        encode: Callable[[Any, Peer], Answer],
    ) -> Answer:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._bound.handle(decode(message), partial(settle, future))
            response = await future
        except (WireError, RaftError) as error:
            await _refuse(context, error)
        return encode(response, self._local)

    async def AppendEntriesPipeline(  # type: ignore[override]  # a coroutine that writes serves as well as a generator
        self, request_iterator: AsyncIterator[pb.AppendEntriesRequest], context: CallContext
    ) -> None:
        try:
            await attend(partial(self._new_stream, self._bound), request_iterator, context)
        except (WireError, DecodeError, RaftError) as error:
            await _refuse(context, error)

    def _new_stream(self, handler: RpcHandler, respond: Callable[[pb.AppendEntriesResponse], None]) -> AppendStream:
        stream = AppendStream(handler, self._local, respond)
        self._streams.add(stream)
        stream.done.add_done_callback(lambda _: self._streams.discard(stream))
        return stream

    async def InstallSnapshot(
        self, request_iterator: AsyncIterator[pb.InstallSnapshotRequest], context: CallContext
    ) -> pb.InstallSnapshotResponse:
        """Takes in a snapshot of exactly the announced size, and reads the stream to its end (R15)."""
        try:
            handler = self._bound
            first = await anext(aiter(request_iterator), None)
            if first is None:
                raise WireError("the stream ended before it said what the snapshot is")
            request = wire.decode_snapshot_request(first)
            chunks = _exactly(request.size, _data(first, request_iterator))
            try:
                response = await handler.handle_snapshot(request, chunks)
            except Exception:
                await _drain(chunks)
                raise
            await _drain(chunks)
        except (WireError, DecodeError, RaftError) as error:
            await _refuse(context, error)
        return wire.encode_snapshot_response(response, self._local)


async def _data(
    first: pb.InstallSnapshotRequest, rest: AsyncIterator[pb.InstallSnapshotRequest]
) -> AsyncIterator[bytes]:
    yield first.data
    async for message in rest:
        yield message.data


async def _exactly(size: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Passes ``chunks`` on; raises WireError as soon as they are not ``size`` bytes in all."""
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > size:
            raise WireError(f"the snapshot is larger than the {size} bytes announced")
        if chunk:
            yield chunk
    if received < size:
        raise WireError(f"the snapshot ended after {received} of the {size} bytes announced")


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


async def _refuse(context: CallContext, error: WireError | DecodeError | RaftError) -> NoReturn:
    if isinstance(error, RaftError):
        await abort_with(context, error, retriable=False)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
