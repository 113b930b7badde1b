"""What a reader makes of an event stream: text, reasoning, calls, tickets, outcome.

It needs nothing but the events. After a disconnect go on with those behind `cursor`: the result is
the same as without one (I7). Two rules make it so. The cursor is the last `id` seen, never a `seq`:
an event without an id is only a part of what comes next. And whoever keeps deltas keeps their
numbers too, until the message they become is committed, because a `stream_reset` names what it
voids by number.

Not folded: `state_delta` and `activity_delta`, which are JSON Patches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from awaken.client.event import Event

Part = tuple[str, str]
"""What a delta belongs to: its kind, and the id of its call if it is one of a call."""

TEXT: Part = ("text", "")
REASONING: Part = ("reasoning", "")
_SIGNATURE: Part = ("signature", "")


@dataclass(slots=True)
class Piece:
    """A delta, as it came."""

    seq: int
    part: Part
    text: str


@dataclass(slots=True)
class CallView:
    """A tool call, as far as it is known: `ready` with its arguments, `outcome` with its result."""

    seq: int
    id: str
    name: str
    arguments: Any = None
    ready: bool = False
    outcome: str | None = None
    result: Any = None


@dataclass(slots=True)
class RunView:
    """One run as its reader sees it.

    `status` is queued, running, waiting or done; `termination` and `response` are those of the
    latest `run_finish`. `tickets` are kept by id, each with its present `status`. `kept` is the
    message that a run which was cut short has left.
    """

    status: str = "queued"
    activation: int = 0
    agent_id: str | None = None
    termination: dict[str, Any] | None = None
    response: Any = None
    open_message: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    calls: dict[str, CallView] = field(default_factory=dict)
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    activities: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    kept: dict[str, Any] | None = None
    state: Any = None

    @property
    def text(self) -> str:
        """The text of the step that is open; between steps, and after the last, the latest."""
        return self._said(TEXT, "text")

    @property
    def reasoning(self) -> str:
        """The reasoning, likewise."""
        return self._said(REASONING, "thinking")

    @property
    def open_tickets(self) -> list[dict[str, Any]]:
        """The questions that are to be answered."""
        return [ticket for ticket in self.tickets.values() if ticket.get("status") == "open"]

    def parts(self) -> list[tuple[Part, str]]:
        """What is in no message yet: the open parts, in order, each with its text so far."""
        parts: list[tuple[Part, list[str]]] = []
        for piece in self.pieces:
            if not parts or parts[-1][0] != piece.part:
                parts.append((piece.part, []))
            parts[-1][1].append(piece.text)
        return [(part, "".join(texts)) for part, texts in parts]

    def _said(self, part: Part, block: str) -> str:
        if self.open_message is not None or self.answer is None:
            return "".join(piece.text for piece in self.pieces if piece.part == part)
        return message_text(self.answer, block)


class Fold:
    """The fold of one thread's stream, or of one run's."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.runs: dict[str, RunView] = {}
        self.messages: list[dict[str, Any]] = []
        """The messages of the thread that were committed in the events seen, and not replaced."""

    def add(self, event: Event) -> None:
        """Take in one event; of a type it does not know it keeps the cursor only."""
        handler = _HANDLERS.get(event.type)
        if handler is not None and event.run_id is not None:
            handler(self.runs.setdefault(event.run_id, RunView()), event.seq, event.data)
        if event.type == "message_committed":
            self.messages.append(event.data["message"])
        elif event.type == "messages_replaced":
            hidden = set(event.data["message_ids"])
            self.messages = [m for m in self.messages if m["message_id"] not in hidden]
        self.cursor = event.id or self.cursor

    def run(self, run_id: str) -> RunView:
        """The run; an empty one when nothing of it was seen."""
        return self.runs.get(run_id) or RunView()


def message_text(message: dict[str, Any], block: str = "text") -> str:
    """The text of a message's blocks of one type, joined."""
    return "".join(
        part.get(block, "") for part in message.get("content", ()) if part.get("type") == block
    )


# --- the run -------------------------------------------------------------------------------------


