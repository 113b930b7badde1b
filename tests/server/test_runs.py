from __future__ import annotations

import httpx
import pytest

from awaken.server.app import App
from tests.e2e.harness import run_body, text_of
from tests.server.support import LONG, assert_refused, events_of, finished, start


async def test_a_run_is_streamed_from_its_queueing_to_its_end(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/runs", json=run_body("echo", "hello there"))
    events = events_of(response)
    run_id = response.headers["awaken-run-id"]
    assert response.headers["content-location"] == f"/v1/runs/{run_id}"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert [event.event for event in events][:3] == [
        "run_queued",
        "message_committed",
        "run_start",
    ]
    assert events[-1].event == "run_finish"
    assert text_of(events) == "hello there"
    assert {event.entry["thread_id"] for event in events} == {response.headers["awaken-thread-id"]}
    assert {event.entry["run_id"] for event in events} == {run_id}


async def test_camel_case_is_accepted(client: httpx.AsyncClient) -> None:
    body = {
        "agentId": "echo",
        "threadId": "conversation/1",
        "onBusy": "enqueue",
        "onDisconnect": "continue",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}], "id": "m-1"}],
    }
    response = await client.post("/v1/runs", json=body)
    assert text_of(events_of(response)) == "hi"
    assert response.headers["awaken-thread-id"] == "conversation/1"


async def test_an_id_with_a_slash_can_be_read_by_its_path(client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "hi", thread_id="a/b%2F?c")
    thread = await client.get("/v1/threads/a%2Fb%252F%3Fc")
    messages = await client.get("/v1/threads/a%2Fb%252F%3Fc/messages")
    assert thread.json()["thread_id"] == "a/b%2F?c"
    assert len(messages.json()["items"]) == 2


async def test_waiting_answers_with_the_finished_run(client: httpx.AsyncClient) -> None:
    run = await finished(client, "echo", "hello", metadata={"color": "blue"})
    assert run["status"] == "done"
    assert run["termination"] == {"type": "natural_end"}
    assert run["result"] == {"response": "hello"}
    assert run["metadata"] == {"color": "blue"}
    assert run["finished_at"] >= run["created_at"]


async def test_waiting_ends_with_202_when_the_time_is_over(client: httpx.AsyncClient) -> None:
    body = run_body("storyteller", LONG)
    response = await client.post("/v1/runs/wait", params={"timeout_ms": 50}, json=body)
    assert response.status_code == 202
    assert response.json()["status"] == "running"
    again = await client.get(f"/v1/runs/{response.json()['run_id']}")
    assert again.json()["status"] == "running"


async def test_a_failed_run_is_told_without_internals(client: httpx.AsyncClient) -> None:
    """Regression list of peers.md, 13."""
    run = await finished(client, "flaky", "fail=permanent")
    assert run["status"] == "done"
    assert run["termination"]["type"] == "error"
    assert run["termination"]["code"] == "demo_permanent"
    assert "internal_error" not in run


async def test_a_background_run_is_accepted_and_executed(client: httpx.AsyncClient) -> None:
    accepted = await start(client, "echo", "hello", thread_id="t1", dedupe_key="k", priority=3)
    assert set(accepted) == {
        "run_id",
        "dispatch_id",
        "thread_id",
        "status",
        "position",
        "cursor",
        "fallback_run_id",
    }
    assert accepted["thread_id"] == "t1"
    stream = await client.get(f"/v1/runs/{accepted['run_id']}/stream")
    assert text_of(events_of(stream)) == "hello"


async def test_a_delayed_run_waits_for_its_time(client: httpx.AsyncClient) -> None:
    later = 4_000_000_000_000
    accepted = await start(client, "echo", "hello", available_at=later)
    run = (await client.get(f"/v1/runs/{accepted['run_id']}")).json()
    why = (await client.get(f"/v1/runs/{accepted['run_id']}/explain")).json()
    assert accepted["status"] == run["status"] == "created"
    assert why["next_at"] == later
    assert why["summary"]
    assert why["next_step"]


