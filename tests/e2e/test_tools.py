"""Agents with tools on a real server that dies: what was decided is done, and done once."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.e2e.harness import Server, SseEvent, run_body

pytestmark = pytest.mark.xdist_group("e2e-tools")

LABELS = ("a", "b", "c", "d")


def tickets_of(server: Server, run_id: str) -> list[Any]:
    items: list[Any] = server.get("/v1/tickets", run_id=run_id)["items"]
    return items


def events_of(server: Server, run_id: str) -> list[Any]:
    """All log entries of a run so far."""
    entries: list[Any] = []
    given: dict[str, str] = {}
    while True:
        page = server.get(f"/v1/runs/{run_id}/events", limit=200, **given)
        entries += page["items"]
        if not page["has_more"]:
            return entries
        given = {"cursor": page["next_cursor"]}


def kinds(entries: list[Any]) -> Counter[str]:
    return Counter(entry["event"]["event_type"] for entry in entries)


def follow(server: Server, run_id: str) -> Any:
    """The run, once it is done."""
    with server.stream("GET", f"/v1/runs/{run_id}/stream", params={"until": "done"}) as stream:
        list(stream)
    return server.get(f"/v1/runs/{run_id}")


# --- approvals -----------------------------------------------------------------------------------


def waiting_refund(server: Server) -> tuple[str, Any]:
    """The clerk's run that waits for permission, and its ticket."""
    body = run_body("clerk", "refund order 17 amount=20")
    run = server.post("/v1/runs/wait", body)
    assert run["status"] == "waiting"
    (ticket,) = run["waiting"]["tickets"]
    return run["run_id"], ticket


def test_a_refund_that_was_asked_for_before_a_crash_is_approved_after_it_and_happens_once(
    data_dir: Path,
) -> None:
    """Regression list of peers.md, 10."""
    with Server(data_dir) as server:
        run_id, ticket = waiting_refund(server)
        server.kill()
        server.start()

        run = server.get(f"/v1/runs/{run_id}")
        assert run["status"] == "waiting"
        assert run["waiting"]["tickets"] == tickets_of(server, run_id) == [ticket]
        assert server.get("/v1/mailbox/stats")["claimed"] == 0, "waiting holds no worker"

        path = f"/v1/tickets/{ticket['ticket_id']}/decision"
        decision = {"action": "resume", "decision_id": "d1"}
        assert server.post(path, decision)["resumed"] is True
        run = follow(server, run_id)
        assert run["result"] == {"response": "I refunded 20.0 for order 17."}
        assert server.post(path, decision)["ticket"]["status"] == "answered"
        assert_decided_once(server, run)


@pytest.mark.slow
def test_a_decision_that_was_answered_survives_a_crash(data_dir: Path) -> None:
    with Server(data_dir) as server:
        run_id, ticket = waiting_refund(server)
        path = f"/v1/tickets/{ticket['ticket_id']}/decision"
        decision = {"action": "resume", "decision_id": "d1"}
        server.post(path, decision)
        server.kill()  # wherever the resumed run is by now
        server.start()
        assert server.post(path, decision)["ticket"]["status"] == "answered"
        assert_decided_once(server, follow(server, run_id))


def assert_decided_once(server: Server, run: Any) -> None:
    """One decision, one result, one end besides that of the wait; and a history without gaps."""
    assert run["status"] == "done"
    counted = kinds(events_of(server, run["run_id"]))
    assert counted["tool_call_done"] == counted["ticket_closed"] == 1
    assert counted["run_finish"] == 2
    messages = server.get(f"/v1/threads/{run['thread_id']}/messages")["items"]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]


def test_a_decision_while_the_server_is_down_does_not_connect_and_after_a_restart_counts(
    data_dir: Path,
) -> None:
    """Regression list of peers.md, 10."""
    with Server(data_dir) as server:
        run_id, ticket = waiting_refund(server)
        path = f"/v1/runs/{run_id}/decision"
        body = {"action": "cancel", "tool_call_id": ticket["tool_call_id"], "payload": "no"}
        server.kill()
        with pytest.raises(httpx.ConnectError):
            server.http.post(path, json=body)
        server.start()
        assert tickets_of(server, run_id) == [ticket]
        assert server.post(path, body)["ticket"]["status"] == "denied"
        run = follow(server, run_id)
        assert run["result"]["response"].startswith("I did not refund anything")


def test_an_assistant_calls_both_tools_in_parallel_and_answers(data_dir: Path) -> None:
    with Server(data_dir) as server:
        events = server.run("assistant", "What is the weather in Paris, and what is 6 * 7?")
    order = [event.event for event in events]
    ready = [i for i, event in enumerate(order) if event == "tool_call_ready"]
    done = [i for i, event in enumerate(order) if event == "tool_call_done"]
    assert len(ready) == len(done) == 2
    assert max(ready) < min(done), "both were planned before one had its result"
    results = {e.payload["id"]: e.payload["result"] for e in events if e.event == "tool_call_done"}
    assert sorted(map(str, results.values())) == sorted(
        ["42", str({"city": "Paris", "celsius": 18, "sky": "clear"})]
    )
    assert "reasoning_delta" in order
    answer = events[-1].payload["result"]["response"]
    assert "18" in answer
    assert "42" in answer


# --- approvers -----------------------------------------------------------------------------------

