"""What a client makes of a native event stream: the reference for everyone who writes one.

It needs nothing but what is in the frames. Give `feed` each frame's `id` and its `data`, decoded;
after a disconnect go on with the frames that come after `cursor`. The result is the same as without
one (I7).

Two rules make it so. The cursor is the last `id` seen, never a `seq`: a frame without an id is only
a part of what comes next. And whoever keeps deltas keeps their numbers too, until the message they
become is committed, because a `stream_reset` names what it voids by number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Piece:
    """A delta, as it came: `part` is what it belongs to."""

    seq: int
    part: tuple[str, str]
    text: str


@dataclass
class Call:
    """A tool call, as far as it is known."""

    seq: int
    id: str
    name: str
    arguments: Any = None
    ready: bool = False
    outcome: str | None = None
    result: Any = None


@dataclass
class Run:
    """One run as its reader sees it."""

    status: str = "queued"
    activation: int = 0
    termination: dict[str, Any] | None = None
    response: Any = None
    open_message: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    tickets: dict[str, str] = field(default_factory=dict)
    state: Any = None

    def parts(self) -> list[tuple[tuple[str, str], str]]:
        """The open parts, in order, each with its text so far."""
        parts: list[tuple[tuple[str, str], str]] = []
        for piece in self.pieces:
            if parts and parts[-1][0] == piece.part:
                parts[-1] = (piece.part, parts[-1][1] + piece.text)
            else:
                parts.append((piece.part, piece.text))
        return parts


class Fold:
    """The fold of one thread's stream, or of one run's."""

    def __init__(self) -> None:
        self.cursor = 0
        self.runs: dict[str, Run] = {}
        self.messages: list[dict[str, Any]] = []

    def feed(self, frame_id: str | None, data: dict[str, Any]) -> None:
        """Take in one frame."""
        event, seq = data["event"], data["seq"]
        handler = getattr(self, "_" + event["event_type"], None)
        if handler is not None:
            run_id = data["run_id"]
            run = Run() if run_id is None else self.runs.setdefault(run_id, Run())
            handler(run, seq, event)
        if frame_id is not None:
            self.cursor = int(frame_id)

    def view(self) -> dict[str, Any]:
        """What is shown to the user: the same for every reader of the same log."""
        return {
            "messages": self.messages,
            "runs": {run_id: _shown(run) for run_id, run in self.runs.items()},
        }

    # --- the run

    def _run_start(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.status, run.activation, run.termination = "running", event["activation"], None

    def _run_finish(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.termination, run.response = event["termination"], event.get("result")
        run.status = "waiting" if run.termination["type"] == "suspended" else "done"
        if run.status == "done":
            run.pieces.clear()

    def _step_start(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.open_message = event["message_id"]

    def _step_end(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.open_message = None
        run.pieces.clear()

    def _stream_reset(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        first = event["from_seq"]
        run.pieces = [piece for piece in run.pieces if not first <= piece.seq < seq]
        run.calls = {
            call.id: call
            for call in run.calls.values()
            if call.ready or not first <= call.seq < seq
        }

    # --- content

    def _text_delta(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.pieces.append(Piece(seq, ("text", ""), event["delta"]))

    def _reasoning_delta(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.pieces.append(Piece(seq, ("reasoning", ""), event["delta"]))

    def _reasoning_encrypted_value(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.pieces.append(Piece(seq, ("signature", ""), event["encrypted_value"]))

    def _tool_call_start(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.calls[event["id"]] = Call(seq, event["id"], event["name"])

    def _tool_call_delta(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.pieces.append(Piece(seq, ("arguments", event["id"]), event["args_delta"]))

    def _tool_call_cancel(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.calls.pop(event["id"], None)
        run.pieces = [p for p in run.pieces if p.part != ("arguments", event["id"])]

    def _tool_call_ready(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        call = run.calls.setdefault(event["id"], Call(seq, event["id"], event["name"]))
        call.ready, call.arguments = True, event["arguments"]
        run.pieces = [p for p in run.pieces if p.part != ("arguments", event["id"])]

    def _tool_call_stream_delta(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.pieces.append(Piece(seq, ("output", event["id"]), event["delta"]))

    def _tool_call_done(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        call = run.calls[event["id"]]
        call.outcome, call.result = event["outcome"], event.get("result")
        run.pieces = [p for p in run.pieces if p.part != ("output", event["id"])]

    # --- what is committed

    def _message_committed(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        self.messages.append(event["message"])
        if event["message"]["message_id"] == run.open_message:
            run.pieces = [piece for piece in run.pieces if piece.part[0] == "output"]

    def _state_snapshot(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.state = event["snapshot"]

    def _ticket_opened(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.tickets[event["ticket"]["ticket_id"]] = "open"

    def _ticket_closed(self, run: Run, seq: int, event: dict[str, Any]) -> None:
        run.tickets[event["ticket_id"]] = event["status"]


def _shown(run: Run) -> dict[str, Any]:
    calls = [
        (call.id, call.name, call.ready, call.arguments, call.outcome, call.result)
        for call in run.calls.values()
    ]
    return {
        "status": run.status,
        "activation": run.activation,
        "termination": run.termination,
        "response": run.response,
        "parts": run.parts(),
        "calls": calls,
        "tickets": run.tickets,
        "state": run.state,
    }
