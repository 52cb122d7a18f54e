"""What a service says to its operator: one line for each thing that happened, as text or as JSON.

A line has a message, which is a sentence without numbers, and fields. Who says it is set up once; passwords in URLs never
come through.
"""

import datetime as dt
import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

Style = Literal["text", "json"]
LOG = logging.getLogger("fedkseed")
FIELDS = "fedkseed"  # the attribute of a record that holds them
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^@\s/]*@")


def info(message: str, **fields: Any) -> None:
    """Say what happened."""
    LOG.info(message, extra={FIELDS: fields})


def warning(message: str, **fields: Any) -> None:
    """Say what somebody should look at, if it stays so."""
    LOG.warning(message, extra={FIELDS: fields})


def set_up(style: Style, who: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Have everything that is said written down; once for each process.

    Args:
        style: of the lines.
        who: fields of every line in JSON: federation, service, client.
        stream: where they go; standard error without it.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json(who) if style == "json" else Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class Text(logging.Formatter):
    """`2026-03-01 18:51:20,123 INFO message field=value ...`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a name of the standard library's
        """The line without a traceback."""
        fields = "".join(f" {name}={_word(value)}" for name, value in getattr(record, FIELDS, {}).items())
        return super().formatMessage(record) + fields

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        return without_passwords(super().format(record))


class Json(logging.Formatter):
    """One object for each line: time, level, message, who says it, and the fields.

    Args:
        who: fields of every line.
    """

    def __init__(self, who: Mapping[str, str]) -> None:
        super().__init__()
        self._who = dict(who)

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        fields = {name: _finite(value) for name, value in getattr(record, FIELDS, {}).items()}
        return without_passwords(json.dumps({**line, **self._who, **fields}, default=str))


def without_passwords(text: str) -> str:
    """The same text, with the passwords of URLs left out."""
    return _PASSWORD.sub(r"\1:...@", text)


def _finite(value: Any) -> Any:
    """A value as JSON knows it: it has no word for what is not a number."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {name: _finite(part) for name, part in value.items()}
        case _:
            return value


def _word(value: Any) -> str:
    """A value as text: numbers short, and anything with spaces in quotes; nobody else begins a line or moves the cursor."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text) if not text or not text.isprintable() or re.search(r'[\s"=]', text) else text
