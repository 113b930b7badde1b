from __future__ import annotations

from typing import Any

import httpx
import pytest

from awaken.server.app import App
from tests.e2e.harness import run_body
from tests.server.support import LONG, assert_refused, finished, start


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/threads", json=fields)
    assert response.status_code == 201, response.text
    thread: dict[str, Any] = response.json()
    return thread


async def test_a_thread_is_made_read_and_changed(client: httpx.AsyncClient) -> None:
    made = await create(client, title="Trip", resourceId="r1", custom={"a": 1, "b": 2})
    assert made["id"] == made["thread_id"]
    path = f"/v1/threads/{made['id']}"
    assert (await client.get(path)).json() == made
    changed = await client.patch(path, json={"title": None, "custom": {"a": 3, "b": None, "c": 4}})
    assert changed.status_code == 200
    thread = changed.json()
    assert thread["title"] is None
    assert thread["resource_id"] == "r1"
    assert thread["custom"] == {"a": 3, "c": 4}


async def test_a_thread_may_be_named_once(client: httpx.AsyncClient) -> None:
    await create(client, thread_id="mine")
    again = await client.post("/v1/threads", json={"thread_id": "mine"})
    assert_refused(again, 409, "thread_exists")


async def test_the_hierarchy_of_threads_is_checked(client: httpx.AsyncClient) -> None:
    parent = await create(client)
    child = await create(client, parent_thread_id=parent["id"])
    orphan = await client.post("/v1/threads", json={"parent_thread_id": "nobody"})
    assert_refused(orphan, 422, "parent_thread_not_found", "parent_thread_id")
    cycle = await client.patch(
        f"/v1/threads/{parent['id']}", json={"parent_thread_id": child["id"]}
    )
    assert_refused(cycle, 422, "thread_cycle", "parent_thread_id")


async def test_threads_are_listed_and_filtered(client: httpx.AsyncClient) -> None:
    parent = await create(client, thread_id="p", resource_id="r1")
    for number in range(3):
        await create(client, thread_id=f"c{number}", parent_thread_id="p", resource_id="r2")
    page = (await client.get("/v1/threads", params={"parent_thread_id": "p", "limit": 2})).json()
    rest = (
        await client.get(
            "/v1/threads", params={"parent_thread_id": "p", "cursor": page["next_cursor"]}
        )
    ).json()
    names = [thread["id"] for thread in page["items"] + rest["items"]]
    assert sorted(names) == ["c0", "c1", "c2"]
    assert rest["has_more"] is False
    owned = (await client.get("/v1/threads", params={"resource_id": "r1"})).json()
    assert owned["items"] == [parent]


async def test_summaries_say_which_agent_spoke_last(client: httpx.AsyncClient) -> None:
    await create(client, thread_id="t", title="Hello")
    await finished(client, "echo", "hi", thread_id="t")
    page = (await client.get("/v1/threads/summaries")).json()
    assert [(item["id"], item["title"], item["agent_id"]) for item in page["items"]] == [
        ("t", "Hello", "echo")
    ]


async def test_messages_are_read_both_ways_and_by_run(client: httpx.AsyncClient) -> None:
    first = await finished(client, "echo", "one", thread_id="t")
    second = await finished(client, "echo", "two", thread_id="t")
    path = "/v1/threads/t/messages"

    def texts(page: Any) -> list[str]:
        return [message["content"][0]["text"] for message in page["items"]]

    assert texts((await client.get(path)).json()) == ["one", "one", "two", "two"]
    latest = (await client.get(path, params={"order": "desc", "limit": 1})).json()
    assert texts(latest) == ["two"]
    assert latest["items"][0]["role"] == "assistant"
    assert latest["items"][0]["message_seq"] == 4
    between = (await client.get(path, params={"after": 1, "before": 4})).json()
    assert [message["message_seq"] for message in between["items"]] == [2, 3]
    of_run = (await client.get(path, params={"run_id": second["run_id"]})).json()
    assert texts(of_run) == ["two", "two"]
    assert first["input_message_seqs"] == [1]
    assert first["output_message_seqs"] == [2]


