"""What a legal UI message stream is, by the rules that the clients of all releases rely on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from awaken.protocols.encoder import Frame

Chunk = dict[str, Any]


def chunks_of(frames: Iterable[Frame]) -> list[Chunk]:
    """The chunks of frames, without the mark of the end."""
    return [json.loads(frame.data) for frame in frames if frame.data != b"[DONE]"]


class Reader:
    """Follows a stream; raises AssertionError at the first chunk that may not come."""

    def __init__(self) -> None:
        self.begun = False
        self.ended = False
        self.in_step = False
        self.open: dict[str, str] = {}
        self.ids: set[str] = set()
        self.inputs: dict[str, str] = {}
        self.calls: dict[str, str] = {}

    def read(self, chunk: Chunk) -> None:
        kind = chunk["type"]
        assert not self.ended, f"{kind} behind the end"
        assert self.begun != (kind == "start"), f"{kind} comes first, or start comes again"
        self.begun = True
        if kind.startswith("tool-"):
            self._tool(kind, chunk)
        elif kind.partition("-")[0] in ("text", "reasoning"):
            name, _, verb = kind.partition("-")
            self._part(name, verb, chunk)
        else:
            self._other(kind)

    def _part(self, kind: str, verb: str, chunk: Chunk) -> None:
        name = chunk["id"]
        match verb:
            case "start":
                assert not self.open, "text and reasoning are not open together"
                assert name not in self.ids, "a part is opened once"
                self.ids.add(name)
                self.open[name] = kind
            case "delta":
                assert self.open.get(name) == kind
                assert chunk["delta"]
            case "end":
                assert self.open.pop(name, None) == kind

    def _tool(self, kind: str, chunk: Chunk) -> None:
        call = chunk["toolCallId"]
        match kind:
            case "tool-input-start":
                assert not self.open, "text before a call is closed"
                self.inputs[call] = self.calls[call] = chunk["toolName"]
            case "tool-input-delta":
                assert call in self.inputs
            case "tool-input-available" | "tool-input-error":
                assert self.inputs.pop(call, chunk["toolName"]) == chunk["toolName"]
                self.calls[call] = chunk["toolName"]
            case _:
                assert call in self.calls, "a call that the client never heard of"

    def _other(self, kind: str) -> None:
        match kind:
            case "start-step":
                self.in_step = True
            case "finish-step":
                assert not self.open
                assert not self.inputs
                self.in_step = False
            case "finish" | "abort":
                assert not self.open
                assert not self.inputs
                self.ended = True
            case "start" | "message-metadata" | "error":
                pass
            case _:
                assert kind.startswith("data-"), kind


def check(chunks: Iterable[Chunk], calls: Iterable[str] = ()) -> None:
    """The whole of a stream; `calls` are those that the message has already."""
    reader = Reader()
    reader.calls = dict.fromkeys(calls, "")
    for chunk in chunks:
        reader.read(chunk)
    assert reader.ended
