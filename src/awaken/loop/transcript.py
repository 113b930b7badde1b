"""What was published of an answer, neighbouring deltas joined.

Folding it costs by block, not by token.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.event import Event, ReasoningDelta, ReasoningEncryptedValue, TextDelta
from awaken.domain.fold import Partial, fold
from awaken.domain.message import Block, TextBlock, ThinkingBlock, ToolCall


class _Call:
    """A call being written."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.pieces: list[str] = []
        self.ended = False


class Transcript:
    """Grows while the model speaks; begins with what earlier attempts had published."""

    def __init__(self, published: Partial) -> None:
        self._message_id = published.message_id
        self._calls: dict[str, _Call] = {}
        self.forget()
        for block in published.blocks:
            match block:
                case TextBlock(text=text):
                    self.said(text)
                case ThinkingBlock(thinking=thinking, signature=signature):
                    self.thought(thinking)
                    if signature is not None:
                        self.signed(signature)
                case _:
                    raise AssertionError("an answer consists of text and reasoning")

    def forget(self) -> None:
        """Nothing of text or reasoning counts any more."""
        self._events: list[Event] = []
        self._kind: type[TextDelta | ReasoningDelta] = TextDelta
        self._pieces: list[str] = []

    def said(self, text: str) -> None:
        self._add(TextDelta, text)

    def thought(self, text: str) -> None:
        self._add(ReasoningDelta, text)

    def signed(self, signature: str) -> None:
        self._join()
        self._events.append(ReasoningEncryptedValue(encrypted_value=signature))

    def call_started(self, call_id: str, name: str) -> None:
        self._calls[call_id] = _Call(call_id, name)

    def call_grew(self, call_id: str, text: str) -> None:
        self._calls[call_id].pieces.append(text)

    def call_ended(self, call_id: str) -> None:
        self._calls[call_id].ended = True

    def drop_half_calls(self) -> list[tuple[str, str]]:
        """Forget calls that were not complete; returns their ids and names."""
        half = [call for call in self._calls.values() if not call.ended]
        for call in half:
            del self._calls[call.id]
        return [(call.id, call.name) for call in half]

    @property
    def empty(self) -> bool:
        """Whether nothing was published."""
        return not self._events and not self._pieces and not self._calls

    @property
    def text(self) -> str:
        """The text so far."""
        return self.partial().text

    def partial(self) -> Partial:
        """What a model goes on behind: the same fold that readers make."""
        return Partial(message_id=self._message_id, blocks=self.blocks())

    def blocks(self) -> tuple[Block, ...]:
        """The same blocks that readers get by folding what they were told."""
        self._join()
        return fold(self._events).blocks

    def calls(self) -> tuple[ToolCall, ...]:
        """The calls, with their arguments read.

        What is no JSON stays text, for the tool to refuse.
        """
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments=_arguments("".join(call.pieces)))
            for call in self._calls.values()
        )

    def _add(self, kind: type[TextDelta | ReasoningDelta], text: str) -> None:
        if kind is not self._kind:
            self._join()
            self._kind = kind
        self._pieces.append(text)

    def _join(self) -> None:
        if self._pieces:
            self._events.append(self._kind(delta="".join(self._pieces)))
            self._pieces = []


def _arguments(text: str) -> Any:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
