"""What gRPC says in HTTP/2 headers and trailers: metadata, timeouts, statuses.

See "Requests", "Responses" and "Custom-Metadata" in gRPC's PROTOCOL-HTTP2.md.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import grpc

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")

# Names that HTTP/2 or gRPC itself has a use for; they are no metadata.
_NOT_METADATA = frozenset((b"content-type", b"te", b"host"))
_RESERVED = b"grpc-"
_KEPT = frozenset((b"grpc-trace-bin", b"grpc-tags-bin", b"grpc-previous-rpc-attempts"))

_PLAIN = re.compile(r"[ -$&-~]*")
_TO_ESCAPE = re.compile(rb"[^ -$&-~]")


class MetadataError(Exception):
    """A header is no metadata; the message names it and says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What the headers of a request say.

    Attributes:
        path: What is called, as HTTP has it.
        fields: The headers.
        by_name: The same by name.
        timeout: After how many seconds its client gives up; None: never.
    """

    path: bytes
    fields: Headers
    by_name: Mapping[bytes, bytes]
    timeout: float | None


def parse_timeout(value: bytes) -> float:
    """The seconds that a ``grpc-timeout`` stands for.

    Raises:
        ValueError: it is not 1 to 8 digits and a unit.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise ValueError(f"invalid grpc-timeout {value!r}: want up to 8 digits and one of H, M, S, m, u and n")
    return int(match[1]) * _UNITS[match[2]]


def encode_timeout(seconds: float) -> bytes:
    """A ``grpc-timeout`` of at least so many seconds, in two digits: whoever waits ends the call in time anyway, and
    headers that are the same each time cost next to nothing."""
    if seconds > 0.1:  # The second digit then stands for whole milliseconds.
        return _encode_micros(math.ceil(seconds * 1e3) * 1000)
    return _encode_micros(max(math.ceil(seconds * 1e6), 1))


@lru_cache(1024)
def _encode_micros(size: int) -> bytes:
    unit = 10 ** max(len(str(size)) - 2, 0)
    size = -(-size // unit) * unit
    for name, micros in (b"S", 1_000_000), (b"m", 1000):
        if size % micros == 0:
            return b"%d%s" % (size // micros, name)
    return b"%du" % size


def decode_metadata(headers: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """The metadata among ``headers``; values whose names end in ``-bin`` are bytes.

    Raises:
        MetadataError: a value is not what its name says.
    """
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name in _NOT_METADATA or name.startswith(b":") or (name.startswith(_RESERVED) and name not in _KEPT):
            continue
        key = name.decode("ascii")
        if name.endswith(b"-bin"):
            metadata.extend((key, _decode_binary(key, part)) for part in value.split(b","))
        else:
            metadata.append((key, _decode_text(key, value)))
    return tuple(metadata)


def encode_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """``metadata`` as headers."""
    return tuple((key.lower().encode("ascii"), _encode_value(key, value)) for key, value in metadata)


def encode_status(code: grpc.StatusCode, details: str) -> Headers:
    """How a call ended, as trailers."""
    status = (b"grpc-status", str(code.value[0]).encode())
    return (status, (b"grpc-message", percent_encode(details))) if details else (status,)


def percent_encode(text: str) -> bytes:
    """``text`` as a ``grpc-message``: UTF-8, with all but printable ASCII, and the percent sign, escaped."""
    if _PLAIN.fullmatch(text):
        return text.encode()
    return _TO_ESCAPE.sub(lambda match: b"%%%02X" % match[0][0], text.encode(errors="replace"))


def _decode_binary(key: str, value: bytes) -> bytes:
    """``value`` from base64, whether it is padded or not."""
    value = value.strip(b" ").rstrip(b"=")
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise MetadataError(f"invalid metadata {key}: {error}") from error


def _decode_text(key: str, value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise MetadataError(f"invalid metadata {key}: {error}") from error


def _encode_value(key: str, value: str | bytes) -> bytes:
    if key.endswith("-bin"):
        return base64.b64encode(value if isinstance(value, bytes) else value.encode()).rstrip(b"=")
    return value if isinstance(value, bytes) else value.encode("ascii")
