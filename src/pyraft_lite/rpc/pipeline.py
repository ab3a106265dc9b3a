"""One outgoing stream of appends: written as they come, answered in order."""

import asyncio
from collections import deque

import grpc

from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.failure import failure_of
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import RaftTransportStub
from pyraft_lite.rpc.wire import WireError
from pyraft_lite.runtime.transport import FailureKind, TransportError


class GrpcPipeline:
    """The :class:`~pyraft_lite.runtime.transport.Pipeline` to the peer at ``address``.

    Args:
        stub: Of the peer's channel.
        address: Of the peer, for messages.
        deadline: How long, in seconds, a request may be unanswered before the stream counts as stalled.
    """

    def __init__(self, stub: RaftTransportStub, address: str, deadline: float) -> None:
        self._rpc = f"AppendEntriesPipeline to {address}"
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._call = stub.AppendEntriesPipeline(None)
        self._outgoing: asyncio.Queue[pb.AppendEntriesRequest] = asyncio.Queue()
        # When each was sent, and its future.
        self._unanswered: deque[tuple[float, asyncio.Future[AppendEntriesResponse]]] = deque()
        self._stall_timer: asyncio.TimerHandle | None = None
        self._failure: TransportError | None = None
        self.task = self._loop.create_task(self._run())
        """Runs as long as the stream; never fails."""

    def send(self, request: AppendEntriesRequest) -> asyncio.Future[AppendEntriesResponse]:
        """See :meth:`pyraft_lite.runtime.transport.Pipeline.send`."""
        future: asyncio.Future[AppendEntriesResponse] = self._loop.create_future()
        if self._failure is not None:
            _fail(future, self._failure)
            return future
        self._outgoing.put_nowait(wire.encode_append_request(request))
        self._unanswered.append((self._loop.time(), future))
        if self._stall_timer is None:
            self._watch_for_stall()
        return future

    def close(self) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Pipeline.close`."""
        self._break(FailureKind.UNREACHABLE, "closed by this node")

    async def _run(self) -> None:
        writer = self._loop.create_task(self._write())
        try:
            await self._read()
        except grpc.aio.AioRpcError as error:
            self._fail_all(failure_of(self._rpc, error))
        finally:
            self._break(FailureKind.UNREACHABLE, "the peer ended the stream")
            writer.cancel()
            await asyncio.wait([writer])

    async def _write(self) -> None:
        try:
            while True:
                await self._call.write(await self._outgoing.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # The stream has ended; reading it says why.

    async def _read(self) -> None:
        """Hands out responses until the stream ends or makes no sense."""
        while (message := await self._call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            if not self._unanswered or not isinstance(message, pb.AppendEntriesResponse):
                self._break(FailureKind.REJECTED, "a response that is unreadable or answers nothing")
                return
            try:
                response = wire.decode_append_response(message)
            except WireError as error:
                self._break(FailureKind.REJECTED, f"the response makes no sense: {error}")
                return
            _, future = self._unanswered.popleft()
            if not future.done():
                future.set_result(response)

    def _watch_for_stall(self) -> None:
        """Breaks the stream if the oldest request is overdue; else comes back when it would be."""
        self._stall_timer = None
        if not self._unanswered:
            return
        sent_at, _ = self._unanswered[0]
        if self._loop.time() >= sent_at + self._deadline:
            self._break(FailureKind.TIMEOUT, f"no response for {self._deadline:g} s")
        else:
            self._stall_timer = self._loop.call_at(sent_at + self._deadline, self._watch_for_stall)

    def _break(self, kind: FailureKind, reason: str) -> None:
        self._fail_all(TransportError(kind, f"{self._rpc}: {reason}"))

    def _fail_all(self, failure: TransportError) -> None:
        """Ends the stream; only the first failure counts."""
        if self._failure is not None:
            return
        self._failure = failure
        self._call.cancel()  # Wakes the reader, which ends the task.
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        for _, future in self._unanswered:
            if not future.done():
                _fail(future, failure)


def _fail(future: asyncio.Future[AppendEntriesResponse], failure: TransportError) -> None:
    future.set_exception(failure)
    future.exception()  # Marks it as seen: a caller that no longer cares leaves no "never retrieved" behind.
