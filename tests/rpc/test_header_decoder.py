"""Header blocks that come again and again, against the library's own decoder."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.http2.frames import ProtocolError
from pyraft_lite.rpc.http2.headers import HeaderDecoder, Headers, encode_literally

NAMES = st.sampled_from([b"grpc-status", b"grpc-timeout", b"x", b":status"])
VALUES = st.sampled_from([b"0", b"200", b"9", b"a" * 40])
HEADERS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3).map(tuple)


@given(st.lists(st.tuples(HEADERS, st.booleans()), max_size=30), st.sampled_from([0, 40, 100, 4096]))
def test_a_block_means_what_the_table_says_when_it_comes(blocks: list[tuple[Headers, bool]], table: int) -> None:
    """Blocks that leave the table alone, and such that do not, on a table that holds nothing, little or all."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    encoder.header_table_size = table
    for headers, literally in blocks:
        block = encode_literally(headers) if literally else encoder.encode(headers)
        assert decoder.decode(block) == headers
        if literally:
            assert decoder.decode(block) is decoder.decode(block)


def test_a_block_of_one_that_took_another_ones_place_is_not_mistaken_for_it() -> None:
    """Of a table with room for one, each new header has the same place; and its block may be the same, too."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    encoder.header_table_size = 40
    for number in range(300):
        value = b"%03d" % number
        assert decoder.decode(encoder.encode([(b"name", value)])) == ((b"name", value),)
        assert decoder.decode(b"\xbe") == ((b"name", value),)


def test_what_has_left_the_table_is_not_remembered() -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    decoder.decode(encoder.encode([(b"name", b"value")]))
    assert decoder.decode(b"\xbe") == ((b"name", b"value"),)
    decoder.decode(b"\x20\x82")  # A table of no bytes from here on.
    with pytest.raises(ProtocolError):
        decoder.decode(b"\xbe")


def test_what_is_remembered_is_bounded() -> None:
    decoder = HeaderDecoder()
    decoder.decode(encode_literally(((b"long", b"x" * 1000),)))
    for number in range(1000):
        decoder.decode(encode_literally(((b"grpc-message", b"%d" % number),)))
    assert len(decoder._known) == 256
    assert max(map(len, decoder._known)) < 256
