"""Timeouts, statuses and metadata on the wire."""

import urllib.parse

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.grpc_headers import (
    MetadataError,
    decode_metadata,
    encode_metadata,
    encode_status,
    encode_timeout,
    parse_timeout,
    percent_encode,
)

ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
METADATA = st.lists(
    st.tuples(st.from_regex(r"x[a-z0-9_.-]{0,8}y", fullmatch=True), ASCII)
    | st.tuples(st.from_regex(r"x[a-z]{0,8}-bin", fullmatch=True), st.binary(max_size=30))
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 0.000005), (b"6n", 6e-9), (b"00000000S", 0)],
)
def test_a_timeout_is_a_number_and_a_unit(value: bytes, seconds: float) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"1.0S", b"1S ", "१S".encode()])
def test_anything_else_is_no_timeout(value: bytes) -> None:
    with pytest.raises(ValueError, match="invalid grpc-timeout"):
        parse_timeout(value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_message_is_printable_and_can_be_read_back(text: str) -> None:
    encoded = percent_encode(text)
    assert all(32 <= byte <= 126 for byte in encoded)
    assert urllib.parse.unquote_to_bytes(encoded).decode() == text


def test_a_lone_surrogate_does_not_keep_a_message_from_being_sent() -> None:
    assert percent_encode("a\ud800b") == b"a?b"


def test_a_status_has_a_message_only_if_there_is_one() -> None:
    assert encode_status(grpc.StatusCode.OK, "") == ((b"grpc-status", b"0"),)
    expected = ((b"grpc-status", b"5"), (b"grpc-message", b"no such %25"))
    assert encode_status(grpc.StatusCode.NOT_FOUND, "no such %") == expected


@given(METADATA)
def test_metadata_comes_back(metadata: list[tuple[str, str | bytes]]) -> None:
    assert list(decode_metadata(encode_metadata(metadata))) == metadata


@pytest.mark.parametrize("value", [b"YQ", b"YQ==", b"YQ=", b" YQ== "])
def test_binary_metadata_may_be_padded_or_not(value: bytes) -> None:
    assert decode_metadata([(b"some-bin", value)]) == (("some-bin", b"a"),)


def test_binary_metadata_may_be_several_values_joined() -> None:
    expected = (("some-bin", b"a"), ("some-bin", b"b"), ("some-bin", b""))
    assert decode_metadata([(b"some-bin", b"YQ==,Yg,")]) == expected


def test_names_go_out_in_lower_case() -> None:
    assert encode_metadata((("Some-Name", "Value"),)) == ((b"some-name", b"Value"),)


def test_what_http2_and_grpc_have_a_use_for_is_no_metadata() -> None:
    names = (b"content-type", b"te", b"host", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding")
    assert decode_metadata([*((name, b"x") for name in names), (b"user-agent", b"me")]) == (("user-agent", "me"),)


def test_binary_metadata_that_is_not_base64_is_refused_with_its_name() -> None:
    with pytest.raises(MetadataError, match="invalid metadata some-bin"):
        decode_metadata([(b"some-bin", b"!")])


def test_text_metadata_that_is_not_ascii_is_refused_with_its_name() -> None:
    with pytest.raises(MetadataError, match=r"invalid metadata some: .*ascii"):
        decode_metadata([(b"some", "é".encode())])


@pytest.mark.parametrize(
    ("seconds", "encoded"),
    [
        (1.0, b"1S"),
        (60.0, b"60S"),
        (59.987, b"60S"),
        (61.0, b"61S"),
        (99.1, b"100S"),
        (86_400.0, b"87000S"),
        (0.3, b"300m"),
        (0.1234, b"130m"),
        (0.1, b"100m"),
        (0.0051234, b"5200u"),
        (0.0000123, b"13u"),
        (1e-9, b"1u"),
        (0.0, b"1u"),
        (-1.0, b"1u"),
    ],
)
def test_a_timeout_is_rounded_up_to_two_digits(seconds: float, encoded: bytes) -> None:
    assert encode_timeout(seconds) == encoded


@given(st.floats(1e-6, 9e7))
def test_a_timeout_is_never_less_and_hardly_more(seconds: float) -> None:
    assert seconds * (1 - 1e-9) <= parse_timeout(encode_timeout(seconds)) <= seconds * 1.1 + 1e-6
