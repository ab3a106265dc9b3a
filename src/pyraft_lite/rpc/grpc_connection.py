"""gRPC calls to one peer over one connection, which lives on the event loop alone.

grpcio's client hands every message to a thread and back, which costs a small request more than all the rest of its way.

See gRPC's PROTOCOL-HTTP2.md.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from urllib.parse import unquote

import grpc
from aiohappyeyeballs import start_connection

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.expiry import Expiry
from pyraft_lite.rpc.grpc_framing import FramingError
from pyraft_lite.rpc.grpc_headers import encode_timeout
from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.client import ClientConnection
from pyraft_lite.rpc.http2.connection import Connection, Stream
from pyraft_lite.rpc.http2.headers import Headers
from pyraft_lite.rpc.http2.protocol import Http2Protocol
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.listening import keep_alive

CONNECT_TIMEOUT = 1.0
"""Seconds that an attempt to connect may take."""

_NEXT_ADDRESS = 0.25
"""Seconds before the next of a name's addresses is tried as well (RFC 8305)."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_HTTP_CODES = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}
"""What an HTTP status other than 200 means, by gRPC's http-grpc-status-mapping.md; UNKNOWN if it is not here."""

_RESET_CODES = {
    frames.NO_ERROR: grpc.StatusCode.UNAVAILABLE,
    frames.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    frames.CANCEL: grpc.StatusCode.CANCELLED,
    frames.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
    frames.INADEQUATE_SECURITY: grpc.StatusCode.PERMISSION_DENIED,
}
"""What the HTTP/2 error code of a reset stream means; INTERNAL if it is not here."""

_NO_STATUS = (grpc.StatusCode.INTERNAL, "the stream ended without a status")

OnMessage = Callable[[bytes], None]
OnEnd = Callable[[grpc.StatusCode, str], None]


class CallError(Exception):
    """A call that ended with a status other than OK.

    Attributes:
        code: The status.
        details: What the peer, or what broke the call off, says of it.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class GrpcCall(Stream):
    """A call under way. Of its end it tells once: with the status, unless :meth:`cancel` ended it."""

    __slots__ = ("_deframer", "_drained", "_on_end", "_on_message")

    def __init__(self, connection: Connection, number: int, on_message: OnMessage, on_end: OnEnd) -> None:
        super().__init__(connection, number)
        self._on_message = on_message
        self._on_end: OnEnd | None = on_end
        self._deframer = framing.Deframer(MAX_MESSAGE_BYTES)
        self._drained: asyncio.Future[None] | None = None

    def send(self, payload: bytes, *, last: bool = False) -> None:
        """Sends a message as soon as there is a connection and room; never blocks."""
        if last:
            # A call with one request is one of many, which go together: then the server takes them together, too.
            self.send_data(framing.frame(payload), ended=True)
            return
        self.cork()
        self.send_data(framing.frame(payload))
        self.uncork(at_once=True)

    def send_parts(self, *parts: bytes | memoryview) -> None:
        """As :meth:`send`, of a message that is these parts together, without putting them together."""
        first, *others = parts
        self.cork()
        self.send_data(framing.prefix(sum(map(len, parts))) + first)
        for part in others:
            self.send_data(part)
        self.uncork(at_once=True)

    def finish(self) -> None:
        """Says that there are no more messages."""
        self.send_data(b"", ended=True)

    async def drain(self) -> bool:
        """Waits while the peer takes less than was sent; False if the call has ended meanwhile, or before."""
        if self.unsent and self._on_end is not None:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        return self._on_end is not None

    def cancel(self) -> None:
        """Ends the call at once."""
        self._on_end = None
        self.reset(frames.CANCEL)

    # -- Stream -----------------------------------------------------------------------------------------------------

    def headers_received(self, headers: Headers, ended: bool) -> None:
        status = _status_in(headers)
        if status is None and ended:
            status = _NO_STATUS
        if status is not None:
            self._end(*status)

    def data_received(self, data: bytes, ended: bool) -> None:
        self.use(len(data))
        deframer = self._deframer
        if deframer.is_empty and (payload := framing.only_payload(data)) is not None:
            self._on_message(payload)
        else:
            deframer.put(data)
            self._take_messages(deframer)
        if ended:
            self._end(*_NO_STATUS)

    def room_made(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def lost(self, code: int | None, reason: str) -> None:
        status = grpc.StatusCode.UNAVAILABLE
        if code is not None:
            status = _RESET_CODES.get(code, grpc.StatusCode.INTERNAL)
        self._end(status, reason)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _take_messages(self, deframer: framing.Deframer) -> None:
        try:
            while self._on_end is not None and (frame := deframer.next()) is not None:
                if frame.compressed:
                    raise FramingError(grpc.StatusCode.INTERNAL, "a compressed message, which we did not ask for")
                self._on_message(frame.payload)
        except FramingError as error:
            self._end(error.code, error.details)

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        """The call is over; only the first reason counts."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            if not (self.received_all and self.sent_all):
                self.reset(frames.CANCEL)
            self.room_made()
            on_end(code, details)