GUARDED = """
from awaken import Agent, ScriptedModel, tool
from awaken.domain.message import ToolCall


@tool(approval=True, approvers=["alice"])
async def pay(amount: int) -> str:
    "Pay."
    return f"paid {amount}"


def script(request):
    last = request.messages[-1]
    if last.role == "tool":
        yield last.text
    else:
        yield ToolCall(id="c1", name="pay", arguments={"amount": 5})


agents = [Agent("it", model=ScriptedModel(script), tools=[pay])]
"""
ALICE, BOB = "awaken-sk-alice-0123456789abcdef", "awaken-sk-bob-0123456789abcdef00"
KEYS = f"alice@a:invoke+approve:{ALICE}, bob@a:invoke+approve:{BOB}"


def test_only_the_key_of_an_approver_decides(data_dir: Path) -> None:
    agents = data_dir.parent / "agents.py"
    agents.write_text(GUARDED)
    with Server(data_dir, target=str(agents), env={"AWAKEN_API_KEYS": KEYS}) as server:
        server.http.headers["authorization"] = f"Bearer {BOB}"
        run = server.post("/v1/runs/wait", run_body("it", "pay"))
        (ticket,) = run["waiting"]["tickets"]
        run_id, ticket_id = run["run_id"], ticket["ticket_id"]
        for path, named in (
            (f"/v1/tickets/{ticket_id}/decision", {}),
            (f"/v1/runs/{run_id}/decision", {"tool_call_id": "c1"}),
            (f"/v1/threads/{run['thread_id']}/decision", {"ticket_id": ticket_id}),
        ):
            for action in ("resume", "cancel"):
                refused = server.http.post(path, json={"action": action, **named})
                assert refused.status_code == 403
                error = refused.json()["error"]
                assert error["code"] == "not_an_approver"
                assert error["details"] == {"ticket_id": ticket_id}
        assert tickets_of(server, run_id) == [ticket], "it is open as before"

        server.http.headers["authorization"] = f"Bearer {ALICE}"
        decided = server.post(f"/v1/tickets/{ticket_id}/decision", {"action": "resume"})
        assert decided["ticket"]["decision"]["by"] == "alice"
        assert follow(server, run_id)["result"] == {"response": "paid 5"}


# --- effects -------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """The moment of a death: the labels in `effects.log`, and those whose result was in the log."""

    written: Counter[str]
    finished: frozenset[str]


class Works:
    """A worker's run, watched over the deaths of its server."""

    def __init__(self, server: Server, seconds: int) -> None:
        self.server = server
        self.deaths: list[Snapshot] = []
        self._cursor = "0"
        body = run_body("worker", f"do={','.join(LABELS)} seconds={seconds}")
        self.run_id: str = server.post("/v1/runs/background", body)["run_id"]

    def effects(self) -> Counter[str]:
        """How often each label was written."""
        path = self.server.data_dir / "effects.log"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def die(self) -> None:
        """Kill the server, note what was where, and start it again."""
        self.server.kill()
        dead_at = time.time() * 1000
        written = self.effects()
        self.server.start()
        before = [entry for entry in events_of(self.server, self.run_id) if entry["at"] <= dead_at]
        self.deaths.append(Snapshot(written, finished_labels(before)))

    def read(self, count: int) -> list[SseEvent]:
        """The next events of the run, at most `count`, fewer at its end."""
        seen = []
        path = f"/v1/runs/{self.run_id}/stream"
        with self.server.stream("GET", path, last_event_id=self._cursor) as stream:
            for event in stream:
                seen.append(event)
                if len(seen) >= count:
                    break
        self._cursor = (seen and seen[-1].id) or self._cursor
        return seen

    def assert_each_effect_once(self) -> None:
        """Every label once; twice only if a death lay between an effect and its result."""
        assert follow(self.server, self.run_id)["result"] == {"response": "All 4 are done."}
        lives = [*self.deaths, Snapshot(self.effects(), frozenset(LABELS))]
        for label in LABELS:
            assert lives[-1].written[label] >= 1
            before = Snapshot(Counter(), frozenset())
            for life in lives:
                more = life.written[label] - before.written[label]
                if label in before.finished:
                    assert more == 0, f"{label} was repeated though its result was in the log"
                assert more in (0, 1), f"{label} happened twice in one life"
                before = life
        entries = events_of(self.server, self.run_id)
        assert finished_labels(entries) == set(LABELS)
        counted = kinds(entries)
        assert counted["tool_call_done"] == counted["tool_call_ready"] == len(LABELS)
        assert counted["run_finish"] == 1


def finished_labels(entries: list[Any]) -> frozenset[str]:
    """The labels whose call has a result in the log."""
    events = [entry["event"] for entry in entries]
    labels = {
        event["id"]: event["arguments"]["label"]
        for event in events
        if event["event_type"] == "tool_call_ready"
    }
    done = [event["id"] for event in events if event["event_type"] == "tool_call_done"]
    return frozenset(labels[call_id] for call_id in done)


@pytest.mark.parametrize("seed", range(3))
def test_effects_happen_once_though_the_server_is_killed_between_two_events(
    data_dir: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with Server(data_dir) as server:
        works = Works(server, seconds=0)
        works.read(rng.randint(1, 40))
        works.die()
        works.assert_each_effect_once()


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", range(10))
def test_effects_happen_once_though_the_server_is_killed_at_any_moment(
    data_dir: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with Server(data_dir) as server:
        works = Works(server, seconds=1)
        for _ in range(5):
            time.sleep(rng.uniform(0, 1.2))
            works.die()
        works.assert_each_effect_once()
