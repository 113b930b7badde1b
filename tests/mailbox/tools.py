"""Agents with tools for the mailbox's tests; what the model calls is written in the user's message.

A message is a list of steps separated by `|`, a step a list of calls `name(key=value)`; behind the
last step the model says "done" and what the last results were.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio

from awaken.agent import Agent
from awaken.domain.agent import Limits
from awaken.domain.message import Message, Role
from awaken.domain.state import Scope, StateKey
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    TextChunk,
)
from awaken.ports.tool import ToolContext
from awaken.tools import FrontendTool, tool

_CALL = re.compile(r"(\w+)\(([^)]*)\)")


class ScriptModel:
    """Calls what the last user message lists, step by step. `asked` counts inferences."""

    name = "test:script"

    def __init__(self) -> None:
        self.asked = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked += 1
        text, since = _since_user(request.messages)
        done = sum(1 for message in since if message.role is Role.assistant)
        steps = text.split("|")
        if done >= len(steps):
            results = [m.text for m in since if m.role is Role.tool]
            yield TextChunk(text="done: " + "; ".join(results))
            yield Finish(reason="stop")
            return
        for nth, (name, arguments) in enumerate(_CALL.findall(steps[done])):
            call_id = f"c{len(request.messages)}_{nth}"
            yield CallStart(id=call_id, name=name)
            yield CallChunk(id=call_id, text=_json(arguments))
            yield CallEnd(id=call_id)
        yield Finish(reason="tool_calls")


def _since_user(messages: tuple[Message, ...]) -> tuple[str, list[Message]]:
    since: list[Message] = []
    for message in reversed(messages):
        if message.role is Role.user:
            return message.text, since[::-1]
        since.append(message)
    return "", since[::-1]


def _json(arguments: str) -> str:
    if arguments == "BROKEN":
        return '{"a": '
    pairs = [pair.split("=", 1) for pair in arguments.split(",") if pair]
    return json.dumps({key: _value(value) for key, value in pairs})


def _value(text: str) -> Any:
    return int(text) if text.isdigit() else text


class Bench:
    """A model, its tools, and what these did: `effects` lists every effect, in order."""

    def __init__(self, **agent: Any) -> None:
        self.effects: list[str] = []
        self.model = ScriptModel()
        self.gate = anyio.Event()
        self.running = 0
        self.most_at_once = 0
        counter = StateKey(
            name="count", scope=Scope.thread, default=0, reducer=lambda old, new: old + new
        )

        @tool
        async def do(label: str) -> str:
            """Do something."""
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
            await anyio.lowlevel.checkpoint()
            self.effects.append(label)
            self.running -= 1
            return f"did {label}"

        @tool(on_crash="retry")
        async def again(label: str) -> str:
            """Do something that may be done twice."""
            self.effects.append(label)
            return f"did {label}"

        @tool(on_crash="ask")
        async def unsure(label: str) -> str:
            """Do something and ask after a crash."""
            self.effects.append(label)
            return f"did {label}"

        @tool(approval=True)
        async def pay(amount: int) -> str:
            """Pay."""
            self.effects.append(f"paid {amount}")
            return f"paid {amount}"

        @tool
        async def ask(what: str, ctx: ToolContext) -> str:
            """Ask the user twice."""
            first = await ctx.ask(f"{what}?", schema=int)
            second = await ctx.ask(f"{what} again?", schema=int)
            return f"{what} is {first + second}"

        @tool
        async def count(by: int, ctx: ToolContext) -> str:
            """Count, in the thread's state."""
            ctx.state.set(counter, by)
            await ctx.progress("counting", fraction=0.5)
            await ctx.output("tick")
            return f"key {ctx.idempotency_key.partition(':')[2]}"

        @tool
        async def crash() -> str:
            """Raise."""
            raise ValueError("out of paper")

        @tool(timeout_seconds=0.01)
        async def hang() -> str:
            """Never answer."""
            await anyio.sleep_forever()
            return ""

        self.agent = Agent(
            "tooled",
            model=self.model,
            tools=[do, again, unsure, pay, ask, count, crash, hang, FrontendTool("pick")],
            state=[counter],
            **{"limits": Limits(max_rounds=50), **agent},
        )


_WARM = Bench()
"""Made at import: pydantic looks for its plugins, on disk, when the first model is built."""
