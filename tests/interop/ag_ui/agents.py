"""The agent that stock clients talk to: the first word of the user's message says what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from awaken import Agent, tool
from awaken.domain.message import Message, Role
from awaken.errors import Fault
from awaken.models.scripted import Pause, ScriptedModel, Step
from awaken.ports.model import CallChunk, CallEnd, CallStart, Finish, ModelRequest, ReasoningChunk
from awaken.ports.tool import ToolContext


@tool
async def get_weather(city: str) -> dict[str, Any]:
    """The weather of a city."""
    return {"city": city, "celsius": 18}


@tool
async def count(ctx: ToolContext) -> int:
    """One more than before, by the state that is shared with the client."""
    number = int(ctx.state.get("count", 0)) + 1
    ctx.state.set("count", number)
    return number


@tool(approval=True)
async def refund(order: str, amount: float) -> dict[str, Any]:
    """Refund an order, when somebody allows it."""
    return {"order": order, "amount": amount, "refunded": True}


@tool
async def ask(ctx: ToolContext) -> str:
    """Ask the user for a name."""
    return str(await ctx.ask("What is your name?", schema={"type": "string"}))


def _script(request: ModelRequest) -> Iterator[Step]:
    said = [m for m in request.messages if m.role is Role.user]
    words = said[-1].text.split() if said else ["hello"]
    results = _results(request)
    if results:
        yield from _say("It came to: " + "; ".join(results))
        return
    match words[0]:
        case "think":
            yield from (ReasoningChunk(text=word) for word in ("Let ", "me ", "see. "))
            yield ReasoningChunk(text="", signature="sealed")
            yield from _say("I thought about it.")
        case "fail":
            raise Fault("no_luck", "this fails every time", retryable=False, public=True)
        case "slow":
            for number in range(60):
                yield Pause(ms=50)
                yield f"{number} "
        case "muse":
            for number in range(30):
                yield Pause(ms=50)
                yield ReasoningChunk(text=f"{number} ")
            yield from _say("Done.")
        case "know":
            told = [m.text for m in request.messages if m.role is Role.system]
            yield from _say(" | ".join(told))
        case word if word in _CALLS:
            yield from _call(request, _CALLS[word])
        case _:
            yield from _say(" ".join(words))


_REFUND = ("refund", {"order": "17", "amount": 20})
_PICK = ("pick_color", {"question": "Which colour?"})
_CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "weather": [("get_weather", {"city": "Paris"})],
    "parallel": [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Oslo"})],
    "count": [("count", {})],
    "refund": [_REFUND],
    "twice": [_REFUND, ("refund", {"order": "18", "amount": 5})],
    "mixed": [("get_weather", {"city": "Paris"}), _PICK, _REFUND],
    "pick": [_PICK],
    "ask": [("ask", {})],
}


def _say(text: str) -> Iterator[Step]:
    for word in text.split(" "):
        yield word + " "


def _call(request: ModelRequest, wanted: list[tuple[str, dict[str, Any]]]) -> Iterator[Step]:
    for nth, (name, arguments) in enumerate(wanted):
        call_id = f"call_{len(request.messages)}_{nth}"
        yield CallStart(id=call_id, name=name)
        yield CallChunk(id=call_id, text=msgspec.json.encode(arguments).decode())
        yield CallEnd(id=call_id)
    yield Finish(reason="tool_calls")


def _results(request: ModelRequest) -> list[str]:
    """The results since the user's last message."""
    latest: list[Message] = []
    for message in reversed(request.messages):
        if message.role is Role.user:
            break
        latest.append(message)
    return [m.text for m in reversed(latest) if m.role is Role.tool]


agents = [
    Agent("default", model=ScriptedModel(_script), tools=[get_weather, count, refund, ask]),
]
