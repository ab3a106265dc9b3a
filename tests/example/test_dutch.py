"""The words hammer sends."""

import hashlib
from pathlib import Path

import pytest

from raftexample.dutch import number_word

WORDS = Path(__file__).resolve().parent.parent / "data" / "words.txt"


def test_the_words_for_1_to_1999_are_the_originals() -> None:
    words = "".join(f"{number_word(number)}\n" for number in range(1, 2000))
    assert words == WORDS.read_text()
    assert hashlib.sha256(words.encode()).hexdigest() == (
        "0b1f226ede86cc6dc2cba0251332dffa5afb7c07b18e81929e173db894721f7a"
    )


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (0, "nul"),
        (2000, "tweeduizend"),
        (2001, "tweeduizend één"),
        (21_100, "éénentwintigduizend honderd"),
        (100_000, "honderdduizend"),
        (999_999, "negenhonderdnegenennegentigduizend negenhonderdnegenennegentig"),
    ],
)
def test_other_numbers_follow_the_same_rules(number: int, word: str) -> None:
    assert number_word(number) == word


def test_no_two_numbers_have_the_same_word() -> None:
    assert len({number_word(number) for number in range(100_000)}) == 100_000


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_a_number_without_a_word_is_named(number: int) -> None:
    with pytest.raises(ValueError, match=f"no word for {number}: it must be 0 to 999999"):
        number_word(number)
