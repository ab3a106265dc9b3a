"""gRPC's length-prefixed messages: a byte that says whether the message is compressed, its length, the message.

See "Length-Prefixed-Message" in gRPC's PROTOCOL-HTTP2.md. Where HTTP/2 cuts the stream means nothing.
"""

import struct
import zlib
from typing import NamedTuple, TypeAlias

import grpc

_PREFIX = struct.Struct(">BI")
PREFIX_BYTES = _PREFIX.size

IDENTITY = b"identity"
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
"""The encodings there are besides identity, and the number by which zlib knows their format."""

ACCEPTED = b",".join((IDENTITY, *_WINDOW_BITS))
"""The encodings that messages may come in, as the header ``grpc-accept-encoding`` has them."""

Chunk: TypeAlias = bytes | bytearray

_MERGED_BYTES = 4096
"""How large a chunk that is made of small ones may become."""


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


class Deframer:
    """Cuts what comes in into frames.

    Args:
        limit: The largest payload, in bytes.
    """

    __slots__ = ("_at", "_chunks", "_head", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._chunks: list[Chunk] = []
        self._at = 0  # Bytes of the first chunk that have been taken.
        self._size = 0
        self._head: tuple[bool, int] | None = None  # What the prefix says of the frame that has begun.
        self._limit = limit

    @property
    def is_empty(self) -> bool:
        """False if a frame has begun, or waits to be taken."""
        return not self._size and self._head is None

    def feed(self, chunk: Chunk) -> None:
        """Takes the next bytes in, which must not change any more."""
        add_chunk(self._chunks, chunk)
        self._size += len(chunk)

    def next(self) -> Frame | None:
        """The next frame, None if it is not all there yet.

        Raises:
            FramingError: it is longer than the limit, or no frame.
        """
        if self._head is None:
            if self._size < PREFIX_BYTES:
                return None
            flag, length = _PREFIX.unpack(self._take(PREFIX_BYTES))
            if flag > 1:
                raise FramingError(grpc.StatusCode.INTERNAL, f"bad frame type {flag:#04x}: want 0x00 or 0x01")
            if length > self._limit:
                raise too_large(length, self._limit)
            self._head = flag == 1, length
        compressed, length = self._head
        if self._size < length:
            return None
        self._head = None
        return Frame(compressed, self._take(length))

    def _take(self, size: int) -> bytes:
        """The next ``size`` bytes, which are there; they are copied once, however they came."""
        self._size -= size
        parts = []
        while size:
            chunk, at = self._chunks[0], self._at
            part = memoryview(chunk)[at : at + size]
            parts.append(part)
            size -= len(part)
            self._at += len(part)
            if self._at == len(chunk):
                del self._chunks[0]
                self._at = 0
        return b"".join(parts)


def add_chunk(chunks: list[Chunk], chunk: Chunk) -> None:
    """Adds the next bytes to those that wait: as they came, or with those before them if both are few, so that many
    small ones, too, take hardly more memory than what they hold."""
    if not chunk:
        return
    if not chunks or len(chunks[-1]) + len(chunk) > _MERGED_BYTES:
        chunks.append(chunk)
        return
    if not isinstance(chunks[-1], bytearray):
        chunks[-1] = bytearray(chunks[-1])
    chunks[-1] += chunk


def frame(payload: bytes, compressed: bool = False) -> bytes:
    """``payload`` as it travels."""
    return _PREFIX.pack(compressed, len(payload)) + payload


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
