"""One call, as its servicer sees it: requests in, responses and a status out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

import grpc

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.grpc_headers import (
    Headers,
    Metadata,
    MetadataError,
    decode_metadata,
    encode_metadata,
    encode_status,
    parse_timeout,
)
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.runtime.limit import Limit

EOF = grpc.aio.EOF  # type: ignore[attr-defined]
"""What reading a stream gives after the last request."""

logger = logging.getLogger(__name__)

Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

_HEADERS = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", framing.ACCEPTED)]

# What most calls send, made once. The server only reads it.
_START: Event = {"type": "http.response.start", "status": 200, "headers": _HEADERS, "trailers": True}
_NOTHING: Event = {"type": "http.response.body", "body": b"", "more_body": True}
_OK: Event = {"type": "http.response.trailers", "headers": encode_status(grpc.StatusCode.OK, "")}

_ENCODINGS = {
    grpc.Compression.NoCompression: framing.IDENTITY,
    grpc.Compression.Deflate: b"deflate",
    grpc.Compression.Gzip: b"gzip",
}


class Method(NamedTuple):
    """A method of a servicer.

    Attributes:
        path: Its name on the wire, ``/Service/Method``.
        serve: Lets ``behaviour`` answer a call; returns the one response, unless they are a stream and written already.
        behaviour: The servicer's own.
        deserialize: Turns what came into a request.
        serialize: Turns a response into what goes.
        limit: Bounds how many calls are under way, None: nothing does.
    """

    path: str
    serve: Callable[["Call", Callable[..., Any]], Awaitable[Any]]
    behaviour: Callable[..., Any]
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    limit: Limit | None


class Call:
    """The :class:`~pyraft_lite.rpc.engine.CallContext` of a call that came over ASGI.

    Args:
        method: What is called.
        fields: The request's headers.
        headers: The same by name.
        receive: ASGI's.
        send: ASGI's.
    """

    __slots__ = (
        "_code",
        "_compress_next",
        "_deadline",
        "_deframer",
        "_details",
        "_encoding",
        "_expired",
        "_fields",
        "_half_closed",
        "_headers",
        "_method",
        "_receive",
        "_request_encoding",
        "_send",
        "_started",
        "_trailing",
    )

    def __init__(
        self, method: Method, fields: Headers, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        self._method = method
        self._fields = fields
        self._headers = headers
        self._receive = receive
        self._send = send
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Headers = []
        self._deadline: float | None = None
        self._expired = False
        self._deframer = framing.Deframer(MAX_MESSAGE_BYTES)
        self._request_encoding = headers.get(b"grpc-encoding", framing.IDENTITY)
        self._half_closed = False
        self._encoding = framing.IDENTITY
        self._compress_next = True
        self._started = False

    # -- what the servicer may use ----------------------------------------------------------------------------------

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """See :meth:`CallContext.abort`."""
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self.fail(code, details)

    def invocation_metadata(self) -> Metadata:
        """See :meth:`CallContext.invocation_metadata`."""
        return decode_metadata(self._fields)

    def time_remaining(self) -> float | None:
        """See :meth:`CallContext.time_remaining`."""
        if self._deadline is None:
            return None
        return max(self._deadline - asyncio.get_running_loop().time(), 0)

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """See :meth:`CallContext.send_initial_metadata`."""
        if self._started:
            raise grpc.aio.UsageError("the initial metadata has been sent already")
        await self._deliver(self._start(encode_metadata(metadata)))
        await self._deliver(_NOTHING)  # Else the server keeps the headers until there is a response.

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """See :meth:`CallContext.set_trailing_metadata`."""
        self._trailing = encode_metadata(metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """See :meth:`CallContext.set_code`."""
        self._code = code

    def set_details(self, details: str) -> None:
        """See :meth:`CallContext.set_details`."""
        self._details = details

    def set_compression(self, compression: grpc.Compression) -> None:
        """See :meth:`CallContext.set_compression`; without effect if the client does not take it."""
        if self._started:
            raise grpc.aio.UsageError("compression must be chosen before the first response")
        encoding = _ENCODINGS[compression]
        accepted = self._headers.get(b"grpc-accept-encoding", b"").replace(b" ", b"").split(b",")
        self._encoding = encoding if encoding in accepted else framing.IDENTITY

    def disable_next_message_compression(self) -> None:
        """See :meth:`CallContext.disable_next_message_compression`."""
        self._compress_next = False

    async def read(self) -> Any:
        """See :meth:`CallContext.read`."""
        payload = await self._next_payload()
        return EOF if payload is None else self._method.deserialize(payload)

    async def write(self, message: Any) -> None:
        """See :meth:`CallContext.write`."""
        if not self._started:
            await self._deliver(self._start())
        body = self._framed(self._method.serialize(message))
        await self._deliver({"type": "http.response.body", "body": body, "more_body": True})

    # -- what the engine uses ---------------------------------------------------------------------------------------

    def fail(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """As :meth:`abort`."""
        self._code = grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code
        self._details = details
        raise grpc.aio.AbortError(details)

    async def run(self) -> None:
        """Answers the call, whatever becomes of it; ends at once when the client is gone."""
        timer = None
        payload = None
        try:
            timer = self._check_headers()
            response = await self._method.serve(self, self._method.behaviour)
            if response is not None and self._code in (None, grpc.StatusCode.OK):
                payload = self._framed(self._method.serialize(response))
        except asyncio.CancelledError:
            if self._expired:
                self._code, self._details = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
            else:
                self._code, self._details = grpc.StatusCode.CANCELLED, ""
        except framing.FramingError as error:
            self._code, self._details = error.code, error.details
        except MetadataError as error:
            self._code, self._details = grpc.StatusCode.INTERNAL, str(error)
        except grpc.aio.AbortError:
            self._code = self._code or grpc.StatusCode.UNKNOWN
        except Exception as error:
            self._code = self._code or grpc.StatusCode.UNKNOWN
            self._details = f"Unexpected {type(error)}: {error}"
            logger.exception("%s failed unexpectedly", self._method.path)
        finally:
            if timer is not None:
                timer.cancel()
        try:
            await self._end(payload)
        except OSError as error:
            logger.debug("%s: the client is gone: %s", self._method.path, error)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _check_headers(self) -> asyncio.TimerHandle | None:
        """Sets the deadline; ends the call if its headers ask for what there is not."""
        if not framing.is_supported(self._request_encoding):
            text = f"invalid grpc-encoding {self._request_encoding.decode(errors='replace')!r}: want one of "
            self.fail(grpc.StatusCode.UNIMPLEMENTED, text + framing.ACCEPTED.decode())
        timeout = self._headers.get(b"grpc-timeout")
        if timeout is None:
            return None
        loop = asyncio.get_running_loop()
        try:
            self._deadline = loop.time() + parse_timeout(timeout)
        except ValueError as error:
            self.fail(grpc.StatusCode.INTERNAL, str(error))
        task = asyncio.current_task(loop)
        assert task is not None
        return loop.call_at(self._deadline, self._expire, task)

    def _expire(self, task: "asyncio.Task[Any]") -> None:
        self._expired = True
        task.cancel()

    async def _next_payload(self) -> bytes | None:
        """The next message, None after the last."""
        deframer = self._deframer
        while (next_frame := deframer.next()) is None:
            if self._half_closed:
                if not deframer.is_empty:
                    raise framing.FramingError(grpc.StatusCode.INTERNAL, "the stream ended within a message")
                return None
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise asyncio.CancelledError("the client is gone")
            self._half_closed = not event.get("more_body", False)
            if chunk := event.get("body"):
                deframer.feed(chunk)
        if next_frame.compressed:
            return framing.decompress(next_frame.payload, self._request_encoding, MAX_MESSAGE_BYTES)
        return next_frame.payload

    def _framed(self, payload: bytes) -> bytes:
        if self._encoding is framing.IDENTITY:
            return framing.frame(payload)
        if not self._compress_next:
            self._compress_next = True
            return framing.frame(payload)
        return framing.frame(framing.compress(payload, self._encoding), compressed=True)

    def _start(self, metadata: Sequence[tuple[bytes, bytes]] = ()) -> Event:
        self._started = True
        if not metadata and self._encoding is framing.IDENTITY:
            return _START
        return {**_START, "headers": [*_HEADERS, (b"grpc-encoding", self._encoding), *metadata]}

    async def _deliver(self, event: Event) -> None:
        try:
            await self._send(event)
        except OSError as error:
            raise asyncio.CancelledError("the client is gone") from error

    async def _end(self, payload: bytes | None) -> None:
        """Sends the response of a method that has one, if ``payload``, and the status."""
        send = self._send
        code = self._code or grpc.StatusCode.OK
        if payload is None and not self._started:
            await send(trailers_only([*encode_status(code, self._details), *self._trailing]))
            await send({"type": "http.response.body", "body": b""})
            return
        if not self._started:
            await send(self._start())
        await send({"type": "http.response.body", "body": payload or b"", "more_body": False})
        if code is grpc.StatusCode.OK and not self._trailing and not self._details:
            await send(_OK)
        else:
            trailers = [*encode_status(code, self._details), *self._trailing]
            await send({"type": "http.response.trailers", "headers": trailers})


def trailers_only(trailers: Headers) -> Event:
    """The start of a response without messages, whose headers are its trailers too; an empty body must follow."""
    return {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *trailers]}