def _run_start(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.status, run.activation, run.termination = "running", event["activation"], None
    run.agent_id = event["agent_id"]


def _run_finish(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.termination = event["termination"]
    run.response = (event.get("result") or {}).get("response")
    run.status = "waiting" if event["termination"]["type"] == "suspended" else "done"
    if run.status == "done":
        run.open_message = None
        run.pieces.clear()


def _step_start(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.open_message = event["message_id"]


def _step_end(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.open_message = None
    run.pieces.clear()


def _stream_reset(run: RunView, seq: int, event: dict[str, Any]) -> None:
    first = event["from_seq"]
    run.pieces = [piece for piece in run.pieces if not first <= piece.seq < seq]
    run.calls = {
        call.id: call for call in run.calls.values() if call.ready or not first <= call.seq < seq
    }


# --- content -------------------------------------------------------------------------------------


def _text_delta(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.pieces.append(Piece(seq, TEXT, event["delta"]))


def _reasoning_delta(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.pieces.append(Piece(seq, REASONING, event["delta"]))


def _reasoning_encrypted_value(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.pieces.append(Piece(seq, _SIGNATURE, event["encrypted_value"]))


def _tool_call_start(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.calls[event["id"]] = CallView(seq, event["id"], event["name"])


def _tool_call_delta(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.pieces.append(Piece(seq, ("arguments", event["id"]), event["args_delta"]))


def _tool_call_cancel(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.calls.pop(event["id"], None)
    _drop(run, ("arguments", event["id"]))


def _tool_call_ready(run: RunView, seq: int, event: dict[str, Any]) -> None:
    call = run.calls.setdefault(event["id"], CallView(seq, event["id"], event["name"]))
    call.ready, call.arguments = True, event["arguments"]
    _drop(run, ("arguments", event["id"]))


def _tool_call_stream_delta(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.pieces.append(Piece(seq, ("output", event["id"]), event["delta"]))


def _tool_call_done(run: RunView, seq: int, event: dict[str, Any]) -> None:
    # One that began before the first event seen has no name here.
    call = run.calls.setdefault(event["id"], CallView(seq, event["id"], "", ready=True))
    call.outcome, call.result = event["outcome"], event.get("result")
    _drop(run, ("output", event["id"]))


def _drop(run: RunView, part: Part) -> None:
    run.pieces = [piece for piece in run.pieces if piece.part != part]


def _activity_snapshot(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.activities[event["message_id"]] = event["content"]


# --- what is committed ---------------------------------------------------------------------------


def _message_committed(run: RunView, seq: int, event: dict[str, Any]) -> None:
    message = event["message"]
    if message["role"] == "assistant":
        run.answer = message
    if message.get("interrupted"):
        run.kept = message
    if message["message_id"] == run.open_message:
        run.open_message = None
        run.pieces = [piece for piece in run.pieces if piece.part[0] == "output"]


def _state_snapshot(run: RunView, seq: int, event: dict[str, Any]) -> None:
    run.state = event["snapshot"]


_TICKET = {
    "resume_mode": "replay_tool_call",
    "message": None,
    "response_schema": None,
    "expires_at": None,
    "status": "open",
}
"""What an event leaves out of a ticket: fields that have their default."""


def _ticket_opened(run: RunView, seq: int, event: dict[str, Any]) -> None:
    ticket = event["ticket"]
    run.tickets[ticket["ticket_id"]] = {**_TICKET, **ticket}


def _ticket_closed(run: RunView, seq: int, event: dict[str, Any]) -> None:
    known = run.tickets.setdefault(event["ticket_id"], {"ticket_id": event["ticket_id"]})
    known["status"] = event["status"]


_HANDLERS = {
    "run_start": _run_start,
    "run_finish": _run_finish,
    "step_start": _step_start,
    "step_end": _step_end,
    "stream_reset": _stream_reset,
    "text_delta": _text_delta,
    "reasoning_delta": _reasoning_delta,
    "reasoning_encrypted_value": _reasoning_encrypted_value,
    "tool_call_start": _tool_call_start,
    "tool_call_delta": _tool_call_delta,
    "tool_call_cancel": _tool_call_cancel,
    "tool_call_ready": _tool_call_ready,
    "tool_call_stream_delta": _tool_call_stream_delta,
    "tool_call_done": _tool_call_done,
    "activity_snapshot": _activity_snapshot,
    "message_committed": _message_committed,
    "state_snapshot": _state_snapshot,
    "ticket_opened": _ticket_opened,
    "ticket_closed": _ticket_closed,
}
