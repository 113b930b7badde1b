"""Every bad request is one JSON error of the one shape, with a stable code and the field named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from awaken.protocols.native.http.asgi import MAX_BODY_BYTES
from tests.e2e.harness import run_body
from tests.server.support import assert_refused, finished

SUBMITTING = ["/v1/runs", "/v1/runs/wait", "/v1/runs/background"]
GOOD = run_body("echo", "hi")


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi", **fields}]}


@pytest.mark.parametrize("path", SUBMITTING)
@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_field", "messages"),
        ({"messages": []}, "invalid_field", "messages"),
        ({"messages": "hi"}, "invalid_field", "messages"),
        ([], "invalid_field", ""),
        ("hi", "invalid_field", ""),
        (None, "invalid_field", ""),
        ({**GOOD, "colour": "red"}, "unknown_field", "colour"),
        ({**GOOD, "agent_id": 5}, "invalid_field", "agent_id"),
        ({**GOOD, "agent_id": ""}, "invalid_field", "agent_id"),
        ({**GOOD, "agentId": "echo"}, "unknown_field", "agentId"),
        ({**GOOD, "thread_id": "x" * 129}, "invalid_field", "thread_id"),
        ({**GOOD, "thread_id": "zwei Wörter"}, "invalid_field", "thread_id"),
        ({**GOOD, "priority": "high"}, "invalid_field", "priority"),
        ({**GOOD, "priority": "5"}, "invalid_field", "priority"),
        ({**GOOD, "priority": 256}, "invalid_field", "priority"),
        ({**GOOD, "on_busy": "wait"}, "invalid_field", "on_busy"),
        ({**GOOD, "on_disconnect": "explode"}, "invalid_field", "on_disconnect"),
        ({**GOOD, "metadata": []}, "invalid_field", "metadata"),
        (message(role="tool"), "invalid_field", "messages[0].role"),
        (message(role=None), "invalid_field", "messages[0].role"),
        (message(content=5), "invalid_field", "messages[0].content"),
        (message(content=""), "invalid_field", "messages[0].content"),
        (message(content=[]), "invalid_field", "messages[0].content"),
        (message(content=[{"type": "smell"}]), "invalid_field", "messages[0].content[0]"),
        (message(content=[{"type": "text"}]), "invalid_field", "messages[0].content[0].text"),
        (
            message(content=[{"type": "text", "text": "a", "bold": True}]),
            "unknown_field",
            "messages[0].content[0].bold",
        ),
        (
            message(content=[{"type": "image", "source": {"type": "ftp"}}]),
            "invalid_field",
            "messages[0].content[0].source",
        ),
        (message(id="ü"), "invalid_field", "messages[0].id"),
        (message(extra=1), "unknown_field", "messages[0].extra"),
        (
            {"messages": [{"role": "user", "content": "a", "id": "m"}] * 2},
            "invalid_field",
            "messages[1].id",
        ),
    ],
)
async def test_a_bad_field_is_named(
    client: httpx.AsyncClient, path: str, body: Any, code: str, field: str
) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post(path, content=json.dumps(body).encode(), headers=headers)
    assert_refused(response, 422, code, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**GOOD, "available_at": -1}, "available_at"),
        ({**GOOD, "available_at": 1.5}, "available_at"),
        ({**GOOD, "available_at": 2**63}, "available_at"),
        ({**GOOD, "dedupe_key": ""}, "dedupe_key"),
        ({**GOOD, "on_disconnect": "cancel"}, "on_disconnect"),
    ],
)
async def test_a_bad_field_of_a_background_run_is_named(
    client: httpx.AsyncClient, body: Any, field: str
) -> None:
    assert_refused(await client.post("/v1/runs/background", json=body), 422, "invalid_field", field)


@pytest.mark.parametrize("path", [*SUBMITTING, "/v1/threads"])
@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"nope", b'{"a": NaN}', b"\xff\xfe", b'{"a": "\\ud800"}', b"[" * 5000],
)
async def test_what_is_not_json_is_400(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post(path, content=body, headers=headers)
    if not body and path != "/v1/runs":  # without a body the framework sees a missing one
        assert response.status_code == 422
        return
    assert_refused(response, 400, "invalid_json")


@pytest.mark.parametrize("path", [*SUBMITTING, "/v1/threads", "/v1/runs/x/cancel"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_must_say_that_it_is_json(
    client: httpx.AsyncClient, path: str, kind: str
) -> None:
    headers = {"content-type": kind}
    response = await client.post(path, content=json.dumps(GOOD).encode(), headers=headers)
    assert_refused(response, 415, "unsupported_media_type")


async def test_a_content_type_may_have_parameters(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    content = json.dumps(GOOD).encode()
    response = await client.post("/v1/runs/wait", content=content, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", [*SUBMITTING, "/v1/threads"])
async def test_a_body_that_announces_too_much_is_413(client: httpx.AsyncClient, path: str) -> None:
    headers = {"content-type": "application/json", "content-length": str(MAX_BODY_BYTES + 1)}
    response = await client.post(path, content=b"", headers=headers)
    details = assert_refused(response, 413, "body_too_large")
    assert details == {"limit": MAX_BODY_BYTES}


@pytest.mark.parametrize("path", [*SUBMITTING, "/v1/threads"])
async def test_a_body_that_becomes_too_large_is_413_before_its_end(
    client: httpx.AsyncClient, path: str
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 2 * MAX_BODY_BYTES:
            sent += 1 << 20
            yield b" " * (1 << 20)

    headers = {"content-type": "application/json"}
    response = await client.post(path, content=endless(), headers=headers)
    assert_refused(response, 413, "body_too_large")
    assert sent == MAX_BODY_BYTES + (1 << 20)


async def test_an_unknown_agent_is_404_and_names_those_there_are(
    client: httpx.AsyncClient,
) -> None:
    for path in SUBMITTING:
        response = await client.post(path, json=run_body("ecko", "hi"))
        details = assert_refused(response, 404, "agent_not_found")
        assert "echo" in details["available"]
    assert (await client.get("/v1/runs")).json()["items"] == []
    assert (await client.get("/v1/threads")).json()["items"] == []


async def test_a_known_message_with_other_words_is_a_conflict(client: httpx.AsyncClient) -> None:
    first = {"agent_id": "echo", "thread_id": "t", **message(id="m1")}
    await client.post("/v1/runs/wait", json=first)
    second = {"agent_id": "echo", "thread_id": "t", **message(id="m1", content="other")}
    for path in SUBMITTING:
        assert_refused(await client.post(path, json=second), 409, "message_conflict")


async def test_a_dedupe_key_is_taken_while_its_run_lives(client: httpx.AsyncClient) -> None:
    body = run_body("storyteller", "tokens=5000 delay_ms=20", thread_id="t", dedupe_key="k")
    first = await client.post("/v1/runs/background", json=body)
    second = await client.post("/v1/runs/background", json=body)
    details = assert_refused(second, 409, "duplicate_dedupe_key")
    assert details["run_id"] == first.json()["run_id"]


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/threads", "/v1/threads/t/messages"])
@pytest.mark.parametrize(
    ("params", "status", "code", "field"),
    [
        ({"limit": "0"}, 422, "invalid_field", "limit"),
        ({"limit": "201"}, 422, "invalid_field", "limit"),
        ({"limit": "many"}, 422, "invalid_field", "limit"),
        ({"offset": "5"}, 422, "unknown_field", "offset"),
        ({"cursor": "?"}, 400, "invalid_cursor", "cursor"),
        ({"cursor": "ü"}, 400, "invalid_cursor", "cursor"),
        ({"cursor": "e30"}, 400, "invalid_cursor", "cursor"),
    ],
)
async def test_a_bad_parameter_of_a_list_is_named(
    client: httpx.AsyncClient,
    path: str,
    params: dict[str, str],
    status: int,
    code: str,
    field: str,
) -> None:
    await finished(client, "echo", "hi", thread_id="t")
    assert_refused(await client.get(path, params=params), status, code, field)


async def test_a_status_that_there_is_not_is_named(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/runs", params={"status": "happy"})
    assert_refused(response, 422, "invalid_field", "status")


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/runs/", "/v1/runs//stream", "/v1/threads/"])
async def test_a_path_that_there_is_not_is_404(client: httpx.AsyncClient, path: str) -> None:
    assert_refused(await client.get(path), 404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/runs", "GET, HEAD, POST"),
        ("DELETE", "/v1/threads", "GET, HEAD, POST"),
        ("POST", "/v1/runs/x/stream", "GET, HEAD"),
        ("DELETE", "/v1/threads/x/stream", "GET, HEAD"),
        ("GET", "/v1/runs/x/cancel", "POST"),
        ("POST", "/v1/threads/x", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/v1/runs", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_those_there_are(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    details = assert_refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allowed
    assert details["allowed"] == allowed.split(", ")


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/threads", "/health", "/", "/metrics"])
async def test_head_answers_as_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    response = await client.head(path)
    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize("path", [*SUBMITTING, "/v1/threads/t/messages"])
async def test_a_refused_request_writes_nothing(client: httpx.AsyncClient, path: str) -> None:
    await client.post(path, json={**GOOD, "thread_id": "t", "colour": 1})
    assert (await client.get("/v1/threads")).json()["items"] == []