@lru_cache(256)
def _status_in(headers: Headers) -> tuple[grpc.StatusCode, str] | None:
    """What headers, or trailers, end a call with; None if it goes on. (Most answers have the same.)"""
    by_name = dict(headers)
    if status := by_name.get(b"grpc-status"):
        code = _CODES.get(int(status) if status.isdigit() else -1, grpc.StatusCode.UNKNOWN)
        return code, unquote(by_name.get(b"grpc-message", b"").decode("latin-1"))
    if http_status := by_name.get(b":status"):
        number = int(http_status) if http_status.isdigit() else 0
        if number != 200:
            return _HTTP_CODES.get(number, grpc.StatusCode.UNKNOWN), f"HTTP status {number}"
        if not by_name.get(b"content-type", b"").startswith(b"application/grpc"):
            return grpc.StatusCode.UNKNOWN, "the answer is not gRPC"
    return None


class GrpcConnection:
    """A connection to a peer, which is made at once, and the calls on it.

    Args:
        address: The peer, ``host:port``.

    Attributes:
        established: Done when it is known whether there is a connection: True, or there will be none: False.
        spent: Done when it is retired, by whichever side, or lost; never fails.
        closed: Done when nothing is left of the connection; never fails.
    """

    def __init__(self, address: str) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._address = address
        self._protocol: Http2Protocol[ClientConnection] = Http2Protocol(ClientConnection, self._lost)
        self._http2 = self._protocol.connection
        self._http2.on_idle = self._close_idle
        self._http2.on_going_away = self._spend
        self._answers: set[_TimedAnswer] = set()
        self._expiry = Expiry(self._answers, self._expire)
        self.established: asyncio.Future[bool] = loop.create_future()
        self.spent: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._connecting = loop.create_task(self._connect())
        self._connecting.add_done_callback(self._connected)

    @property
    def takes_calls(self) -> bool:
        """False once further calls need another connection."""
        return self._http2.is_open

    @property
    def has_room(self) -> bool:
        """The peer takes another call now."""
        return self._http2.has_room

    def call(self, method: str, on_message: OnMessage, on_end: OnEnd, timeout: float | None = None) -> GrpcCall:
        """Begins a call; if there is no connection yet, it waits for that.

        Args:
            method: ``/Service/Method``.
            on_message: Gets each response as it comes.
            on_end: Gets, once, how the call ended and why, unless whoever made the call ends it.
            timeout: Seconds after which the peer gives the call up; the caller sees to its own end of it.
        """
        headers: Headers = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", method.encode()),
            (b":authority", self._address.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"grpc-accept-encoding", framing.IDENTITY),
        )
        if timeout is not None:
            headers = (*headers, (b"grpc-timeout", encode_timeout(timeout)))
        return self._http2.open(lambda connection, number: GrpcCall(connection, number, on_message, on_end), headers)

    async def unary(self, method: str, request: bytes, timeout: float) -> bytes:
        """Sends a request and returns the response.

        Raises:
            CallError: there is none within so many seconds, or none at all.
        """
        answer = _TimedAnswer(monotonic() + timeout, self._protocol.received)
        call = self.call(method, answer.take, answer.end, timeout)
        call.send(request, last=True)
        self._answers.add(answer)
        self._expiry.watch(answer.deadline)
        try:
            return await answer.future
        except BaseException:
            call.cancel()
            raise
        finally:
            self._answers.discard(answer)

    def upload(self, method: str) -> "Upload":
        """Begins a call with many requests and one response."""
        answer = _Answer()
        return Upload(self.call(method, answer.take, answer.end), answer.future)

    def retire(self) -> None:
        """Takes no more calls, and closes once those under way have ended."""
        self._http2.go_away()

    def close(self) -> None:
        """Breaks the connection and ends all calls on it; never blocks."""
        self._connecting.cancel()
        self._protocol.abort()

    async def _connect(self) -> str:
        """Returns why there is no connection; "" if there is."""
        try:
            host, port = split_address(self._address)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                addresses = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)
            keep_alive(connected)
            # To the end, which is near: of what is cancelled here, uvloop does not tell the protocol that it is gone.
            await asyncio.shield(self._loop.create_connection(lambda: self._protocol, sock=connected))
        except (OSError, ValueError) as error:
            return f"failed to connect: {str(error) or f'no answer for {CONNECT_TIMEOUT:g} s'}"
        return ""

    def _connected(self, connecting: "asyncio.Task[str]") -> None:
        """There is a connection, or there will be none."""
        if self._protocol.is_connected:
            self._settle()
        else:
            self._http2.lose("closed" if connecting.cancelled() else connecting.result())
            self._leave()

    def _settle(self) -> None:
        if not self.established.done():
            self.established.set_result(self._protocol.is_connected)

    def _expire(self, answer: "_TimedAnswer") -> None:
        """A call's time is up."""
        answer.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        # After a partition TCP may wait for minutes before it tries to get through again; a new connection does so now.
        if self._protocol.is_connected and answer.received == self._protocol.received:
            self.retire()

    def _close_idle(self) -> None:
        if self._protocol.is_connected:
            self._protocol.close()
        else:
            self.close()

    def _lost(self, _: Http2Protocol[ClientConnection]) -> None:
        self._leave()

    def _spend(self) -> None:
        if not self.spent.done():
            self.spent.set_result(None)

    def _leave(self) -> None:
        self._expiry.stop()
        self._settle()
        if not self.closed.done():
            self.closed.set_result(None)


