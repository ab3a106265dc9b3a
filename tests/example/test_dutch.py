"""The words that hammer sends are those of the original's library."""

import hashlib
from pathlib import Path

import pytest

from raftexample.dutch import number_word

RECORDED = Path(__file__).parent.parent / "data" / "words.txt"
RECORDED_SHA256 = "0b1f226ede86cc6dc2cba0251332dffa5afb7c07b18e81929e173db894721f7a"


def test_the_words_for_1_to_1999_are_the_recorded_ones() -> None:
    assert [number_word(number) for number in range(1, 2000)] == RECORDED.read_text(encoding="utf-8").splitlines()


def test_the_recorded_words_are_unchanged() -> None:
    assert hashlib.sha256(RECORDED.read_bytes()).hexdigest() == RECORDED_SHA256


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (0, "nul"),
        (2000, "tweeduizend"),
        (2001, "tweeduizend één"),
        (21_000, "éénentwintigduizend"),
        (100_000, "honderdduizend"),
        (999_999, "negenhonderdnegenennegentigduizend negenhonderdnegenennegentig"),
    ],
)
def test_the_words_go_from_0_to_999999(number: int, word: str) -> None:
    assert number_word(number) == word


def test_no_two_numbers_have_the_same_word() -> None:
    assert len({number_word(number) for number in range(100_000)}) == 100_000


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_a_number_out_of_range_is_refused_by_name(number: int) -> None:
    with pytest.raises(ValueError, match=f"no word for {number}: it must be 0 to 999999"):
        number_word(number)
