"""One outgoing stream of appends: written as they come, answered in order."""

import asyncio
from collections import deque
from time import monotonic

import grpc
from google.protobuf.message import DecodeError

from pyraft_lite.core.messages import AppendEntriesRequest
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.failure import failure_of
from pyraft_lite.rpc.grpc_connection import GrpcConnection
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.wire import AppendRequestEncoder, WireError
from pyraft_lite.runtime.transport import Answered, FailureKind, TransportError
from pyraft_lite.timers import call_at

METHOD = "/RaftTransport/AppendEntriesPipeline"


class GrpcPipeline:
    """The :class:`~pyraft_lite.runtime.transport.Pipeline` to the peer at ``address``.

    Args:
        address: Of the peer.
        deadline: How long, in seconds, a request may be unanswered before the stream counts as stalled.
        encode: Makes the bytes of a request.
    """

    def __init__(self, address: str, deadline: float, encode: AppendRequestEncoder) -> None:
        self._rpc = f"AppendEntriesPipeline to {address}"
        self._deadline = deadline
        self._encode = encode
        self._connection = GrpcConnection(address)
        self._call = self._connection.call(METHOD, self._answered, self._ended)
        self.closed = self._connection.closed
        """Done when the stream has ended and nothing of its connection is left; never fails."""
        # When each was sent, and who waits for its answer.
        self._unanswered: deque[tuple[float, Answered]] = deque()
        self._stall_timer: asyncio.TimerHandle | None = None
        self._failure: TransportError | None = None

    def send(self, request: AppendEntriesRequest, answered: Answered) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Pipeline.send`."""
        if self._failure is not None:
            answered(self._failure)
            return
        self._unanswered.append((monotonic(), answered))
        self._call.send(self._encode(request))
        if self._stall_timer is None:
            self._watch_for_stall()

    def close(self) -> None:
        """See :meth:`pyraft_lite.runtime.transport.Pipeline.close`."""
        self._break(FailureKind.UNREACHABLE, "closed by this node")

    def _answered(self, payload: bytes) -> None:
        """Hands a response to whoever waits longest."""
        try:
            if not self._unanswered:
                raise WireError("it answers nothing")
            response = wire.decode_append_response(pb.AppendEntriesResponse.FromString(payload))
        except (WireError, DecodeError) as error:
            self._break(FailureKind.REJECTED, f"a response that makes no sense: {error}")
            return
        _, answered = self._unanswered.popleft()
        answered(response)

    def _ended(self, code: grpc.StatusCode, details: str) -> None:
        if code is grpc.StatusCode.OK:
            self._break(FailureKind.UNREACHABLE, "the peer ended the stream")
        else:
            self._fail_all(failure_of(self._rpc, code, details))

    def _watch_for_stall(self) -> None:
        """Breaks the stream if the oldest request is overdue; else comes back when it would be."""
        self._stall_timer = None
        if not self._unanswered:
            return
        sent_at, _ = self._unanswered[0]
        due = sent_at + self._deadline
        if due <= monotonic():
            self._break(FailureKind.TIMEOUT, f"no response for {self._deadline:g} s")
        else:
            self._stall_timer = call_at(asyncio.get_running_loop(), due, self._watch_for_stall)

    def _break(self, kind: FailureKind, reason: str) -> None:
        self._fail_all(TransportError(kind, f"{self._rpc}: {reason}"))

    def _fail_all(self, failure: TransportError) -> None:
        """Ends the stream; only the first failure counts."""
        if self._failure is not None:
            return
        self._failure = failure
        self._call.cancel()
        self._connection.close()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        while self._unanswered:
            _, answered = self._unanswered.popleft()
            answered(failure)
