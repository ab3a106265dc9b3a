"""What the node's log looks like: hclog's text, as the Go original's, or a JSON object per line."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

TRACE = 5
_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_LABELS = {number: name for name, number in _LEVELS.items()}

LEVELS = tuple(_LEVELS)
FORMATS = ("text", "json")


def configure(level: str, format: str, stream: TextIO = sys.stderr) -> None:
    """Sends all logs of the process to ``stream``.

    Args:
        level: The least that is shown, one of LEVELS.
        format: One of FORMATS.
        stream: Where to write.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(_LEVELS[level.lower()])
    for noisy in ("asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, _LEVELS[level.lower()]))


class TextFormatter(logging.Formatter):
    """``2026-11-23T09:27:55.270Z [INFO]  raft: initial configuration: index=0 servers=[]``."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        label = f"[{_label(record).upper()}]"
        line = f"{time}Z {label:<7} {record.name}: {record.getMessage()}"
        if fields := _fields(record):
            line += ": " + " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """hclog's JSON: ``@timestamp``, ``@level``, ``@module``, ``@message``, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "@level": _label(record),
            "@message": record.getMessage(),
            "@module": record.name,
            "@timestamp": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            **_fields(record),
        }
        if record.exc_info:
            document["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False, default=str)


def _label(record: logging.LogRecord) -> str:
    return _LABELS.get(record.levelno, record.levelname.lower())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def _quoted(value: object) -> str:
    """The value; in quotes if it holds anything but hclog's plain characters, with what can't be printed, or could be
    taken for the end of it, escaped."""
    text = str(value)
    if all("-" <= c <= "z" and c != "=" for c in text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + '"'
