"""Records: what is read is what was written under this very key, or an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.core.entry import NANOSECONDS, ZERO_TIME, Entry, EntryType
from pyraft_lite.storage.records import (
    decode_entry,
    decode_index,
    decode_term,
    encode_entry,
    encode_index,
    seal,
    unseal,
)

U64 = st.integers(0, 2**64 - 1)
entries = st.builds(
    Entry,
    index=st.integers(1, 2**64 - 1),
    term=U64,
    type=st.sampled_from(EntryType),
    data=st.binary(),
    extensions=st.binary(),
    appended_at=st.integers(ZERO_TIME, 2**63 * NANOSECONDS - 1),
)


@given(entries)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    record = encode_entry(entry)
    assert decode_entry(entry.index, record) == entry
    assert decode_term(entry.index, record) == entry.term


@given(st.tuples(U64, U64))
def test_keys_sort_as_indexes(indexes: tuple[int, int]) -> None:
    low, high = sorted(indexes)
    assert encode_index(low) <= encode_index(high)
    assert decode_index(encode_index(low)) == low


@given(st.binary(), st.binary(), st.data())
def test_any_flipped_bit_is_found(key: bytes, value: bytes, data: st.DataObject) -> None:
    record = bytearray(seal(key, value))
    assert bytes(unseal(key, bytes(record))) == value
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="checksum is wrong"):
        unseal(key, bytes(record))


def test_a_record_under_another_key_is_refused() -> None:
    record = encode_entry(Entry(5, 1, EntryType.COMMAND, b"x"))
    for read in (decode_entry, decode_term):
        with pytest.raises(ValueError, match="checksum is wrong"):
            read(6, record)


@pytest.mark.parametrize("size", range(4))
def test_a_record_without_a_checksum_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"only {size} bytes"):
        unseal(b"key", bytes(size))


def test_a_type_of_a_later_program_is_refused() -> None:
    value = bytearray(encode_entry(Entry(1, 1, EntryType.COMMAND))[4:])
    value[8] = 200
    with pytest.raises(ValueError, match="200 is not a valid EntryType"):
        decode_entry(1, seal(encode_index(1), bytes(value)))


def test_a_head_that_is_cut_or_points_past_the_end_is_refused() -> None:
    entry = Entry(1, 1, EntryType.COMMAND, b"", b"ext")
    value = encode_entry(entry)[4:]
    for damaged in (b"", value[:24], value[:-1]):
        with pytest.raises(ValueError, match="cut"):
            decode_entry(1, seal(encode_index(1), damaged))


@pytest.mark.parametrize("key", [b"", b"short", b"much too long"])
def test_a_key_that_is_no_index_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="no index"):
        decode_index(key)