async def test_runs_are_listed_page_by_page_newest_first(client: httpx.AsyncClient) -> None:
    ids = [(await finished(client, "echo", str(n), thread_id="t"))["run_id"] for n in range(5)]
    seen: list[str] = []
    params = {"limit": "2"}
    while True:
        page = (await client.get("/v1/runs", params=params)).json()
        seen += [run["run_id"] for run in page["items"]]
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert page["next_cursor"] is None
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 3),
        ({"agent_id": "echo"}, 2),
        ({"thread_id": "t1"}, 1),
        ({"status": "done"}, 3),
        ({"status": "waiting"}, 0),
        ({"agent_id": "nobody"}, 0),
    ],
)
async def test_runs_are_filtered(
    client: httpx.AsyncClient, params: dict[str, str], count: int
) -> None:
    await finished(client, "echo", "a", thread_id="t1")
    await finished(client, "echo", "b", thread_id="t2")
    await finished(client, "storyteller", "tokens=1 delay_ms=0", thread_id="t3")
    page = (await client.get("/v1/runs", params=params)).json()
    assert len(page["items"]) == count


async def test_a_running_run_is_cancelled(client: httpx.AsyncClient) -> None:
    run_id = (await start(client, "storyteller", LONG))["run_id"]
    response = await client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "enough"})
    assert (response.status_code, response.json()) == (
        202,
        {"status": "cancel_requested", "run_id": run_id},
    )
    events = events_of(await client.get(f"/v1/runs/{run_id}/stream"))
    assert events[-1].payload["termination"] == {
        "type": "cancelled",
        "by": "user",
        "reason": "enough",
    }
    late = await client.post(f"/v1/runs/{run_id}/cancel")
    assert_refused(late, 409, "already_finished")


async def test_the_events_of_a_run_are_those_of_its_stream(client: httpx.AsyncClient) -> None:
    stream = await client.post("/v1/runs", json=run_body("echo", "one two three"))
    path = f"/v1/runs/{stream.headers['awaken-run-id']}/events"
    entries = [event.entry for event in events_of(stream)]
    seen, params = [], {"limit": "3"}
    while True:
        page = (await client.get(path, params=params)).json()
        seen += page["items"]
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == entries
    rest = (await client.get(path, params={"after": entries[3]["seq"]})).json()
    assert rest["items"] == entries[4:]


async def test_a_busy_thread_can_refuse(client: httpx.AsyncClient) -> None:
    first = await start(client, "storyteller", LONG, thread_id="t")
    body = run_body("echo", "me too", thread_id="t", on_busy="reject")
    refused = await client.post("/v1/runs", json=body)
    details = assert_refused(refused, 409, "thread_busy")
    assert details["run_id"] == first["run_id"]


async def test_a_newer_run_interrupts_by_default(client: httpx.AsyncClient) -> None:
    first = await start(client, "storyteller", LONG, thread_id="t")
    second = await finished(client, "echo", "instead", thread_id="t")
    run = (await client.get(f"/v1/runs/{first['run_id']}")).json()
    assert run["termination"] == {"type": "superseded", "by_run_id": second["run_id"]}


async def test_a_repeated_submission_attaches_to_its_run(
    client: httpx.AsyncClient, app: App
) -> None:
    body = {
        "agent_id": "echo",
        "thread_id": "t",
        "messages": [{"role": "user", "content": "once", "id": "m1"}],
    }
    first = await client.post("/v1/runs", json=body)
    again = await client.post("/v1/runs", json=body)
    assert again.headers["awaken-run-id"] == first.headers["awaken-run-id"]
    assert text_of(events_of(again)) == "once"
    waited = await client.post("/v1/runs/wait", json=body)
    assert waited.json()["run_id"] == first.headers["awaken-run-id"]
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


@pytest.mark.parametrize("path", ["", "/explain", "/events", "/stream"])
async def test_an_unknown_run_is_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"/v1/runs/nope{path}")
    details = assert_refused(response, 404, "run_not_found")
    assert details == {"run_id": "nope"}


async def test_an_unknown_run_cannot_be_cancelled(client: httpx.AsyncClient) -> None:
    assert_refused(await client.post("/v1/runs/nope/cancel"), 404, "run_not_found")
