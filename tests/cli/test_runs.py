"""`awaken runs`, against a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import SECONDS, asked, awaken, begin, process, settled
from tests.e2e.harness import AWAKEN, Server

pytestmark = pytest.mark.xdist_group("cli-runs")

LONG = "tokens=5000 delay_ms=20"


def test_runs_are_listed_newest_first_with_whole_ids(server: Server) -> None:
    first, second = (settled(server, "echo", text)["run_id"] for text in ("one", "two"))
    listed = awaken("runs", "ls", server=server)
    assert listed.code == 0
    lines = listed.out.splitlines()
    assert lines[0].split() == ["RUN", "STATUS", "AGENT", "AGE"]
    assert [line.split()[0] for line in lines[1:3]] == [second, first]
    assert "natural_end" in lines[1]


def test_a_list_is_filtered_and_has_as_many_as_were_asked_for(server: Server) -> None:
    ids = [settled(server, "echo", "x", thread_id="filtered")["run_id"] for _ in range(3)]
    settled(server, "assistant", "6 * 7", thread_id="filtered")

    def listed(*args: str) -> list[str]:
        found = awaken("runs", "ls", "--thread", "filtered", "--json", *args, server=server)
        return [run["run_id"] for run in found.json]

    assert listed("--agent", "echo") == ids[::-1]
    assert listed("--agent", "echo", "--limit", "2") == ids[:0:-1]
    assert len(listed("--all", "--limit", "1")) == 4
    assert listed("--status", "running") == []
    nothing = awaken("runs", "ls", "--thread", "nowhere", server=server)
    assert (nothing.code, nothing.out) == (0, "no runs\n")


def test_a_run_is_shown_with_its_answer_and_as_the_server_has_it(server: Server) -> None:
    run = settled(server, "echo", "hello there")
    shown = awaken("runs", "show", run["run_id"], server=server)
    assert shown.code == 0
    for text in (run["run_id"], run["thread_id"], "natural_end", "hello there", "UTC"):
        assert text in shown.out
    assert awaken("runs", "show", run["run_id"], "--json", server=server).json == run


def test_a_waiting_run_shows_what_it_asks_and_how_to_answer(server: Server) -> None:
    run = settled(server, "clerk", "refund order 17 amount=20")
    (ticket,) = asked(run)["tickets"]
    shown = awaken("runs", "show", run["run_id"], server=server)
    assert 'refund {"order": "17", "amount": 20}' in shown.out
    assert f"awaken tickets approve {ticket['ticket_id']}" in shown.out


def test_a_run_is_explained(server: Server) -> None:
    run = settled(server, "clerk", "refund order 17 amount=20")
    told = awaken("runs", "explain", run["run_id"], server=server)
    assert "tool_permission" in told.out
    assert "when all its tickets are answered" in told.out
    document = awaken("runs", "explain", run["run_id"], "--json", server=server).json
    assert document["waits_for"] == [t["ticket_id"] for t in asked(run)["tickets"]]


def test_a_run_is_cancelled_and_one_that_has_finished_is_no_error(server: Server) -> None:
    run_id = begin(server, "storyteller", LONG)["run_id"]
    stopped = awaken("runs", "cancel", run_id, "--reason", "enough", server=server)
    assert (stopped.code, stopped.out) == (0, f"run {run_id} is being stopped\n")
    followed = awaken("runs", "tail", run_id, server=server)
    assert followed.code == 4
    assert "stopped; " in followed.out
    run = server.get(f"/v1/runs/{run_id}")
    assert run["termination"] == {"type": "cancelled", "by": "user", "reason": "enough"}
    late = awaken("runs", "cancel", run_id, "--json", server=server)
    assert (late.code, late.json) == (0, {"run_id": run_id, "status": "already_finished"})


@pytest.mark.parametrize(
    ("agent", "text", "code", "told"),
    [
        ("assistant", "6 * 7", 0, "← calculate 42"),
        ("flaky", "fail=permanent", 1, "failed: this fails every time"),
        ("clerk", "refund order 17 amount=20", 3, "→ refund"),
    ],
)
def test_the_exit_code_of_tail_tells_how_a_run_ended(
    server: Server, agent: str, text: str, code: int, told: str
) -> None:
    run_id = begin(server, agent, text)["run_id"]
    followed = awaken("runs", "tail", run_id, server=server)
    assert followed.code == code
    assert told in followed.out
    assert ("awaken tickets approve" in followed.err) == (code == 3)


def test_tail_can_stay_while_a_run_waits(server: Server) -> None:
    run = settled(server, "clerk", "refund order 18 amount=2")
    (ticket,) = asked(run)["tickets"]
    answered = threading.Timer(
        0.5, awaken, ["tickets", "approve", ticket["ticket_id"]], {"server": server}
    )
    # In a process of its own: two commands cannot share this one's standard output.
    command = [str(AWAKEN), "runs", "tail", run["run_id"], "--until-done"]
    with subprocess.Popen(
        [*command, "--url", server.base_url], stdout=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None
        assert "→ refund" in tail.stdout.readline()
        answered.start()
        assert "I refunded 2.0 for order 18." in tail.stdout.read()
        assert tail.wait(SECONDS) == 0
    answered.join()


def test_tail_prints_events_as_lines_of_json_and_nothing_else(server: Server) -> None:
    run = settled(server, "flaky", "fail=permanent")
    followed = process("runs", "tail", run["run_id"], "--json", AWAKEN_URL=server.base_url)
    assert (followed.code, followed.err) == (1, "")
    entries = [json.loads(line) for line in followed.out.splitlines()]
    assert {frozenset(entry) for entry in entries} == {
        frozenset({"id", "seq", "thread_id", "run_id", "at", "event"})
    }
    assert entries[0]["event"]["event_type"] == "run_queued"
    assert entries[-1]["event"]["event_type"] == "run_finish"
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)


def lines_of(process_: subprocess.Popen[str]) -> Iterator[str]:
    assert process_.stdout is not None
    yield from process_.stdout


def test_tail_goes_on_where_it_was_when_the_server_dies(data_dir: Path) -> None:
    with Server(data_dir) as server:
        run_id = begin(server, "storyteller", "tokens=60 delay_ms=20")["run_id"]
        command = [str(AWAKEN), "runs", "tail", run_id, "--json", "--url", server.base_url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
            entries = []
            for line in lines_of(tail):
                entries.append(json.loads(line))
                if len(entries) == 12:
                    server.kill()
                    server.start()
            assert tail.wait(SECONDS) == 0
    deltas = [entry["event"] for entry in entries if entry["event"]["event_type"] == "text_delta"]
    text = "".join(delta["delta"] for delta in deltas)
    assert [int(word.rpartition("#")[2]) for word in text.split()] == list(range(1, 61))


def test_ctrl_c_ends_tail_and_not_the_run(server: Server) -> None:
    run_id = begin(server, "storyteller", LONG)["run_id"]
    command = [str(AWAKEN), "runs", "tail", run_id, "--json", "--url", server.base_url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        next(lines_of(tail))
        tail.send_signal(signal.SIGINT)
        _, told = tail.communicate(timeout=SECONDS)
        assert (tail.returncode, told) == (130, "")
    assert server.get(f"/v1/runs/{run_id}")["status"] == "running"
    server.post(f"/v1/runs/{run_id}/cancel")


def test_a_failed_run_is_tried_again_once(server: Server) -> None:
    run = settled(server, "flaky", "fail=permanent")
    retried = awaken("runs", "retry", run["run_id"], "--json", server=server)
    assert retried.code == 0, retried.err
    again = server.get(f"/v1/runs/{retried.json['run_id']}")
    assert again["retry_of"] == run["run_id"]
    repeated = awaken("runs", "retry", run["run_id"], server=server)
    assert repeated.out == f"run {run['run_id']} is tried again as run {again['run_id']}\n"
    done = settled(server, "echo", "fine")
    refused = awaken("runs", "retry", done["run_id"], server=server)
    assert refused.code == 13
    assert refused.err.startswith("awaken: ")
