"""Log lines: their two forms, what stands on every line of a run, and what stands on none."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from opentelemetry import trace

from awaken.protocols.native.http.respond import abandoned
from awaken.server import logs
from awaken.server.logs import AddIds, JsonFormatter, TextFormatter, set_up_logging
from tests.server.watched import SECRET_TEXT, watched

RUN_IDS = {"run_id", "thread_id", "dispatch_id", "attempt_id", "agent_id", "request_id"}


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "uvicorn.error", "httpx", "httpcore")]
    before = [(each, each.handlers[:], each.filters[:], each.level) for each in loggers]
    yield
    for each, handlers, filters, level in before:
        each.handlers[:], each.filters[:] = handlers, filters
        each.setLevel(level)


def record(level: int = logging.INFO, **facts: object) -> logging.LogRecord:
    logger = logging.getLogger("awaken.mailbox")
    return logger.makeRecord(
        logger.name, level, __file__, 1, "it %s", ("ended",), None, extra=facts
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
    told = record(logging.ERROR)
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


# --- what lines are about ------------------------------------------------------------------------


class Lines:
    """What was written, as objects."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, run: Any) -> list[dict[str, Any]]:
        return [line for line in self.all if line.get("run_id") == run["run_id"]]


@pytest.fixture
def lines(_restored_logging: None) -> Lines:
    lines = Lines()
    set_up_logging("json", "info", lines.stream)
    return lines


async def test_every_line_of_a_run_says_which_run_it_is_about(lines: Lines) -> None:
    async with watched() as app:
        told = {"x-request-id": "req-1"}
        runs = [await app.run(agent, **told) for agent in ("adder", "broken", "shaky", "talker")]
        payer = await app.decide(await app.run("payer", **told))
    for run in [*runs, payer]:
        of_run = lines.of(run)
        assert of_run
        for line in of_run:
            assert line.keys() >= RUN_IDS, line
            assert line["thread_id"] == run["thread_id"]
            assert line["agent_id"] == run["agent_id"]
            assert line["request_id"] == "req-1"
    about_runs = [line for line in lines.all if line["logger"].startswith("awaken")]
    assert all("run_id" in line for line in about_runs), about_runs


async def test_the_lines_of_a_run_tell_its_story(lines: Lines) -> None:
    async with watched() as app:
        adder, shaky = await app.run("adder"), await app.run("shaky")
        payer = await app.decide(await app.run("payer"))
    story = [(line["level"], line["message"]) for line in lines.of(adder)]
    assert story == [("info", "tool crash failed"), ("info", "attempt ended: completed")]
    first, second = lines.of(shaky)
    assert (first["level"], first["message"]) == ("warning", "attempt ended: transient_error")
    assert first["code"] == "busy"
    assert second["message"] == "attempt ended: completed"
    assert first["attempt_id"] != second["attempt_id"]
    assert first["dispatch_id"] == second["dispatch_id"]
    assert second["runtime_ms"] >= 0
    assert second["waited_ms"] >= 0
    waited, resumed = lines.of(payer)
    assert waited["message"] == "attempt ended: suspended"
    assert resumed["message"] == "attempt ended: completed"
    assert waited["dispatch_id"] != resumed["dispatch_id"]


async def test_nothing_of_what_was_said_is_written(lines: Lines) -> None:
    async with watched() as app:
        for agent in ("talker", "adder", "broken", "shaky", "outsider"):
            await app.run(agent)
    assert '"exception"' in lines.text, "a tool failed, quoting its arguments"
    assert SECRET_TEXT not in lines.text
    assert "Hello" not in lines.text


async def test_what_a_tool_logs_is_about_its_run(lines: Lines) -> None:
    async with watched() as app:
        run = await app.run("chatty")
    told = [line for line in lines.of(run) if line["logger"] == "my.tools"]
    assert {line["message"] for line in told} == {"in the loop", "in a thread"}
    assert all(line.keys() >= RUN_IDS for line in told)


async def test_a_request_that_fails_is_found_by_the_id_it_was_answered_with(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with watched() as app:
        assert app.app.services is not None
        monkeypatch.setattr(app.app.services.store, "run", fail, raising=False)
        response = await app.client.get("/v1/runs/r1")
        named = await app.client.get("/v1/runs/r1", headers={"x-request-id": "mine"})
    assert named.headers["x-request-id"] == "mine"
    first, second = [line for line in lines.all if line["message"] == "request failed"]
    assert first["request_id"] == response.headers["x-request-id"]
    assert second["request_id"] == "mine"
    assert first["run_id"] == "r1"


async def test_runs_keep_the_id_of_the_request_that_started_them(lines: Lines) -> None:
    async with watched() as app:
        body = {"agent_id": "talker", "messages": [{"role": "user", "content": "hi"}]}
        response = await app.client.post("/v1/runs/wait", json=body)
        bad = await app.client.post(
            "/v1/runs/wait", json=body, headers={"x-request-id": "two words"}
        )
    (line,) = lines.of(response.json())
    assert line["request_id"] == response.headers["x-request-id"]
    assert bad.headers["x-request-id"] not in ("two words", response.headers["x-request-id"])


async def test_with_traces_lines_name_theirs(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    async with watched(tracing=True) as app:
        run = await app.run("talker")
        shown = (await app.client.get(f"/v1/runs/{run['run_id']}")).json()
    (line,) = lines.of(run)
    assert line["trace_id"] == shown["metadata"]["traceparent"].split("-")[1]


async def test_lines_of_tasks_that_run_at_once_are_kept_apart() -> None:
    seen: dict[str, str | None] = {}

    async def work(name: str) -> None:
        logs.bind(run_id=name)
        await anyio.lowlevel.checkpoint()
        logs.note(agent_id=f"agent of {name}")
        await anyio.lowlevel.checkpoint()
        seen[name] = logs.noted("agent_id")

    async with anyio.create_task_group() as tasks:
        for name in ("r1", "r2"):
            tasks.start_soon(work, name)
    assert seen == {"r1": "agent of r1", "r2": "agent of r2"}
    assert logs.noted("run_id") is None


def test_a_handler_of_ones_own_can_have_the_ids() -> None:
    token = logs.bind(run_id="r1", thread_id=None)
    try:
        told = record(run_id="given")
        plain = record()
        for each in (told, plain):
            assert AddIds().filter(each)
    finally:
        logs.unbind(token)
    assert told.__dict__["run_id"] == "given"
    assert plain.__dict__["run_id"] == "r1"
    assert "thread_id" not in plain.__dict__


def test_a_line_break_in_a_fact_makes_no_line() -> None:
    line = TextFormatter().format(record(tool="x\n12:00:00.000 info mailbox: forged"))
    assert "\n" not in line


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_below_warnings_an_exception_is_told_without_its_text(level: int) -> None:
    told = record(level)
    try:
        raise ValueError(SECRET_TEXT)
    except ValueError:
        told.exc_info = sys.exc_info()
    for formatter in (JsonFormatter(), TextFormatter()):
        line = formatter.format(told)
        assert "ValueError" in line
        assert "test_logs.py" in line
        assert f"ValueError: {SECRET_TEXT}" not in line
