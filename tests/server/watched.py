"""An application made to be watched: agents that do one thing each, and a client of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import msgspec

from awaken import Agent, Conversation, ScriptedModel, ToolContext, foreign_agent, tool
from awaken.domain.event import InferenceComplete, ToolCallDone, ToolCallReady
from awaken.domain.message import Role
from awaken.domain.outcome import Usage
from awaken.errors import Fault
from awaken.models.retry import RetryingModel, RetryPolicy
from awaken.models.scripted import Step
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.model import CallChunk, CallEnd, CallStart, Finish, ModelRequest, TextChunk
from awaken.registry.specs import AgentInCode
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.server.conftest import BASE

SECRET_TEXT = "the-user-said-this"
"""Part of what is said in tests: it must not be found where only ids and codes belong."""

USAGE = Usage(
    input_tokens=100,
    output_tokens=20,
    cache_read_tokens=60,
    cache_write_tokens=10,
    reasoning_tokens=5,
)


# --- agents --------------------------------------------------------------------------------------


def talker() -> Agent:
    """Says two words, and counts its tokens."""
    script: list[Step] = ["Hello ", "there", Finish(reason="stop", usage=USAGE, model="talk-1")]
    return Agent("talker", model=ScriptedModel(script, name="talk"))


def broken() -> Agent:
    """Fails for good."""

    def script(request: ModelRequest) -> Iterator[Step]:
        yield Fault("out_of_order", "it is broken", retryable=False, public=True)

    return Agent("broken", model=ScriptedModel(script, name="broken"))


def shaky() -> Agent:
    """Its first attempt fails, the next one does not."""

    def script(request: ModelRequest) -> Iterator[Step]:
        if request.attempt == 0:
            yield Fault("busy", "come again", retryable=True, public=True)
        yield "done"

    return Agent("shaky", model=ScriptedModel(script, name="shaky"))


def stubborn() -> Agent:
    """Its model is overloaded twice, which its attempt never hears of."""

    def script(request: ModelRequest) -> Iterator[Step]:
        if request.attempt < 2:
            yield Fault("overloaded", "too much", retryable=True)
        yield "at last"

    clock, ids = SystemClock(), SystemIds()
    policy = RetryPolicy(base_ms=1, overloaded_base_ms=1)
    inner = ScriptedModel(script, name="stubborn")
    return Agent("stubborn", model=RetryingModel(inner, clock=clock, ids=ids, policy=policy))


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def crash(text: str) -> str:
    """Fail, quoting what was given."""
    raise ValueError(f"cannot do anything with {text}")


@tool(approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool
async def ask_name(context: ToolContext) -> str:
    """Ask the user for a name."""
    return f"the name is {await context.ask('What is your name?')}"


@tool
async def mutter() -> str:
    """Log something."""
    logging.getLogger("my.tools").info("in the loop")
    return "muttered"


@tool
def mutter_in_a_thread() -> str:
    """Log something."""
    logging.getLogger("my.tools").info("in a thread")
    return "muttered"


@tool(timeout_seconds=0.02)
async def doze() -> str:
    """Take longer than allowed."""
    await anyio.sleep(10)
    return "awake"


class Gate:
    """Lets threads wait until the test has looked."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.passed = threading.Event()


gate = Gate()


@tool(timeout_seconds=0.05)
def hang() -> str:
    """Take longer than allowed, in a thread that nobody can end."""
    gate.open.wait(10)
    gate.passed.set()
    return "too late"


def calling(name: str, *calls: tuple[str, dict[str, Any]], tools: Sequence[Any]) -> Agent:
    """An agent that calls tools, all in one step, and then says so."""

    def script(request: ModelRequest) -> Iterator[Step]:
        done = [message for message in request.messages if message.role is Role.tool]
        if done:
            yield "done"
            return
        yield TextChunk(text="let me see ")
        for nth, (tool_name, arguments) in enumerate(calls):
            yield CallStart(id=f"call-{nth}", name=tool_name)
            yield CallChunk(id=f"call-{nth}", text=msgspec.json.encode(arguments).decode())
            yield CallEnd(id=f"call-{nth}")
        yield Finish(reason="tool_calls")

    return Agent(name, model=ScriptedModel(script, name=name), tools=tools)


async def outsider(conversation: Conversation) -> AsyncIterator[Any]:
    """A foreign agent: it tells what it did."""
    yield ToolCallReady(id="x1", name="lookup", arguments={"q": conversation.text})
    yield ToolCallDone(id="x1", message_id="", outcome="succeeded", result="found")
    yield ToolCallReady(id="x2", name="lookup", arguments={})
    yield ToolCallDone(
        id="x2", message_id="", outcome="failed", result={"error": {"code": "gone", "message": "-"}}
    )
    yield InferenceComplete(
        model="acme:large",
        duration_ms=1500,
        usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    )
    yield "here you are"


def agents() -> list[AgentInCode]:
    """All of them."""
    return [
        talker(),
        broken(),
        shaky(),
        stubborn(),
        calling(
            "adder", ("add", {"a": 1, "b": 2}), ("crash", {"text": SECRET_TEXT}), tools=[add, crash]
        ),
        calling("guesser", ("no_such_tool", {}), tools=[add]),
        calling("payer", ("pay", {"amount": 5}), tools=[pay]),
        calling("asker", ("ask_name", {}), tools=[ask_name]),
        calling("sleeper", ("doze", {}), tools=[doze]),
        calling("hanger", ("hang", {}), tools=[hang]),
        calling(
            "chatty",
            *(("mutter", {}), ("mutter_in_a_thread", {})),
            tools=[mutter, mutter_in_a_thread],
        ),
        foreign_agent("outsider", outsider),
    ]


# --- the application -----------------------------------------------------------------------------


class Watched:
    """An application, and a client without a socket."""

    def __init__(self, app: App, client: httpx.AsyncClient) -> None:
        self.app = app
        self.client = client

    async def run(self, agent: str, text: str = SECRET_TEXT, **headers: str) -> Any:
        """A run of `agent`, once it is done or waits."""
        body = {"agent_id": agent, "messages": [{"role": "user", "content": text}]}
        response = await self.client.post("/v1/runs/wait", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def decide(self, run: Any, payload: Any = None) -> Any:
        """Answer the one ticket of a waiting run; the run, once it is done or waits again."""
        (ticket,) = run["waiting"]["tickets"]
        path = f"/v1/tickets/{ticket['ticket_id']}/decision"
        answer = await self.client.post(path, json={"action": "resume", "payload": payload})
        assert answer.status_code < 300, answer.text
        await self.client.get(f"/v1/runs/{run['run_id']}/stream")
        return (await self.client.get(f"/v1/runs/{run['run_id']}")).json()


@asynccontextmanager
async def watched(**settings: Any) -> AsyncIterator[Watched]:
    """The application over a store in memory, unless `settings` say otherwise."""
    given = {"store": "sqlite://:memory:", "drain_seconds": 0, **settings}
    app = create_app(agents(), Settings(**given))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10) as client,
    ):
        yield Watched(app, client)