async def test_messages_are_read_page_by_page(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await finished(client, "echo", str(number), thread_id="t")
    seen, params = [], {"limit": "2"}
    while True:
        page = (await client.get("/v1/threads/t/messages", params=params)).json()
        seen += [message["message_seq"] for message in page["items"]]
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [1, 2, 3, 4, 5, 6]
    reverse = {"limit": "2", "order": "desc", "cursor": params["cursor"]}
    other = await client.get("/v1/threads/t/messages", params=reverse)
    assert_refused(other, 400, "invalid_cursor", "cursor")


async def test_messages_queue_behind_what_runs(client: httpx.AsyncClient) -> None:
    first = await start(client, "storyteller", LONG, thread_id="t")
    body = {"agent_id": "echo", "messages": [{"role": "user", "content": "next"}]}
    response = await client.post("/v1/threads/t/messages", json=body)
    assert response.status_code == 202
    queued = response.json()
    assert queued["status"] == "created"
    assert queued["position"] == 1
    active = (await client.get("/v1/threads/t/runs/active")).json()["active_run"]
    assert active["run_id"] == first["run_id"]
    latest = (await client.get("/v1/threads/t/runs/latest")).json()
    assert latest["run_id"] == queued["run_id"]
    why = (await client.get(f"/v1/runs/{queued['run_id']}/explain")).json()
    assert why["blocked_by_run_id"] == first["run_id"]


async def test_messages_can_interrupt_what_runs(client: httpx.AsyncClient) -> None:
    first = await start(client, "storyteller", LONG, thread_id="t")
    body = {
        "agent_id": "echo",
        "mode": "interrupt_then_queue",
        "messages": [{"role": "user", "content": "instead"}],
    }
    second = (await client.post("/v1/threads/t/messages", json=body)).json()
    await client.get(f"/v1/runs/{second['run_id']}/stream")
    stopped = (await client.get(f"/v1/runs/{first['run_id']}")).json()
    assert stopped["termination"]["type"] == "superseded"


async def test_messages_go_to_the_agent_that_spoke_last(client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "hi", thread_id="t")
    body = {"messages": [{"role": "user", "content": "again"}]}
    accepted = (await client.post("/v1/threads/t/messages", json=body)).json()
    run = (await client.get(f"/v1/runs/{accepted['run_id']}")).json()
    assert run["agent_id"] == "echo"


async def test_a_thread_knows_its_runs(client: httpx.AsyncClient) -> None:
    ids = [(await finished(client, "echo", str(n), thread_id="t"))["run_id"] for n in range(2)]
    await finished(client, "echo", "other", thread_id="other")
    page = (await client.get("/v1/threads/t/runs", params={"status": "done"})).json()
    assert [run["run_id"] for run in page["items"]] == ids[::-1]
    active = (await client.get("/v1/threads/t/runs/active")).json()
    assert active == {"active_run": None}


async def test_a_thread_without_runs_has_no_latest_one(client: httpx.AsyncClient) -> None:
    await create(client, thread_id="t")
    assert_refused(await client.get("/v1/threads/t/runs/latest"), 404, "run_not_found")


async def test_the_mailbox_of_a_thread_tells_no_token(client: httpx.AsyncClient) -> None:
    first = await start(client, "storyteller", LONG, thread_id="t")
    second = await start(client, "echo", "next", thread_id="t")
    response = await client.get("/v1/threads/t/mailbox")
    items = {item["run_id"]: item for item in response.json()["items"]}
    assert items[first["run_id"]]["status"] == "claimed"
    assert items[first["run_id"]]["claimed_by"]
    assert items[second["run_id"]]["status"] == "queued"
    assert "claim_token" not in response.text


@pytest.mark.parametrize("verb", ["cancel", "interrupt"])
async def test_a_thread_is_stopped_with_all_that_waits(
    client: httpx.AsyncClient, verb: str
) -> None:
    first = await start(client, "storyteller", LONG, thread_id="t")
    second = await start(client, "echo", "next", thread_id="t")
    response = await client.post(f"/v1/threads/t/{verb}", json={"reason": "enough"})
    assert response.status_code == 202
    assert response.json() == {
        "status": f"{verb}_requested",
        "thread_id": "t",
        "superseded_dispatches": 2,
    }
    for run_id in (first["run_id"], second["run_id"]):
        await client.get(f"/v1/runs/{run_id}/stream")
        run = (await client.get(f"/v1/runs/{run_id}")).json()
        assert run["termination"]["type"] in ("cancelled", "superseded")
    idle = await client.post(f"/v1/threads/t/{verb}")
    assert idle.status_code == 200
    assert idle.json()["status"] == "nothing_to_stop"


async def test_the_events_of_a_thread_span_its_runs(client: httpx.AsyncClient) -> None:
    runs = [(await finished(client, "echo", str(n), thread_id="t"))["run_id"] for n in range(2)]
    page = (await client.get("/v1/threads/t/events", params={"limit": 200})).json()
    assert [entry["seq"] for entry in page["items"]] == list(range(1, len(page["items"]) + 1))
    assert [e["run_id"] for e in page["items"] if e["event"]["event_type"] == "run_finish"] == runs
    other = await client.get("/v1/threads/t/events", params={"limit": 2})
    cursor = other.json()["next_cursor"]
    wrong = await client.get(f"/v1/runs/{runs[0]}/events", params={"cursor": cursor})
    assert_refused(wrong, 400, "invalid_cursor", "cursor")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("GET", "/messages"),
        ("POST", "/messages"),
        ("GET", "/runs"),
        ("GET", "/runs/active"),
        ("GET", "/runs/latest"),
        ("GET", "/events"),
        ("GET", "/stream"),
        ("GET", "/mailbox"),
        ("POST", "/cancel"),
        ("POST", "/interrupt"),
    ],
)
async def test_an_unknown_thread_is_404(client: httpx.AsyncClient, method: str, path: str) -> None:
    body = {} if path != "/messages" else run_body("echo", "hi")
    sent = None if method == "GET" else body
    response = await client.request(method, f"/v1/threads/nope{path}", json=sent)
    assert_refused(response, 404, "thread_not_found")


async def test_what_stopped_a_thread_leaves_no_reader(app: App, client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "hi")
    assert app.services is not None
    assert app.services.hub.statistics().subscriptions == 0
