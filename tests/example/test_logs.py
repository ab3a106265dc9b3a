"""What the log looks like."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftexample.logs import FORMATS, LEVELS, TRACE, JsonFormatter, TextFormatter, configure

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "server-nodeA.stderr"

_LINE = re.compile(r"(\S+)Z \[(\w+)\] +([\w-]+): (.*)")
_FIELDS = re.compile(r'([\w-]+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)')

TIME = 1795425909.1234567
"""2026-11-23T09:25:09 and a bit, UTC."""


def record(message: str, level: int = logging.INFO, name: str = "raft", **fields: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": name, "levelno": level, "levelname": "other", "msg": message})
    made.created = TIME
    if fields:
        made.fields = fields
    return made


def text(message: str, level: int = logging.INFO, name: str = "raft", **fields: Any) -> str:
    """A line without its time."""
    return TextFormatter().format(record(message, level, name, **fields)).partition("Z ")[2]


@pytest.fixture
def root() -> Iterator[None]:
    """Leaves logging as it was."""
    loggers = [logging.root, *(logging.getLogger(name) for name in ("asyncio", "grpc"))]
    levels, handlers = [logger.level for logger in loggers], list(logging.root.handlers)
    yield
    logging.root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


# -- text -----------------------------------------------------------------------------------------------------------


def test_the_lines_of_the_original_are_written_as_they_were() -> None:
    """Every line of the recorded log, taken apart and written again."""
    lines = GOLDEN.read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        parts = _LINE.fullmatch(line)
        assert parts
        level = int(logging.getLevelName(parts[2]))
        message, fields = parts[4], {}
        head, colon, tail = message.rpartition(": ") if "=" in message else (message, "", "")
        while colon and not _FIELDS.match(tail):
            head, colon, more = head.rpartition(": ")
            tail = f"{more}: {tail}"
        if colon and "".join(match[0] for match in _FIELDS.finditer(tail)) == tail:
            message = head
            fields = {m[1]: json.loads(m[2]) if m[2].startswith('"') else m[2] for m in _FIELDS.finditer(tail)}
        assert text(message, level, parts[3], **fields) == line.partition("Z ")[2]


def test_a_line_begins_with_the_time_in_utc_to_the_millisecond() -> None:
    assert TextFormatter().format(record("message")).startswith("2026-11-23T09:25:09.123Z [INFO]  raft: message")


@pytest.mark.parametrize(
    ("level", "label"),
    [
        (TRACE, "[TRACE] "),
        (logging.DEBUG, "[DEBUG] "),
        (logging.INFO, "[INFO]  "),
        (logging.WARNING, "[WARN]  "),
        (logging.ERROR, "[ERROR] "),
    ],
)
def test_levels_are_labelled_and_padded_as_hclogs(level: int, label: str) -> None:
    assert text("message", level) == f"{label}raft: message"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        ("", ""),
        ("[]", "[]"),
        ("nodeA", "nodeA"),
        ("één", '"één"'),
        ("100%", '"100%"'),
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("{Voter nodeB localhost:50052}", '"{Voter nodeB localhost:50052}"'),
        ("a=b", '"a=b"'),
        ('say "no"', r'"say \"no\""'),
        ("C:\\path", "C:\\path"),
        ("C:\\my path", r'"C:\\my path"'),
        ("two\nlines", r'"two\nlines"'),
        ("\x1b[31m", r'"\x1b[31m"'),
        ("a\x85b\u2028c", r'"a\x85b\u2028c"'),
    ],
)
def test_a_value_is_quoted_if_it_would_not_stand_for_itself(value: object, shown: str) -> None:
    assert text("message", key=value) == f"[INFO]  raft: message: key={shown}"


def test_an_exception_comes_with_its_traceback() -> None:
    assert re.fullmatch(
        r"\[ERROR\] raft: no\nTraceback .*\nKeyError: 1", failed(TextFormatter()).partition("Z ")[2], re.S
    )


def failed(formatter: logging.Formatter, **fields: str) -> str:
    """What a formatter makes of a record of an exception."""
    try:
        raise KeyError(1)
    except KeyError as error:
        made = record("no", logging.ERROR, **fields)
        made.exc_info = (type(error), error, error.__traceback__)
    return formatter.format(made)


# -- json -----------------------------------------------------------------------------------------------------------


def test_a_json_line_has_hclogs_keys_and_the_fields_beside_them() -> None:
    line = JsonFormatter().format(record("two\nlines", logging.WARNING, index=7, path=Path("a b")))
    assert "\n" not in line
    assert json.loads(line) == {
        "@level": "warn",
        "@message": "two\nlines",
        "@module": "raft",
        "@timestamp": "2026-11-23T09:25:09.123457Z",
        "index": 7,
        "path": "a b",
    }


def test_the_traceback_in_a_json_line_hides_no_field() -> None:
    document = json.loads(failed(JsonFormatter(), error="a field"))
    assert document["error"] == "a field"
    assert document["stacktrace"].endswith("KeyError: 1")


# -- configure ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("format", FORMATS)
def test_records_with_fields_reach_the_stream_once_however_often_it_is_configured(format: str) -> None:
    stream = io.StringIO()
    configure("info", format)
    configure("INFO", format, stream)
    logging.getLogger("raft").info("initial configuration", extra={"fields": {"index": 0}})
    logging.getLogger("raft").debug("not shown")
    [line] = stream.getvalue().splitlines()
    if format == "json":
        assert json.loads(line)["index"] == 0
    else:
        assert line.endswith("[INFO]  raft: initial configuration: index=0")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("level", "shown"), list(zip(LEVELS, range(5, 0, -1), strict=True)))
def test_only_what_matters_at_the_level_is_shown(level: str, shown: int) -> None:
    stream = io.StringIO()
    configure(level, "text", stream)
    for number in (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("raft").log(number, "message")
    assert len(stream.getvalue().splitlines()) == shown


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("name", ["asyncio", "grpc"])
def test_what_libraries_chat_about_is_not_shown(name: str) -> None:
    stream = io.StringIO()
    configure("trace", "text", stream)
    logging.getLogger(name).info("chat")
    logging.getLogger(name).warning("news")
    assert "chat" not in stream.getvalue()
    assert "news" in stream.getvalue()
