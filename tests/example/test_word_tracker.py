"""The word tracker, a state machine."""

import io
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.rpc.pb.example_pb2 import GetWordsResponse
from raftexample.application import WordTracker

DISK_FORMAT = Path(__file__).resolve().parent.parent / "data" / "disk-format.txt"


def tracker_of(commands: Iterable[str | bytes], tracker: WordTracker | None = None) -> WordTracker:
    """The tracker after these commands."""
    tracker = tracker or WordTracker()
    for index, command in enumerate(commands, 1):
        data = command.encode() if isinstance(command, str) else command
        tracker.apply(Entry(index, 1, EntryType.COMMAND, data))
    return tracker


def snapshot_of(tracker: WordTracker) -> bytes:
    sink = io.BytesIO()
    tracker.snapshot().persist(sink)
    return sink.getvalue()


def restored(snapshot: bytes) -> WordTracker:
    tracker = WordTracker()
    tracker.restore(io.BytesIO(snapshot))
    return tracker


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ([], ("", "", "")),
        (["hello", "hello", ""], ("hello", "hello", "")),
        (["hello", "hello", "", "abcde"], ("abcde", "hello", "hello")),
        (["hello", "hello", "abcde", "after-config"], ("after-config", "abcde", "hello")),
        (["abcde", "after-config", "two-of-three"], ("after-config", "two-of-three", "abcde")),
        (["after-config", "two-of-three", "one-of-three"], ("after-config", "one-of-three", "two-of-three")),
        (["ee", "é"], ("ee", "é", "")),
        (["eee", "éé"], ("éé", "eee", "")),
        (["één", "drie", "aaaaa"], ("aaaaa", "één", "drie")),
        (["éa", "zzz", "ZZZ", "aaa"], ("ZZZ", "aaa", "zzz")),
    ],
    ids=repr,
)
def test_the_three_longest_in_bytes_come_longest_first_and_ties_in_the_order_of_bytes(
    commands: list[str], words: tuple[str, ...]
) -> None:
    assert tracker_of(commands).words == words


def test_the_words_of_hammer_come_as_from_the_original() -> None:
    from raftexample.dutch import number_word

    assert tracker_of(number_word(number) for number in range(1, 2000)).words == (
        "éénduizend negenhonderdnegenennegentig",
        "éénduizend negenhonderdnegenenzeventig",
        "éénduizend negenhonderdzevenennegentig",
    )


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (b"line1\nline2", "line1 line2"),
        (b"\n", " "),
        (b"carriage\rreturn\tand\x00nul", "carriage\rreturn\tand\x00nul"),
        ("next\x85line\u2028separator".encode(), "next\x85line\u2028separator"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf0\x9f\x98", "\ufffd"),
    ],
)
def test_what_a_word_must_not_hold_is_replaced_when_applied(command: bytes, word: str) -> None:
    assert tracker_of([command]).words == (word, "", "")


COMMANDS = st.lists(st.binary(max_size=8) | st.text(max_size=8) | st.sampled_from(["\n", "a\nb", b"\xff", ""]))


@given(before=COMMANDS, after=COMMANDS)
def test_a_snapshot_brings_back_what_was_there_and_what_follows_is_the_same(
    before: list[str | bytes], after: list[str | bytes]
) -> None:
    without = tracker_of(before)
    snapshot = snapshot_of(without)
    through = restored(snapshot)
    assert through.words == without.words
    assert snapshot_of(through) == snapshot
    assert tracker_of(after, through).words == tracker_of(after, without).words


@given(commands=COMMANDS, chance=st.randoms(use_true_random=False))
def test_the_order_in_which_words_come_does_not_matter(commands: list[str | bytes], chance: random.Random) -> None:
    shuffled = list(commands)
    chance.shuffle(shuffled)
    assert tracker_of(shuffled).words == tracker_of(commands).words


@given(commands=COMMANDS)
def test_whatever_was_applied_can_be_sent(commands: list[str | bytes]) -> None:
    words = tracker_of(commands).words
    assert (
        tuple(GetWordsResponse.FromString(GetWordsResponse(best_words=words).SerializeToString()).best_words) == words
    )


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        ("xxxxx\néén\n".encode(), ("xxxxx", "één", "")),
        (b"a\nb\nc", ("a", "b", "c")),
        (b"line1\nline2\nafter-config\none-of-three", ("line1", "line2", "after-config")),
        (b"\n\n", ("", "", "")),
        (b"", ("", "", "")),
        (b"caf\xe9\n\n", ("caf\ufffd", "", "")),
    ],
)
def test_a_snapshot_of_the_original_is_restored(snapshot: bytes, words: tuple[str, ...]) -> None:
    assert restored(snapshot).words == words


def test_the_recorded_snapshot_of_the_original_is_restored_and_written_alike() -> None:
    _, _, state = DISK_FORMAT.read_text().rpartition("/state.bin\n")
    snapshot = state.removesuffix("\n").encode()
    tracker = restored(snapshot)
    longest_number = "éénduizend negenhonderdnegenennegentig"
    assert tracker.words == ("x" * 60, longest_number, longest_number)
    assert snapshot_of(tracker) == snapshot


def test_restoring_replaces_what_was_there() -> None:
    tracker = tracker_of(["a much longer word"])
    tracker.restore(io.BytesIO(b"a\n\n"))
    assert tracker.words == ("a", "", "")


def test_a_snapshot_is_of_the_moment_it_was_taken() -> None:
    tracker = tracker_of(["before"])
    snapshot = tracker.snapshot()
    tracker_of(["and afterwards"], tracker)
    sink = io.BytesIO()
    snapshot.persist(sink)
    assert sink.getvalue() == b"before\n\n"
