"""Short ways to write requests down, and to gather what comes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from awaken.domain.agent import ToolSpec
from awaken.domain.event import (
    Event,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StepStart,
    TextDelta,
)
from awaken.domain.fold import Partial, fold
from awaken.domain.message import Block, Message, Role, TextBlock, ThinkingBlock, ToolCall
from awaken.errors import Fault
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)

WEATHER = ToolSpec(
    name="get_weather",
    description="Current weather for a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
)


def user(text: str = "", *blocks: Block) -> Message:
    said = (TextBlock(text=text),) if text else ()
    return Message(message_id="u", role=Role.user, content=(*said, *blocks))


def system(text: str) -> Message:
    return Message(message_id="s", role=Role.system, content=(TextBlock(text=text),))


def assistant(
    text: str = "", *blocks: Block, calls: Iterable[ToolCall] = (), **more: Any
) -> Message:
    said = (TextBlock(text=text),) if text else ()
    return Message(
        message_id="a",
        role=Role.assistant,
        content=(*blocks, *said),
        tool_calls=tuple(calls),
        **more,
    )


def result(call_id: str, text: str) -> Message:
    return Message(
        message_id="t", role=Role.tool, tool_call_id=call_id, content=(TextBlock(text=text),)
    )


def asking(*messages: Message, said: str = "", **more: Any) -> ModelRequest:
    """A request; `said` is what of its answer was published."""
    partial = Partial(message_id="m", blocks=(TextBlock(text=said),)) if said else Partial()
    more = {"model": "m", "instructions": "Be brief.", **more}
    return ModelRequest(messages=messages, partial=partial, **more)


class Answer:
    """An answer, gathered."""

    def __init__(self) -> None:
        self.events: list[ModelEvent] = []
        self.fault: Fault | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextChunk))

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ReasoningChunk))

    @property
    def signatures(self) -> list[str]:
        found = [event.signature for event in self.events if isinstance(event, ReasoningChunk)]
        return [signature for signature in found if signature is not None]

    @property
    def reasoned(self) -> list[ThinkingBlock]:
        """The reasoning blocks that the fold makes of the answer's text and reasoning."""
        events: list[Event] = [StepStart(message_id="m")]
        for told in self.events:
            match told:
                case TextChunk(text=text):
                    events.append(TextDelta(delta=text))
                case ReasoningChunk(text=text, signature=signature):
                    events += [ReasoningDelta(delta=text)] if text else []
                    if signature is not None:
                        events.append(ReasoningEncryptedValue(encrypted_value=signature))
                case _:
                    pass
        return [block for block in fold(events).blocks if isinstance(block, ThinkingBlock)]

    @property
    def finish(self) -> Finish:
        assert isinstance(self.events[-1], Finish)
        return self.events[-1]

    @property
    def calls(self) -> list[tuple[str, str, str, bool]]:
        """Id, name, arguments and whether it was completed, of each call."""
        calls: dict[str, tuple[str, str, str, bool]] = {}
        for event in self.events:
            match event:
                case CallStart(id=id, name=name):
                    assert id not in calls, "a call starts once"
                    calls[id] = (id, name, "", False)
                case CallChunk(id=id, text=text):
                    assert not calls[id][3], "a completed call does not grow"
                    calls[id] = (*calls[id][:2], calls[id][2] + text, False)
                case CallEnd(id=id):
                    calls[id] = (*calls[id][:3], True)
                case _:
                    pass
        return list(calls.values())


async def ask(model: Model, request: ModelRequest) -> Answer:
    """All that comes, with the fault at its end if there was one."""
    answer = Answer()
    try:
        async for event in model.stream(request):
            answer.events.append(event)
    except Fault as fault:
        answer.fault = fault
    return answer
