"""A bidirectional gRPC stream to a peer, on a connection of its own.

It lives on the event loop alone. grpcio's client hands every message to a thread and back, which costs a small request
more than all the rest of its way.

See gRPC's PROTOCOL-HTTP2.md; HTTP/2 itself is the library h2's.
"""

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.grpc_framing import FramingError
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES

_CONFIG = h2.config.H2Configuration(
    client_side=True,
    header_encoding=None,
    # What is sent is all made below.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)

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
    h2.errors.ErrorCodes.NO_ERROR: grpc.StatusCode.UNAVAILABLE,
    h2.errors.ErrorCodes.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    h2.errors.ErrorCodes.CANCEL: grpc.StatusCode.CANCELLED,
    h2.errors.ErrorCodes.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
    h2.errors.ErrorCodes.INADEQUATE_SECURITY: grpc.StatusCode.PERMISSION_DENIED,
}
"""What a reset stream means; INTERNAL if it is not here."""


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
        self._http = h2.connection.H2Connection(_CONFIG)
        self._stream = 1
        self._outgoing = bytearray()
        self._deframer = framing.Deframer(MAX_MESSAGE_BYTES)
        self._http.initiate_connection()
        self._http.send_headers(
            self._stream,
            (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", method.encode()),
                (b":authority", address.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"grpc-accept-encoding", framing.IDENTITY),
            ),
        )
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add_done_callback(self._connected)

    def send(self, payload: bytes) -> None:
        """Sends a message, as soon as there is a connection and the peer lets us; never blocks."""
        self._outgoing += framing.frame(payload)
        self._flush()

    def close(self) -> None:
        """Breaks the connection; never blocks."""
        self._on_end = None
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        if self._on_end is None:
            self._transport.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError as error:
            # Also what comes in one piece with a GOAWAY: h2 takes that for the end of all.
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
        if self._transport is None or self._transport.is_closing():
            return
        http, outgoing = self._http, self._outgoing
        while outgoing:
            size = min(len(outgoing), http.local_flow_control_window(self._stream), http.max_outbound_frame_size)
            if size <= 0:
                break
            http.send_data(self._stream, bytes(outgoing[:size]))
            del outgoing[:size]
        if data := http.data_to_send():
            self._transport.write(data)

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
                self._deframer.feed(event.data or b"")
                while self._on_end is not None and (frame := self._deframer.next()) is not None:
                    if frame.compressed:
                        raise FramingError(grpc.StatusCode.INTERNAL, "a compressed message, which we did not ask for")
                    self._on_message(frame.payload)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._take_headers(dict(event.headers or ()))
            case h2.events.StreamEnded():
                self._end(grpc.StatusCode.INTERNAL, "the stream ended without a status")
            case h2.events.ConnectionTerminated():
                self._end(grpc.StatusCode.UNAVAILABLE, "the peer is going away")
            case h2.events.StreamReset():
                code = _RESET_CODES.get(event.error_code, grpc.StatusCode.INTERNAL)  # type: ignore[call-overload]
                self._end(code, f"the peer reset the stream ({event.error_code!s})")

    def _take_headers(self, headers: dict[bytes, bytes]) -> None:
        """Ends the call if these are trailers, or headers of an answer that is not gRPC."""
        if status := headers.get(b"grpc-status"):
            code = _CODES.get(int(status) if status.isdigit() else -1, grpc.StatusCode.UNKNOWN)
            self._end(code, unquote(headers.get(b"grpc-message", b"").decode("latin-1")))
        elif http_status := headers.get(b":status"):
            number = int(http_status)
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
