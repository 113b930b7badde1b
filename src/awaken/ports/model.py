"""A language model: one method, one stream of normalised events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from awaken.domain.agent import ToolSpec
from awaken.domain.fold import Partial
from awaken.domain.message import Message
from awaken.domain.outcome import Usage
from awaken.domain.record import Record


class TextChunk(Record, tag="text"):
    """More text."""

    text: str


class ReasoningChunk(Record, tag="reasoning"):
    """More reasoning; `signature` ends a signed block."""

    text: str = ""
    signature: str | None = None


class CallStart(Record, tag="call_start"):
    """The model begins a tool call."""

    id: str
    name: str


class CallChunk(Record, tag="call_chunk"):
    """A piece of a call's JSON arguments."""

    id: str
    text: str


class CallEnd(Record, tag="call_end"):
    """A call's arguments are complete."""

    id: str


class Finish(Record, tag="finish"):
    """The completion ended well: `reason` is `stop`, `tool_calls`, `length` or `content_filter`."""

    reason: str
    usage: Usage = msgspec.field(default_factory=Usage)
    model: str = ""


ModelEvent = TextChunk | ReasoningChunk | CallStart | CallChunk | CallEnd | Finish


class ModelRequest(Record):
    """One completion.

    `partial` is what of this very answer was already published: the model goes on behind it and
    does not say it again. `attempt` counts failed tries of this step before.
    """

    model: str
    instructions: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    partial: Partial = Partial()
    attempt: int = 0
    settings: dict[str, Any] = {}


class Model(Protocol):
    """A model that can be asked."""

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Ask, and yield what comes; the last event is `Finish`.

        Raises:
            Fault: with its class: rate limits, overload, time-outs, broken streams and 5xx are
                retryable; wrong keys, unknown models, refused content and overflow are not.
        """
        ...
