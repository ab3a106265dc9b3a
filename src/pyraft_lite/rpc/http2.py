"""The client's end of an HTTP/2 connection that carries one stream (RFC 9113), without any I/O.

The append streams between nodes are this and nothing more, and there is one message on them for every few writes of
clients: the library h2, which can do all of HTTP/2, spends more on such a message than all that the message is for.
Headers are packed and unpacked by the library hpack.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

import hpack

Headers = Iterable[tuple[bytes, bytes]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_HEAD = struct.Struct(">HBBBI")  # 24 bits of length in two parts, type, flags, stream
_NUMBER = struct.Struct(">I")
_SETTING = struct.Struct(">HI")

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    range(10)
)
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_WITH_PRIORITY = 0x20

_ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 2, 4, 5

STREAM = 1
WINDOW = 65_535
"""How many bytes either side may send at first."""
MAX_WINDOW = 2**31 - 1
MAX_FRAME = 16_384
"""The longest frame of a peer that was allowed no longer ones; ours are that until the peer allows more."""
MAX_HEADERS = 64 * 1024
"""The longest block of headers that is taken, in bytes."""

NO_ERROR = 0


class ProtocolError(Exception):
    """The peer broke the rules of HTTP/2: nothing on the connection makes sense any more."""


class HeadersReceived(NamedTuple):
    """Headers of the answer, or trailers if ``ended``."""

    headers: dict[bytes, bytes]
    ended: bool


class DataReceived(NamedTuple):
    """The next bytes of the answer."""

    data: bytes
    ended: bool


class Closed(NamedTuple):
    """The peer reset the stream, or is going away without having taken it; ``code`` is HTTP/2's error code."""

    code: int
    is_reset: bool


Event = HeadersReceived | DataReceived | Closed


