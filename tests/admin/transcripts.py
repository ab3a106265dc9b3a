"""The recorded runs of the Go raftadmin (tests/data/transcript-*.txt)."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"

_HEAD = re.compile(r"### (?P<name>\S+): raftadmin ?(?P<arguments>.*?)   rc=(?P<code>\d+) ")
_TIME = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?=\S)", re.MULTILINE)
_TOKEN = re.compile(r"\b[0-9a-f]{40}\b")


@dataclass(frozen=True)
class Run:
    """One run: what was typed, and how it ended."""

    name: str
    arguments: tuple[str, ...]
    code: int
    stderr: str


def runs(transcript: str) -> Iterator[Run]:
    """All runs of raftadmin that came to an end."""
    for block in re.split(r"^(?=### )", (DATA / transcript).read_text(), flags=re.MULTILINE):
        if head := _HEAD.match(block):
            lines = [line.removeprefix("  stderr| ") for line in block.split("\n") if line.startswith("  stderr|")]
            yield Run(head["name"], tuple(shlex.split(head["arguments"])), int(head["code"]), normal("\n".join(lines)))


def normal(stderr: str) -> str:
    """The output without what differs from run to run: times, tokens, and Go's taste in spaces."""
    text = _TOKEN.sub("TOKEN", _TIME.sub("", stderr.expandtabs()))
    return "\n".join(line.replace(":  ", ": ").rstrip() for line in text.rstrip().split("\n"))
