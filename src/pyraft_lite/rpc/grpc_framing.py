"""gRPC's length-prefixed messages: a byte that says whether the message is compressed, its length, the message.

See "Length-Prefixed-Message" in gRPC's PROTOCOL-HTTP2.md. Where HTTP/2 cuts the stream means nothing.
"""

import struct
import zlib
from typing import NamedTuple

import grpc

from pyraft_lite.rpc.chunks import Chunks

_PREFIX = struct.Struct(">BI")
PREFIX_BYTES = _PREFIX.size

IDENTITY = b"identity"
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
"""The encodings there are besides identity, and the number by which zlib knows their format."""

ACCEPTED = b",".join((IDENTITY, *_WINDOW_BITS))
"""The encodings that messages may come in, as the header ``grpc-accept-encoding`` has them."""


class FramingError(Exception):
    """The bytes cannot be taken for messages; says with which status the call ends."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Frame(NamedTuple):
    """One message as it travelled."""

    compressed: bool
    payload: bytes


class Deframer(Chunks):
    """Cuts what is put into it into frames.

    Args:
        limit: The largest payload, in bytes.
    """

    __slots__ = ("_head", "_limit")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._head: tuple[bool, int] | None = None  # What the prefix says of the frame that has begun.
        self._limit = limit

    @property
    def is_empty(self) -> bool:
        """False if a frame has begun, or waits to be taken."""
        return not self._size and self._head is None

    def next(self) -> Frame | None:
        """The next frame, None if it is not all there yet.

        Raises:
            FramingError: it is longer than the limit, or no frame.
        """
        if self._head is None:
            if self._size < PREFIX_BYTES:
                return None
            flag, length = _PREFIX.unpack(b"".join(self.take(PREFIX_BYTES)))
            if flag > 1:
                raise FramingError(grpc.StatusCode.INTERNAL, f"bad frame type {flag:#04x}: want 0x00 or 0x01")
            if length > self._limit:
                raise too_large(length, self._limit)
            self._head = flag == 1, length
        compressed, length = self._head
        if self._size < length:
            return None
        self._head = None
        return Frame(compressed, b"".join(self.take(length)))


def frame(payload: bytes, compressed: bool = False) -> bytes:
    """``payload`` as it travels."""
    return _PREFIX.pack(compressed, len(payload)) + payload


def prefix(size: int) -> bytes:
    """What travels before a payload of ``size`` bytes, which is not compressed."""
    return _PREFIX.pack(False, size)


def only_payload(body: bytes) -> bytes | None:
    """The payload of the one frame that ``body`` is; None if it is not just one, or that is compressed."""
    size = len(body) - PREFIX_BYTES
    if size < 0:
        return None
    flag, length = _PREFIX.unpack_from(body)
    return body[PREFIX_BYTES:] if not flag and length == size else None


def is_supported(encoding: bytes) -> bool:
    """True if messages may come, and can be sent, in ``encoding``."""
    return encoding == IDENTITY or encoding in _WINDOW_BITS


def compress(payload: bytes, encoding: bytes) -> bytes:
    """``payload`` in ``encoding``, which is a supported one other than identity."""
    compressor = zlib.compressobj(wbits=_WINDOW_BITS[encoding])
    return compressor.compress(payload) + compressor.flush()


def decompress(payload: bytes, encoding: bytes, limit: int) -> bytes:
    """What ``payload`` was before it was compressed.

    Args:
        payload: A compressed message.
        encoding: What the call's header says its compressed messages are in.
        limit: How large the message may become, in bytes.

    Raises:
        FramingError: it would become larger, or is not in that encoding.
    """
    if encoding == IDENTITY:
        raise FramingError(grpc.StatusCode.INTERNAL, "a message is compressed, but the call has no grpc-encoding")
    decompressor = zlib.decompressobj(wbits=_WINDOW_BITS[encoding])
    try:
        message = decompressor.decompress(payload, limit + 1)
    except zlib.error as error:
        raise FramingError(grpc.StatusCode.INTERNAL, f"a message is not in {encoding.decode()}: {error}") from error
    if len(message) > limit:
        raise too_large(len(message), limit)
    if not decompressor.eof or decompressor.unused_data:
        raise FramingError(grpc.StatusCode.INTERNAL, f"a message is not in {encoding.decode()}: it has the wrong end")
    return message


def too_large(length: int, limit: int) -> FramingError:
    """The error of a message of ``length`` bytes or more."""
    text = f"received message larger than max ({length} vs. {limit})"
    return FramingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
