"""What a word is to the log."""

from pyraft_lite.core.entry import ENTRY_OVERHEAD, check_size
from pyraft_lite.core.errors import CommandTooLargeError


class InvalidWordError(Exception):
    """A word that can't be added; the message says why."""


def encode_word(word: str) -> bytes:
    """The command that adds a word.

    Raises:
        InvalidWordError: the word holds a newline, or does not fit into a message to a peer.
    """
    if "\n" in word:
        raise InvalidWordError("invalid word: it must not hold a newline")
    command = word.encode()
    try:
        check_size(len(command) + ENTRY_OVERHEAD)
    except CommandTooLargeError as error:
        raise InvalidWordError(str(error)) from error
    return command
