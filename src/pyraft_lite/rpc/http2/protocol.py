"""A connection on an asyncio transport."""

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar, cast

from pyraft_lite.rpc.http2.connection import Connection
from pyraft_lite.rpc.http2.frames import ProtocolError

C = TypeVar("C", bound=Connection)

_LINGER = 1.0
"""Seconds that the peer has to close its side once we have closed ours."""

_SOON = 100e-6
"""Seconds in which what follows is sent with all else of its turn: at such a rate a write to the network for each costs
more than waiting does."""


class Http2Protocol(asyncio.Protocol, Generic[C]):
    """Moves bytes between a transport and a connection; what one turn of the event loop has to send goes together.

    Args:
        make: Makes the connection, given what it is to call when it has something to send.
        on_lost: Is called when the transport is gone.

    Attributes:
        connection: The connection.
        received: How often something came.
    """

    def __init__(self, make: Callable[[Callable[[], None]], C], on_lost: "Callable[[Http2Protocol[C]], None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._flushing = False
        self._paused = False
        self._closing = False
        self._aborted = False
        self._flushed_at = 0.0
        self.received = 0
        self.connection: C = make(self._wake)
        self.connection.flush = self._flush_early

    @property
    def is_connected(self) -> bool:
        """There is, or was, a transport."""
        return self._transport is not None

    def close(self) -> None:
        """Sends what there is to send, and closes our side; what the peer still sends is not lost on it, as it would
        be if we closed both (RFC 9112, 9.6)."""
        if not self._closing:
            self._closing = True
            if self._transport is not None:
                self._finish(self._transport)

    def abort(self) -> None:
        """Closes both sides at once, also of a transport that is still to come."""
        self._closing = self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def go_on(self) -> None:
        """Takes in again what comes, after the connection was :attr:`~Connection.held`."""
        self.connection.held = False
        self._take_in(b"")
        if not self.connection.held:
            self._read_on(True)

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._aborted:
            self._transport.abort()
        elif self._closing:
            self._finish(self._transport)
        else:
            self._flush()

    def data_received(self, data: bytes) -> None:
        self.received += 1
        self._take_in(data)
        if self.connection.held:
            self._read_on(False)

    def pause_writing(self) -> None:
        self._paused = True
        self.connection.pause()

    def resume_writing(self) -> None:
        self._paused = False
        self.connection.resume()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self.connection.lose(f"connection lost: {error}" if error else "connection closed")
        self._on_lost(self)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _take_in(self, data: bytes) -> None:
        if self._closing:
            return
        self.connection.corked = True
        try:
            self.connection.receive(data)
        except ProtocolError as error:
            self.connection.fail(error)
            self.close()
        else:
            self.connection.corked = False
            if self.connection.output:
                self._flush()

    def _read_on(self, on: bool) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            (transport.resume_reading if on else transport.pause_reading)()

    def _wake(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush_early(self) -> None:
        """Sends at once what comes alone; what follows soon goes together."""
        now = monotonic()
        if now - self._flushed_at > _SOON:
            self._flushed_at = now
            self._flush()
        else:
            self._wake()

    def _finish(self, transport: asyncio.Transport) -> None:
        while self.connection.output:
            transport.write(self.connection.take())
        if not transport.is_closing():
            with contextlib.suppress(OSError):  # The peer is gone already; so will the transport be.
                transport.write_eof()
            self._loop.call_later(_LINGER, transport.abort)

    def _flush(self) -> None:
        transport = self._transport
        if transport is not None and not self._closing:
            self._flushing = True
            while self.connection.output and not self._paused:
                transport.write(self.connection.take())
        self._flushing = False
