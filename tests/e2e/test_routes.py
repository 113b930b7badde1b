"""The routes over a real socket: what only a real server can show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, run_body, text_of

pytestmark = pytest.mark.xdist_group("e2e-routes")

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def run(server: Server) -> Any:
    """A finished run on the thread `t`."""
    return server.post("/v1/runs/wait", run_body("echo", "hello there", thread_id="t"))


def assert_refused(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["code"] == code


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runs",
        "/v1/runs/{run}",
        "/v1/runs/{run}/events",
        "/v1/runs/{run}/explain",
        "/v1/threads",
        "/v1/threads/summaries",
        "/v1/threads/t",
        "/v1/threads/t/messages",
        "/v1/threads/t/runs",
        "/v1/threads/t/runs/active",
        "/v1/threads/t/runs/latest",
        "/v1/threads/t/events",
        "/v1/threads/t/mailbox",
        "/v1/mailbox/stats",
        "/v1/agents",
        "/v1/capabilities",
        "/v1/system/info",
        "/health",
        "/health/ready",
        "/openapi.json",
    ],
)
def test_get_and_head_answer_alike(server: Server, run: Any, path: str) -> None:
    path = path.format(run=run["run_id"])
    got, head = server.http.get(path), server.http.head(path)
    assert got.status_code == head.status_code == 200
    assert isinstance(got.json(), dict)
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("path", ["/", "/docs", "/metrics", "/health/live"])
def test_pages_that_are_no_json_answer(server: Server, path: str) -> None:
    assert server.http.get(path).status_code == 200
    assert server.http.head(path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/runs/{run}/stream", "/v1/threads/t/stream"])
def test_head_of_a_stream_answers_and_ends(server: Server, run: Any, path: str) -> None:
    response = server.http.head(path.format(run=run["run_id"]))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["awaken-thread-id"] == "t"


def test_a_stream_has_the_headers_that_proxies_need(server: Server) -> None:
    with server.stream("POST", "/v1/runs", json=run_body("echo", "a b")) as stream:
        headers = stream.headers
        assert text_of(list(stream)) == "a b"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["content-location"] == f"/v1/runs/{headers['awaken-run-id']}"
    assert headers["awaken-thread-id"]


def test_a_connection_serves_stream_after_stream(server: Server) -> None:
    for number in range(3):
        assert text_of(server.run("echo", f"number {number}")) == f"number {number}"


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/runs/wait", "/v1/threads"])
def test_a_body_that_is_too_large_is_413_however_it_is_sent(server: Server, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(18):
            yield b" " * MIB

    headers = {"content-type": "application/json"}
    streamed = server.http.post(path, content=pieces(), headers=headers)
    assert_refused(streamed, 413, "body_too_large")
    whole = server.http.post(path, content=b" " * (17 * MIB), headers=headers)
    assert_refused(whole, 413, "body_too_large")
    assert server.get("/health")["status"] == "healthy"


def test_a_body_below_the_limit_is_accepted(server: Server) -> None:
    text = "x" * (2 * MIB)
    done = server.post("/v1/runs/wait", run_body("echo", text))
    assert done["result"]["response"] == text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "route_not_found"),
        ("PUT", "/v1/runs", 405, "method_not_allowed"),
        ("POST", "/v1/threads/t/stream", 405, "method_not_allowed"),
        ("GET", "/v1/runs/nope", 404, "run_not_found"),
        ("GET", "/v1/runs/nope/stream", 404, "run_not_found"),
        ("HEAD", "/v1/runs/nope/stream", 404, ""),
    ],
)
def test_what_there_is_not_is_told(
    server: Server, method: str, path: str, status: int, code: str
) -> None:
    response = server.http.request(method, path)
    if code:
        assert_refused(response, status, code)
    assert response.status_code == status


def test_another_host_is_refused(server: Server) -> None:
    response = server.http.get("/v1/runs", headers={"host": "rebound.example.com"})
    assert_refused(response, 403, "forbidden_host")


def test_nothing_of_this_was_an_error_for_the_log(server: Server) -> None:
    assert not [line for line in server.log if '"level": "error"' in line]


def test_a_deep_value_comes_back_as_it_was_sent(server: Server) -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    metadata = {"deep": deep, "large": 10**30, "text": "\u0000\u2028é😀"}
    accepted = server.post("/v1/runs/background", run_body("echo", "hi", metadata=metadata))
    assert server.get(f"/v1/runs/{accepted['run_id']}")["metadata"] == metadata


def test_a_body_that_is_too_deep_is_refused(server: Server) -> None:
    body = b'{"metadata": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    headers = {"content-type": "application/json"}
    response = server.http.post("/v1/runs", content=body, headers=headers)
    assert_refused(response, 400, "invalid_json")


def test_the_data_directory_is_the_one_that_was_named(server: Server) -> None:
    assert (Path(server.data_dir) / "awaken.db").exists()
