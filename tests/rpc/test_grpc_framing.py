"""Messages on the wire."""

import gzip
import itertools
import tracemalloc

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.grpc_framing import Deframer, Frame, FramingError, compress, decompress, frame, is_supported

LIMIT = 1000
MESSAGES = st.lists(st.builds(Frame, st.booleans(), st.binary(max_size=60)), max_size=8)


def frames_of(chunks: list[bytes]) -> list[Frame]:
    """All frames that the chunks hold, each taken as soon as it is there."""
    deframer = Deframer(LIMIT)
    frames = []
    for chunk in chunks:
        deframer.put(chunk)
        while found := deframer.next():
            frames.append(found)
    assert deframer.is_empty
    return frames


def test_a_frame_is_a_flag_a_length_and_the_message() -> None:
    assert frame(b"abc") == b"\0\0\0\0\3abc"
    assert frame(b"", compressed=True) == b"\1\0\0\0\0"


@given(MESSAGES, st.lists(st.integers(0, 500)))
def test_frames_come_back_however_they_are_cut(messages: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame(each.payload, each.compressed) for each in messages)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    assert frames_of([stream[a:b] for a, b in itertools.pairwise(places)]) == messages


@given(st.lists(st.binary(max_size=20)))
def test_any_bytes_give_frames_or_an_error(chunks: list[bytes]) -> None:
    deframer = Deframer(LIMIT)
    taken = b""
    try:
        for chunk in chunks:
            deframer.put(chunk)
            while found := deframer.next():
                taken += frame(found.payload, found.compressed)
    except FramingError as error:
        assert error.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED)  # noqa: PT017
    assert b"".join(chunks).startswith(taken)


def test_a_frame_that_comes_byte_by_byte_takes_hardly_more_memory_than_it_has_bytes() -> None:
    deframer = Deframer(10**6)
    whole = frame(bytes(range(256)) * 2000)
    tracemalloc.start()
    try:
        for at in range(len(whole)):
            deframer.put(whole[at : at + 1])
            if at + 1 < len(whole):
                assert deframer.next() is None
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 1.5 * len(whole)
    assert deframer.next() == Frame(False, whole[5:])
    assert deframer.is_empty


def test_a_frame_is_not_empty_until_it_is_taken() -> None:
    deframer = Deframer(LIMIT)
    assert deframer.is_empty
    deframer.put(frame(b"abc")[:5])
    assert not deframer.is_empty
    assert deframer.next() is None
    assert not deframer.is_empty
    deframer.put(b"abc")
    assert not deframer.is_empty
    assert deframer.next() == Frame(False, b"abc")
    assert deframer.is_empty


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    deframer = Deframer(LIMIT)
    deframer.put(frame(bytes(LIMIT)))
    assert deframer.next() == Frame(False, bytes(LIMIT))
    deframer.put(frame(bytes(LIMIT + 1))[:5])
    with pytest.raises(FramingError, match="1001 vs") as refused:
        deframer.next()
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@given(message=st.binary(max_size=LIMIT))
def test_compression_can_be_undone(encoding: bytes, message: bytes) -> None:
    assert is_supported(encoding)
    assert decompress(compress(message, encoding), encoding, LIMIT) == message


@given(st.binary(max_size=100), st.sampled_from([b"gzip", b"deflate", b"identity"]))
def test_what_is_not_compressed_is_an_error(payload: bytes, encoding: bytes) -> None:
    with pytest.raises(FramingError) as refused:
        decompress(payload, encoding, LIMIT)
    assert refused.value.code is grpc.StatusCode.INTERNAL


def test_what_decompresses_to_the_limit_is_taken_and_more_is_not() -> None:
    assert decompress(gzip.compress(bytes(LIMIT)), b"gzip", LIMIT) == bytes(LIMIT)
    with pytest.raises(FramingError) as refused:
        decompress(gzip.compress(bytes(LIMIT + 1)), b"gzip", LIMIT)
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_identity_is_supported_and_others_are_not() -> None:
    assert is_supported(b"identity")
    assert not is_supported(b"snappy")
