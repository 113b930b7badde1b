"""Agents for the tests of the page; a server is started on this file.

`mallory` says, calls, answers and asks nothing but markup that would run scripts, were it parsed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import anyio
import msgspec
import pydantic

from awaken import Agent, ModelRequest, ScriptedModel, ToolContext, tool
from awaken.domain.message import Role
from awaken.models.scripted import Step
from awaken.ports.model import CallChunk, CallEnd, CallStart, Finish, ReasoningChunk

SCRIPT = "<script>window.pwned = 'script'</script>"
ONERROR = "<img src=x onerror=\"window.pwned = 'onerror'\">"
LINK = "[press](javascript:window.pwned='link') and [out](https://example.com/a?b=1)"
CLOSING = "</p></div><svg onload=\"window.pwned = 'svg'\">"
SPLIT = ("<scr", "ipt>window.pwned = 'split'</scr", "ipt>")
PAYLOAD = f"{SCRIPT}{ONERROR}{CLOSING}"


class Order(pydantic.BaseModel):
    """What `waiter` asks for."""

    dish: Literal["soup", "fish"] = pydantic.Field(description="of today")
    count: int = pydantic.Field(ge=1, le=9)
    sharp: bool
    note: str | None = None


@tool
async def take_order(ctx: ToolContext) -> str:
    """Ask for an order."""
    order = await ctx.ask("What will it be?", schema=Order)
    return f"{order.count} {order.dish}, {'sharp' if order.sharp else 'mild'}"


@tool
async def dig(ctx: ToolContext) -> str:
    """Tell how far it is."""
    for nth in range(1, 5):
        await ctx.progress(f"{nth} m deep", fraction=nth / 4)
        await ctx.output(f"stone {nth}\n")
        await anyio.sleep(0.4)
    return "water"


@tool
async def spill(text: str) -> dict[str, str]:
    """Give back what came in."""
    return {PAYLOAD: text}


@tool(approval=True, name="danger")
async def danger(text: str) -> str:
    """Do nothing, if it is allowed."""
    return text


def _call(name: str, arguments: Any) -> Iterator[Step]:
    yield CallStart(id="call_1", name=name)
    yield CallChunk(id="call_1", text=msgspec.json.encode(arguments).decode())
    yield CallEnd(id="call_1")
    yield Finish(reason="tool_calls")


def _called(name: str, arguments: Any) -> Any:
    """A script: call a tool, then say what came of it."""

    def script(request: ModelRequest) -> Iterator[Step]:
        last = request.messages[-1]
        if last.role is Role.tool:
            return iter([f"It gave: {last.text}"])
        return _call(name, arguments)

    return script


def _say_evil(request: ModelRequest) -> Iterator[Step]:
    last = request.messages[-1]
    if last.role is Role.tool:
        yield f"# {ONERROR}\n\n- {SCRIPT}\n\n```\n{PAYLOAD}\n```\n\n"
        yield f"**{SCRIPT}** `{ONERROR}`\n\n{LINK}\n\n"
        yield from SPLIT
        return
    yield ReasoningChunk(text=PAYLOAD)
    yield PAYLOAD
    yield from _call("danger" if "ask" in last.text else "spill", {"text": PAYLOAD})


agents = [
    Agent(
        "mallory",
        model=ScriptedModel(_say_evil, name="mallory"),
        description=PAYLOAD,
        tools=[spill, danger],
    ),
    Agent("waiter", model=ScriptedModel(_called("take_order", {})), tools=[take_order]),
    Agent("digger", model=ScriptedModel(_called("dig", {})), tools=[dig]),
]
