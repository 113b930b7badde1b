from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from awaken import __version__, demo
from awaken.errors import StoreFault
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.e2e.harness import run_body
from tests.server.conftest import BASE
from tests.server.support import LONG, assert_refused, events_of, finished, start


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_a_server_that_takes_work_is_ready(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "components": {"store": "ok", "mailbox": "ok"},
    }


async def test_a_server_whose_store_fails_is_alive_but_not_ready(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise StoreFault("store_full", "secret path /var/lib")

    assert app.services is not None
    monkeypatch.setattr(app.services.store, "check", fail, raising=False)
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["components"]["store"] == "error"
    assert (await client.get("/health/live")).status_code == 200


async def test_a_fault_of_the_store_is_told_without_internals(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StoreFault("store_full", "secret path /var/lib")

    assert app.services is not None
    monkeypatch.setattr(app.services.store, "runs", fail, raising=False)
    response = await client.get("/v1/runs")
    assert_refused(response, 503, "store_full")
    assert response.headers["retry-after"] == "1"
    assert "secret" not in response.text


async def test_a_surprise_is_500_without_internals(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    assert app.services is not None
    monkeypatch.setattr(app.services.store, "runs", fail, raising=False)
    monkeypatch.setattr(app.services.store, "run", fail, raising=False)
    for path in ("/v1/runs", "/v1/runs/x/stream"):
        response = await client.get(path)
        assert_refused(response, 500, "internal")
        assert "secret" not in response.text


async def test_agents_and_capabilities_are_told(client: httpx.AsyncClient) -> None:
    agents = (await client.get("/v1/agents")).json()["items"]
    assert {"echo", "storyteller", "flaky"} <= {agent["agent_id"] for agent in agents}
    capabilities = (await client.get("/v1/capabilities")).json()
    assert capabilities["protocols"] == ["native", "ai-sdk", "ag-ui"]
    info = (await client.get("/v1/system/info")).json()
    assert info["version"] == __version__
    assert info["draining"] is False


async def test_the_start_page_says_what_is_running(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    for text in ("storyteller", f"curl -N {BASE}/v1/runs", __version__, "openapi.json"):
        assert text in response.text


async def test_stats_count_what_is_queued_and_running(client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "hi")
    await start(client, "storyteller", LONG, thread_id="t")
    await start(client, "echo", "next", thread_id="t")
    stats = (await client.get("/v1/mailbox/stats")).json()
    assert (stats["acked"], stats["claimed"], stats["queued"]) == (1, 1, 1)
    assert stats["worker"]["executing"] == 1


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[str]], float]:
    """The metrics: (name, label values) to value."""
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if "le" not in sample.labels
    }


async def test_metrics_count_requests_by_the_pattern_of_their_route(
    client: httpx.AsyncClient,
) -> None:
    run = await finished(client, "echo", "hi")
    await client.get(f"/v1/runs/{run['run_id']}")
    await client.get(f"/v1/runs/{run['run_id']}/stream")
    await client.get("/nope")
    await client.post("/v1/runs", json=run_body("echo", "a b"))
    found = await samples(client)
    counted = "awaken_http_requests_total"
    assert found[counted, frozenset({"GET", "/v1/runs/{run_id}", "200"})] == 1
    assert found[counted, frozenset({"GET", "/v1/runs/{run_id}/stream", "200"})] == 1
    assert found[counted, frozenset({"GET", "unmatched", "404"})] == 1
    assert found[counted, frozenset({"POST", "/v1/runs", "200"})] == 1
    assert found["awaken_http_requests_in_flight", frozenset()] == 1
    assert found["awaken_sse_connections", frozenset()] == 0


async def test_metrics_count_runs_and_operations(client: httpx.AsyncClient) -> None:
    await finished(client, "echo", "hi")
    await finished(client, "flaky", "fail=permanent")
    await start(client, "storyteller", LONG)
    await client.get("/v1/runs")
    found = await samples(client)
    assert found["awaken_runs_total", frozenset({"completed"})] == 1
    assert found["awaken_runs_total", frozenset({"permanent_error"})] == 1
    assert found["awaken_active_runs", frozenset()] == 1
    assert found["awaken_mailbox_operations_total", frozenset({"submit", "ok"})] == 3
    assert found["awaken_mailbox_dispatch_depth", frozenset({"claimed"})] == 1
    assert found["awaken_inference_requests_total", frozenset({"echo", "scripted", "ok"})] == 1
    assert found["awaken_mailbox_dispatch_enqueue_to_start_seconds_count", frozenset()] == 3


async def test_the_description_has_every_route(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    routes = {(m.upper(), path) for path, ms in document["paths"].items() for m in ms}
    assert {
        ("POST", "/v1/runs"),
        ("POST", "/v1/runs/wait"),
        ("POST", "/v1/runs/background"),
        ("GET", "/v1/runs"),
        ("GET", "/v1/runs/{run_id}"),
        ("GET", "/v1/runs/{run_id}/stream"),
        ("GET", "/v1/runs/{run_id}/explain"),
        ("GET", "/v1/runs/{run_id}/events"),
        ("POST", "/v1/runs/{run_id}/cancel"),
        ("POST", "/v1/threads"),
        ("GET", "/v1/threads"),
        ("GET", "/v1/threads/summaries"),
        ("GET", "/v1/threads/{thread_id}"),
        ("PATCH", "/v1/threads/{thread_id}"),
        ("GET", "/v1/threads/{thread_id}/messages"),
        ("POST", "/v1/threads/{thread_id}/messages"),
        ("GET", "/v1/threads/{thread_id}/runs"),
        ("GET", "/v1/threads/{thread_id}/runs/active"),
        ("GET", "/v1/threads/{thread_id}/runs/latest"),
        ("GET", "/v1/threads/{thread_id}/events"),
        ("GET", "/v1/threads/{thread_id}/stream"),
        ("GET", "/v1/threads/{thread_id}/mailbox"),
        ("POST", "/v1/threads/{thread_id}/cancel"),
        ("POST", "/v1/threads/{thread_id}/interrupt"),
        ("GET", "/v1/mailbox/stats"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/capabilities"),
        ("GET", "/v1/system/info"),
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/metrics"),
    } <= routes
    assert "agent_id" in document["components"]["schemas"]["RunRequest"]["properties"]
    assert (await client.get("/docs")).status_code == 200


async def test_every_reference_of_the_description_resolves(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return here + [ref for value in node.values() for ref in references(value)]
        if isinstance(node, list):
            return [ref for value in node for ref in references(value)]
        return []

    names = {ref.removeprefix("#/components/schemas/") for ref in references(document)}
    assert names <= set(schemas)


async def test_outside_its_lifespan_it_answers_503(settings: Settings) -> None:
    app = create_app(demo.make_agents(), settings)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        for path in ("/v1/runs", "/v1/runs/x/stream", "/health"):
            assert_refused(await client.get(path), 503, "not_running")
        async with app.lifespan():
            assert (await client.get("/v1/runs")).status_code == 200
        assert_refused(await client.get("/v1/runs"), 503, "not_running")


async def lifespan_answers(app: App) -> list[str]:
    """What the application says when a server starts and stops it."""
    asked = iter(["lifespan.startup", "lifespan.shutdown"])
    said: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": next(asked)}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message["type"])

    with suppress(StoreFault):
        await app({"type": "lifespan"}, receive, send)
    return said


async def test_a_server_can_start_and_stop_it(settings: Settings, data_dir: Path) -> None:
    good = create_app(demo.make_agents(), settings)
    answers = await lifespan_answers(good)
    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    broken = create_app(demo.make_agents(), Settings(store=f"sqlite:///{data_dir}"))
    assert await lifespan_answers(broken) == ["lifespan.startup.failed"]


async def test_it_can_be_mounted_in_another_application(settings: Settings) -> None:
    app = create_app(demo.make_agents(), settings)
    host = FastAPI(lifespan=app.lifespan)
    host.mount("/awaken", app)
    transport = httpx.ASGITransport(app=host)
    async with (
        host.router.lifespan_context(host),
        httpx.AsyncClient(transport=transport, base_url=BASE) as client,
    ):
        run = await finished_at(client, "/awaken")
        stream = await client.get(f"/awaken/v1/runs/{run}/stream")
        assert events_of(stream)[-1].event == "run_finish"
        assert (await client.get("/awaken/v1/runs")).json()["items"][0]["run_id"] == run
        page = await client.get("/awaken/")
        assert f"{BASE}/awaken/v1/runs" in page.text
        assert (await client.get("/awaken/nope")).json()["error"]["code"] == "route_not_found"


async def finished_at(client: httpx.AsyncClient, mount: str) -> str:
    """The id of a run at an application mounted at `mount`."""
    response = await client.post(f"{mount}/v1/runs", json=run_body("echo", "hi"))
    run_id = response.headers["awaken-run-id"]
    assert response.headers["content-location"] == f"{mount}/v1/runs/{run_id}"
    return run_id
