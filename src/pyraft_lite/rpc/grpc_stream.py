"""A bidirectional gRPC stream to a peer, on a connection of its own.

It lives on the event loop alone. grpcio's client hands every message to a thread and back, which costs a small request
more than all the rest of its way.

See gRPC's PROTOCOL-HTTP2.md.
"""

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote

import grpc

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.grpc_framing import FramingError
from pyraft_lite.rpc.http2 import ClientStream, Closed, DataReceived, Event, HeadersReceived, ProtocolError
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES

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
    0x0: grpc.StatusCode.UNAVAILABLE,  # NO_ERROR
    0x7: grpc.StatusCode.UNAVAILABLE,  # REFUSED_STREAM
    0x8: grpc.StatusCode.CANCELLED,  # CANCEL
    0xB: grpc.StatusCode.RESOURCE_EXHAUSTED,  # ENHANCE_YOUR_CALM
    0xC: grpc.StatusCode.PERMISSION_DENIED,  # INADEQUATE_SECURITY
}
"""What the HTTP/2 error code of a reset stream means; INTERNAL if it is not here."""


class GrpcStream(asyncio.Protocol):
    """One call of a method whose requests and responses are streams.

    Args:
        address: The peer, ``host:port``.
        method: ``/Service/Method``.
        on_message: Gets each response as it comes.
        on_end: Gets, once, how the call ended and why, unless :meth:`close` ended it.

    Attributes:
        closed: Done when nothing is left of the connection; never fails.
    """

    def __init__(
        self,
        address: str,
        method: str,
        on_message: Callable[[bytes], None],
        on_end: Callable[[grpc.StatusCode, str], None],
    ) -> None:
        self._address = address
        self._on_message = on_message
        self._on_end: Callable[[grpc.StatusCode, str], None] | None = on_end
        self._transport: asyncio.Transport | None = None
        self._deframer = framing.Deframer(MAX_MESSAGE_BYTES)
        self._http = ClientStream(
            (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", method.encode()),
                (b":authority", address.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"grpc-accept-encoding", framing.IDENTITY),
            )
        )
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add_done_callback(self._connected)

    def send(self, payload: bytes) -> None:
        """Sends a message, as soon as there is a connection and the peer lets us; never blocks."""
        self._http.send(framing.frame(payload))
        self._flush()

    def close(self) -> None:
        """Breaks the connection; never blocks."""
        self._on_end = None
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._on_end is None:
            self._transport.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http.receive(data):
                self._take(event)
        except ProtocolError as error:
            self._end(grpc.StatusCode.UNAVAILABLE, f"the connection makes no sense any more: {error}")
        except FramingError as error:
            self._end(error.code, error.details)
        else:
            self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(grpc.StatusCode.UNAVAILABLE, f"connection lost: {error}" if error else "connection closed")
        self._leave()

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            host, port = split_address(self._address)
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except (OSError, ValueError) as error:
            self._end(grpc.StatusCode.UNAVAILABLE, f"failed to connect: {error}")

    def _connected(self, _: "asyncio.Task[None]") -> None:
        """There is a connection, or there will be none."""
        if self._transport is None:
            self._leave()

    def _flush(self) -> None:
        """Writes what may be written; the rest waits until the peer opens its window."""
        if self._transport is not None and not self._transport.is_closing() and (data := self._http.take()):
            self._transport.write(data)

    def _take(self, event: Event) -> None:
        match event:
            case DataReceived(data, ended):
                self._deframer.feed(data)
                while self._on_end is not None and (frame := self._deframer.next()) is not None:
                    if frame.compressed:
                        raise FramingError(grpc.StatusCode.INTERNAL, "a compressed message, which we did not ask for")
                    self._on_message(frame.payload)
            case HeadersReceived(headers, ended):
                self._take_headers(headers)
            case Closed(code, is_reset=True):
                status = _RESET_CODES.get(code, grpc.StatusCode.INTERNAL)
                self._end(status, f"the peer reset the stream (HTTP/2 error code {code:#x})")
                return
            case Closed(code):
                self._end(grpc.StatusCode.UNAVAILABLE, f"the peer is going away (HTTP/2 error code {code:#x})")
                return
        if ended:
            self._end(grpc.StatusCode.INTERNAL, "the stream ended without a status")

    def _take_headers(self, headers: dict[bytes, bytes]) -> None:
        """Ends the call if these are trailers, or headers of an answer that is not gRPC."""
        if status := headers.get(b"grpc-status"):
            code = _CODES.get(int(status) if status.isdigit() else -1, grpc.StatusCode.UNKNOWN)
            self._end(code, unquote(headers.get(b"grpc-message", b"").decode("latin-1")))
        elif http_status := headers.get(b":status"):
            number = int(http_status) if http_status.isdigit() else 0
            if number != 200:
                self._end(_HTTP_CODES.get(number, grpc.StatusCode.UNKNOWN), f"HTTP status {number}")
            elif not headers.get(b"content-type", b"").startswith(b"application/grpc"):
                self._end(grpc.StatusCode.UNKNOWN, "the answer is not gRPC")

    def _leave(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        """The call is over; only the first reason counts."""
        on_end = self._on_end
        self.close()
        if on_end is not None:
            on_end(code, details)
