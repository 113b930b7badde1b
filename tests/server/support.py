"""What the tests of the server share."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.harness import SseEvent, run_body, sse_events

LONG = "tokens=5000 delay_ms=20"


def assert_refused(
    response: httpx.Response, status: int, code: str, field: str | None = None
) -> dict[str, Any]:
    """The response is a refusal in the one shape; its details."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) <= {"code", "message", "details"}
    assert error["code"] == code, error
    assert error["message"]
    details: dict[str, Any] = error.get("details", {})
    if field is not None:
        assert details["field"] == field, error
    return details


async def start(client: httpx.AsyncClient, agent: str, text: str, **fields: Any) -> dict[str, Any]:
    """Start a background run; what was accepted."""
    response = await client.post("/v1/runs/background", json=run_body(agent, text, **fields))
    assert response.status_code == 202, response.text
    accepted: dict[str, Any] = response.json()
    return accepted


async def finished(client: httpx.AsyncClient, agent: str, text: str, **fields: Any) -> Any:
    """A run that was waited for."""
    response = await client.post("/v1/runs/wait", json=run_body(agent, text, **fields))
    assert response.status_code == 200, response.text
    return response.json()


def events_of(response: httpx.Response) -> list[SseEvent]:
    """The events of a stream that has ended."""
    assert response.status_code == 200, response.text
    return list(sse_events(iter(response.text.split("\n"))))
