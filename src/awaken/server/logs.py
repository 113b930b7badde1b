"""Log lines with their facts: what was given as `extra`, and the ids of what they are about.

The ids are bound once, at the HTTP edge (`measure.py`) and where an attempt begins (`attempts.py`),
and stand on every line that is written meanwhile, whoever writes it. The text of an exception may
quote what a user or a model said, so it is written from warnings on only. Secrets are taken out
behind the formatters (`security_redaction.py`).
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar, Token
from typing import Any, Final, TextIO

from awaken.protocols.native.http.respond import abandoned

_STANDARD: Final = frozenset(
    [*logging.makeLogRecord({}).__dict__, "message", "asctime", "color_message", "taskName"]
)

_about: ContextVar[dict[str, str] | None] = ContextVar("awaken.log_ids", default=None)


# --- what lines are about ------------------------------------------------------------------------


def bind(**ids: str | None) -> Token[dict[str, str] | None]:
    """From here on, in this task and those it starts, lines are about `ids` and nothing else."""
    return _about.set({name: value for name, value in ids.items() if value is not None})


def unbind(token: Token[dict[str, str] | None]) -> None:
    """Lines are about what they were about before."""
    _about.reset(token)


def note(**ids: str | None) -> None:
    """What is bound is about `ids` too; does nothing where nothing is bound."""
    bound = _about.get()
    if bound is not None:
        bound.update({name: value for name, value in ids.items() if value is not None})


def noted(name: str) -> str | None:
    """The id of that name lines are about."""
    return (_about.get() or {}).get(name)


class AddIds(logging.Filter):
    """Puts the bound ids on records. For handlers of applications that log their own way."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in (_about.get() or {}).items():
            record.__dict__.setdefault(name, value)
        return True


# --- lines ---------------------------------------------------------------------------------------


def set_up_logging(form: str, level: str, stream: TextIO | None = None) -> None:
    """Make the process write its log lines to `stream` (stderr) as `text` or `json`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(AddIds())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addFilter(_not_on_purpose)
    if level != "debug":
        for chatty in ("uvicorn.error", "httpx", "httpcore"):  # of requests, addresses included
            logging.getLogger(chatty).setLevel(logging.WARNING)


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`, and what the line is about."""
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def told(record: logging.LogRecord, formatter: logging.Formatter) -> str | None:
    """The exception of a line; of one that is no warning, where it was raised and of what kind."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    if record.levelno >= logging.WARNING:
        return formatter.formatException(record.exc_info)
    kind, _, stack = record.exc_info
    return "".join([*traceback.format_tb(stack), kind.__qualname__])


class TextFormatter(logging.Formatter):
    """One line: time, level, logger, message, and the facts as `key=value`."""

    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix("awaken.")
        pairs = "".join(f" {key}={value}" for key, value in facts(record).items())
        # What others chose may hold a line break, and must not look like a line of its own.
        said = f"{record.getMessage()}{pairs}".replace("\n", "\\n")
        line = f"{self.formatTime(record)} {record.levelname.lower()} {name}: {said}"
        exception = told(record, self)
        return f"{line}\n{exception}" if exception else line


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
        exception = told(record, self)
        if exception:
            line["exception"] = exception
        return json.dumps(line, default=str, ensure_ascii=False)


def _not_on_purpose(record: logging.LogRecord) -> bool:
    """A connection that we cut is no trouble that uvicorn need complain about."""
    return not (
        abandoned.get()
        and record.getMessage() == "ASGI callable returned without completing response."
    )
