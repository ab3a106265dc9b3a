"""A call that can be answered without a task."""

from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Any, NoReturn, Protocol

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.chunks import Chunk
from pyraft_lite.rpc.direct import Receiver
from pyraft_lite.rpc.grpc_call import Call, Exchange, Method, Status
from pyraft_lite.rpc.grpc_headers import Head, Headers

MOST_UNSENT = 64 * 1024
"""How many bytes of a stream may wait for a slow client before its servicer waits, too."""


class DirectExchange(Exchange, Protocol):
    """An exchange that need not be waited for."""

    @property
    def unsent(self) -> int:
        """How many bytes wait for the client."""
        ...

    def take(self) -> tuple[Chunk, bool] | None:
        """As :meth:`receive`; None if nothing has come yet."""
        ...

    def use(self, size: int) -> None:
        """So many bytes of what has come were used without :meth:`take`."""
        ...

    def put(self, headers: Headers | None, body: bytes, trailers: Headers | None) -> None:
        """As :meth:`send`, but never waits; without effect if the client is gone."""
        ...

    def run(self) -> None:
        """Has :meth:`Call.run` of its call run by a task."""
        ...

    def ended(self) -> None:
        """Its call has ended without one."""
        ...


class _Phase(Enum):
    WAITING = 0
    """For the request."""
    DIRECT = 1
    """Called back."""
    RUN = 2
    """By a task."""
    ENDED = 3


class DirectCall(Call):
    """A :class:`Call` that is also its method's :class:`~pyraft_lite.rpc.direct.Reply`, and a
    :class:`~pyraft_lite.rpc.direct.DirectContext`."""

    __slots__ = ("_answer", "_giving", "_phase", "_receiver")

    _exchange: DirectExchange

    def __init__(self, method: Method, head: Head, deadline: float | None, exchange: DirectExchange) -> None:
        super().__init__(method, head, deadline, exchange)
        self._phase = _Phase.WAITING
        self._answer: Callable[[], Awaitable[Any]] | None = None
        self._receiver: Receiver | None = None
        self._giving = False

    # -- Reply ------------------------------------------------------------------------------------------------------

    def respond(self, response: Any) -> None:
        """See :meth:`~pyraft_lite.rpc.direct.Reply.respond`."""
        if self._phase is not _Phase.DIRECT:
            return
        try:
            payload = self._framed(self.method.serialize(response))
        except Exception as error:
            self.respond_by(partial(_raise, error))
        else:
            self._finish(payload)

    def respond_by(self, answer: Callable[[], Awaitable[Any]]) -> None:
        """See :meth:`~pyraft_lite.rpc.direct.Reply.respond_by`."""
        if self._phase is _Phase.DIRECT:
            self._answer = answer
            self._run()

    # -- DirectContext ----------------------------------------------------------------------------------------------

    def receive_into(self, receiver: Receiver) -> None:
        """See :meth:`~pyraft_lite.rpc.direct.DirectContext.receive_into`."""
        self._receiver = receiver
        self.give()

    def write_soon(self, response: Any) -> None:
        """See :meth:`~pyraft_lite.rpc.direct.DirectContext.write_soon`."""
        headers = None if self._started else self._start()
        self._exchange.put(headers, self._framed(self.method.serialize(response)), None)
        self.give()

    # -- what the engine uses ---------------------------------------------------------------------------------------

    def begin(self, ended: bool) -> None:
        """The headers have come; ``ended``: that was all. What answers directly waits for the request."""
        if ended or self.method.direct is None:
            self._run()

    def data_came(self, data: bytes, ended: bool) -> bool:
        """Something of the body has come, and nothing of it is kept; ``ended``: no more will come. False if the
        exchange is to keep it."""
        if self._phase is _Phase.WAITING:
            if self._answer_directly(data):
                return True
            self._run()
            return False
        return not ended and self._give_alone(data)

    def give(self) -> None:
        """Gives the receiver, if there is one, what has come, as long as it has room and the client reads."""
        receiver = self._receiver
        if receiver is None or self._giving:  # What it is given it may answer at once, which leads here again.
            return
        self._giving = True
        try:
            while receiver.has_room and self._exchange.unsent <= MOST_UNSENT:
                payload = self._next_here()
                if payload is not None:
                    receiver.take(self.method.deserialize(payload))
                elif self._half_closed:
                    self._receiver = None
                    receiver.end()
                    break
                elif (taken := self._exchange.take()) is not None:
                    self._feed(*taken)
                else:
                    break
        except Exception as error:
            self._refuse(receiver, error)
        finally:
            self._giving = False

    def interrupt(self, status: Status) -> None:
        """See :meth:`Call.interrupt`."""
        if self._phase in (_Phase.WAITING, _Phase.DIRECT):
            self._code, self._details = status
            self._finish(None)
        else:
            super().interrupt(status)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _response(self) -> Awaitable[Any]:
        return super()._response() if self._answer is None else self._answer()

    def _run(self) -> None:
        self._phase = _Phase.RUN
        self._exchange.run()

    def _answer_directly(self, body: bytes) -> bool:
        """Lets the method answer the request in ``body``; False if that is not one whole message, and no more."""
        assert self.method.direct is not None
        payload = framing.only_payload(body)
        if payload is None:
            return False
        try:
            request = self.method.deserialize(payload)
        except Exception:  # Who reads it as usual will say so.
            return False
        self._phase = _Phase.DIRECT
        try:
            self.method.direct(request, self, self)
        except Exception as error:
            self.respond_by(partial(_raise, error))
        return True

    def _give_alone(self, body: bytes) -> bool:
        """Gives the receiver the message in ``body``; False if that is not one whole message, others are before it, or
        there is no receiver with room. As most messages come so, they need not be kept first."""
        receiver = self._receiver
        if (
            receiver is None
            or not self._deframer.is_empty
            or not receiver.has_room
            or self._exchange.unsent > MOST_UNSENT
        ):
            return False
        payload = framing.only_payload(body)
        if payload is None:
            return False
        self._exchange.use(len(body))
        try:
            receiver.take(self.method.deserialize(payload))
        except Exception as error:
            self._refuse(receiver, error)
        return True

    def _refuse(self, receiver: Receiver, error: Exception) -> None:
        """Whatever is wrong with what came, the call ends with it."""
        self._receiver = None
        receiver.end(error)

    def _finish(self, payload: bytes | None) -> None:
        self._phase = _Phase.ENDED
        self._exchange.put(*self._ending(payload))
        self._exchange.ended()


async def _raise(error: Exception) -> NoReturn:
    raise error
