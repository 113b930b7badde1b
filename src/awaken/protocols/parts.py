"""Base of the encoders whose protocol has parts that are opened and closed.

What is open, and what closes it:

    part                 is opened by             is closed by
    text                 its first delta          reasoning, a tool call, a boundary
    reasoning            its first delta          text, a signature, a tool call, a boundary
    input of a call      tool_call_start          tool_call_ready, tool_call_cancel, a boundary

A boundary is the end of a step, of an activation or of the run, and a `stream_reset`. Another
attempt is none: it goes on with the text that was published. At most one of text and reasoning is
open; the inputs of several calls may be.

A part is named by the number of the log entry that opened it (`text-12`), so every reader of every
stream, at any time and on any replica, sees the same name. Design: streams.md section 5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from awaken.domain.event import (
    Entry,
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallStart,
    Visibility,
    visibility,
)
from awaken.protocols.encoder import Frame, cursor_of
from awaken.protocols.mapping import Mapping, Told, name_of


class PartKind(StrEnum):
    """What a part holds."""

    text = "text"
    reasoning = "reasoning"


class Part(NamedTuple):
    """A part that was opened; `id` is its name in every stream."""

    kind: PartKind
    id: str


class Call(NamedTuple):
    """A tool call whose input was opened."""

    id: str
    name: str


class OpenParts:
    """What is open at this place of the log."""

    __slots__ = ("calls", "part")

    def __init__(self) -> None:
        self.part: Part | None = None
        self.calls: dict[str, Call] = {}

    def open(self, kind: PartKind, entry: Entry) -> Part:
        """Open a part; whatever was open has been closed before."""
        assert self.part is None, "text and reasoning are never open together"
        first = entry.seq if entry.first is None else entry.first
        self.part = Part(kind, f"{kind.value}-{first}")
        return self.part

    def close(self) -> Part | None:
        """Close the open text or reasoning; returns it."""
        part, self.part = self.part, None
        return part

    def close_call(self, call_id: str) -> Call | None:
        """Close the input of a call; returns it if it was open."""
        return self.calls.pop(call_id, None)

    @property
    def empty(self) -> bool:
        """Whether nothing is open."""
        return self.part is None and not self.calls


Handler = Callable[[Entry, Any], None]


class PartEncoder(ABC):
    """Carries entries to the methods `on_<event>` that the protocol's `MAPPING` says there are.

    A subclass says how parts look (`part_*`, `call_*`) and handles the other events; it adds frames
    with `put`. It is pure: the same entries give the same frames.
    """

    MAPPING: ClassVar[Mapping]

    def __init__(self) -> None:
        self.parts = OpenParts()
        self._chunks: list[bytes] = []
        self._handlers: dict[type[Event], Handler] = {
            kind: getattr(self, f"on_{name_of(kind)}")
            for kind, entry in self.MAPPING.items()
            if isinstance(entry, Told)
        }

    def encode(self, entry: Entry) -> list[Frame]:
        """The frames of `entry`, to be sent in one piece; the last one has the cursor as its id."""
        chunks = self.chunks(entry)
        if not chunks:
            return []
        *before, last = chunks
        frames = [Frame(data=chunk) for chunk in before]
        frames.append(Frame(data=last, id=cursor_of(entry)))
        return frames

    def chunks(self, entry: Entry) -> list[bytes]:
        """The data of the entry's frames."""
        event = entry.event
        part = self.parts.part
        if part is not None and type(event) is TextDelta and part.kind is PartKind.text:
            return [self.part_grew(part, event.delta)] if event.delta else []  # nearly all of a log
        handler = self._handlers.get(type(event))
        if handler is None or visibility(event) is not Visibility.public:
            return []
        self._chunks = []
        handler(entry, event)
        return self._chunks

    def put(self, *chunks: bytes) -> None:
        """Add frames to those of the entry that is being encoded."""
        self._chunks.extend(chunks)

    # --- how parts look

    @abstractmethod
    def part_opened(self, part: Part) -> bytes: ...

    @abstractmethod
    def part_grew(self, part: Part, delta: str) -> bytes: ...

    @abstractmethod
    def part_closed(self, part: Part) -> bytes: ...

    @abstractmethod
    def call_opened(self, call: Call) -> bytes: ...

    @abstractmethod
    def call_dropped(self, call: Call, reason: str) -> bytes | None:
        """The input will never be complete; `reason` is a word of the log."""

    # --- events that every such protocol treats alike

    def on_text_delta(self, entry: Entry, event: TextDelta) -> None:
        self._grow(PartKind.text, entry, event.delta)

    def on_reasoning_delta(self, entry: Entry, event: ReasoningDelta) -> None:
        self._grow(PartKind.reasoning, entry, event.delta)

    def on_tool_call_start(self, entry: Entry, event: ToolCallStart) -> None:
        self.close_part()
        call = self.parts.calls[event.id] = Call(event.id, event.name)
        self.put(self.call_opened(call))

    def close_part(self) -> None:
        """Close text or reasoning, if one of them is open."""
        part = self.parts.close()
        if part is not None:
            self.put(self.part_closed(part))

    def close_all(self, reason: str) -> None:
        """A boundary: close everything; inputs that are open were not completed."""
        self.close_part()
        for call in list(self.parts.calls.values()):
            self.drop_call(call.id, reason)

    def drop_call(self, call_id: str, reason: str) -> None:
        """Close the input of a call that was dropped."""
        call = self.parts.close_call(call_id)
        dropped = call and self.call_dropped(call, reason)
        if dropped:
            self.put(dropped)

    def _grow(self, kind: PartKind, entry: Entry, delta: str) -> None:
        if not delta:
            return
        part = self.parts.part
        if part is None or part.kind is not kind:
            self.close_part()
            part = self.parts.open(kind, entry)
            self.put(self.part_opened(part))
        self.put(self.part_grew(part, delta))
