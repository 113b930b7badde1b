"""Foreign agents over HTTP: like any other, and what they keep for themselves stays inside."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from awaken import Conversation, foreign_agent
from awaken.server.app import create_app
from awaken.server.settings import Settings
from tests.e2e.harness import run_body
from tests.server.support import events_of, finished


async def parrot(conversation: Conversation) -> AsyncIterator[str]:
    yield "You said: "
    yield conversation.text


def library() -> Agent[None, str]:
    agent = Agent(TestModel(), system_prompt="a secret prompt")

    @agent.tool_plain
    def weather(city: str) -> str:
        return "mild"

    return agent


async def test_foreign_agents_are_served_and_show_only_what_they_say() -> None:
    agents = [
        foreign_agent("parrot", parrot, description="Repeats."),
        foreign_agent("library", library()),
    ]
    app = create_app(agents, Settings(store="sqlite://:memory:", drain_seconds=0))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", timeout=10
        ) as client,
    ):
        run = await finished(client, "parrot", "hi")
        assert run["result"] == {"response": "You said: hi"}
        streamed = await client.post("/v1/runs", json=run_body("library", "hi", thread_id="t"))
        types = [event.event for event in events_of(streamed)]
        assert types[-1] == "run_finish"
        assert {"tool_call_ready", "tool_call_done", "text_delta"} <= set(types)
        listed = await client.get("/v1/threads/t/messages")
        assert [item["role"] for item in listed.json()["items"]] == ["user", "assistant", "tool"]
        for shown in (streamed.text, listed.text):
            assert "secret prompt" not in shown
            assert "pydantic_ai" not in shown.replace("pyd_ai_tool_call_id", "")
