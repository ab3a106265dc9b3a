"""Header blocks: HPACK (RFC 7541) by the library hpack, without its cost for what comes again and again.

gRPC's clients put the headers of their calls into the connection's table once and then name each by a single byte; only
a timeout, at the end, is new every time. Our servers leave the table alone, and their answers are all alike. That is
what is quick here; all else is left to the library.
"""

import re
from functools import lru_cache
from typing import TypeAlias

import hpack
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

from pyraft_lite.rpc.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

MAX_HEADERS = 64 * 1024
"""How large headers may be, by HTTP/2's measure (RFC 9113, 6.5.2), before the connection ends."""

_INDEXED = re.compile(rb"[\x81-\xfe]*")
_MOST_INDEXED = 16
"""How many headers may be named by their places alone before the library keeps count of their size; so many can't be
more than MAX_HEADERS: a table holds 4096 bytes."""
_MOST_KNOWN = 256
_LONGEST_KNOWN = 256
"""How many blocks are remembered, of so many bytes at most."""
_STATIC = HeaderTable.STATIC_TABLE_LENGTH
_LONG = 0x7F
"""What stands for a number that goes on in the next byte."""


class HeaderDecoder:
    """Unpacks the header blocks of one direction of a connection, in their order."""

    def __init__(self) -> None:
        self._hpack = hpack.Decoder(max_header_list_size=MAX_HEADERS)
        self._table = self._hpack.header_table
        # What blocks stand for, as long as the table stays as it is.
        self._known: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """The headers of a block.

        Raises:
            ProtocolError: it makes no sense, or is too large; no block can be unpacked any more.
        """
        if (headers := self._known.get(block)) is not None:
            return headers
        try:
            headers, at = self._decode_indexed(block)
            if at < len(block):
                if 0x20 <= block[at] < 0x40:  # A change of the table's size. Where it can't be the library finds.
                    self._known.clear()
                    return self._decode_any(block)
                entries = self._table.dynamic_entries
                count, newest = len(entries), entries[0] if entries else None
                headers += self._decode_new_value(block, at) or self._decode_any(block[at:])
                if len(entries) != count or (entries and entries[0] is not newest):  # The table has moved on.
                    self._known.clear()
                    return headers
            if len(self._known) < _MOST_KNOWN and len(block) <= _LONGEST_KNOWN:
                self._known[block] = headers
        except IndexError as error:
            raise ProtocolError("unreadable headers: one is not in the table", COMPRESSION_ERROR) from error
        except hpack.OversizedHeaderListError as error:
            raise ProtocolError(f"more than {MAX_HEADERS} bytes of headers", ENHANCE_YOUR_CALM) from error
        except hpack.HPACKError as error:
            raise ProtocolError(f"unreadable headers: {error!s:.100}", COMPRESSION_ERROR) from error
        return headers

    def _decode_indexed(self, block: bytes) -> tuple[Headers, int]:
        """The headers at the beginning that are named by their places in the table alone, and where they end."""
        static, dynamic = HeaderTable.STATIC_TABLE, self._table.dynamic_entries
        headers: list[tuple[bytes, bytes]] = []
        at, end = 0, len(block)
        while at < end:
            if len(headers) == _MOST_INDEXED:
                return (), 0
            index = block[at] - 0x81
            if index < 0:
                break
            if index == _LONG - 1:
                if at + 1 == end or block[at + 1] > 0x7F:
                    break
                at += 1
                index += block[at]
            at += 1
            headers.append(static[index] if index < _STATIC else dynamic[index - _STATIC])
        return tuple(headers), at

    def _decode_new_value(self, block: bytes, at: int) -> Headers:
        """The last header, if the table has its name and takes its value in; () if it is another."""
        index = block[at] - 0x41
        if not 0 <= index < 0x3E or at + 2 > len(block):
            return ()
        length = block[at + 1] & 0x7F
        if length == _LONG or at + 2 + length != len(block):
            return ()
        value = block[at + 2 :]
        if block[at + 1] & 0x80:
            decoded = _decode_huffman(value)
            if decoded is None:
                return ()
            value = decoded
        static, dynamic = HeaderTable.STATIC_TABLE, self._table.dynamic_entries
        name = (static[index] if index < _STATIC else dynamic[index - _STATIC])[0]
        self._table.add(name, value)
        return ((name, value),)

    def _decode_any(self, block: bytes) -> Headers:
        return tuple((bytes(name), bytes(value)) for name, value in self._hpack.decode(block, raw=True))


class HeaderEncoder:
    """Packs the headers of one direction of a connection, whose peer keeps a table of them."""

    def __init__(self) -> None:
        self._hpack = hpack.Encoder()
        self._limit = self._hpack.header_table_size
        self._known: dict[Headers, bytes] = {}

    def encode(self, headers: Headers) -> bytes:
        """The block for headers that will come again."""
        block = self._known.get(headers)
        if block is None:
            if self._limit < self._hpack.header_table_size:  # Said once, though the peer may have lowered it twice.
                self._hpack.header_table_size = self._limit
            block = self._hpack.encode(headers)
            match = _INDEXED.fullmatch(block)
            if match:
                self._known[headers] = block
            else:  # The table has moved on.
                self._known.clear()
        return block

    def limit_table(self, size: int) -> None:
        """The peer keeps so many bytes at most; it allows 4096 at first."""
        if size < self._limit:
            self._limit = size
            self._known.clear()


@lru_cache(1024)
def encode_literally(headers: Headers) -> bytes:
    """A block for headers that needs no table: it is the same on every connection."""
    block = bytearray()
    for name, value in headers:
        if name == b":status" and value == b"200":
            block += b"\x88"
        else:
            block += b"\0" + _string(name) + _string(value)
    return bytes(block)


def _short_codes() -> list[tuple[int, int]]:
    """For each 8 bits, the character whose code they are or begin with, and the code's length; 0 if there is none."""
    found = [(0, 0)] * 256
    for character, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)):
        if length <= 8:
            first = code << (8 - length)
            found[first : first + (1 << (8 - length))] = [(character, length)] * (1 << (8 - length))
    return found


_CODES = _short_codes()


@lru_cache(1 << 16)
def _decode_window(window: int) -> tuple[bytes, int]:
    """The characters that 16 bits hold whole, and how many bits these are."""
    characters = bytearray()
    used = 0
    while used <= 8:
        character, length = _CODES[window >> (8 - used) & 0xFF]
        if not length:
            break
        characters.append(character)
        used += length
    return bytes(characters), used


def _decode_huffman(coded: bytes) -> bytes | None:
    """A short string in Huffman's code (RFC 7541, 5.2); None if it is left to the library: its characters are rare, or
    it is none."""
    bits = int.from_bytes(coded, "big") << 16 | 0xFFFF
    left = 8 * len(coded)
    characters = b""
    while left > 0:
        some, used = _decode_window(bits >> left & 0xFFFF)
        if not used:
            break
        characters += some
        left -= used
    padding = (1 << max(left, 0)) - 1  # less than a byte of ones
    return characters if 0 <= left < 8 and bits >> 16 & padding == padding else None


def _string(value: bytes) -> bytes:
    """A string without Huffman's code (RFC 7541, 5.2)."""
    size = len(value)
    if size < 0x7F:
        return b"%c" % size + value
    size -= 0x7F
    coded = bytearray(b"\x7f")
    while size >= 0x80:
        coded.append(size & 0x7F | 0x80)
        size >>= 7
    coded.append(size)
    return bytes(coded) + value
