"""What both ends of an HTTP/2 connection do: frames, streams, headers and flow control, without any I/O."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from pyraft_lite.rpc.chunks import Chunks
from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEAD,
    MAX_FRAME,
    MAX_WINDOW,
    NUMBER,
    WINDOW,
    ProtocolError,
    frame,
    number_in,
    unpadded,
    wrong_size,
)
from pyraft_lite.rpc.http2.headers import MAX_HEADERS, HeaderDecoder, Headers

STREAM_WINDOW = 4 * 1024 * 1024
"""How much of a stream is taken in, in bytes, before whoever it is for has used any of it."""
CONNECTION_WINDOW = 16 * STREAM_WINDOW
"""The same of all streams together: some that are not read must not keep the others waiting."""
LARGEST_FRAME = 64 * 1024
"""The longest frame that we take, and the most data that we put into one, even if the peer takes more, so that other
streams have their turns."""
MAX_STREAMS = 1024
"""How many streams at a time a peer may open."""
MAX_OUT = 256 * 1024
"""No data is made ready to be taken while so many bytes are; and about as many of answers to pings, of headers and the
like may wait for a peer that reads nothing."""

_MAX_CONTINUATIONS = 32


class Stream(ABC):
    """A request and its answer. Whoever it is for subclasses it and hears what comes.

    Attributes:
        number: Its number on the connection.
        unsent: How many bytes of data wait for room.
        received_all: The peer will send no more.
        sent_all: We have sent all of ours.
    """

    __slots__ = (
        "_after",
        "_connection",
        "_held",
        "_receive_window",
        "_send_window",
        "_unsent",
        "_used",
        "number",
        "received_all",
        "sent_all",
    )

    def __init__(self, connection: "Connection", number: int) -> None:
        self._connection = connection
        self.number = number
        self.received_all = False
        self.sent_all = False
        self._unsent: Chunks | None = None
        self._after: bytes | None = None  # the frame behind what is unsent, which ends the stream; b"": the data does
        self._send_window = connection.initial_window
        self._receive_window = STREAM_WINDOW
        self._held = 0
        self._used = 0

    # -- what it hears ----------------------------------------------------------------------------------------------

    @abstractmethod
    def headers_received(self, headers: Headers, ended: bool) -> None:
        """Headers came, or trailers."""

    @abstractmethod
    def data_received(self, data: bytes, ended: bool) -> None:
        """Data came; :meth:`use` makes room for more."""

    @abstractmethod
    def lost(self, code: int | None, reason: str) -> None:
        """The peer has reset the stream, with HTTP/2's error code ``code``, or is gone; there will be nothing more."""

    def room_made(self) -> None:  # noqa: B027  # Not everyone asks.
        """All that was to be sent has been."""

    # -- what it does -----------------------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        return len(self._unsent) if self._unsent else 0

    def send_headers(self, block: bytes, *, ended: bool = False) -> None:
        """Sends a block of headers, before any data."""
        connection, number, size = self._connection, self.number, len(block)
        if number not in connection.streams:
            return
        flags = END_HEADERS | END_STREAM if ended else END_HEADERS
        if size <= connection._frame_size:
            connection._put(HEAD.pack(size >> 8, size & 0xFF, frames.HEADERS, flags, number) + block)
        else:
            connection._send_long_headers(number, flags, block)
        if ended:
            connection._sent_all(self)

    def send_data(self, data: bytes | memoryview, *, ended: bool = False) -> None:
        """Sends data, what of it there is no room for when there is; it must not change any more."""
        connection, number, size = self._connection, self.number, len(data)
        if number not in connection.streams:
            return
        if self._unsent or (
            size
            and (
                connection._paused
                or size > connection._frame_size
                or size > self._send_window
                or size > connection._send_window
            )
        ):
            connection._send_when_there_is_room(self, data, ended)
            return
        self._send_window -= size
        connection._send_window -= size
        flags = END_STREAM if ended else 0
        connection._put(HEAD.pack(size >> 8, size & 0xFF, frames.DATA, flags, number) + data)
        if ended:
            connection._sent_all(self)

    def send_trailers(self, block: bytes) -> None:
        """Ends our side with trailers, behind all data."""
        if self._unsent:
            self._after = block
        else:
            self.send_headers(block, ended=True)

    def use(self, size: int) -> None:
        """Makes room for as much as has been used of what came."""
        size = min(size, self._held)  # Nothing is, once the stream has ended.
        self._held -= size
        connection = self._connection
        connection._use(size)
        if not self.received_all:
            self._used += size
            if self._used > STREAM_WINDOW // 2:
                self._receive_window += self._used
                connection._put(frames.window_update(self.number, self._used))
                self._used = 0

    def cork(self) -> None:
        """What is sent now belongs together, until :meth:`uncork`."""
        self._connection.corked = True

    def uncork(self, *, at_once: bool) -> None:
        """That is all; it may go at once, or with all else of this turn."""
        connection = self._connection
        connection.corked = False
        if connection.output:
            (connection.flush if at_once else connection._wake)()

    def reset(self, code: int) -> None:
        """Ends the stream at once; nothing more is heard of it."""
        self._connection._reset(self, code)


