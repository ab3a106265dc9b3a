"""The client's end of an HTTP/2 connection, without any I/O."""

from collections.abc import Callable
from typing import TypeVar

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import CONNECTION_WINDOW, LARGEST_FRAME, STREAM_WINDOW, Connection, Stream
from pyraft_lite.rpc.http2.frames import MAX_WINDOW, PREFACE, WINDOW, ProtocolError
from pyraft_lite.rpc.http2.headers import HeaderEncoder, Headers

S = TypeVar("S", bound=Stream)

_SETTINGS = (
    PREFACE
    + frames.settings(
        {
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_FRAME_SIZE: LARGEST_FRAME,
        }
    )
    + frames.window_update(0, CONNECTION_WINDOW - WINDOW)
)

_HEADER_TABLE_SIZE = 1


class ClientConnection(Connection):
    """What we have opened.

    Args:
        wake: Is called when there is something to take.

    Attributes:
        most_streams: How many streams the server takes at a time.
        on_going_away: Is called when no more streams can be opened, since either side goes away, or is gone.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__(wake)
        self.most_streams = MAX_WINDOW
        self.on_going_away: Callable[[], None] | None = None
        self._encoder = HeaderEncoder()
        self._next = 1
        self._put(_SETTINGS)

    @property
    def is_open(self) -> bool:
        """Streams may be opened, now or when others have ended."""
        return self.going_away is None and self._next < MAX_WINDOW

    @property
    def has_room(self) -> bool:
        """Another stream may be opened now."""
        return self.is_open and len(self.streams) < self.most_streams

    def go_away(self) -> None:
        """Opens no more streams; those under way go on."""
        if self.going_away is None:
            self._go_away_behind(MAX_WINDOW)
        self._check_idle()

    def open(self, kind: Callable[["ClientConnection", int], S], headers: Headers, more: bytes = b"") -> S:
        """Begins a request.

        Args:
            kind: Makes the stream.
            headers: Those that requests have in common.
            more: A block of further ones, which leaves the connection's table alone.
        """
        stream = kind(self, self._next)
        self._next += 2
        self.streams[stream.number] = stream
        stream.send_headers(self._encoder.encode(headers) + more)
        return stream

    def lose(self, reason: str) -> None:
        """See :meth:`Connection.lose`."""
        if self.going_away is None:
            self._go_away_behind(0)
        super().lose(reason)

    def _is_idle(self, number: int) -> bool:
        return number >= self._next or number % 2 == 0

    def _headers_came(self, number: int, headers: Headers, ended: bool) -> None:
        stream = self.streams.get(number)
        if stream is None:
            if self._is_idle(number):
                raise ProtocolError(f"an answer on stream {number}, which has not begun")
            return  # We have reset it, and the server did not know that yet.
        if stream.received_all:
            raise ProtocolError(f"headers behind the end of stream {number}", frames.STREAM_CLOSED)
        stream.received_all = ended
        stream.headers_received(headers, ended)
        if ended and stream.sent_all and number in self.streams:
            self._forget(stream)

    def _goes_away(self, last: int, code: int) -> None:
        self._go_away_behind(last)
        for number, stream in list(self.streams.items()):
            if number > last or code != frames.NO_ERROR:
                self._forget(stream)
                # The error is the connection's, not that of a stream on it.
                refused = frames.REFUSED_STREAM if number > last else None
                stream.lost(refused, f"the peer is going away (HTTP/2 error code {code:#x})")
        self._check_idle()

    def _go_away_behind(self, last: int) -> None:
        self.going_away = last
        if self.on_going_away is not None:
            self.on_going_away()

    def _take_setting(self, name: int, value: int) -> None:
        if name == frames.MAX_CONCURRENT_STREAMS:
            self.most_streams = value
        elif name == _HEADER_TABLE_SIZE:
            self._encoder.limit_table(value)