class ClientStream:
    """A request that goes on and on, and its answer.

    Args:
        headers: Of the request, pseudo-headers first.
    """

    def __init__(self, headers: Headers) -> None:
        self._decoder = hpack.Decoder()
        self._decoder.max_header_list_size = MAX_HEADERS
        self._incoming = bytearray()
        self._head_block: bytearray | None = None  # of headers that go on in a further frame
        self._head_ends = False
        self._consumed = 0
        self._outgoing = bytearray()
        self._frame_size = MAX_FRAME
        self._initial_window = WINDOW
        self._stream_window = WINDOW
        self._connection_window = WINDOW
        self._out = bytearray(PREFACE)
        self._frame(_SETTINGS, 0, 0, _SETTING.pack(_ENABLE_PUSH, 0))
        self._frame(_HEADERS, _END_HEADERS, STREAM, hpack.Encoder().encode(headers))

    def send(self, data: bytes) -> None:
        """Adds bytes to the request; they go out as the peer makes room."""
        self._outgoing += data

    def take(self) -> bytes:
        """What is to be written to the connection now."""
        outgoing = self._outgoing
        while outgoing:
            size = min(len(outgoing), self._frame_size, self._stream_window, self._connection_window)
            if size <= 0:
                break
            self._frame(_DATA, 0, STREAM, outgoing[:size])
            del outgoing[:size]
            self._stream_window -= size
            self._connection_window -= size
        taken, self._out = bytes(self._out), bytearray()
        return taken

    def receive(self, data: bytes) -> list[Event]:
        """Takes in what came over the connection.

        Raises:
            ProtocolError: it is not HTTP/2, or more than was allowed.
        """
        incoming = self._incoming
        incoming += data
        events: list[Event] = []
        at = 0
        while len(incoming) - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(incoming, at)
            size = high << 8 | low
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes, more than {MAX_FRAME}")
            end = at + _HEAD.size + size
            if len(incoming) < end:
                break
            payload = bytes(memoryview(incoming)[at + _HEAD.size : end])
            at = end
            self._take_frame(kind, flags, stream & MAX_WINDOW, payload, events)
        del incoming[:at]
        return events

    # -- frames -------------------------------------------------------------------------------------------------------

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes | bytearray) -> None:
        size = len(payload)
        self._out += _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)
        self._out += payload

    def _take_frame(self, kind: int, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if (kind == _CONTINUATION) != (self._head_block is not None):
            state = "begin" if self._head_block is None else "go on"
            raise ProtocolError(f"a frame of type {kind} where headers {state}")
        if stream not in (0, STREAM):
            raise ProtocolError(f"a frame for stream {stream}, which we have not opened")
        match kind:
            case 0:  # _DATA
                if not stream:
                    raise ProtocolError("data for no stream")
                self._acknowledge(len(payload))
                events.append(DataReceived(_unpadded(flags, payload), bool(flags & _END_STREAM)))
            case 1:  # _HEADERS
                block = _unpadded(flags, payload)
                self._head_block = bytearray(block[5:] if flags & _WITH_PRIORITY else block)
                self._head_ends = bool(flags & _END_STREAM)
                self._end_headers(flags, events)
            case 9 if self._head_block is not None:  # _CONTINUATION
                self._head_block += payload
                self._end_headers(flags, events)
            case 3:  # _RST_STREAM
                events.append(Closed(_number(payload), is_reset=True))
            case 4:  # _SETTINGS
                if not flags & _ACK:
                    self._take_settings(payload)
            case 5:  # _PUSH_PROMISE
                raise ProtocolError("a push, which we have forbidden")
            case 6:  # _PING
                if len(payload) != 8:
                    raise ProtocolError("a ping that has not 8 bytes")
                if not flags & _ACK:
                    self._frame(_PING, _ACK, 0, payload)
            case 7:  # _GOAWAY
                last, code = _number(payload), _number(payload[4:])
                if code != NO_ERROR or last & MAX_WINDOW < STREAM:
                    events.append(Closed(code, is_reset=False))
            case 8:  # _WINDOW_UPDATE
                self._open_window(stream, _number(payload) & MAX_WINDOW)
        # What is not known, and priorities, mean nothing to us (RFC 9113, 4.1).

    def _end_headers(self, flags: int, events: list[Event]) -> None:
        assert self._head_block is not None
        if len(self._head_block) > MAX_HEADERS:
            raise ProtocolError(f"more than {MAX_HEADERS} bytes of headers")
        if not flags & _END_HEADERS:
            return
        try:
            fields = self._decoder.decode(bytes(self._head_block), raw=True)
        except hpack.HPACKError as error:
            raise ProtocolError(f"unreadable headers: {error}") from error
        self._head_block = None
        events.append(HeadersReceived({bytes(name): bytes(value) for name, value in fields}, self._head_ends))

    # -- flow control -------------------------------------------------------------------------------------------------

    def _acknowledge(self, size: int) -> None:
        """Makes room for more, of the stream and of the connection, once half of it is used up."""
        self._consumed += size
        if self._consumed > WINDOW // 2:
            for stream in (0, STREAM):
                self._frame(_WINDOW_UPDATE, 0, stream, _NUMBER.pack(self._consumed))
            self._consumed = 0

    def _open_window(self, stream: int, size: int) -> None:
        if stream:
            self._stream_window += size
        else:
            self._connection_window += size
        if not size or max(self._stream_window, self._connection_window) > MAX_WINDOW:
            raise ProtocolError(f"a window that opens by {size}")

    def _take_settings(self, payload: bytes) -> None:
        if len(payload) % _SETTING.size:
            raise ProtocolError(f"settings of {len(payload)} bytes")
        for name, value in _SETTING.iter_unpack(payload):
            if name == _INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ProtocolError(f"a window of {value}")
                self._stream_window += value - self._initial_window  # It may become negative (6.9.2).
                self._initial_window = value
            elif name == _MAX_FRAME_SIZE:
                if not MAX_FRAME <= value < 2**24:
                    raise ProtocolError(f"frames of up to {value} bytes")
                self._frame_size = value
        self._frame(_SETTINGS, _ACK, 0, b"")


def _number(payload: bytes) -> int:
    if len(payload) < _NUMBER.size:
        raise ProtocolError("a frame that is too short")
    number: int = _NUMBER.unpack_from(payload)[0]
    return number


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than there is frame")
    return payload[1 : len(payload) - payload[0]]
