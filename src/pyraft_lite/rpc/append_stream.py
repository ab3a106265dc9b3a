"""One incoming stream of appends: read ahead, answered in order."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.messages import AppendEntriesResponse, Peer, Response
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.wire import WireError
from pyraft_lite.runtime.transport import RpcHandler

MAX_IN_FLIGHT = 64
MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024
"""How many requests of a stream may be under way at a time, and how many bytes of them before no more are taken; the
next ones wait in the network."""


class _UnderWay:
    """A request that is not answered yet, of ``size`` bytes; ``outcome`` waits until those before it are."""

    __slots__ = ("outcome", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.outcome: Response | RaftError | None = None


class AppendStream:
    """Hands each request on as it comes, so that their waits for the disk overlap: a
    :class:`~pyraft_lite.rpc.direct.Receiver`.

    Args:
        handler: What answers the requests.
        local: This node, as its answers name it.
        respond: Sends an answer.

    Attributes:
        done: Done when all requests of a stream that has ended are answered. Fails, after those before are answered, if
            one can't be: with WireError, DecodeError or whatever else kept it from being read, or the handler's
            RaftError. Cancelled if nobody waits for answers any more.
    """

    def __init__(self, handler: RpcHandler, local: Peer, respond: Callable[[pb.AppendEntriesResponse], None]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handler = handler
        self._local = local
        self._respond = respond
        self._under_way: deque[_UnderWay] = deque()
        self._bytes = 0
        self._ended = False
        self._failure: Exception | None = None

    @property
    def has_room(self) -> bool:
        """Another request may be taken now."""
        return not self._ended and len(self._under_way) < MAX_IN_FLIGHT and self._bytes < MAX_BYTES_IN_FLIGHT

    def take(self, message: pb.AppendEntriesRequest) -> None:
        """Hands a request on."""
        try:
            request = wire.decode_append_request(message)
        except WireError as error:
            self.end(error)
            return
        one = _UnderWay(message.ByteSize())
        self._under_way.append(one)
        self._bytes += one.size
        self._handler.handle(request, partial(self._answer, one))

    def end(self, failure: Exception | None = None) -> None:
        """No more requests come, or are taken; ``failure`` says what is wrong with the next one."""
        if not self._ended:
            self._ended = True
            self._failure = failure
            self._check_end()

    def _answer(self, one: _UnderWay, outcome: Response | RaftError) -> None:
        one.outcome = outcome
        while not self.done.done() and self._under_way and (next_outcome := self._under_way[0].outcome) is not None:
            self._bytes -= self._under_way.popleft().size
            if isinstance(next_outcome, RaftError):
                self._ended = True
                self.done.set_exception(next_outcome)
            else:
                assert isinstance(next_outcome, AppendEntriesResponse), "an append has the response of one"
                self._respond(wire.encode_append_response(next_outcome, self._local))
        self._check_end()

    def _check_end(self) -> None:
        if self._ended and not self._under_way and not self.done.done():
            if self._failure is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(self._failure)