class _Block(NamedTuple):
    """Headers that go on in a further frame."""

    stream: int
    ended: bool
    parts: list[bytes]


class Connection(ABC):
    """One end of a connection.

    Args:
        wake: Is called when there is something to :meth:`take`.

    Attributes:
        output: What there is to take.
        flush: Is called when that should not wait for more.
        corked: Neither is called.
        held: What has come and not been taken in yet waits, until this is no more so and :meth:`receive` is called.
        on_idle: Is called when no stream is left on a connection that goes away.
        streams: Those that have not ended on both sides.
        initial_window: How much may be sent on a new stream, in bytes.
        going_away: The last stream that is, or was, answered, once either side has said that it goes away.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.flush = wake
        self.corked = False
        self.held = False
        self.on_idle: Callable[[], None] | None = None
        self.streams: dict[int, Stream] = {}
        self.initial_window = WINDOW
        self.going_away: int | None = None
        self.output = bytearray()
        self._preface = b""  # what the peer has yet to say before any frame
        self._decoder = HeaderDecoder()
        self._rest = b""
        self._block: _Block | None = None
        self._waiting: dict[Stream, None] = {}
        self._paused = False
        self._frame_size = MAX_FRAME
        self._send_window = WINDOW
        self._receive_window = CONNECTION_WINDOW
        self._used = 0
        self._has_settings = False

    # -- for whoever does the I/O -----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Takes in what came; streams hear of it.

        Raises:
            ProtocolError: it is not HTTP/2, or more than was allowed; :meth:`fail` is due.
        """
        if self._preface:
            data = self._take_preface(data)
        if self.held:
            self._rest += data
            return
        at = 0
        if self._rest:
            # Only the frame that has begun is put together: what comes behind it may be much.
            at = self._lacking() or len(data)
            begun = self._rest + data[:at]
            self._rest = begun[self._take_frames(begun, 0) :]
        if at < len(data):
            self._rest = data[at if self.held else self._take_frames(data, at) :]
        if self._paused and len(self.output) > 2 * MAX_OUT:
            raise ProtocolError("the peer asks and asks, and reads nothing", frames.ENHANCE_YOUR_CALM)

    def take(self) -> bytearray:
        """What is to be written now; there may be more after it."""
        taken, self.output = self.output, bytearray()
        if self._waiting:
            self._send_waiting()
        return taken

    def pause(self) -> None:
        """The network takes no more for now: data waits in its streams."""
        self._paused = True

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        self._send_waiting()

    def fail(self, error: ProtocolError) -> None:
        """Tells the peer what it did wrong, and ends all streams."""
        self._put(
            frame(frames.GOAWAY, 0, 0, NUMBER.pack(self._last_taken) + NUMBER.pack(error.code) + str(error).encode())
        )
        self.lose(f"the connection makes no sense any more: {error}")

    def lose(self, reason: str) -> None:
        """The connection is gone: so are all streams."""
        streams, self.streams = self.streams, {}
        self._waiting.clear()
        for stream in streams.values():
            stream.lost(None, reason)

    # -- for either end ---------------------------------------------------------------------------------------------

    @property
    def _last_taken(self) -> int:
        """The last stream of the peer's that was taken."""
        return 0

    @abstractmethod
    def _headers_came(self, number: int, headers: Headers, ended: bool) -> None:
        """Headers for a stream, which may be new."""

    @abstractmethod
    def _is_idle(self, number: int) -> bool:
        """True if a stream has never been."""

    def _goes_away(self, last: int, code: int) -> None:  # noqa: B027  # A server just goes on.
        """The peer takes no new streams, and none behind ``last``."""

    def _take_setting(self, name: int, value: int) -> None:  # noqa: B027  # Nor has it use for others.
        """A setting that only one end heeds."""

    # -- what comes -------------------------------------------------------------------------------------------------

    def _take_preface(self, data: bytes) -> bytes:
        """Takes it off what came; returns the rest."""
        came, rest = data[: len(self._preface)], data[len(self._preface) :]
        if not self._preface.startswith(came):
            raise ProtocolError("a client that does not speak HTTP/2")
        self._preface = self._preface[len(came) :]
        return rest

    def _lacking(self) -> int:
        """How many bytes the frame needs that has begun; 0 if its head is not there, or if it is all there and was
        held."""
        if len(self._rest) < HEAD.size:
            return 0
        high, low, *_ = HEAD.unpack_from(self._rest)
        lacking: int = HEAD.size + (high << 8 | low) - len(self._rest)
        return max(lacking, 0)

    def _take_frames(self, data: bytes, at: int) -> int:
        """Takes in the frames from ``at`` on that are all there; returns where they end."""
        end = len(data)
        unpack = HEAD.unpack_from
        while end - at >= 9:
            high, low, kind, flags, number = unpack(data, at)
            size = high << 8 | low
            if size > LARGEST_FRAME:
                raise ProtocolError(f"a frame of {size} bytes, more than {LARGEST_FRAME}", frames.FRAME_SIZE_ERROR)
            after = at + 9 + size
            if after > end:
                break
            payload = data[at + 9 : after]
            at = after
            if kind == frames.DATA and self._block is None and self._has_settings:
                self._take_data(flags, number & MAX_WINDOW, payload)
            else:
                self._take_frame(kind, flags, number & MAX_WINDOW, payload)
                if self.held:
                    break
        return at

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        if size > self._receive_window:
            raise ProtocolError("more data than there is room for", frames.FLOW_CONTROL_ERROR)
        self._receive_window -= size
        stream = self.streams.get(number)
        if stream is None:
            if self._is_idle(number):
                raise ProtocolError(f"data for stream {number}, which has not begun")
            self._use(size)  # It has ended, and the peer did not know that yet.
            return
        if stream.received_all:
            raise ProtocolError(f"data behind the end of stream {number}", frames.STREAM_CLOSED)
        if size > stream._receive_window:
            raise ProtocolError(f"more data than stream {number} has room for", frames.FLOW_CONTROL_ERROR)
        stream._receive_window -= size
        stream._held += size
        if flags & frames.PADDED:
            payload = unpadded(flags, payload)
            stream.use(size - len(payload))
        ended = bool(flags & END_STREAM)
        if ended:
            stream.received_all = True
        stream.data_received(payload, ended)
        if ended and stream.sent_all and number in self.streams:
            self._forget(stream)

    def _take_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Any frame but data."""
        if (kind == frames.CONTINUATION) != (self._block is not None):
            state = "begin" if self._block is None else "go on"
            raise ProtocolError(f"a frame of type {kind} where headers {state}")
        if not self._has_settings and (kind != frames.SETTINGS or flags & ACK):
            raise ProtocolError(f"a frame of type {kind} before any settings")
        match kind:
            case 1:  # HEADERS
                block = unpadded(flags, payload) if flags & frames.PADDED else payload
                if not number:
                    raise ProtocolError("headers for no stream")
                if flags & frames.WITH_PRIORITY:
                    if len(block) < 5:
                        wrong_size("headers", len(block))
                    block = block[5:]
                ended = bool(flags & END_STREAM)
                if flags & END_HEADERS:
                    self._headers_came(number, self._decoder.decode(block), ended)
                else:
                    self._block = _Block(number, ended, [block])
            case 9:  # CONTINUATION
                self._go_on_with_headers(flags, number, payload)
            case 8:  # WINDOW_UPDATE
                self._open_window(number, number_in(payload, "a window update") & MAX_WINDOW)
            case 3:  # RST_STREAM
                self._take_reset(number, number_in(payload, "a reset"))
            case 4:  # SETTINGS
                self._take_settings(flags, number, payload)
            case 6:  # PING
                if len(payload) != 8:
                    wrong_size("a ping", len(payload))
                if number:
                    raise ProtocolError("a ping on a stream")
                if not flags & ACK:
                    self._put(frame(frames.PING, ACK, 0, payload))
            case 7:  # GOAWAY
                if len(payload) < 8:
                    wrong_size("a goodbye", len(payload))
                if number:
                    raise ProtocolError("a goodbye to a stream")
                last, code = NUMBER.unpack_from(payload)[0], NUMBER.unpack_from(payload, 4)[0]
                self._goes_away(last & MAX_WINDOW, code)
            case 5:  # PUSH_PROMISE
                raise ProtocolError("a push, which is forbidden")
            case 2:  # PRIORITY
                if len(payload) != 5:
                    wrong_size("a priority", len(payload))
                if not number:
                    raise ProtocolError("a priority of no stream")
        # What is not known means nothing to us (RFC 9113, 4.1); nor do priorities.

    def _go_on_with_headers(self, flags: int, number: int, payload: bytes) -> None:
        block = self._block
        assert block is not None
        if number != block.stream:
            raise ProtocolError(f"headers of stream {block.stream} go on in stream {number}")
        block.parts.append(payload)
        if sum(map(len, block.parts)) > MAX_HEADERS or len(block.parts) > _MAX_CONTINUATIONS:
            raise ProtocolError("headers that do not end", frames.ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            self._block = None
            self._headers_came(number, self._decoder.decode(b"".join(block.parts)), block.ended)

    def _take_reset(self, number: int, code: int) -> None:
        stream = self.streams.get(number)
        if stream is not None:
            self._forget(stream)
            stream.lost(code, f"the stream was reset (HTTP/2 error code {code:#x})")
        elif self._is_idle(number):
            raise ProtocolError(f"a reset of stream {number}, which has not begun")

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError("settings for a stream")
        if len(payload) % frames.SETTING.size or (flags & ACK and payload):
            wrong_size("settings", len(payload))
        if flags & ACK:
            return
        self._has_settings = True
        for name, value in frames.SETTING.iter_unpack(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ProtocolError(f"a window of {value}", frames.FLOW_CONTROL_ERROR)
                for stream in self.streams.values():  # Windows may become negative (RFC 9113, 6.9.2).
                    stream._send_window += value - self.initial_window
                    if stream._send_window > MAX_WINDOW:
                        raise ProtocolError(f"a window that opens to {value}", frames.FLOW_CONTROL_ERROR)
                self.initial_window = value
            elif name == frames.MAX_FRAME_SIZE:
                if not MAX_FRAME <= value < 2**24:
                    raise ProtocolError(f"frames of up to {value} bytes")
                self._frame_size = min(value, LARGEST_FRAME)
            elif name == frames.ENABLE_PUSH:
                if value > 1:
                    raise ProtocolError(f"pushes enabled by {value}")
            else:
                self._take_setting(name, value)
        self._put(frame(frames.SETTINGS, ACK, 0, b""))
        self._send_waiting()

    # -- flow control -----------------------------------------------------------------------------------------------

    def _use(self, size: int) -> None:
        """Makes room for so much more on the connection, once half of it is used up."""
        self._used += size
        if self._used > CONNECTION_WINDOW // 2:
            self._receive_window += self._used
            self._put(frames.window_update(0, self._used))
            self._used = 0

    def _open_window(self, number: int, size: int) -> None:
        if not size:
            raise ProtocolError("a window that opens by nothing")
        if not number:
            self._send_window += size
            if self._send_window > MAX_WINDOW:
                raise ProtocolError(f"a window that opens by {size}", frames.FLOW_CONTROL_ERROR)
            self._send_waiting()
        elif stream := self.streams.get(number):
            stream._send_window += size
            if stream._send_window > MAX_WINDOW:
                raise ProtocolError(f"a window that opens by {size}", frames.FLOW_CONTROL_ERROR)
            if stream in self._waiting:
                self._send_waiting_of(stream)
        elif self._is_idle(number):
            raise ProtocolError(f"a window of stream {number}, which has not begun")

    # -- what goes --------------------------------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        """Adds to what is to be taken."""
        if not self.output and not self.corked:
            self._wake()
        self.output += data

    def _send_long_headers(self, number: int, flags: int, block: bytes) -> None:
        size = self._frame_size
        self._put(frame(frames.HEADERS, flags & ~END_HEADERS, number, block[:size]))
        for at in range(size, len(block), size):
            last = END_HEADERS if at + size >= len(block) else 0
            self._put(frame(frames.CONTINUATION, last, number, block[at : at + size]))

    def _send_when_there_is_room(self, stream: Stream, data: bytes | memoryview, ended: bool) -> None:
        if stream._unsent is None:
            stream._unsent = Chunks()
        stream._unsent.put(data)
        if ended:
            stream._after = b""
        self._waiting[stream] = None
        self._send_waiting_of(stream)

    def _send_waiting(self) -> None:
        """Sends what there is room for, of each stream in turn."""
        for stream in list(self._waiting):
            self._send_waiting_of(stream)

    def _send_waiting_of(self, stream: Stream) -> None:
        unsent = stream._unsent
        assert unsent is not None
        sent = ends = False
        while unsent and not self._paused and len(self.output) < MAX_OUT:
            size = min(len(unsent), self._frame_size, stream._send_window, self._send_window)
            if size <= 0:
                break
            ends = stream._after == b"" and size == len(unsent)
            self._put(frames.head(frames.DATA, END_STREAM if ends else 0, stream.number, size))
            for part in unsent.take(size):
                self.output += part
            stream._send_window -= size
            self._send_window -= size
            sent = True
        if sent:
            del self._waiting[stream]
        if unsent:
            self._waiting[stream] = None  # If it has had its turn, behind the others.
            return
        if ends:
            self._sent_all(stream)
        elif stream._after:
            stream.send_headers(stream._after, ended=True)
        else:
            stream.room_made()

    def _reset(self, stream: Stream, code: int) -> None:
        if stream.number in self.streams:
            self._put(frames.reset(stream.number, code))
            self._forget(stream)

    def _sent_all(self, stream: Stream) -> None:
        stream.sent_all = True
        if stream.received_all:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """The stream has ended on both sides. What of it nobody has used is of no use any more."""
        del self.streams[stream.number]
        if self._waiting:
            self._waiting.pop(stream, None)
        if stream._held:
            self._use(stream._held)
            stream._held = 0
        if self.going_away is not None:
            self._check_idle()

    def _check_idle(self) -> None:
        """To be called on a connection that goes away."""
        if not self.streams and self.on_idle is not None:
            self.on_idle()
