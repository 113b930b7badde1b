"""How often a model is asked when its server dies: the journal of a simulated provider knows.

A real server with a real client library asks `aimock` over HTTP, is killed with -9, and goes on
after its restart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Server, SseEvent, run_body, text_of
from tests.models.provider.aimock import KEY, Aimock, install, serving

pytestmark = [pytest.mark.xdist_group("e2e-journal"), pytest.mark.timeout(60)]

AGENTS = """
import os
from pathlib import Path

import anyio

from awaken import Agent, tool
from awaken.models.provider import ProviderModel

PLACE = Path(os.environ["TEST_PLACE"])


@tool(on_crash="retry")
async def work(label: str) -> str:
    "Say that it has begun, and end when the test says so."
    with (PLACE / "begun").open("a") as file:
        file.write(label + "\\n")
    while not (PLACE / label).exists():
        await anyio.sleep(0.01)
    return f"did {label}"


name, url, key = (os.environ[name] for name in ("TEST_MODEL", "TEST_URL", "TEST_KEY"))
agents = [Agent("it", model=ProviderModel(name, base_url=url, api_key=key), tools=[work])]
"""


@pytest.fixture(scope="module")
def aimock_url() -> Iterator[str]:
    install()
    with serving() as url:
        yield url


@pytest.fixture
def aimock(aimock_url: str) -> Iterator[Aimock]:
    control = Aimock(aimock_url)
    control.reset()
    yield control
    control.close()


class Place:
    """Where tool and test meet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begun(self) -> list[str]:
        """The labels of the calls that have begun, in order."""
        file = self.path / "begun"
        return file.read_text().splitlines() if file.exists() else []

    def wait_begun(self, labels: list[str], seconds: float = 15) -> None:
        until = time.monotonic() + seconds
        while self.begun() != labels:
            assert time.monotonic() < until, f"begun: {self.begun()}, not {labels}"
            time.sleep(0.01)

    def end(self, label: str) -> None:
        """Let the call of that label end."""
        (self.path / label).touch()


def make_server(tmp_path: Path, aimock: Aimock, model: str) -> tuple[Server, Place]:
    agents = tmp_path / "agents.py"
    agents.write_text(AGENTS)
    url = aimock.url + "/v1" if model.startswith("openai") else aimock.url
    env = {"TEST_PLACE": str(tmp_path), "TEST_MODEL": model, "TEST_URL": url, "TEST_KEY": KEY}
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    return Server(data_dir, target=str(agents), env=env), Place(tmp_path)


def call(label: str) -> dict[str, Any]:
    return {"toolCalls": [{"name": "work", "arguments": {"label": label}}]}


def turns(entry: dict[str, Any]) -> int:
    """How many answers of the assistant the request had in it: the step it asked for, from 0."""
    return sum(message["role"] == "assistant" for message in entry["body"]["messages"])


@pytest.mark.parametrize(
    "model",
    [
        "openai-chat:gpt-5-mini",
        pytest.param("openai:gpt-5-mini", marks=pytest.mark.slow),
        pytest.param("anthropic:claude-sonnet-5", marks=pytest.mark.slow),
    ],
)
def test_each_step_whose_plan_was_committed_was_asked_for_once(
    tmp_path: Path, aimock: Aimock, model: str
) -> None:
    aimock.match({"userMessage": "go", "turnIndex": 0}, call("a"))
    aimock.match({"userMessage": "go", "turnIndex": 1}, call("b"))
    aimock.match({"userMessage": "go", "turnIndex": 2}, {"content": "All done."})
    server, place = make_server(tmp_path, aimock, model)
    with server:
        run_id = server.post("/v1/runs/background", run_body("it", "go"))["run_id"]
        place.wait_begun(["a"])  # so the plan is committed
        server.kill()
        assert [turns(entry) for entry in aimock.calls()] == [0]

        server.start()
        place.wait_begun(["a", "a"])
        assert [turns(entry) for entry in aimock.calls()] == [0]
        place.end("a")
        place.wait_begun(["a", "a", "b"])
        server.kill()

        server.start()
        place.wait_begun(["a", "a", "b", "b"])
        place.end("b")
        run = finished(server, run_id)
        assert run["result"] == {"response": "All done."}
        assert [turns(entry) for entry in aimock.calls()] == [0, 1, 2]
        assert all(entry["response"]["status"] == 200 for entry in aimock.calls())


def test_the_rest_of_an_answer_is_asked_for_once_behind_what_readers_have_seen(
    tmp_path: Path, aimock: Aimock
) -> None:
    said = " ".join(f"word{n}" for n in range(200))
    aimock.on("tell", {"content": said}, chunkSize=8, latency=25)
    aimock.on("cut off in the middle", {"content": " and so on."})
    server, _ = make_server(tmp_path, aimock, "openai-chat:gpt-5-mini")
    with server:
        run_id = server.post("/v1/runs/background", run_body("it", "tell"))["run_id"]
        path = f"/v1/runs/{run_id}/stream"
        with server.stream("GET", path) as stream:
            stream.until(lambda event: event.event == "text_delta" and "word9" in event.data)
        server.kill()
        assert len(aimock.calls()) == 1

        server.start()
        run = finished(server, run_id)
        first, second = aimock.calls()
        assert "tell" in first["body"]["messages"][-1]["content"]
        seen = seen_before(events_of(server, run_id))
        assert said.startswith(seen)
        assert 0 < len(seen) < len(said)
        *_, published, _ = second["body"]["messages"]
        assert (published["role"], published["content"]) == ("assistant", seen)
        assert run["result"] == {"response": seen + " and so on."}


def finished(server: Server, run_id: str) -> Any:
    """The run, once it is done."""
    with server.stream("GET", f"/v1/runs/{run_id}/stream", params={"until": "done"}) as stream:
        list(stream)
    return server.get(f"/v1/runs/{run_id}")


def events_of(server: Server, run_id: str) -> list[SseEvent]:
    with server.stream("GET", f"/v1/runs/{run_id}/stream", params={"after": 0}) as stream:
        return list(stream)


def seen_before(events: list[SseEvent]) -> str:
    """The text that was published before the run was taken up again."""
    names = [event.event for event in events]
    return text_of(events[: names.index("run_retry")])