class Upload:
    """A call with many requests and one response."""

    def __init__(self, call: GrpcCall, response: "asyncio.Future[bytes]") -> None:
        self._call = call
        self._response = response

    async def send(self, *parts: bytes | memoryview) -> bool:
        """Sends a request, which is these parts together, and waits while the peer takes less than was sent; False if
        it takes no more."""
        self._call.send_parts(*parts)
        return await self._call.drain()

    async def finish(self) -> bytes:
        """Says that there are no more requests; returns the response.

        Raises:
            CallError: there is none.
        """
        self._call.finish()
        return await self._response


class _Answer:
    """The response of a call that has one."""

    __slots__ = ("_message", "future")

    def __init__(self) -> None:
        self._message: bytes | None = None
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(self, message: bytes) -> None:
        self._message = message

    def end(self, code: grpc.StatusCode, details: str) -> None:
        if self.future.done():
            return
        if code is grpc.StatusCode.OK and self._message is not None:
            self.future.set_result(self._message)
            return
        if code is grpc.StatusCode.OK:
            code, details = grpc.StatusCode.INTERNAL, "the call ended without a response"
        self.future.set_exception(CallError(code, details))
        self.future.exception()  # Marks it as seen: whoever gives an upload up does not ask.


class _TimedAnswer(_Answer):
    """One that must be there by a deadline.

    Attributes:
        deadline: In seconds of the monotonic clock.
        received: How often anything had come over the connection when the call began.
    """

    __slots__ = ("deadline", "received")

    def __init__(self, deadline: float, received: int) -> None:
        super().__init__()
        self.deadline = deadline
        self.received = received
