"""Log lines with their facts: what was given as `extra`, such as run, thread and dispatch ids."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, TextIO

from awaken.protocols.native.http.respond import abandoned

_STANDARD: Final = frozenset(
    [*logging.makeLogRecord({}).__dict__, "message", "asctime", "color_message", "taskName"]
)


def set_up_logging(form: str, level: str, stream: TextIO | None = None) -> None:
    """Make the process write its log lines to `stream` (stderr) as `text` or `json`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addFilter(_not_on_purpose)
    if level != "debug":
        uvicorn.setLevel(logging.WARNING)


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`."""
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """One line: time, level, logger, message, and the facts as `key=value`."""

    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        told = "".join(f" {key}={value}" for key, value in facts(record).items())
        name = record.name.removeprefix("awaken.")
        line = (
            f"{self.formatTime(record)} {record.levelname.lower()} {name}: "
            f"{record.getMessage()}{told}"
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _not_on_purpose(record: logging.LogRecord) -> bool:
    """A connection that we cut is no trouble that uvicorn need complain about."""
    return not (
        abandoned.get()
        and record.getMessage() == "ASGI callable returned without completing response."
    )
