from __future__ import annotations

import httpx
import pytest

from awaken.server.app import App
from tests.e2e.harness import run_body, text_of
from tests.server.support import LONG, assert_refused, events_of, finished, start


async def test_a_run_is_joined_from_its_beginning_by_default(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/runs", json=run_body("echo", "one two three", thread_id="t"))
    second = await client.post("/v1/runs", json=run_body("echo", "four", thread_id="t"))
    for stream in (first, second):
        run_id = stream.headers["awaken-run-id"]
        joined = await client.get(f"/v1/runs/{run_id}/stream")
        assert events_of(joined) == events_of(stream)
        assert joined.headers["awaken-run-id"] == run_id
        assert joined.headers["awaken-thread-id"] == "t"


async def test_the_header_wins_over_the_address(client: httpx.AsyncClient) -> None:
    stream = await client.post("/v1/runs", json=run_body("echo", "one two three"))
    events = events_of(stream)
    path = f"/v1/runs/{stream.headers['awaken-run-id']}/stream?after=1"
    joined = await client.get(path, headers={"last-event-id": events[4].id or ""})
    assert events_of(joined) == events[5:]
    plain = await client.get(path, headers={"last-event-id": ""})
    assert events_of(plain) == events[1:]


@pytest.mark.parametrize("cursor", ["-1", "x", "1.5", "9" * 16, "0x1", "٣"])
async def test_a_cursor_that_is_none_is_400(client: httpx.AsyncClient, cursor: str) -> None:
    run = await finished(client, "echo", "hi", thread_id="t")
    for path in (f"/v1/runs/{run['run_id']}/stream", "/v1/threads/t/stream"):
        response = await client.get(path, params={"after": cursor})
        assert_refused(response, 400, "invalid_cursor", "after")
        headers = {"last-event-id": cursor.encode()}
        response = await client.get(path, headers=headers)  # type: ignore[arg-type]  # bytes are taken
        assert_refused(response, 400, "invalid_cursor", "Last-Event-ID")


async def test_a_cursor_that_the_log_has_not_reached_is_409(client: httpx.AsyncClient) -> None:
    run = await finished(client, "echo", "hi", thread_id="t")
    for path in (f"/v1/runs/{run['run_id']}/stream", "/v1/threads/t/stream"):
        response = await client.get(path, params={"after": "999"})
        details = assert_refused(response, 409, "cursor_ahead")
        assert details["cursor"] == 999
    response = await client.get("/v1/threads/t/stream", params={"from": "999"})
    assert_refused(response, 409, "cursor_ahead")


@pytest.mark.parametrize(
    ("params", "code", "field"),
    [
        ({"until": "never"}, "invalid_field", "until"),
        ({"form": "start"}, "unknown_field", "form"),
    ],
)
async def test_a_bad_parameter_of_a_run_stream_is_named(
    client: httpx.AsyncClient, params: dict[str, str], code: str, field: str
) -> None:
    run = await finished(client, "echo", "hi")
    response = await client.get(f"/v1/runs/{run['run_id']}/stream", params=params)
    assert_refused(response, 422, code, field)


async def test_a_bad_parameter_of_a_thread_stream_is_named(client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "hi", thread_id="t")
    wrong = await client.get("/v1/threads/t/stream?snapshot=perhaps")
    assert_refused(wrong, 422, "invalid_field", "snapshot")
    twice = await client.get("/v1/threads/t/stream?after=1&after=2")
    assert_refused(twice, 422, "invalid_field", "after")
    unknown = await client.get("/v1/threads/t/stream?from=yesterday")
    assert_refused(unknown, 400, "invalid_cursor", "from")


@pytest.mark.parametrize("path", ["/v1/runs/{run_id}/stream", "/v1/threads/t/stream"])
async def test_head_of_a_stream_opens_nothing(
    app: App, client: httpx.AsyncClient, path: str
) -> None:
    run = await finished(client, "echo", "hi", thread_id="t")
    response = await client.head(path.format(run_id=run["run_id"]))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert app.services is not None
    assert app.services.hub.statistics().subscriptions == 0


async def test_done_is_awaited_to_the_end(client: httpx.AsyncClient) -> None:
    accepted = await start(client, "storyteller", "tokens=5 delay_ms=1")
    path = f"/v1/runs/{accepted['run_id']}/stream"
    events = events_of(await client.get(path, params={"until": "done"}))
    assert events[-1].event == "run_finish"
    assert len(text_of(events).split()) == 5


async def test_a_cancelled_run_ends_its_streams(client: httpx.AsyncClient) -> None:
    accepted = await start(client, "storyteller", LONG)
    await client.post(f"/v1/runs/{accepted['run_id']}/cancel")
    events = events_of(await client.get(f"/v1/runs/{accepted['run_id']}/stream"))
    assert events[-1].event == "run_finish"
