"""Header blocks, against the library hpack, which does without caches."""

from collections.abc import Sequence
from typing import NamedTuple

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError
from pyraft_lite.rpc.http2.headers import MAX_HEADERS, HeaderDecoder, HeaderEncoder, Headers, encode_literally

TABLE = 4096
NEWEST = 62
"""The place of what went into the table last."""

NAMES = st.sampled_from([b":path", b"te", b"grpc-timeout", b"a", b"b"]) | st.binary(max_size=5)
VALUES = st.sampled_from([b"trailers", b"1S", b"x", b"y"]) | st.binary(max_size=200)
LISTS: st.SearchStrategy[Headers] = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
SIZES = st.sampled_from([0, 33, 40, 100, 200, TABLE]) | st.integers(0, TABLE)


def integer(value: int, bits: int, flags: int) -> bytes:
    """RFC 7541, 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((flags | value,))
    value -= most
    coded = bytearray((flags | most,))
    while value >= 128:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*coded, value))


def string(value: bytes) -> bytes:
    return integer(len(value), 7, 0) + value


def indexed(place: int) -> bytes:
    return integer(place, 7, 0x80)


def inserted(name: bytes, value: bytes) -> bytes:
    return b"\x40" + string(name) + string(value)


def passing(name: bytes, value: bytes) -> bytes:
    """A literal that leaves the table alone."""
    return b"\0" + string(name) + string(value)


def resized(size: int) -> bytes:
    return integer(size, 5, 0x20)


class Plain:
    """What hpack makes of a sequence of blocks."""

    def __init__(self) -> None:
        self._hpack = hpack.Decoder(max_header_list_size=MAX_HEADERS)

    def decode(self, block: bytes) -> Headers | int:
        """The headers, or the code of the error that ends the connection."""
        try:
            return tuple((bytes(name), bytes(value)) for name, value in self._hpack.decode(block, raw=True))
        except hpack.OversizedHeaderListError:
            return ENHANCE_YOUR_CALM
        except hpack.HPACKError:
            return COMPRESSION_ERROR


def check(blocks: Sequence[bytes]) -> list[Headers | int]:
    """Makes sure that blocks, one behind the other, are what hpack says they are, and returns that."""
    ours, plain = HeaderDecoder(), Plain()
    outcomes: list[Headers | int] = []
    for block in blocks:
        outcomes.append(plain.decode(block))
        try:
            outcome: Headers | int = ours.decode(block)
        except ProtocolError as error:
            outcome = error.code
        assert outcome == outcomes[-1]
        if isinstance(outcome, int):
            break
    return outcomes


# -- decoding ---------------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """What an encoder is asked for."""

    headers: Headers
    huffman: bool
    sensitive: bool
    size: int | None


@given(st.lists(st.builds(Sent, LISTS, st.booleans(), st.booleans(), st.none() | SIZES), max_size=12), st.data())
def test_whatever_an_encoder_says_is_understood(sent: list[Sent], data: st.DataObject) -> None:
    if sent:  # Headers that come again are what the decoder remembers.
        sent += data.draw(st.lists(st.sampled_from(sent), max_size=8))
    encoder = hpack.Encoder()
    blocks = []
    for each in sent:
        if each.size is not None:
            encoder.header_table_size = each.size
        fields = [(name, value, each.sensitive) for name, value in each.headers]
        blocks.append(encoder.encode(fields, huffman=each.huffman))
    assert check(blocks) == [each.headers for each in sent]


PLACES = st.sampled_from([2, 3, NEWEST, NEWEST + 1, NEWEST + 2]) | st.integers(1, 70)
TOKENS = st.sampled_from([b"a", b"b", b"some"])
PARTS = (
    PLACES.map(indexed)
    | st.builds(inserted, TOKENS, TOKENS)
    | st.builds(passing, TOKENS, TOKENS)
    | st.builds(lambda place, value: integer(place, 6, 0x40) + string(value), PLACES, TOKENS)
    | st.builds(lambda place, value: integer(place, 4, 0x10) + string(value), PLACES, TOKENS)
    | st.builds(lambda name, value: b"\x40\x01" + name[:1] + string(value), TOKENS, st.binary(max_size=60))
)
BLOCKS = st.builds(
    lambda sizes, parts: b"".join((*sizes, *parts)),
    st.lists(SIZES.map(resized), max_size=2) | st.just([]),
    st.lists(PARTS, max_size=4),
)
FILL = inserted(b"first", b"1") + inserted(b"second", b"2") + inserted(b"third", b"3")


@given(st.lists(BLOCKS | PARTS, min_size=1, max_size=5), st.data())
def test_blocks_that_come_again_mean_what_they_mean_by_then(pool: list[bytes], data: st.DataObject) -> None:
    check([FILL, *data.draw(st.lists(st.sampled_from(pool), max_size=20))])


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_any_bytes_are_understood_or_refused_as_hpack_does(blocks: list[bytes]) -> None:
    check([FILL, *blocks])


A, B, C = (b"a", b"1"), (b"b", b"2"), (b"c", b"3")
PUT_A, PUT_B = inserted(*A), inserted(*B)
IT = indexed(NEWEST)


@pytest.mark.parametrize(
    ("blocks", "last"),
    [
        # What is inserted moves all the others, wherever in a block it is.
        ([PUT_A, IT, PUT_B, IT], (B,)),
        ([PUT_A, IT, IT + PUT_B, IT], (B,)),
        ([PUT_A, IT, passing(*C) + PUT_B, IT], (B,)),
        ([PUT_A, IT, IT + passing(*C) + PUT_B, IT], (B,)),
        ([PUT_A, IT, PUT_B + passing(*C), IT], (B,)),
        ([PUT_A, IT, IT + integer(NEWEST, 6, 0x40) + string(b"9"), IT], ((b"a", b"9"),)),
        ([PUT_A, IT + PUT_B, IT + PUT_B], (B, B)),
        ([PUT_A, IT + indexed(2), PUT_B, IT + indexed(2)], (B, (b":method", b"GET"))),
        ([PUT_A, IT + passing(*C), PUT_B, IT + passing(*C)], (B, C)),
        # What is not leaves them where they are.
        ([PUT_A, IT, IT + passing(*C), IT], (A,)),
        ([PUT_A, IT, b"\x10" + passing(*C)[1:], IT], (A,)),
        # A table that shrinks drops what does not fit, and does not have it back.
        ([PUT_A, IT, resized(0), IT], COMPRESSION_ERROR),
        ([PUT_A, IT, resized(0) + resized(TABLE), IT], COMPRESSION_ERROR),
        ([PUT_A, IT, resized(0) + resized(TABLE) + PUT_B, IT], (B,)),
        ([PUT_A, IT, resized(0) + passing(*C), IT], COMPRESSION_ERROR),
        ([PUT_A, IT, resized(0) + indexed(2), IT], COMPRESSION_ERROR),
        ([PUT_A + PUT_B, IT, resized(40), IT, indexed(NEWEST + 1)], COMPRESSION_ERROR),
        ([PUT_A, IT, inserted(b"large", bytes(TABLE)), IT], COMPRESSION_ERROR),
    ],
)
def test_what_was_known_of_a_block_is_forgotten_when_the_table_changes(
    blocks: list[bytes], last: Headers | int
) -> None:
    assert check(blocks)[-1] == last
    assert len(check(blocks)) == len(blocks)


@pytest.mark.parametrize("table", [resized(0), resized(TABLE)])
@pytest.mark.parametrize(
    "before", [indexed(2), indexed(2) * 3, indexed(2) * 40, passing(*C), indexed(2) + PUT_A], ids=len
)
def test_a_table_is_not_resized_in_the_middle_of_a_block(before: bytes, table: bytes) -> None:
    assert check([before + table]) == [COMPRESSION_ERROR]
    assert check([before, table + before, before + table])[2:] == [COMPRESSION_ERROR]


def test_a_table_that_is_to_be_larger_than_allowed_is_refused() -> None:
    assert check([resized(TABLE)]) == [()]
    assert check([resized(TABLE + 1)]) == [COMPRESSION_ERROR]


@pytest.mark.parametrize("name", [b"a", b"a" * 126, b"a" * 127, b"a" * 128])
def test_many_known_blocks_are_still_right(name: bytes) -> None:
    places = [indexed(place) for place in range(1, NEWEST)]
    blocks = [PUT_A, *(one + other for one in places[:20] for other in places[:20]), PUT_B, IT]
    assert check([*blocks, inserted(name, b""), *blocks])[-1] == (B,)


def test_headers_that_are_small_but_name_large_ones_are_refused() -> None:
    large = inserted(b"name", bytes(TABLE - 32 - 4))
    most = MAX_HEADERS // TABLE
    assert len(check([large, IT * most, IT * most])) == 3
    for count in (most + 1, most + 20, 16_000):
        assert check([large, IT * most, IT * count])[2:] == [ENHANCE_YOUR_CALM]


def test_headers_that_are_large_are_refused() -> None:
    fits = passing(b"name", bytes(MAX_HEADERS - 32 - 4))
    assert len(check([fits, fits])) == 2
    assert check([passing(b"name", bytes(MAX_HEADERS - 32 - 3))]) == [ENHANCE_YOUR_CALM]
    assert check([passing(b"", b"") * (MAX_HEADERS // 32 + 1)]) == [ENHANCE_YOUR_CALM]


@pytest.mark.parametrize(
    "block", [b"\xff" + b"\x80" * 60_000, b"\0\xff" + b"\xff" * 60_000, b"\0\1a\xff" + b"x" * 9], ids=len
)
def test_the_complaint_about_a_block_is_shorter_than_the_block(block: bytes) -> None:
    with pytest.raises(ProtocolError, match="unreadable headers") as error:
        HeaderDecoder().decode(block)
    assert error.value.code == COMPRESSION_ERROR
    assert len(str(error.value)) < 200


# -- encoding ---------------------------------------------------------------------------------------------------------


@given(st.lists(LISTS | SIZES, max_size=12), st.data())
def test_whatever_is_encoded_is_understood_by_a_peer_with_any_table(
    steps: list[Headers | int], data: st.DataObject
) -> None:
    if steps:
        steps += data.draw(st.lists(st.sampled_from(steps), max_size=8))
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.limit_table(step)
            decoder.max_allowed_table_size = step
        else:
            decoded = decoder.decode(encoder.encode(step), raw=True)
            assert tuple((bytes(name), bytes(value)) for name, value in decoded) == step


def test_headers_that_come_again_are_a_byte_each() -> None:
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    headers = (A, B, C)
    assert tuple(decoder.decode(encoder.encode(headers), raw=True)) == headers
    again = encoder.encode(headers)
    assert len(again) == len(headers)
    assert encoder.encode(headers) == again
    assert tuple(decoder.decode(again, raw=True)) == headers


def test_what_was_known_of_headers_is_forgotten_when_the_table_changes() -> None:
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    for headers in ((A,), (A,), (B,), (A,), (B,)):
        assert tuple(decoder.decode(encoder.encode(headers), raw=True)) == headers
    encoder.limit_table(0)
    decoder.max_allowed_table_size = 0
    for headers in ((A,), (A,)):
        assert tuple(decoder.decode(encoder.encode(headers), raw=True)) == headers


LENGTHS = [0, 1, 126, 127, 128, 254, 255, 256, 127 + 127, 127 + 128, 127 + 129, 127 + 16_383, 127 + 16_384]


@pytest.mark.parametrize("length", LENGTHS)
def test_literal_headers_of_any_length_are_understood(length: int) -> None:
    for headers in (((b"n" * length, b"value"),), ((b"name", b"v" * length), A)):
        assert tuple(hpack.Decoder().decode(encode_literally(headers), raw=True)) == headers


@given(LISTS)
def test_literal_headers_need_no_table_and_leave_it_alone(headers: Headers) -> None:
    decoder = hpack.Decoder()
    decoder.decode(PUT_A)
    for _ in range(2):
        assert tuple(decoder.decode(encode_literally(headers), raw=True)) == headers
    assert tuple(decoder.decode(IT, raw=True)) == (A,)


def test_success_is_a_byte() -> None:
    assert encode_literally(((b":status", b"200"),)) == b"\x88"
    assert tuple(hpack.Decoder().decode(encode_literally(((b":status", b"404"), A)), raw=True)) == (
        (b":status", b"404"),
        A,
    )
