"""An agent for simulations: what it does is written in the message, and takes a time of chance.

A message is a list of steps separated by `|`: `say`, or calls like `do(label=a) pay(label=b)`.
Words in a step say more. `think`: it reasons first. `hang`: it falls silent for long in the middle,
as the tool `wait` does. `break`: its model fails retryably in the middle, while the first attempt
asks it. `fail`: it fails for good. Behind the last step it says TEXT once more.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

import anyio

from awaken.agent import Agent
from awaken.domain.agent import Limits
from awaken.domain.message import Message, Role
from awaken.errors import Fault
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)
from awaken.tools import tool

from .loop import PLACE

TOKENS: Final = ("one ", "two ", "three ", "four ")
TEXT: Final = "".join(TOKENS)
LONG_SECONDS: Final = 30
"""Longer than any stop takes."""
_CALL = re.compile(r"(\w+)\(label=(\w+)\)")


async def _take_time() -> None:
    chance = PLACE.get().chance
    await anyio.sleep(chance.random() * chance.choice((0.001, 0.01, 0.1)))


def _have_effect(label: str) -> None:
    """A killed process has none."""
    if not PLACE.get().dead:
        PLACE.get().effects.append(label)


class SimulatedModel:
    name = "test:simulated"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        text, done = _since_user(request.messages)
        steps = text.split("|")
        step = steps[done] if done < len(steps) else "say"
        await _take_time()
        if "fail" in step:
            raise Fault("model_not_found", "no such model", retryable=False)
        if "think" in step:
            for thought in TOKENS:
                yield ReasoningChunk(text=thought)
                await _take_time()
        calls = _CALL.findall(step)
        for nth, (name, label) in enumerate(calls):
            call_id = f"c{len(request.messages)}_{nth}"
            yield CallStart(id=call_id, name=name)
            await _take_time()
            yield CallChunk(id=call_id, text=f'{{"label": "{label}"}}')
            yield CallEnd(id=call_id)
        said = len(request.partial.text)
        for number, token in enumerate(() if calls else TOKENS):
            if number == 2 and "break" in step and request.attempt == 0:
                raise Fault("stream_interrupted", "cut", retryable=True)
            if number == 2 and "hang" in step:
                await anyio.sleep(LONG_SECONDS)
            if len("".join(TOKENS[: number + 1])) > said:
                yield TextChunk(text=token)
                await _take_time()
        yield Finish(reason="tool_calls" if calls else "stop")


def _since_user(messages: tuple[Message, ...]) -> tuple[str, int]:
    """What the user said last, and how many answers there are behind that."""
    done = 0
    for message in reversed(messages):
        if message.role is Role.user:
            return message.text, done
        done += message.role is Role.assistant
    return "say", done


@tool(on_crash="retry")
async def do(label: str) -> str:
    """Do something, in time."""
    await _take_time()
    _have_effect(label)
    await _take_time()
    return f"did {label}"


@tool
def sync(label: str) -> str:
    """Do something, in a thread."""
    _have_effect(label)
    return f"did {label}"


@tool(on_crash="retry")
async def wait(label: str) -> str:
    """Do something that takes long."""
    await anyio.sleep(LONG_SECONDS)
    _have_effect(label)
    return f"did {label}"


@tool(approval=True)
async def pay(label: str) -> str:
    """Do something that somebody has to allow."""
    _have_effect(label)
    return f"paid {label}"


AGENT: Final = Agent(
    "sim", model=SimulatedModel(), tools=[do, sync, wait, pay], limits=Limits(max_rounds=1_000)
)
