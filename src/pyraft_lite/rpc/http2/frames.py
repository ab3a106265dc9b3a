"""How HTTP/2 looks on the wire (RFC 9113, sections 4 and 6)."""

import struct
from typing import NoReturn

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEAD = struct.Struct(">HBBBI")
"""Before each frame: 24 bits of length in two parts, type, flags, stream."""

NUMBER = struct.Struct(">I")
SETTING = struct.Struct(">HI")

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 2, 3, 4, 5, 6

WINDOW = 65_535
"""How many bytes either side may send at first, on a stream and in all."""
MAX_WINDOW = 2**31 - 1
MAX_FRAME = 16_384
"""The longest frame that everybody must take (RFC 9113, 4.2); ours are that until the peer allows more."""

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 0x5, 0x6, 0x7, 0x8, 0x9
ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 0xB, 0xC


class ProtocolError(Exception):
    """The peer broke the rules of HTTP/2: nothing on the connection makes sense any more.

    Attributes:
        code: HTTP/2's error code for it.
    """

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


def head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """What goes before a frame of ``size`` bytes."""
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A whole frame."""
    return head(kind, flags, stream, len(payload)) + payload


def settings(values: dict[int, int]) -> bytes:
    """A frame of settings."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*each) for each in values.items()))


def window_update(stream: int, size: int) -> bytes:
    """A frame that makes room for ``size`` bytes more; stream 0: on the connection."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(size))


def reset(stream: int, code: int) -> bytes:
    """A frame that ends a stream at once."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def number_in(payload: bytes, kind: str) -> int:
    """The number that a frame of a fixed size consists of.

    Raises:
        ProtocolError: it has another size.
    """
    if len(payload) != NUMBER.size:
        wrong_size(kind, len(payload))
    number: int = NUMBER.unpack(payload)[0]
    return number


def wrong_size(kind: str, size: int) -> NoReturn:
    """Raises the error of a frame that can't have this size."""
    raise ProtocolError(f"{kind} of {size} bytes", FRAME_SIZE_ERROR)


def unpadded(flags: int, payload: bytes) -> bytes:
    """What is in a frame of data or headers beside its padding.

    Raises:
        ProtocolError: there is more padding than frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than there is frame")
    return payload[1 : len(payload) - payload[0]]
