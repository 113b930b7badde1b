"""What a legal AG-UI stream is: the official models, and the rules of the client's verifier."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from ag_ui.core import Event
from pydantic import TypeAdapter

from awaken.protocols.encoder import Frame

Told = dict[str, Any]

_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(Event)
_OPENS: Final = {
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "REASONING_START": ("span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning", "messageId"),
    "TOOL_CALL_START": ("call", "toolCallId"),
    "STEP_STARTED": ("step", "stepName"),
}
_GROWS: Final = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
    "TOOL_CALL_ARGS": ("call", "toolCallId"),
}
_CLOSES: Final = {
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "REASONING_END": ("span", "messageId"),
    "TOOL_CALL_END": ("call", "toolCallId"),
    "STEP_FINISHED": ("step", "stepName"),
}
ENDS: Final = ("RUN_FINISHED", "RUN_ERROR")


def events_of(frames: Iterable[Frame]) -> list[Told]:
    """The events of frames, each valid by the official models, which know every field of it."""
    told: list[Told] = [json.loads(frame.data) for frame in frames]
    for each in told:
        model = _EVENT.validate_python(each)
        assert not unknown(model), (each, unknown(model))
    return told


def unknown(model: Any) -> list[str]:
    """Fields that the official models do not have; they keep what they do not know."""
    found = list(model.__pydantic_extra__ or ())
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if hasattr(each, "__pydantic_extra__"):
                found += [f"{name}.{extra}" for extra in unknown(each)]
    return found


def check(events: Iterable[Told], *, whole: bool = True) -> list[Told]:
    """The events, which are legal in this order; a `whole` stream has an end."""
    told = list(events)
    opened: set[tuple[str, str]] = set()
    ended = False
    for index, event in enumerate(told):
        kind = event["type"]
        assert not ended, f"{kind} behind the end"
        assert (index == 0) == (kind == "RUN_STARTED"), f"{kind} at {index}"
        if kind in _OPENS:
            name = _named(event, _OPENS)
            assert name not in opened, f"{name} is open already"
            opened.add(name)
        if kind in _GROWS:
            assert _named(event, _GROWS) in opened, f"{kind} of what is not open"
            assert event["delta"], "an empty delta"
        if kind in _CLOSES:
            opened.remove(_named(event, _CLOSES))
        if kind in ENDS:
            assert not opened, f"{opened} still open at {kind}"
            ended = True
    assert ended or not whole, "a stream without an end"
    return told


def _named(event: Told, table: dict[str, tuple[str, str]]) -> tuple[str, str]:
    kind, field = table[event["type"]]
    return kind, event[field]
