"""Protobuf messages as text, written as Go writes it."""

import re

from google.protobuf import text_format
from google.protobuf.message import Message

_NESTED = re.compile(r"^( *\w+) \{$", re.MULTILINE)
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")


def multi_line(message: Message) -> str:
    """A field a line. Unlike Python, Go puts a colon before nested messages too, and escapes bytes in hexadecimal."""
    text = text_format.MessageToString(message, as_utf8=True)
    return _ESCAPE.sub(_escape, _NESTED.sub(r"\1: {", text))


def one_line(message: Message) -> str:
    """``name:value name:value``; for messages without nested ones."""
    return " ".join(line.replace(": ", ":", 1) for line in multi_line(message).split("\n") if line)


def _escape(python: re.Match[str]) -> str:
    code = python[1]
    if len(code) == 3:
        return f"\\x{int(code, 8):02x}"
    return "'" if code == "'" else python[0]
