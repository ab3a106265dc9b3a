"""The server's end of an HTTP/2 connection, without any I/O."""

from collections.abc import Callable

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import (
    CONNECTION_WINDOW,
    LARGEST_FRAME,
    MAX_STREAMS,
    STREAM_WINDOW,
    Connection,
    Stream,
)
from pyraft_lite.rpc.http2.frames import NUMBER, PREFACE, WINDOW, ProtocolError, frame
from pyraft_lite.rpc.http2.headers import MAX_HEADERS, Headers

_SETTINGS = frames.settings(
    {
        frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_FRAME_SIZE: LARGEST_FRAME,
        frames.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
    }
) + frames.window_update(0, CONNECTION_WINDOW - WINDOW)


class ServerConnection(Connection):
    """What a client has opened.

    Args:
        wake: Is called when there is something to take.
        kind: Makes the stream of a request, which then hears of its headers.
    """

    def __init__(self, wake: Callable[[], None], kind: "Callable[[ServerConnection, int], Stream]") -> None:
        super().__init__(wake)
        self._kind = kind
        self._last = 0
        self._preface = PREFACE
        self._put(_SETTINGS)

    @property
    def has_begun(self) -> bool:
        """The client has said that it speaks HTTP/2."""
        return self._has_settings

    def go_away(self) -> None:
        """Takes no more requests; those under way go on."""
        if self.going_away is None:
            self.going_away = self._last
            self._put(frame(frames.GOAWAY, 0, 0, NUMBER.pack(self._last) + NUMBER.pack(frames.NO_ERROR)))

    @property
    def _last_taken(self) -> int:
        return self._last if self.going_away is None else self.going_away

    def _is_idle(self, number: int) -> bool:
        return number > self._last or number % 2 == 0

    def _headers_came(self, number: int, headers: Headers, ended: bool) -> None:
        if number % 2 == 0:
            raise ProtocolError(f"a request on stream {number}: a client's have odd numbers")
        if number <= self._last:
            self._trailers_came(number, headers, ended)
            return
        self._last = number
        if self.going_away is not None:  # The client will learn that it was not taken, and try elsewhere.
            return
        if len(self.streams) >= MAX_STREAMS:
            self._put(frames.reset(number, frames.REFUSED_STREAM))
            return
        stream = self.streams[number] = self._kind(self, number)
        stream.received_all = ended
        stream.headers_received(headers, ended)

    def _trailers_came(self, number: int, headers: Headers, ended: bool) -> None:
        """A client's trailers say nothing but that the request ends."""
        stream = self.streams.get(number)
        if stream is None:  # It has ended, and the client did not know that yet.
            return
        if stream.received_all:
            raise ProtocolError(f"headers behind the end of stream {number}", frames.STREAM_CLOSED)
        if not ended:
            raise ProtocolError(f"headers in the middle of stream {number}")
        stream.received_all = True
        stream.data_received(b"", True)

    def _sent_all(self, stream: Stream) -> None:
        if not stream.received_all:  # The rest of the request is not wanted (RFC 9113, 8.1).
            self._put(frames.reset(stream.number, frames.NO_ERROR))
        stream.sent_all = True
        self._forget(stream)
