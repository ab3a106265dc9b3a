"""One call, as its servicer sees it: requests in, responses and a status out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

import grpc

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.chunks import Chunk
from pyraft_lite.rpc.grpc_headers import (
    Head,
    Headers,
    Metadata,
    MetadataError,
    decode_metadata,
    encode_metadata,
    encode_status,
)
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.runtime.limit import Limit

EOF = grpc.aio.EOF  # type: ignore[attr-defined]
"""What reading a stream gives after the last request."""

logger = logging.getLogger(__name__)

_HEADERS: Headers = ((b"content-type", b"application/grpc"), (b"grpc-accept-encoding", framing.ACCEPTED))
_OK: Headers = encode_status(grpc.StatusCode.OK, "")

Status: TypeAlias = tuple[grpc.StatusCode, str]

GONE: Status = (grpc.StatusCode.CANCELLED, "")
"""What a call ends with whose client is gone, should anybody ask."""

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
        direct: Answers a request without a coroutine, None: it can't (see ``direct``).
    """

    path: str
    serve: Callable[["Call", Callable[..., Any]], Awaitable[Any]]
    behaviour: Callable[..., Any]
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    limit: Limit | None
    direct: Callable[[Any, Any, Any], None] | None


class Exchange(Protocol):
    """The request of a call and its answer, as HTTP has them."""

    async def receive(self) -> tuple[Chunk, bool]:
        """The next bytes of the request's body, and whether there will be more.

        Raises:
            asyncio.CancelledError: the client is gone.
        """
        ...

    async def send(self, headers: Headers | None, body: bytes, trailers: Headers | None) -> None:
        """Sends a part of the answer; waits while the client is slower than we are.

        Args:
            headers: The first part's.
            body: What follows.
            trailers: The last part's. If they are empty, the headers are the trailers.

        Raises:
            OSError: the client is gone.
        """
        ...


