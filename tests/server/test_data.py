"""Dead letters, trying again, deleting and exporting, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from pydantic import SecretStr

from awaken import demo
from awaken.domain.care import Kept
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from awaken.testing.history import read_history, violations
from tests.server.keys import ALICE, API_KEYS, client_of
from tests.server.live import receive_all, receive_until, request, serving, wait_until
from tests.server.support import LONG, assert_refused, events_of, finished, start

pytestmark = pytest.mark.anyio

LETTERS = "/v1/mailbox/dead-letters"


async def failed(client: httpx.AsyncClient, **fields: Any) -> Any:
    """A run that failed for good."""
    run = await finished(client, "flaky", "fail=permanent", **fields)
    assert run["termination"]["type"] == "error"
    return run


async def done(client: httpx.AsyncClient, run_id: str) -> Any:
    """The run, once it is done."""
    with anyio.fail_after(10):
        while True:
            run = (await client.get(f"/v1/runs/{run_id}")).json()
            if run["status"] == "done":
                return run


async def letters(client: httpx.AsyncClient, **query: Any) -> Any:
    response = await client.get(LETTERS, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def asked_twice_at_once(post: Callable[[], Awaitable[httpx.Response]]) -> list[Any]:
    answers: list[Any] = []

    async def ask() -> None:
        response = await post()
        assert response.status_code == 202, response.text
        answers.append(response.json())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)
    return answers


# --- dead letters --------------------------------------------------------------------------------


async def test_a_run_that_failed_for_good_is_a_dead_letter(client: httpx.AsyncClient) -> None:
    run = await failed(client, thread_id="t")
    page = await letters(client)
    (item,) = page["items"]
    assert (page["next_cursor"], page["has_more"]) == (None, False)
    assert item == {
        "dispatch_id": run["dispatch_id"],
        "run_id": run["run_id"],
        "thread_id": "t",
        "agent_id": "flaky",
        "reason": "failed",
        "last_error": run["termination"]["code"],
        "attempt": 0,
        "expiries": 0,
        "mode": "foreground",
        "created_at": item["created_at"],
        "finished_at": run["finished_at"],
        "retried_by": None,
    }


async def test_dead_letters_come_in_pages_newest_first(client: httpx.AsyncClient) -> None:
    runs = [await failed(client, thread_id=f"t-{n}") for n in range(3)]
    first = await letters(client, limit=2)
    rest = await letters(client, limit=2, cursor=first["next_cursor"])
    assert (first["has_more"], rest["has_more"]) == (True, False)
    listed = [item["run_id"] for item in (*first["items"], *rest["items"])]
    assert listed == [run["run_id"] for run in reversed(runs)]
    of_thread = await letters(client, thread_id="t-1")
    assert [item["run_id"] for item in of_thread["items"]] == [runs[1]["run_id"]]
    assert (await letters(client, agent_id="echo"))["items"] == []
    wrong = await client.get(LETTERS, params={"cursor": first["next_cursor"], "thread_id": "t-1"})
    assert_refused(wrong, 400, "invalid_cursor", "cursor")


async def test_a_requeue_makes_one_new_run_however_often_it_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    run = await failed(client, thread_id="t")
    where = f"{LETTERS}/{run['dispatch_id']}/requeue"
    one, other = await asked_twice_at_once(lambda: client.post(where))
    assert one["run_id"] == other["run_id"] != run["run_id"]
    assert set(one) == set(await start(client, "echo", "in the background"))
    again = await done(client, one["run_id"])
    assert (again["retry_of"], again["thread_id"]) == (run["run_id"], "t")
    later = await client.post(where)
    assert later.status_code == 202
    assert (later.json()["run_id"], later.json()["status"]) == (one["run_id"], "done")
    assert later.json()["cursor"] == one["cursor"]
    runs = (await client.get("/v1/threads/t/runs")).json()["items"]
    assert {each["run_id"] for each in runs} == {run["run_id"], one["run_id"]}
    items = (await letters(client))["items"]
    retried = {item["run_id"]: item["retried_by"] for item in items}
    assert retried == {run["run_id"]: one["run_id"], one["run_id"]: None}


async def test_a_discarded_dead_letter_leaves_the_list(client: httpx.AsyncClient) -> None:
    run = await failed(client)
    where = f"{LETTERS}/{run['dispatch_id']}/discard"
    for _ in range(2):
        response = await client.post(where)
        assert response.status_code == 200
        assert response.json() == {"dispatch_id": run["dispatch_id"], "discarded": True}
    assert (await letters(client))["items"] == []
    assert (await client.get("/v1/mailbox/stats")).json()["dead_letter"] == 0
    requeue = await client.post(f"{LETTERS}/{run['dispatch_id']}/requeue")
    assert_refused(requeue, 404, "dead_letter_not_found")
    assert (await client.get(f"/v1/runs/{run['run_id']}")).status_code == 200


@pytest.mark.parametrize("action", ["requeue", "discard"])
async def test_what_is_no_dead_letter_is_not_found(client: httpx.AsyncClient, action: str) -> None:
    well = await finished(client, "echo", "hello")
    for dispatch_id in (well["dispatch_id"], "none"):
        response = await client.post(f"{LETTERS}/{dispatch_id}/{action}")
        details = assert_refused(response, 404, "dead_letter_not_found")
        assert details == {"dispatch_id": dispatch_id}


# --- trying again --------------------------------------------------------------------------------


async def test_a_retry_answers_the_same_message_and_adds_none(
    client: httpx.AsyncClient, app: App
) -> None:
    run = await failed(client, thread_id="t", metadata={"from": "test"})
    where = f"/v1/runs/{run['run_id']}/retry"
    one, other = await asked_twice_at_once(lambda: client.post(where))
    assert one["run_id"] == other["run_id"]
    again = await done(client, one["run_id"])
    assert again["retry_of"] == run["run_id"]
    assert again["metadata"] == {"from": "test"}
    assert again["input_message_seqs"] == run["input_message_seqs"] == [1]
    messages = (await client.get("/v1/threads/t/messages")).json()["items"]
    assert [message["role"] for message in messages].count("user") == 1
    assert app.services is not None
    history = await read_history(app.services.store, "default", "t")
    assert violations(history) == []


async def test_only_a_failed_run_is_tried_again(client: httpx.AsyncClient) -> None:
    well = await finished(client, "echo", "hello")
    running = await start(client, "storyteller", LONG)
    for run_id, word in ((well["run_id"], "natural_end"), (running["run_id"], "expected")):
        response = await client.post(f"/v1/runs/{run_id}/retry")
        details = assert_refused(response, 409, "not_retryable")
        assert details["expected"] == ["error", "stopped", "blocked"]
        assert word in response.json()["error"]["message"]
    assert_refused(await client.post("/v1/runs/none/retry"), 404, "run_not_found")
    await client.post(f"/v1/runs/{running['run_id']}/cancel")
    await done(client, running["run_id"])
    response = await client.post(f"/v1/runs/{running['run_id']}/retry")
    assert_refused(response, 409, "not_retryable")


# --- deleting ------------------------------------------------------------------------------------


async def test_a_deleted_thread_is_gone_with_all_of_it(client: httpx.AsyncClient) -> None:
    run = await finished(client, "clerk", "refund order 17 amount=20", thread_id="t")
    (ticket,) = run["waiting"]["tickets"]
    queued = await start(client, "echo", "later", thread_id="t")
    response = await client.delete("/v1/threads/t")
    assert response.status_code == 200, response.text
    counts = response.json()["deleted"]
    assert (counts["threads"], counts["runs"], counts["dispatches"]) == (1, 2, 2)
    assert counts["tickets"] == 1
    assert counts["messages"] >= 2
    for path in (
        "/v1/threads/t",
        "/v1/threads/t/messages",
        f"/v1/runs/{run['run_id']}",
        f"/v1/runs/{queued['run_id']}/stream",
        f"/v1/tickets/{ticket['ticket_id']}",
        "/v1/threads/t/stream",
    ):
        assert (await client.get(path)).status_code == 404, path
    assert_refused(await client.delete("/v1/threads/t"), 404, "thread_not_found")
    stats = (await client.get("/v1/mailbox/stats")).json()
    assert (stats["queued"], stats["in_line"], stats["cancelled"]) == (0, 0, 0)


async def test_the_id_of_a_deleted_thread_can_be_used_again(client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "one", thread_id="t")
    await client.delete("/v1/threads/t")
    run = await finished(client, "echo", "two", thread_id="t")
    assert run["input_message_seqs"] == [1]
    messages = (await client.get("/v1/threads/t/messages")).json()["items"]
    assert [message["content"][0]["text"] for message in messages] == ["two", "two"]


async def make_family(client: httpx.AsyncClient) -> None:
    """A thread with one below it, and one below that."""
    for thread_id, parent in (("top", None), ("middle", "top"), ("bottom", "middle")):
        body = {"thread_id": thread_id, "parent_thread_id": parent}
        assert (await client.post("/v1/threads", json=body)).status_code == 201


async def threads(client: httpx.AsyncClient) -> dict[str, Any]:
    items = (await client.get("/v1/threads")).json()["items"]
    return {item["thread_id"]: item["parent_thread_id"] for item in items}


async def test_a_thread_with_others_below_it_is_not_deleted_unasked(
    client: httpx.AsyncClient,
) -> None:
    await make_family(client)
    details = assert_refused(await client.delete("/v1/threads/top"), 409, "thread_has_children")
    assert (details["field"], details["children"]) == ("children", ["middle"])
    assert len(await threads(client)) == 3
    wrong = await client.delete("/v1/threads/top?children=kill")
    assert_refused(wrong, 422, "invalid_field", "children")


async def test_threads_below_are_detached_or_deleted_as_asked(client: httpx.AsyncClient) -> None:
    await make_family(client)
    detached = await client.delete("/v1/threads/top?children=detach")
    assert detached.json()["deleted"]["threads"] == 1
    assert await threads(client) == {"middle": None, "bottom": "middle"}
    cascaded = await client.delete("/v1/threads/middle?children=cascade")
    assert cascaded.json()["deleted"]["threads"] == 2
    assert await threads(client) == {}


async def test_streams_of_a_deleted_thread_are_told_and_end_in_order(app: App) -> None:
    async with serving(app) as live:
        streams = {}
        async with httpx.AsyncClient(base_url=live.base_url, timeout=10) as client:
            run = await start(client, "storyteller", LONG, thread_id="t")
            for path in (f"/v1/runs/{run['run_id']}/stream", "/v1/threads/t/stream?from=start"):
                streams[path] = await live.connect()
                await streams[path].send(request("GET", path))
                await receive_until(streams[path], b"text_delta")
            assert (await client.delete("/v1/threads/t")).status_code == 200
        of_run, of_thread = [await receive_all(stream) for stream in streams.values()]
        assert b'"reason":"thread_deleted"' in of_run
        assert b"event: run_finish" in of_run
        assert of_run.endswith(b"0\r\n\r\n"), "a clean end"
        assert b"event: run_finish" in of_thread
        assert b"event: thread_deleted" in of_thread
        assert of_thread.endswith(b"0\r\n\r\n")
        for stream in streams.values():
            await stream.aclose()
        await live.wait_quiet()
        assert app.services is not None
        mailbox = app.services.mailbox
        await wait_until(lambda: not mailbox.statistics().executing)
        assert await app.services.store.head("default", "t") is None


# --- a person's data -----------------------------------------------------------------------------


def lines_of(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_an_export_has_everything_of_a_thread(client: httpx.AsyncClient) -> None:
    body = {"thread_id": "t", "title": "A talk", "resource_id": "ada"}
    await client.post("/v1/threads", json=body)
    await finished(client, "clerk", "refund order 17 amount=20", thread_id="t")
    await start(client, "echo", "later", thread_id="t")
    lines = lines_of(await client.get("/v1/threads/t/export"))
    kinds = [line["type"] for line in lines]
    assert {"thread", "run", "dispatch", "ticket", "message", "pending", "event"} <= set(kinds)
    assert lines[-1] == {"type": "end", "data": {"items": len(lines) - 1}}
    assert lines[0]["data"]["title"] == "A talk"
    assert lines[0]["data"]["state"] == {}
    texts = json.dumps([line["data"] for line in lines if line["type"] in ("message", "pending")])
    assert "refund order 17" in texts
    assert "later" in texts
    events = [line["data"]["seq"] for line in lines if line["type"] == "event"]
    listed = (await client.get("/v1/threads/t/events", params={"limit": 200})).json()["items"]
    assert events == [entry["seq"] for entry in listed]
    assert "claim_token" not in json.dumps(lines)
    assert_refused(await client.get("/v1/threads/none/export"), 404, "thread_not_found")


async def test_a_persons_threads_are_exported_and_deleted_together(
    client: httpx.AsyncClient,
) -> None:
    for thread_id, owner, parent in (
        ("a", "ada", None),
        ("b", "ada", "a"),
        ("c", None, "b"),
        ("d", "bob", None),
    ):
        body = {"thread_id": thread_id, "resource_id": owner, "parent_thread_id": parent}
        await client.post("/v1/threads", json=body)
        await finished(client, "echo", f"secret of {thread_id}", thread_id=thread_id)
    lines = lines_of(await client.get("/v1/resources/ada/export"))
    exported = [line["data"]["thread_id"] for line in lines if line["type"] == "thread"]
    assert sorted(exported) == ["a", "b", "c"]
    deleted = await client.delete("/v1/resources/ada")
    assert deleted.json()["deleted"]["threads"] == 3
    assert await threads(client) == {"d": None}
    for method in ("GET", "DELETE"):
        path = "/v1/resources/ada" + ("/export" if method == "GET" else "")
        assert_refused(await client.request(method, path), 404, "resource_not_found")


# --- what is old ---------------------------------------------------------------------------------


async def test_whoever_asks_for_expired_events_is_told(client: httpx.AsyncClient, app: App) -> None:
    first = await finished(client, "echo", "one", thread_id="t")
    assert app.services is not None
    store = app.services.store
    assert await store.purge(Kept.logs, before=first["finished_at"] + 1, limit=100) > 0
    second = await finished(client, "echo", "two", thread_id="t")
    run = f"/v1/runs/{first['run_id']}"
    for path in (f"{run}/stream", f"{run}/events", "/v1/threads/t/stream?after=1"):
        assert_refused(await client.get(path), 410, "events_expired")
    assert (await client.get(run)).json()["result"] == first["result"]
    messages = (await client.get("/v1/threads/t/messages")).json()["items"]
    assert len(messages) == 4
    events = (await client.get("/v1/threads/t/events")).json()["items"]
    assert {entry["run_id"] for entry in events} == {second["run_id"]}
    assert events_of(await client.get(f"/v1/runs/{second['run_id']}/stream"))


async def test_a_reader_of_the_whole_thread_begins_at_what_is_there(
    client: httpx.AsyncClient, app: App
) -> None:
    first = await finished(client, "echo", "one", thread_id="t")
    assert app.services is not None
    await app.services.store.purge(Kept.logs, before=first["finished_at"] + 1, limit=100)
    second = await finished(client, "echo", "two", thread_id="t")
    async with serving(app) as live:
        stream = await live.connect()
        await stream.send(request("GET", "/v1/threads/t/stream?from=start"))
        text = await receive_until(stream, b"run_finish")
        await stream.aclose()
        assert first["run_id"].encode() not in text
        assert second["run_id"].encode() in text


@pytest.fixture
async def short_lived() -> AsyncIterator[App]:
    """An application that keeps next to nothing."""
    settings = Settings(
        store="sqlite://:memory:", drain_seconds=0, gc_ms=1_000, sweep_ms=100, run_retention_ms=1
    )
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


async def test_the_sweeper_deletes_what_is_old(short_lived: App) -> None:
    transport = httpx.ASGITransport(app=short_lived)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8080", timeout=10
    ) as client:
        run = await finished(client, "echo", "one", thread_id="t")
        with anyio.fail_after(10):
            while (await client.get(f"/v1/runs/{run['run_id']}")).status_code == 200:
                await anyio.lowlevel.checkpoint()
        messages = (await client.get("/v1/threads/t/messages")).json()["items"]
        assert len(messages) == 2
        await finished(client, "echo", "two", thread_id="t")


# --- limits --------------------------------------------------------------------------------------


async def test_a_retry_counts_as_one_of_the_keys_runs() -> None:
    settings = Settings(
        store="sqlite://:memory:",
        drain_seconds=0,
        api_keys=SecretStr(API_KEYS),
        key_concurrent_runs=1,
    )
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan(), client_of(app, ALICE) as client:
        run = await failed(client)
        running = await start(client, "storyteller", LONG)
        refused = await client.post(f"/v1/runs/{run['run_id']}/retry")
        assert_refused(refused, 429, "too_many_runs")
        await client.post(f"/v1/runs/{running['run_id']}/cancel")
        await done(client, running["run_id"])
        response = await client.post(f"/v1/runs/{run['run_id']}/retry")
        assert response.status_code == 202
        again = await done(client, response.json()["run_id"])
        assert again["retry_of"] == run["run_id"]
        after = await finished(client, "echo", "the retry is over, and counts no more")
        assert after["status"] == "done"
