"""Folding a run's log into what its readers have seen of the step that is open.

Two users, one rule: the next attempt after a crash goes on from this fold, and `finish` makes it
the interrupted message, so what is stored is exactly what was published (I7).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from awaken.domain.event import (
    Event,
    MessageCommitted,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StepEnd,
    StepStart,
    StreamReset,
    TextDelta,
    ToolCallCancel,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
)
from awaken.domain.message import Block, TextBlock, ThinkingBlock
from awaken.domain.record import Record


class PartialCall(Record):
    """A tool call that was being written; `arguments` is set once it was complete.

    `done`: its result was published too, by a runner that tells of calls within a step.
    """

    id: str
    name: str
    args_text: str = ""
    ready: bool = False
    arguments: Any = None
    done: bool = False


class Partial(Record):
    """What of an open step was published.

    `message_id` is set while a step is open (its `step_start` was published, its message is not
    committed). `blocks` are its parts in order.
    """

    message_id: str | None = None
    blocks: tuple[Block, ...] = ()
    calls: tuple[PartialCall, ...] = ()

    @property
    def text(self) -> str:
        """The text published so far."""
        return "".join(block.text for block in self.blocks if isinstance(block, TextBlock))

    @property
    def empty(self) -> bool:
        """Whether nothing of the answer was published."""
        return not self.blocks and not self.calls


class _Folding:
    """The mutable state while folding; one handler per event that matters."""

    def __init__(self) -> None:
        self.message_id: str | None = None
        self.reset()

    def reset(self) -> None:
        self.blocks: list[tuple[str, list[str], str | None]] = []
        self.calls: dict[str, PartialCall] = {}

    def open_block(self, kind: str) -> list[str]:
        """The pieces of the block that can still grow; a signature ends the one it signs."""
        if not self.blocks or self.blocks[-1][0] != kind or self.blocks[-1][2] is not None:
            self.blocks.append((kind, [], None))
        return self.blocks[-1][1]

    def grow(self, kind: str, delta: str) -> None:
        self.open_block(kind).append(delta)

    def sign(self, signature: str) -> None:
        pieces = self.open_block("reasoning")
        self.blocks[-1] = ("reasoning", pieces, signature)

    def call_delta(self, event: ToolCallDelta) -> None:
        known = self.calls.get(event.id)
        if known is not None:
            text = known.args_text + event.args_delta
            self.calls[event.id] = PartialCall(id=known.id, name=known.name, args_text=text)

    def call_done(self, call_id: str) -> None:
        known = self.calls.get(call_id)
        if known is not None:
            self.calls[call_id] = replace(known, done=True)

    def committed(self, event: MessageCommitted) -> None:
        if event.message.message_id == self.message_id:
            self.message_id = None
            self.reset()

    def add(self, event: Event) -> None:
        match event:
            case TextDelta(delta=delta):
                self.grow("text", delta)
            case ReasoningDelta(delta=delta):
                self.grow("reasoning", delta)
            case ReasoningEncryptedValue(encrypted_value=value):
                self.sign(value)
            case ToolCallDelta():
                self.call_delta(event)
            case ToolCallStart(id=call_id, name=name):
                self.calls[call_id] = PartialCall(id=call_id, name=name)
            case ToolCallReady(id=call_id, name=name, arguments=arguments):
                self.calls[call_id] = PartialCall(
                    id=call_id, name=name, ready=True, arguments=arguments
                )
            case ToolCallCancel(id=call_id):
                self.calls.pop(call_id, None)
            case ToolCallDone(id=call_id):
                self.call_done(call_id)
            case _:
                self._step(event)

    def _step(self, event: Event) -> None:
        match event:
            case StepStart(message_id=message_id):
                self.message_id = message_id
            case StreamReset():
                self.reset()
            case MessageCommitted():
                self.committed(event)
            case StepEnd():
                self.message_id = None
                self.reset()
            case _:
                pass

    def result(self) -> Partial:
        blocks = tuple(_block(*block) for block in self.blocks)
        return Partial(message_id=self.message_id, blocks=blocks, calls=tuple(self.calls.values()))


def _block(kind: str, pieces: list[str], signature: str | None) -> Block:
    text = "".join(pieces)
    return (
        TextBlock(text=text)
        if kind == "text"
        else ThinkingBlock(thinking=text, signature=signature)
    )


def fold(events: Iterable[Event]) -> Partial:
    """What `events` of one run, from its last plan or close on, leave open."""
    folding = _Folding()
    for event in events:
        folding.add(event)
    return folding.result()
