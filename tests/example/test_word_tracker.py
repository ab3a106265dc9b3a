"""The state machine: which words it keeps, and that a snapshot brings them back."""

import io
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.core.entry import Entry, EntryType
from raftexample.application import WordTracker

DISK_FORMAT = Path(__file__).parent.parent / "data" / "disk-format.txt"
WORD = "éénduizend negenhonderdnegenennegentig"

commands = st.one_of(st.binary(max_size=12), st.text("aé\n\0�", max_size=6).map(str.encode))


def command(data: bytes) -> Entry:
    return Entry(index=1, term=1, type=EntryType.COMMAND, data=data)


def tracker_of(commands: Iterable[bytes]) -> WordTracker:
    tracker = WordTracker()
    for data in commands:
        tracker.apply(command(data))
    return tracker


def snapshot_of(tracker: WordTracker) -> bytes:
    written = io.BytesIO()
    tracker.snapshot().persist(written)
    return written.getvalue()


def restored(snapshot: bytes) -> WordTracker:
    tracker = tracker_of([b"of before the restore, which replaces it"])
    tracker.restore(io.BytesIO(snapshot))
    return tracker


def test_a_new_tracker_has_three_empty_words() -> None:
    assert WordTracker().words == ("", "", "")


@pytest.mark.parametrize(
    ("words", "best"),
    [
        # As the original was seen to answer.
        (["hello", "hello", ""], ("hello", "hello", "")),
        (["hello", "hello", "", "abcde"], ("abcde", "hello", "hello")),
        (["abcde", "hello", "hello", "after-config"], ("after-config", "abcde", "hello")),
        (["after-config", "two-of-three", "abcde"], ("after-config", "two-of-three", "abcde")),
        (["after-config", "two-of-three", "one-of-three"], ("after-config", "one-of-three", "two-of-three")),
        # Bytes of UTF-8 count, and not letters.
        (["één", "drie", "aaaaa"], ("aaaaa", "één", "drie")),
        # Capitals come first, and what is not ASCII last.
        (["éa", "zzz", "ZZZ", "aaa"], ("ZZZ", "aaa", "zzz")),
    ],
)
def test_the_longest_words_are_kept_and_equally_long_ones_in_the_order_of_their_bytes(
    words: list[str], best: tuple[str, ...]
) -> None:
    assert tracker_of(word.encode() for word in words).words == best


def test_hammers_words_have_the_longest_that_the_original_found() -> None:
    words = (Path(__file__).parent.parent / "data" / "words.txt").read_bytes().splitlines()
    assert tracker_of(words).words == (
        WORD,
        "éénduizend negenhonderdnegenenzeventig",
        "éénduizend negenhonderdzevenennegentig",
    )


@given(st.lists(commands, max_size=8), st.randoms(use_true_random=False))
def test_the_order_in_which_words_come_does_not_matter(words: list[bytes], chance: random.Random) -> None:
    shuffled = list(words)
    chance.shuffle(shuffled)
    assert tracker_of(shuffled).words == tracker_of(words).words


@pytest.mark.parametrize(
    ("data", "word"), [(b"a\nb", "a b"), (b"\n", " "), (b"a\xffb", "a\ufffdb"), (b"\xe2\x82", "\ufffd")]
)
def test_what_a_word_cannot_hold_is_replaced(data: bytes, word: str) -> None:
    assert tracker_of([data]).words == (word, "", "")


@given(st.lists(commands, max_size=8))
def test_a_snapshot_brings_back_what_was_saved(words: list[bytes]) -> None:
    tracker = tracker_of(words)
    assert restored(snapshot_of(tracker)).words == tracker.words


@given(st.lists(commands, max_size=8), st.lists(commands, max_size=4))
def test_a_replica_restored_from_a_snapshot_stays_equal(before: list[bytes], after: list[bytes]) -> None:
    copy = restored(snapshot_of(tracker_of(before)))
    for data in after:
        copy.apply(command(data))
    assert copy.words == tracker_of([*before, *after]).words


def test_a_snapshot_keeps_the_words_of_its_moment() -> None:
    tracker = tracker_of([b"before"])
    snapshot = tracker.snapshot()
    tracker.apply(command(b"afterwards"))
    written = io.BytesIO()
    snapshot.persist(written)
    assert written.getvalue() == b"before\n\n"


def test_the_originals_snapshot_is_restored_and_written_alike() -> None:
    name, _, state = DISK_FORMAT.read_text(encoding="utf-8").rpartition("/state.bin\n")
    assert name, "the file ends with a snapshot's state"
    snapshot = state.removesuffix("\n").encode()
    tracker = restored(snapshot)
    assert tracker.words == ("x" * 60, WORD, WORD)
    assert snapshot_of(tracker) == snapshot
