"""The vocabulary of the event log: one closed union, tagged by `event_type`.

Rules of this file
* A new event breaks every place that must learn about it: encoders end in `assert_never`, and the
  mapping tables of the protocols are checked against `EVENT_TYPES`.
* An event says what happened, in past tense or as a delta; it never carries a claim token, a secret
  or
  an unredacted error text (I11).
* Which commit an event rides in is fixed in `docs/event-log.md`, "Which commit" (design: streams.md
  section 2).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, get_args

from awaken.domain.message import Message, MessageVisibility
from awaken.domain.record import Record
from awaken.domain.termination import Termination
from awaken.domain.ticket import Ticket


class EventRecord(Record, tag_field="event_type"):
    """Base of all events."""


# --- the life of a run -------------------------------------------------------------------------


class RunQueued(EventRecord, tag="run_queued"):
    """A delivery of the run was put in line; `position` counts from 1 and is capped at 1 000."""

    dispatch_id: str
    reason: str
    position: int | None = None


class RunStart(EventRecord, tag="run_start"):
    """An activation begins: once per activation, not per attempt."""

    thread_id: str
    run_id: str
    activation: int
    resumed: bool
    agent_id: str
    parent_run_id: str | None = None


class RunRetry(EventRecord, tag="run_retry"):
    """Another attempt goes on where the last one stopped.

    `reason` is retry, handoff or lease_expired.
    """

    attempt: int
    reason: str
    retry_at: int | None = None
    error_code: str | None = None


class RunInterrupted(EventRecord, tag="run_interrupted"):
    """A newer submission asked this run to stop."""

    by_run_id: str


class RunFinish(EventRecord, tag="run_finish"):
    """The end of an activation.

    Unless `termination` is `suspended`, the last entry of its run (I6).

    `result` is `{"response": final text}`. `cancel` is `too_late` when a stop was accepted but the
    run had completed, or failed, before it could act.
    """

    thread_id: str
    run_id: str
    termination: Termination
    result: dict[str, Any] | None = None
    cancel: str | None = None


class StepStart(EventRecord, tag="step_start"):
    """An inference begins; `message_id` is the id its assistant message will have."""

    message_id: str


class StepEnd(EventRecord, tag="step_end"):
    """The step is closed."""


class InferenceComplete(EventRecord, tag="inference_complete"):
    """A model call ended well."""

    model: str
    duration_ms: int
    usage: dict[str, int] | None = None
    finish_reason: str | None = None


class ErrorEvent(EventRecord, tag="error"):
    """Trouble worth showing that does not end the run."""

    code: str
    message: str


# --- what the model and the tools say ----------------------------------------------------------


class TextDelta(EventRecord, tag="text_delta"):
    """More text of the answer."""

    delta: str


class ReasoningDelta(EventRecord, tag="reasoning_delta"):
    """More reasoning text."""

    delta: str


class ReasoningEncryptedValue(EventRecord, tag="reasoning_encrypted_value"):
    """Opaque reasoning that must go back to the provider unchanged."""

    encrypted_value: str


class ToolCallStart(EventRecord, tag="tool_call_start"):
    """The model begins to write a call."""

    id: str
    name: str


class ToolCallDelta(EventRecord, tag="tool_call_delta"):
    """A piece of the call's JSON arguments."""

    id: str
    args_delta: str


class ToolCallReady(EventRecord, tag="tool_call_ready"):
    """The call is complete and planned."""

    id: str
    name: str
    arguments: Any


class ToolCallStreamDelta(EventRecord, tag="tool_call_stream_delta"):
    """Output of a running tool."""

    id: str
    name: str
    delta: str


class ToolCallDone(EventRecord, tag="tool_call_done"):
    """The call has a result; `outcome` is succeeded, failed or suspended."""

    id: str
    message_id: str
    outcome: str
    result: Any = None


class ToolCallResumed(EventRecord, tag="tool_call_resumed"):
    """A suspended call got its decision."""

    target_id: str
    result: Any = None


class ToolCallCancel(EventRecord, tag="tool_call_cancel"):
    """A half-written call was dropped while its stream was recovered."""

    id: str
    name: str
    reason: str


class StreamReset(EventRecord, tag="stream_reset"):
    """Forget the content deltas of this run with `from_seq` ≤ seq < the seq of this entry."""

    from_seq: int
    reason: str


class ActivitySnapshot(EventRecord, tag="activity_snapshot"):
    """The whole content of an activity (progress of a tool, a plugin's panel)."""

    message_id: str
    activity_type: str
    content: Any
    replace: bool = True