class Call:
    """The :class:`~pyraft_lite.rpc.engine.CallContext` of a call.

    Args:
        method: What is called.
        head: What the request's headers say.
        deadline: When its client gives up, by the monotonic clock; None: never.
        exchange: Where requests come from and responses go.
    """

    __slots__ = (
        "_code",
        "_compress_next",
        "_deframer",
        "_details",
        "_encoding",
        "_exchange",
        "_half_closed",
        "_head",
        "_interruption",
        "_started",
        "_task",
        "_trailing",
        "deadline",
        "method",
    )

    def __init__(self, method: Method, head: Head, deadline: float | None, exchange: Exchange) -> None:
        self.method = method
        self.deadline = deadline
        self._head = head
        self._exchange = exchange
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Headers = ()
        self._task: asyncio.Task[Any] | None = None
        self._interruption: Status | None = None
        self._deframer = framing.Deframer(MAX_MESSAGE_BYTES)
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
        return decode_metadata(self._head.fields)

    def time_remaining(self) -> float | None:
        """See :meth:`CallContext.time_remaining`."""
        if self.deadline is None:
            return None
        return max(self.deadline - monotonic(), 0)

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """See :meth:`CallContext.send_initial_metadata`."""
        if self._started:
            raise grpc.aio.UsageError("the initial metadata has been sent already")
        await self._deliver(self._start(encode_metadata(metadata)), b"")

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
        accepted = self._head.by_name.get(b"grpc-accept-encoding", b"").replace(b" ", b"").split(b",")
        self._encoding = encoding if encoding in accepted else framing.IDENTITY

    def disable_next_message_compression(self) -> None:
        """See :meth:`CallContext.disable_next_message_compression`."""
        self._compress_next = False

    async def read(self) -> Any:
        """See :meth:`CallContext.read`."""
        payload = await self._next_payload()
        return EOF if payload is None else self.method.deserialize(payload)

    async def write(self, message: Any) -> None:
        """See :meth:`CallContext.write`."""
        headers = None if self._started else self._start()
        await self._deliver(headers, self._framed(self.method.serialize(message)))

    # -- what the engine uses ---------------------------------------------------------------------------------------

    def fail(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """As :meth:`abort`."""
        self._code = grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code
        self._details = details
        raise grpc.aio.AbortError(details)

    def interrupt(self, status: Status) -> None:
        """Cancels the call, if it has not ended; ``status`` goes to the client."""
        self._interruption = status
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Answers the call, whatever becomes of it; ends at once when it is interrupted, or has been."""
        self._task = asyncio.current_task()
        payload = None
        try:
            if self._interruption is not None:
                raise asyncio.CancelledError
            response = await self._response()
            if response is not None and self._code in (None, grpc.StatusCode.OK):
                payload = self._framed(self.method.serialize(response))
        except asyncio.CancelledError:
            self._code, self._details = self._interruption or GONE
        except framing.FramingError as error:
            self._code, self._details = error.code, error.details
        except MetadataError as error:
            self._code, self._details = grpc.StatusCode.INTERNAL, str(error)
        except grpc.aio.AbortError:
            self._code = self._code or grpc.StatusCode.UNKNOWN
        except Exception as error:
            self._code = self._code or grpc.StatusCode.UNKNOWN
            self._details = f"Unexpected {type(error)}: {error}"
            logger.exception("%s failed unexpectedly", self.method.path)
        try:
            await self._end(payload)
        except OSError as error:
            logger.debug("%s: the client is gone: %s", self.method.path, error)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _response(self) -> Awaitable[Any]:
        """The servicer's one response, unless they are a stream and written already."""
        return self.method.serve(self, self.method.behaviour)

    async def _next_payload(self) -> bytes | None:
        """The next message, None after the last."""
        while (payload := self._next_here()) is None and not self._half_closed:
            self._feed(*await self._exchange.receive())
        return payload

    def _next_here(self) -> bytes | None:
        """The next message, None if it is not all here yet, or was the last."""
        next_frame = self._deframer.next()
        if next_frame is None:
            if self._half_closed and not self._deframer.is_empty:
                raise framing.FramingError(grpc.StatusCode.INTERNAL, "the stream ended within a message")
            return None
        if next_frame.compressed:
            encoding = self._head.by_name.get(b"grpc-encoding", framing.IDENTITY)
            return framing.decompress(next_frame.payload, encoding, MAX_MESSAGE_BYTES)
        return next_frame.payload

    def _feed(self, chunk: Chunk, more: bool) -> None:
        self._half_closed = not more
        self._deframer.put(chunk)

    def _framed(self, payload: bytes) -> bytes:
        if self._encoding is framing.IDENTITY:
            return framing.frame(payload)
        if not self._compress_next:
            self._compress_next = True
            return framing.frame(payload)
        return framing.frame(framing.compress(payload, self._encoding), compressed=True)

    def _start(self, metadata: Headers = ()) -> Headers:
        self._started = True
        if self._encoding is framing.IDENTITY:
            return _HEADERS + metadata if metadata else _HEADERS
        return (*_HEADERS, (b"grpc-encoding", self._encoding), *metadata)

    async def _deliver(self, headers: Headers | None, body: bytes) -> None:
        try:
            await self._exchange.send(headers, body, None)
        except OSError as error:
            raise asyncio.CancelledError("the client is gone") from error

    async def _end(self, payload: bytes | None) -> None:
        await self._exchange.send(*self._ending(payload))

    def _ending(self, payload: bytes | None) -> tuple[Headers | None, bytes, Headers]:
        """What to send at the end: the response of a method that has one, if ``payload``, and the status."""
        code = self._code or grpc.StatusCode.OK
        if code is grpc.StatusCode.OK and not self._trailing and not self._details:
            trailers = _OK
        else:
            trailers = encode_status(code, self._details) + self._trailing
        if payload is None and not self._started:
            return trailers_only(trailers), b"", ()
        return None if self._started else self._start(), payload or b"", trailers


def trailers_only(trailers: Headers) -> Headers:
    """The headers of an answer without messages, which are its trailers too."""
    return _HEADERS + trailers
