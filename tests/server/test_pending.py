"""Steering, pending messages, idempotency keys and stops by message, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx

from tests.e2e.harness import run_body, text_of
from tests.server.support import LONG, assert_refused, events_of, finished, start

STORY = "tokens=60 delay_ms=20"


def message(text: str, name: str | None = None) -> dict[str, Any]:
    return {"role": "user", "content": text, **({"id": name} if name else {})}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(20):
        while not await condition():
            await anyio.lowlevel.checkpoint()


async def running(client: httpx.AsyncClient, text: str = STORY) -> dict[str, Any]:
    """A story that is being told, on thread t."""
    accepted = await start(client, "storyteller", text, thread_id="t")
    run_id = accepted["run_id"]

    async def begun() -> bool:
        return bool((await client.get(f"/v1/runs/{run_id}")).json()["status"] == "running")

    await until(begun)
    return accepted


async def test_a_message_steers_the_run_that_goes_on(client: httpx.AsyncClient) -> None:
    accepted = await running(client)
    response = await client.post(
        f"/v1/runs/{accepted['run_id']}/inputs", json={"messages": [message("tokens=2")]}
    )
    assert response.status_code == 202, response.text
    steered = response.json()
    assert steered["run_id"] == accepted["run_id"]
    assert steered["fallback_run_id"]
    stream = await client.get(f"/v1/runs/{accepted['run_id']}/stream")
    events = events_of(stream)
    assert [event.event for event in events].count("run_finish") == 1
    shown = (await client.get("/v1/threads/t/messages")).json()["items"]
    assert [each["role"] for each in shown] == ["user", "assistant", "user", "assistant"]
    gone = await client.get(f"/v1/runs/{steered['fallback_run_id']}")
    assert_refused(gone, 404, "run_not_found")


async def test_a_stream_may_steer_and_names_both_runs(client: httpx.AsyncClient) -> None:
    accepted = await running(client)
    body = run_body("storyteller", "tokens=2", thread_id="t", on_busy="steer")
    stream = await client.post("/v1/runs", json=body)
    assert stream.headers["awaken-run-id"] == accepted["run_id"]
    assert stream.headers["awaken-fallback-run-id"]
    assert events_of(stream)[-1].event == "run_finish"


async def test_what_waits_is_listed_edited_reordered_and_taken_back(
    client: httpx.AsyncClient,
) -> None:
    await running(client, LONG)
    for name in ("a", "b", "c"):
        body = {"agent_id": "echo", "messages": [message(name, name)]}
        assert (await client.post("/v1/threads/t/messages", json=body)).status_code == 202
    path = "/v1/threads/t/pending"
    queue = (await client.get(path)).json()
    assert [item["message_id"] for item in queue["items"]] == ["a", "b", "c"]
    assert [item["position"] for item in queue["items"]] == [1, 2, 3]

    edited = await client.patch(
        f"{path}/b", json={"content": "better"}, headers={"if-match": '"1"'}
    )
    assert edited.status_code == 200, edited.text
    assert (edited.json()["revision"], edited.json()["position"]) == (2, 2)
    stale = await client.patch(f"{path}/b", json={"content": "x"}, headers={"if-match": "1"})
    assert assert_refused(stale, 412, "stale_revision")["revision"] == 2
    blind = await client.patch(f"{path}/b", json={"content": "x"})
    assert_refused(blind, 428, "precondition_required", "If-Match")
    odd = await client.delete(f"{path}/b", headers={"if-match": "new"})
    assert_refused(odd, 422, "invalid_field", "If-Match")

    revision = (await client.get(path)).json()["revision"]
    order = {"message_ids": ["c", "b", "a"]}
    moved = await client.post(f"{path}/reorder", json=order, headers={"if-match": str(revision)})
    assert [item["message_id"] for item in moved.json()["items"]] == ["c", "b", "a"]
    taken = await client.delete(f"{path}/a", headers={"if-match": "2"})
    assert taken.status_code == 204
    active = (await client.get("/v1/threads/t/runs/active")).json()["active_run"]
    await client.post(f"/v1/runs/{active['run_id']}/cancel")

    async def idle() -> bool:
        page = (await client.get("/v1/threads/t/runs")).json()["items"]
        return all(run["status"] == "done" for run in page)

    await until(idle)
    shown = (await client.get("/v1/threads/t/messages")).json()["items"]
    asked = [each["content"][0]["text"] for each in shown if each["role"] == "user"]
    assert asked == [LONG, "c", "better"]
    late = await client.patch(f"{path}/c", json={"content": "x"}, headers={"if-match": "2"})
    assert_refused(late, 409, "already_consumed")


async def test_a_repeated_request_gets_the_same_run_and_its_whole_stream(
    client: httpx.AsyncClient,
) -> None:
    headers = {"idempotency-key": "k-1"}
    body = run_body("echo", "hello there")
    first = await client.post("/v1/runs", json=body, headers=headers)
    again = await client.post("/v1/runs", json=body, headers=headers)
    assert again.headers["awaken-run-id"] == first.headers["awaken-run-id"]
    assert again.headers["awaken-thread-id"] == first.headers["awaken-thread-id"]
    assert text_of(events_of(again)) == text_of(events_of(first)) == "hello there"
    other = await client.post("/v1/runs", json=run_body("echo", "bye"), headers=headers)
    assert_refused(other, 422, "idempotency_key_reused", "Idempotency-Key")
    waited = await client.post("/v1/runs/wait", json=body, headers=headers)
    assert waited.json()["run_id"] != first.headers["awaken-run-id"], "a key is its route's"
    twice = await client.post("/v1/runs/wait", json=body, headers=headers)
    assert twice.json()["run_id"] == waited.json()["run_id"]
    bad = await client.post("/v1/runs", json=body, headers={"idempotency-key": "a b"})
    assert_refused(bad, 422, "invalid_field", "Idempotency-Key")


async def test_a_stop_by_message_may_come_first(client: httpx.AsyncClient) -> None:
    stop = {"message_id": "m-1", "reason": "never mind"}
    early = await client.post("/v1/threads/new/cancel", json=stop)
    assert early.status_code == 202, early.text
    body = {"agent_id": "echo", "messages": [message("hi", "m-1")], "thread_id": "new"}
    run = (await client.post("/v1/runs/wait", json=body)).json()
    assert run["termination"]["reason"] == "never mind"
    await finished(client, "echo", "hi", thread_id="t")
    body = {"agent_id": "echo", "messages": [message("hi", "m-2")], "thread_id": "t"}
    await client.post("/v1/runs/wait", json=body)
    late = await client.post("/v1/threads/t/cancel", json={"message_id": "m-2"})
    assert_refused(late, 409, "already_finished")


async def test_an_answer_that_nobody_waits_for_is_refused(client: httpx.AsyncClient) -> None:
    run = await finished(client, "echo", "hi")
    response = await client.post(
        f"/v1/runs/{run['run_id']}/inputs",
        json={"messages": [message("42")], "mode": "resume_open_run"},
    )
    assert_refused(response, 409, "run_not_waiting")
    bound = {"boundary": "next_step", "fallback": False}
    response = await client.post(
        f"/v1/runs/{run['run_id']}/inputs",
        json={"messages": [message("42")], "delivery": bound},
    )
    assert_refused(response, 409, "run_not_active")


async def test_a_request_that_comes_ten_times_at_once_is_one_run(client: httpx.AsyncClient) -> None:
    seen: list[str] = []

    async def ask() -> None:
        body = run_body("echo", "hello there")
        answer = await client.post("/v1/runs/wait", json=body, headers={"idempotency-key": "once"})
        seen.append(answer.json()["run_id"])

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
    assert len(seen) == 10
    assert len(set(seen)) == 1
    assert len((await client.get("/v1/runs")).json()["items"]) == 1