class ActivityDelta(EventRecord, tag="activity_delta"):
    """A JSON Patch to an activity."""

    message_id: str
    activity_type: str
    patch: list[dict[str, Any]]


class StateSnapshot(EventRecord, tag="state_snapshot"):
    """The application's shared state."""

    snapshot: Any


class StateDelta(EventRecord, tag="state_delta"):
    """A JSON Patch to the application's shared state."""

    delta: list[dict[str, Any]]


class MessagesSnapshot(EventRecord, tag="messages_snapshot"):
    """All messages, as a protocol's prelude; never stored."""

    messages: list[Message]


# --- messages, tickets, children, the thread itself --------------------------------------------


class MessageCommitted(EventRecord, tag="message_committed"):
    """A message became part of the thread for good."""

    message_seq: int
    message: Message


class MessagesReplaced(EventRecord, tag="messages_replaced"):
    """Messages are hidden from now on: the run `by_run_id` took their place."""

    message_ids: tuple[str, ...]
    by_run_id: str


class PendingChanged(EventRecord, tag="pending_changed"):
    """The queue of messages not yet read changed; the lists hold message ids.

    `changed` are those with other content or another place.
    """

    revision: int
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    retracted: tuple[str, ...] = ()
    consumed: tuple[str, ...] = ()


class TicketOpened(EventRecord, tag="ticket_opened"):
    """The run asks and will wait."""

    ticket: Ticket


class TicketClosed(EventRecord, tag="ticket_closed"):
    """A question is closed; `status` is one of `TicketStatus`."""

    ticket_id: str
    status: str
    by: str | None = None
    decision_id: str | None = None


class ChildStarted(EventRecord, tag="child_started"):
    """A run of its own was started for a call of this one."""

    run_id: str
    thread_id: str
    tool_call_id: str


class ThreadChanged(EventRecord, tag="thread_changed"):
    """Metadata of the thread changed; `changes` holds the new values."""

    changes: dict[str, Any]


Event = (
    RunQueued
    | RunStart
    | RunRetry
    | RunInterrupted
    | RunFinish
    | StepStart
    | StepEnd
    | InferenceComplete
    | ErrorEvent
    | TextDelta
    | ReasoningDelta
    | ReasoningEncryptedValue
    | ToolCallStart
    | ToolCallDelta
    | ToolCallReady
    | ToolCallStreamDelta
    | ToolCallDone
    | ToolCallResumed
    | ToolCallCancel
    | StreamReset
    | ActivitySnapshot
    | ActivityDelta
    | StateSnapshot
    | StateDelta
    | MessagesSnapshot
    | MessageCommitted
    | MessagesReplaced
    | PendingChanged
    | TicketOpened
    | TicketClosed
    | ChildStarted
    | ThreadChanged
)

EVENT_TYPES: Final[tuple[str, ...]] = tuple(
    str(kind.__struct_config__.tag) for kind in get_args(Event)
)


class Visibility(StrEnum):
    """Who may read an entry: clients (`public`), operators (`internal`), auditors (`audit`)."""

    public = "public"
    internal = "internal"
    audit = "audit"


def visibility(event: Event) -> Visibility:
    """Who may read `event`. Messages for the model alone stay internal, all else is public."""
    if (
        isinstance(event, MessageCommitted)
        and event.message.visibility is MessageVisibility.internal
    ):
        return Visibility.internal
    return Visibility.public


def event_type(event: Event) -> str:
    """The wire name of the event's type."""
    return str(event.__struct_config__.tag)


class LogItem(Record, array_like=True, omit_defaults=False):
    """One entry inside a segment.

    `first` is set only by compaction: the entry stands for the deltas from `first` to `seq`.
    """

    seq: int
    event: Event
    first: int | None = None


class Entry(Record, omit_defaults=False):
    """One entry of a thread's log, as readers get it."""

    seq: int
    thread_id: str
    run_id: str | None
    at: int
    event: Event
    first: int | None = None


class Segment(Record):
    """The entries one commit appended to a thread for one run (or for none).

    Never mixed, never empty.

    `items` are in seq order, the last one is `last_seq`. Before compaction they are exactly
    `first_seq … last_seq`. `boundary` says that after this segment nothing is open: an encoder may
    start behind it without having seen what came before.
    """

    tenant: str
    thread_id: str
    run_id: str | None
    first_seq: int
    last_seq: int
    at: int
    items: tuple[LogItem, ...]
    boundary: bool = False

    def entries(self) -> list[Entry]:
        """The segment's entries, one record each."""
        return [
            Entry(
                seq=item.seq,
                thread_id=self.thread_id,
                run_id=self.run_id,
                at=self.at,
                event=item.event,
                first=item.first,
            )
            for item in self.items
        ]
