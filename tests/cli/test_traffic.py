"""Steering, pending messages and schedules from the command line, against a real server."""

from __future__ import annotations

import pytest

from tests.cli.support import awaken, begin
from tests.e2e.harness import Server, run_body

pytestmark = pytest.mark.xdist_group("cli-traffic")

LONG = "tokens=5000 delay_ms=20"


def test_a_run_is_told_something_while_it_goes_on(server: Server) -> None:
    run = begin(server, "storyteller", LONG, thread_id="s")["run_id"]
    told = awaken("runs", "steer", run, "tokens=2", server=server)
    assert told.code == 0, told.err
    assert f"run {run} is told" in told.out
    waiting = awaken("threads", "pending", "s", server=server)
    assert "tokens=2" in waiting.out
    assert "next_step" in waiting.out
    queue = awaken("threads", "pending", "s", "--json", server=server).json
    assert queue["items"][0]["run_id"] == run
    awaken("runs", "cancel", run, server=server)
    awaken("runs", "tail", run, server=server)
    empty = awaken("threads", "pending", "s", server=server)
    assert empty.out == "nothing waits to be read\n"
    late = awaken("runs", "steer", run, "hello", server=server)
    assert "has ended; run" in late.out


def test_tail_begins_a_line_with_each_answer_of_a_run_that_was_steered(server: Server) -> None:
    run = begin(server, "storyteller", "tokens=40 delay_ms=20", thread_id="lines")["run_id"]
    awaken("runs", "steer", run, "tokens=2", server=server)
    told = awaken("runs", "tail", run, server=server)
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[-1].startswith("Once#1")
    assert "#40" in lines[-2]


def test_schedules_are_listed_triggered_paused_and_deleted(server: Server) -> None:
    body = {**run_body("echo", "good morning"), "cron": "0 8 * * *", "timezone": "Europe/Berlin"}
    made = server.post("/v1/schedules", body)
    name = made["schedule_id"]
    listed = awaken("schedules", "ls", server=server)
    assert name in listed.out
    assert "0 8 * * *" in listed.out
    ran = awaken("schedules", "trigger", name, "--json", server=server).json
    assert ran["run_id"]
    assert "paused" in awaken("schedules", "pause", name, server=server).out
    assert "next at" in awaken("schedules", "resume", name, server=server).out
    assert awaken("schedules", "rm", name, "--yes", server=server).code == 0
    assert awaken("schedules", "ls", server=server).out == "no schedules\n"
    gone = awaken("schedules", "trigger", name, server=server)
    assert gone.code == 12
