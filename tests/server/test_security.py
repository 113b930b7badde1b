from __future__ import annotations

import httpx
import pytest

from tests.e2e.harness import run_body
from tests.server.support import assert_refused

PATHS = ["/", "/health", "/v1/runs", "/v1/agents", "/docs", "/openapi.json", "/metrics", "/nope"]


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "example.com:8080",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "10.0.0.1",
        "0.0.0.0:8080",
        "",
        "127.0.0.1@example.com",
        "127.0.0.1:x",
        "[::1",
        "127.0.0.1/x",
    ],
)
async def test_another_host_is_refused_everywhere(client: httpx.AsyncClient, host: str) -> None:
    for path in PATHS:
        assert_refused(await client.get(path, headers={"host": host}), 403, "forbidden_host")


async def test_a_loopback_host_is_answered(client: httpx.AsyncClient) -> None:
    for host in (
        "127.0.0.1",
        "127.0.0.1:9",
        "localhost:8080",
        "LOCALHOST",
        "[::1]:8080",
        "127.1.2.3",
    ):
        assert (await client.get("/v1/agents", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["https://example.com", "null", "http://localhost.example.com", "file://", "localhost", ""],
)
async def test_a_page_from_elsewhere_is_refused_everywhere(
    client: httpx.AsyncClient, origin: str
) -> None:
    for path in PATHS:
        response = await client.get(path, headers={"origin": origin})
        assert_refused(response, 403, "forbidden_origin")


async def test_a_page_from_elsewhere_cannot_start_a_run(client: httpx.AsyncClient) -> None:
    headers = {"origin": "https://example.com"}
    response = await client.post("/v1/runs", json=run_body("echo", "hi"), headers=headers)
    assert_refused(response, 403, "forbidden_origin")
    assert (await client.get("/v1/runs")).json()["items"] == []


async def test_a_page_of_this_machine_is_answered(client: httpx.AsyncClient) -> None:
    for origin in ("http://localhost:3000", "https://127.0.0.1", "http://[::1]:1"):
        assert (await client.get("/v1/agents", headers={"origin": origin})).status_code == 200
