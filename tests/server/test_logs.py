from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from awaken.protocols.native.http.respond import abandoned
from awaken.server.logs import JsonFormatter, TextFormatter, set_up_logging


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.error")
    before = (root.handlers[:], root.level, uvicorn.filters[:], uvicorn.level)
    yield
    root.handlers[:], level, uvicorn.filters[:], uvicorn_level = before
    root.setLevel(level)
    uvicorn.setLevel(uvicorn_level)


def record(**facts: object) -> logging.LogRecord:
    logger = logging.getLogger("awaken.mailbox")
    return logger.makeRecord(
        logger.name, logging.INFO, __file__, 1, "it %s", ("ended",), None, extra=facts
    )


def test_json_lines_have_the_facts_as_keys() -> None:
    line = json.loads(JsonFormatter().format(record(run_id="r1", thread_id="t1")))
    assert (line["level"], line["logger"], line["message"]) == (
        "info",
        "awaken.mailbox",
        "it ended",
    )
    assert (line["run_id"], line["thread_id"]) == ("r1", "t1")


def test_text_lines_end_with_the_facts() -> None:
    line = TextFormatter().format(record(run_id="r1"))
    assert line.endswith("info mailbox: it ended run_id=r1")


def test_json_lines_tell_exceptions_in_one_line() -> None:
    told = record()
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        told.exc_info = sys.exc_info()
    line = JsonFormatter().format(told)
    assert "\n" not in line
    assert "ZeroDivisionError: oh" in json.loads(line)["exception"]


@pytest.mark.usefixtures("_restored_logging")
def test_uvicorn_is_silent_about_connections_that_we_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("text", "info", sys.stdout)
    uvicorn = logging.getLogger("uvicorn.error")
    complaint = "ASGI callable returned without completing response."
    token = abandoned.set(True)
    uvicorn.error(complaint)
    assert capsys.readouterr().out == ""
    uvicorn.error("something else")
    abandoned.reset(token)
    uvicorn.error(complaint)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("uvicorn.error: ")[2] for line in lines] == ["something else", complaint]
