"""From our messages to those of pydantic-ai, in an order that every provider accepts.

Providers want the two sides in turns, a user's first and last, and behind each call its result,
before anything else. A log may hold other orders: results that came late, calls without one, two
messages of one side. What is sent is put in order here; the log stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolReturnPart,
    UserPromptPart,
)

from awaken.domain.message import Message, Role, TextBlock, ThinkingBlock, ToolCall
from awaken.models.provider_media import user_content
from awaken.models.provider_seal import (
    Seal,
    SealedItem,
    call_part,
    open_seal,
    text_part,
    thinking_parts,
)

OPENING: Final = "(The conversation begins with your message.)"
"""Stands for the user where a history begins with the assistant."""

CONTINUE: Final = (
    "Your last message was cut off in the middle. Go on exactly where it stops, even within a "
    "word. Do not repeat any of it, and write nothing before its continuation."
)
"""Asks a model that takes no prefill for the rest of its answer."""

NEXT: Final = "Go on."
"""Stands for the user where the assistant is to speak after itself."""


class Origin(msgspec.Struct, frozen=True):
    """The model the history is for: the name of its provider, and `origin_of` it."""

    provider: str
    seal: str


def history(
    messages: Sequence[Message], partial: str, origin: Origin, *, prefill: bool
) -> list[ModelMessage]:
    """The history that a model is sent.

    Args:
        messages: what was said.
        partial: the text of the answer that has begun, which the model goes on with.
        origin: whom the history is for.
        prefill: whether that model takes the beginning of its answer as the last message.
    """
    turns = _Turns()
    for message, results in _with_results(messages):
        if message.role is Role.assistant:
            turns.answered(_response_parts(message, set(results), origin), origin)
            turns.asked(results.values())
        else:
            turns.asked(_request_parts(message))
    begun = bool(partial.strip())
    if begun:
        turns.answered([TextPart(content=partial)], origin)
    if not (begun and prefill):
        turns.hand_over(CONTINUE if begun else NEXT)
    return turns.messages


class _Turns:
    """A history that is being written; whatever one side says in a row is one message."""

    def __init__(self) -> None:
        self.messages: list[ModelMessage] = []

    def asked(self, parts: Iterable[ModelRequestPart]) -> None:
        new = list(parts)
        if not new:
            return
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelRequest):
            last.parts = [*last.parts, *new]
        else:
            self.messages.append(ModelRequest(parts=new))

    def answered(self, parts: list[ModelResponsePart], origin: Origin) -> None:
        if not parts:
            return
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelResponse):
            last.parts = [*last.parts, *parts]
            return
        if not self._someone_asked():
            self.asked([UserPromptPart(content=OPENING)])
        self.messages.append(ModelResponse(parts=parts, provider_name=origin.provider))

    def hand_over(self, words: str) -> None:
        """Let it be the assistant's turn."""
        if not self._someone_asked() or isinstance(self.messages[-1], ModelResponse):
            self.asked([UserPromptPart(content=words)])

    def _someone_asked(self) -> bool:
        return any(
            isinstance(part, UserPromptPart)
            for message in self.messages
            if isinstance(message, ModelRequest)
            for part in message.parts
        )


def _with_results(
    messages: Iterable[Message],
) -> Iterator[tuple[Message, dict[str, ToolReturnPart]]]:
    """Each message that is no result, with the results of its calls in the order of the calls.

    A result answers the nearest call before it that has its id: weak models give one id to many.
    """
    found: list[tuple[Message, dict[str, ToolReturnPart]]] = []
    waiting: dict[str, tuple[ToolCall, dict[str, ToolReturnPart]]] = {}
    for message in messages:
        if message.role is Role.tool:
            call, results = waiting.pop(message.tool_call_id or "", (None, None))
            if call is not None and results is not None:
                results[call.id] = _tool_return(call, message)
            continue
        answers: dict[str, ToolReturnPart] = {}
        found.append((message, answers))
        waiting.update((call.id, (call, answers)) for call in message.tool_calls)
    for message, answers in found:
        ordered = (call.id for call in message.tool_calls if call.id in answers)
        yield message, {call_id: answers[call_id] for call_id in ordered}


def _tool_return(call: ToolCall, message: Message) -> ToolReturnPart:
    content = user_content(message)
    return ToolReturnPart(
        tool_name=call.name,
        content=content if content and not isinstance(content, str) else message.text,
        tool_call_id=call.id,
        outcome="failed" if _tells_error(message.text) else "success",
    )


def _tells_error(text: str) -> bool:
    """Whether a result is that of a failed call (`domain/ledger.py`)."""
    if not text.startswith('{"error":'):
        return False
    try:
        content = msgspec.json.decode(text, type=dict[str, dict[str, object]])
    except msgspec.DecodeError:
        return False
    return set(content) == {"error"} and "code" in content["error"]


def _request_parts(message: Message) -> Iterator[ModelRequestPart]:
    if message.role is Role.system:
        if message.text.strip():
            yield SystemPromptPart(content=message.text)
        return
    content = user_content(message)
    if content:
        yield UserPromptPart(content=content)


def _response_parts(
    message: Message, answered: set[str], origin: Origin
) -> list[ModelResponsePart]:
    """What the assistant said: its text, the reasoning that can go back, the answered calls."""
    parts: list[ModelResponsePart] = []
    sealed_calls: list[SealedItem] = []
    text: SealedItem | None = None
    for block in message.content:
        match block:
            case TextBlock(text=words):
                if words.strip():
                    parts.append(text_part(words, text, origin.provider))
                text = None
            case ThinkingBlock():
                seal = _seal(message, block, origin)
                if seal is not None:
                    parts += thinking_parts(block, seal, origin.provider)
                    sealed_calls += seal.calls
                    text = seal.text
            case _:
                pass  # what a model drew or said aloud is not sent back to it
    calls = [call for call in message.tool_calls if call.id in answered]
    said = [*parts, *(call_part(call, sealed_calls, origin.provider) for call in calls)]
    reasoned_only = not calls and not any(isinstance(part, TextPart) for part in parts)
    return [] if reasoned_only else said


def _seal(message: Message, block: ThinkingBlock, origin: Origin) -> Seal | None:
    """Reasoning of an answer that was cut short does not go back: its provider never stored it."""
    return None if message.interrupted else open_seal(block, origin.seal)
