"""What the policy point does, over HTTP: credentials, tenants, actors, pages, sizes, limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from awaken import demo
from awaken.server import security_http
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.e2e.harness import run_body
from tests.server.keys import ALICE, API_KEYS, BOB, ONLY, bearer, client_of
from tests.server.live import Live, receive_all, receive_until, request, serving
from tests.server.support import LONG, assert_refused, events_of, finished, start
from tests.server.test_tickets import REFUND, decide

PAGE = "https://app.example.com"
LISTS = ["/v1/runs", "/v1/threads", "/v1/threads/summaries", "/v1/tickets"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    given: dict[str, Any] = {"api_keys": API_KEYS, "cors_origins": PAGE}
    return Settings.model_validate({**settings.model_dump(), **given})


@pytest.fixture
async def alice(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, ALICE) as client:
        yield client


@pytest.fixture
async def bob(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, BOB) as client:
        yield client


@pytest.fixture
async def nobody(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


# --- credentials ---------------------------------------------------------------------------------


async def test_a_key_comes_as_bearer_or_in_its_own_header(nobody: httpx.AsyncClient) -> None:
    for headers in (
        {"authorization": f"Bearer {ALICE}"},
        {"authorization": f"bearer   {ALICE} "},
        {"x-api-key": ALICE},
    ):
        assert (await nobody.get("/v1/runs", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", f"Basic {ALICE}")],
        [("authorization", ALICE)],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("x-api-key", "")],
        [("x-api-key", ALICE.upper())],
        [("x-api-key", "\xff\xfe")],
        [("authorization", f"Bearer {ALICE}"), ("authorization", f"Bearer {BOB}")],
        [("authorization", f"Bearer {ALICE}"), ("x-api-key", ALICE)],
        [("authorization", f"Bearer {ALICE}, Bearer {BOB}")],
        [("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.")],
    ],
)
async def test_what_is_not_exactly_one_key_is_refused(
    nobody: httpx.AsyncClient, headers: list[tuple[str, str]]
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    response = await nobody.get("/v1/runs", headers=raw)
    assert_refused(response, 401, "invalid_credentials")
    assert ALICE not in response.text


async def test_a_key_in_the_query_is_none(nobody: httpx.AsyncClient) -> None:
    response = await nobody.get("/v1/runs", params={"api_key": ALICE, "access_token": ALICE})
    assert_refused(response, 401, "missing_credentials")


async def test_with_keys_any_host_is_answered(alice: httpx.AsyncClient) -> None:
    for host in ("awaken.example.com", "10.0.0.1:8080"):
        assert (await alice.get("/v1/runs", headers={"host": host})).status_code == 200


# --- tenants -------------------------------------------------------------------------------------


async def test_a_thread_id_means_another_thread_to_another_tenant(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    mine = await finished(alice, "echo", "secret of a", thread_id="same")
    theirs = await finished(bob, "echo", "hello", thread_id="same")
    assert mine["run_id"] != theirs["run_id"]
    messages = (await bob.get("/v1/threads/same/messages")).text
    assert "secret of a" not in messages
    stream = await bob.get(f"/v1/runs/{theirs['run_id']}/stream")
    assert "secret of a" not in stream.text
    assert {event.entry["run_id"] for event in events_of(stream)} == {theirs["run_id"]}


@pytest.mark.parametrize("path", LISTS)
async def test_lists_hold_nothing_of_another_tenant(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, path: str
) -> None:
    run = await finished(alice, "clerk", REFUND, thread_id="t")
    assert (await alice.get(path)).json()["items"]
    assert (await bob.get(path)).json()["items"] == []
    if path in ("/v1/runs", "/v1/tickets"):
        for where in ({"thread_id": "t"}, {"run_id": run["run_id"]}):
            response = await bob.get(path, params=where)
            assert response.status_code == 422 or response.json()["items"] == []


async def test_a_cursor_of_another_tenant_shows_nothing(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    for client in (alice, alice, bob):
        await finished(client, "echo", "hi")
    cursor = (await alice.get("/v1/runs", params={"limit": 1})).json()["next_cursor"]
    response = await bob.get("/v1/runs", params={"limit": 1, "cursor": cursor})
    assert response.status_code == 400


async def test_a_thread_of_another_tenant_is_no_parent(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await alice.post("/v1/threads", json={"thread_id": "parent"})
    response = await bob.post("/v1/threads", json={"parent_thread_id": "parent"})
    assert_refused(response, 422, "parent_thread_not_found")
    await bob.post("/v1/threads", json={"thread_id": "child"})
    response = await bob.patch("/v1/threads/child", json={"parent_thread_id": "parent"})
    assert_refused(response, 422, "parent_thread_not_found")


async def test_stats_are_those_of_the_tenant(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await finished(alice, "echo", "hi")
    assert (await alice.get("/v1/mailbox/stats")).json()["acked"] == 1
    assert (await bob.get("/v1/mailbox/stats")).json()["acked"] == 0


# --- actors --------------------------------------------------------------------------------------


async def test_who_decided_is_recorded(nobody: httpx.AsyncClient, alice: httpx.AsyncClient) -> None:
    run = await finished(alice, "clerk", REFUND)
    (ticket,) = run["waiting"]["tickets"]
    path = f"/v1/tickets/{ticket['ticket_id']}"
    approver = bearer(ONLY["approve"])
    body = {"action": "resume", "payload": {"approve": True}}
    decided = await nobody.post(f"{path}/decision", json=body, headers=approver)
    assert decided.status_code == 202, decided.text
    assert decided.json()["ticket"]["decision"]["by"] == "only-approve"
    events = events_of(await alice.get(f"/v1/runs/{run['run_id']}/stream"))
    closed = next(event.payload for event in events if event.event == "ticket_closed")
    assert closed["by"] == "only-approve"


async def test_whoever_may_only_start_runs_cannot_approve_them(nobody: httpx.AsyncClient) -> None:
    nobody.headers.update(bearer(ONLY["invoke"]))
    run = await finished(nobody, "clerk", REFUND, thread_id="t")
    (ticket,) = run["waiting"]["tickets"]
    for path in (
        f"/v1/tickets/{ticket['ticket_id']}",
        f"/v1/runs/{run['run_id']}",
        "/v1/threads/t",
    ):
        assert_refused(await decide(nobody, path), 403, "insufficient_scope")
    assert (await nobody.get(f"/v1/runs/{run['run_id']}")).json()["status"] == "waiting"


@pytest.mark.parametrize("what", ["runs", "threads", "interrupt"])
async def test_who_stopped_is_recorded(alice: httpx.AsyncClient, what: str) -> None:
    accepted = await start(alice, "storyteller", LONG, thread_id="t")
    run_id = accepted["run_id"]
    paths = {"runs": f"/v1/runs/{run_id}/cancel", "threads": "/v1/threads/t/cancel"}
    stopped = await alice.post(paths.get(what, "/v1/threads/t/interrupt"))
    assert stopped.status_code == 202
    await alice.get(f"/v1/runs/{run_id}/stream")
    run = (await alice.get(f"/v1/runs/{run_id}")).json()
    assert run["termination"] == {"type": "cancelled", "by": "alice"}


# --- pages ---------------------------------------------------------------------------------------


async def test_a_page_that_is_named_is_told_so_by_every_route(
    nobody: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    origin = {"origin": PAGE}
    run = await alice.post("/v1/runs", json=run_body("echo", "hi"), headers=origin)
    run_id = run.headers["awaken-run-id"]
    answers = [
        run,
        await alice.get(f"/v1/runs/{run_id}/stream", headers=origin),
        await alice.get("/v1/runs", headers=origin),
        await alice.get("/v1/runs/none", headers=origin),
        await nobody.get("/v1/runs", headers=origin),
        await nobody.get("/health", headers=origin),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 401, 200]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "awaken-run-id" in answer.headers["access-control-expose-headers"]
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/v1/runs", "/v1/runs/x/stream", "/v1/threads/x/stream", "/v1/runs/wait", "/nope"]
)
async def test_a_browser_that_asks_first_is_answered_without_a_key(
    nobody: httpx.AsyncClient, path: str
) -> None:
    headers = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, last-event-id",
    }
    answer = await nobody.options(path, headers=headers)
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == PAGE
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "last-event-id"} <= set(allowed)
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert int(answer.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.evil.com",
        "null",
        "",
        "http://localhost:3000",
    ],
)
async def test_a_page_that_is_not_named_is_refused_key_or_not(
    alice: httpx.AsyncClient, nobody: httpx.AsyncClient, origin: str
) -> None:
    asks = {"origin": origin, "access-control-request-method": "POST"}
    for answer in (
        await alice.post("/v1/runs", json=run_body("echo", "hi"), headers={"origin": origin}),
        await alice.get("/v1/runs/x/stream", headers={"origin": origin}),
        await nobody.options("/v1/runs", headers=asks),
    ):
        assert_refused(answer, 403, "forbidden_origin")
        assert "access-control-allow-origin" not in answer.headers
    assert (await alice.get("/v1/runs")).json()["items"] == []


async def test_a_page_of_the_server_itself_may_use_it(alice: httpx.AsyncClient) -> None:
    for host, origin in (
        ("awaken.example.org", "https://awaken.example.org"),
        ("awaken.example.org:8080", "http://awaken.example.org:8080"),
        ("Awaken.example.org:443", "https://awaken.example.org"),
    ):
        headers = {"host": host, "origin": origin}
        assert (await alice.get("/v1/runs", headers=headers)).status_code == 200
        assert "access-control-allow-origin" not in (await alice.get("/", headers=headers)).headers


async def test_without_keys_a_page_of_this_machine_must_be_named_to_read_answers() -> None:
    page = "http://localhost:3000"
    settings = Settings(store="sqlite://:memory:", drain_seconds=0, cors_origins=(page,))
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan(), client_of(app) as client:
        named = await client.get("/v1/runs", headers={"origin": page})
        other = await client.get("/v1/runs", headers={"origin": "http://localhost:3001"})
        asked = {"origin": page, "access-control-request-method": "POST"}
        preflight = await client.options("/v1/runs", headers=asked)
        rebound = await client.options("/v1/runs", headers={**asked, "host": "evil.example"})
    assert named.headers["access-control-allow-origin"] == page
    assert "access-control-allow-origin" not in other.headers
    assert preflight.status_code == 204
    assert_refused(rebound, 403, "forbidden_host")


# --- sizes ---------------------------------------------------------------------------------------


async def test_a_head_that_is_too_large_is_refused(nobody: httpx.AsyncClient) -> None:
    many = [(b"x-many", b"1")] * 101
    assert_refused(await nobody.get("/health", headers=many), 431, "headers_too_large")
    large = {"x-large": "x" * 33_000}
    assert_refused(await nobody.get("/health", headers=large), 431, "headers_too_large")
    assert_refused(await nobody.get("/health?" + "x" * 9_000), 414, "url_too_long")


@pytest.mark.parametrize("bad", ["x" * 129, "a%00b", "a%20b", "%C3%BC", "%ED%A0%80", "%FF"])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/runs/{}", "run_not_found"),
        ("/v1/runs/{}/stream", "run_not_found"),
        ("/v1/threads/{}/messages", "thread_not_found"),
        ("/v1/threads/{}/stream", "thread_not_found"),
        ("/v1/tickets/{}", "ticket_not_found"),
    ],
)
async def test_an_id_that_cannot_be_one_is_not_found(
    alice: httpx.AsyncClient, path: str, bad: str, code: str
) -> None:
    response = await alice.get(path.format(bad))
    assert_refused(response, 404, code)
    assert len(response.text) < 1_000


async def test_a_connection_that_never_ends_its_head_is_closed(live: Live) -> None:
    async with await live.connect() as stream:
        with anyio.fail_after(10):
            await stream.send(b"GET /health HTTP/1.1\r\nhost: x\r\nx-endless: ")
            try:
                while True:
                    await stream.send(b"x" * 8192)
            except anyio.BrokenResourceError:
                return


async def test_a_connection_that_is_slow_with_its_head_is_closed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_http, "HEAD_SECONDS", 0.1)
    async with await live.connect() as silent:
        assert await receive_all(silent) == b""
    async with await live.connect() as slow:
        await slow.send(request("GET", "/health/live"))
        await receive_until(slow, b"HTTP/1.1 200")
        await slow.send(b"GET /health/live HTTP/1.1\r\nhost: ")
        assert await receive_all(slow) == b""
    async with await live.connect() as busy:
        key = f"authorization: Bearer {ALICE}"
        body = run_body("storyteller", "tokens=10 delay_ms=50")
        await busy.send(request("POST", "/v1/runs", body, key))
        await receive_until(busy, b'"natural_end"')


async def test_a_large_head_within_the_limits_is_answered(live: Live) -> None:
    async with await live.connect() as stream:
        headers = [f"x-{number}: {'x' * 900}" for number in range(30)]
        await stream.send(request("GET", "/health/live", None, *headers))
        await receive_until(stream, b"HTTP/1.1 200")
        await stream.send(request("GET", "/health/live", None, "connection: close"))
        assert b"HTTP/1.1 200" in await receive_all(stream)


# --- limits --------------------------------------------------------------------------------------


@pytest.fixture
async def limited_app(request: pytest.FixtureRequest) -> AsyncIterator[App]:
    settings = Settings.model_validate(
        {
            "store": "sqlite://:memory:",
            "drain_seconds": 0,
            "api_keys": API_KEYS,
            **request.param,
        }
    )
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


@pytest.mark.parametrize("limited_app", [{"key_requests_per_minute": 3}], indirect=True)
async def test_more_requests_than_a_key_may_send_are_429(limited_app: App) -> None:
    async with client_of(limited_app, ALICE) as alice, client_of(limited_app, BOB) as bob:
        for _ in range(3):
            assert (await alice.get("/v1/agents")).status_code == 200
        response = await alice.get("/v1/agents")
        assert assert_refused(response, 429, "rate_limited") == {"limit": 3}
        assert 1 <= int(response.headers["retry-after"]) <= 21
        assert (await bob.get("/v1/agents")).status_code == 200, "each key has its own"
        assert (await alice.get("/health")).status_code == 200, "health is free"


@pytest.mark.parametrize("limited_app", [{"key_concurrent_runs": 2}], indirect=True)
async def test_more_runs_than_a_key_may_have_are_429(limited_app: App) -> None:
    async with client_of(limited_app, ALICE) as alice, client_of(limited_app, BOB) as bob:
        first = await start(alice, "storyteller", LONG)
        await start(alice, "storyteller", LONG)
        for path in ("/v1/runs", "/v1/runs/wait", "/v1/runs/background"):
            response = await alice.post(path, json=run_body("echo", "hi"))
            assert assert_refused(response, 429, "too_many_runs") == {"limit": 2}
            assert response.headers["retry-after"] == "5"
        thread = f"/v1/threads/{first['thread_id']}/messages"
        body = {"messages": [{"role": "user", "content": "more"}]}
        assert_refused(await alice.post(thread, json=body), 429, "too_many_runs")
        await finished(bob, "echo", "hi")
        await alice.post(f"/v1/runs/{first['run_id']}/cancel")
        await alice.get(f"/v1/runs/{first['run_id']}/stream")
        await finished(alice, "echo", "hi")
        await finished(alice, "clerk", REFUND)
        await finished(alice, "echo", "one that waits takes no place")


@pytest.mark.parametrize("limited_app", [{"key_concurrent_runs": 1}], indirect=True)
async def test_a_run_that_is_not_accepted_takes_no_place(limited_app: App) -> None:
    async with client_of(limited_app, ALICE) as alice:
        response = await alice.post("/v1/runs/wait", json=run_body("nobody", "hi"))
        assert_refused(response, 404, "agent_not_found")
        message = {"role": "user", "content": "hi", "id": "m1"}
        body = {"agent_id": "echo", "thread_id": "t", "messages": [message]}
        first = await alice.post("/v1/runs/wait", json=body)
        again = await alice.post("/v1/runs/wait", json=body)
        assert first.json()["run_id"] == again.json()["run_id"], "attached, not started"
        await finished(alice, "echo", "hi")


@pytest.mark.parametrize("limited_app", [{"key_tokens_per_day": 5}], indirect=True)
async def test_when_the_tokens_of_a_day_are_used_up_no_run_is_started(limited_app: App) -> None:
    async with client_of(limited_app, ALICE) as alice, client_of(limited_app, BOB) as bob:
        await finished(alice, "echo", "one two three four five six")
        response = await alice.post("/v1/runs", json=run_body("echo", "hi"))
        assert assert_refused(response, 429, "token_limit") == {"limit": 5}
        assert 1 <= int(response.headers["retry-after"]) <= 24 * 3600
        assert (await alice.get("/v1/runs")).status_code == 200, "only new runs cost tokens"
        await finished(bob, "echo", "hi")


# --- who it was ----------------------------------------------------------------------------------


async def test_a_run_says_who_started_it(alice: httpx.AsyncClient) -> None:
    run = await finished(alice, "echo", "hi")
    assert run["started_by"] == "alice"


# --- a port that others can reach ----------------------------------------------------------------


async def test_streams_behind_a_socket_need_the_key_too(app: App) -> None:
    async with serving(app) as live:
        async with await live.connect() as stream:
            await stream.send(request("POST", "/v1/runs", run_body("echo", "hi")))
            assert b"401" in await receive_until(stream, b"missing_credentials")
        async with await live.connect() as stream:
            key = f"authorization: Bearer {ALICE}"
            await stream.send(request("POST", "/v1/runs", run_body("echo", "hi"), key))
            await receive_until(stream, b'"natural_end"')
