"""A real server whose tools ignore its end: it ends all the same, and the run goes on elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import Server, run_body

pytestmark = pytest.mark.xdist_group("e2e-stubborn")

AGENTS = """
import threading

import anyio

from awaken import Agent, ScriptedModel, tool
from awaken.domain.message import ToolCall


@tool
async def catch() -> str:
    "Catch every cancellation."
    print("begun", flush=True)
    while True:
        try:
            await anyio.sleep_forever()
        except BaseException:
            pass


@tool
async def shield() -> str:
    "Shield itself."
    with anyio.CancelScope(shield=True):
        await anyio.sleep_forever()


@tool
def block() -> str:
    "Block its thread."
    threading.Event().wait()


def script(request):
    last = request.messages[-1]
    if last.role == "tool":
        yield last.text
        return
    for name in last.text.split():
        yield ToolCall(id=name, name=name, arguments={})


agents = [Agent("it", model=ScriptedModel(script), tools=[catch, shield, block])]
"""
ENV = {"AWAKEN_DRAIN_SECONDS": "0.2", "AWAKEN_CANCEL_GRACE_SECONDS": "0.5"}


@pytest.mark.parametrize(
    "tools",
    [
        "catch shield block",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("catch", "shield", "block")),
    ],
)
def test_sigterm_ends_the_process_and_hands_the_run_over(data_dir: Path, tools: str) -> None:
    agents = data_dir.parent / "agents.py"
    agents.write_text(AGENTS)
    with Server(data_dir, target=str(agents), env=ENV) as server:
        run_id = server.post("/v1/runs/background", run_body("it", tools))["run_id"]
        calls = len(tools.split())
        wait_until(lambda: started(server, run_id) == calls)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 6
        told = "\n".join(server.log)
        for name in tools.split():
            assert f"tool {name}" in told
        assert "ending with work that did not stop" in told

        server.start()
        with server.stream("GET", f"/v1/runs/{run_id}/stream", params={"until": "done"}) as stream:
            events = list(stream)
        run = server.get(f"/v1/runs/{run_id}")
        assert "whether it happened is not known" in run["result"]["response"]
        names = [event.event for event in events]
        assert names.count("tool_call_done") == calls
        assert names[-1] == "run_finish"
        assert server.stop() == 0


def started(server: Server, run_id: str) -> int:
    plan = server.get(f"/v1/runs/{run_id}/explain")
    return str(plan).count("'started'")


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
