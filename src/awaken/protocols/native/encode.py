"""The native event stream: `{"seq", "thread_id", "run_id", "at", "event": {"event_type", …}}`.

`FIELDS` is the public format: which fields of each event are told, under the names of the
record. A field that is added to a record stays inside until it is named here. Fields that have
their default are left out. One entry is one frame, so this encoder has no state, and a segment's
bytes are the same for all of its readers.

Design: http-api.md, "Native event stream".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_type_hints

import msgspec

from awaken.domain import event as events
from awaken.domain.event import Entry, Event, LogItem, Segment, Visibility, visibility
from awaken.domain.message import Message
from awaken.domain.ticket import Ticket
from awaken.protocols import sse
from awaken.protocols.encoder import CloseReason, Frame, cursor_of

RECONNECT_MS: Final = 1000

FIELDS: Final[dict[type[Event], tuple[str, ...]]] = {
    events.RunQueued: ("dispatch_id", "reason", "position"),
    events.RunStart: (
        "thread_id",
        "run_id",
        "activation",
        "resumed",
        "agent_id",
        "parent_run_id",
    ),
    events.RunRetry: ("attempt", "reason", "retry_at", "error_code"),
    events.RunInterrupted: ("by_run_id",),
    events.RunFinish: ("thread_id", "run_id", "termination", "result", "cancel"),
    events.StepStart: ("message_id",),
    events.StepEnd: (),
    events.InferenceComplete: ("model", "duration_ms", "usage", "finish_reason"),
    events.ErrorEvent: ("code", "message"),
    events.TextDelta: ("delta",),
    events.ReasoningDelta: ("delta",),
    events.ReasoningEncryptedValue: ("encrypted_value",),
    events.ToolCallStart: ("id", "name"),
    events.ToolCallDelta: ("id", "args_delta"),
    events.ToolCallReady: ("id", "name", "arguments"),
    events.ToolCallStreamDelta: ("id", "name", "delta"),
    events.ToolCallDone: ("id", "message_id", "outcome", "result"),
    events.ToolCallResumed: ("target_id", "result"),
    events.ToolCallCancel: ("id", "name", "reason"),
    events.StreamReset: ("from_seq", "reason"),
    events.ActivitySnapshot: ("message_id", "activity_type", "content", "replace"),
    events.ActivityDelta: ("message_id", "activity_type", "patch"),
    events.StateSnapshot: ("snapshot",),
    events.StateDelta: ("delta",),
    events.MessageCommitted: ("message_seq", "message"),
    events.MessagesReplaced: ("message_ids", "by_run_id"),
    events.PendingChanged: ("revision", "added", "changed", "retracted", "consumed"),
    events.TicketOpened: ("ticket",),
    events.TicketClosed: ("ticket_id", "status", "by", "decision_id"),
    events.ChildStarted: ("run_id", "thread_id", "tool_call_id"),
    events.ThreadChanged: ("changes",),
}
"""What a client is told of each event."""

DROPPED: Final[dict[type[Event], str]] = {
    events.MessagesSnapshot: "a prelude that other protocols make up; it is in no log",
}
"""Events without a frame, and why."""

INSIDE: Final[dict[type, tuple[str, ...]]] = {
    Message: (
        "message_id",
        "role",
        "content",
        "tool_calls",
        "tool_call_id",
        "visibility",
        "interrupted",
        "client_id",
        "metadata",
    ),
    # Who may answer is not told to everyone who reads along.
    Ticket: (
        "ticket_id",
        "thread_id",
        "run_id",
        "tool_call_id",
        "tool_name",
        "arguments",
        "arguments_hash",
        "reason",
        "opened_at",
        "resume_mode",
        "message",
        "response_schema",
        "expires_at",
        "on_expiry",
        "quorum",
        "status",
    ),
}
"""What a client is told of the records inside events."""


class NativeEncoder:
    """The native protocol's encoder; it has no state."""

    def encode(self, entry: Entry) -> list[Frame]:
        """The frame of `entry`, or none if it is not for clients."""
        if not is_told(entry.event):
            return []
        return _frames(entry, _envelope(entry.thread_id, entry.run_id, entry.at))

    def close(self, reason: CloseReason) -> list[Frame]:
        """Nothing at a clean end, `thread_deleted`, or the advice to reconnect in a second."""
        if reason is CloseReason.finished:
            return []
        if reason is CloseReason.deleted:
            return [Frame(event="thread_deleted", data=b"{}")]
        return [Frame(event="reconnect", data=b"{}", retry_ms=RECONNECT_MS)]


def encode_segment(segment: Segment) -> bytes:
    """The frames of all entries of `segment`, as `sse.render` would write them, only faster."""
    envelope = _envelope(segment.thread_id, segment.run_id, segment.at)
    frames = []
    for item in segment.items:
        name = _PLAIN.get(type(item.event))
        if name is not None and item.first is None:  # nearly all of a log
            frames.append(_FRAME % (item.seq, name, item.seq, envelope, _encode(item.event)))
        elif is_told(item.event):
            frames.append(sse.render(_frames(item, envelope)))
    return b"".join(frames)


def is_told(event: Event) -> bool:
    """Whether clients are told of `event`."""
    return type(event) in _WRITE and visibility(event) is Visibility.public


def view(entry: Entry) -> dict[str, Any]:
    """`entry` as it stands in `data` of its frame, for lists of entries."""
    (frame,) = _frames(entry, _envelope(entry.thread_id, entry.run_id, entry.at))
    told: dict[str, Any] = msgspec.json.decode(frame.data)
    return told


# --- how


_encode = msgspec.json.Encoder().encode
_DATA: Final = b'{"seq":%d%b%b}'
_FRAME: Final = b"id: %d\nevent: %b\ndata: " + _DATA + b"\n\n"


def _frames(item: Entry | LogItem, envelope: bytes) -> list[Frame]:
    name = events.event_type(item.event)
    data = _DATA % (item.seq, envelope, _encode(_WRITE[type(item.event)](item.event)))
    return [Frame(id=cursor_of(item), event=name, data=data)]


def _envelope(thread_id: str, run_id: str | None, at: int) -> bytes:
    return b',"thread_id":%b,"run_id":%b,"at":%d,"event":' % (
        _encode(thread_id),
        _encode(run_id),
        at,
    )


def _whole(record: Event) -> object:
    return record


def _chosen(record: Any) -> object:
    return _told(record, ("event_type", *FIELDS[type(record)]))


def _told(record: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields `names` of `record` that do not have their default."""
    plain = msgspec.to_builtins(record)
    return {name: _inside(record, name, plain[name]) for name in names if name in plain}


def _inside(record: Any, name: str, plain: Any) -> Any:
    value = getattr(record, name, None)
    names = INSIDE.get(type(value))
    return plain if names is None else _told(value, names)


def _writer(kind: type[Event]) -> Callable[[Event], object]:
    """An event of which all is told is written as it is, which is several times faster."""
    hints = get_type_hints(kind)
    told_whole = set(kind.__struct_fields__) == set(FIELDS[kind])
    return _whole if told_whole and not INSIDE.keys() & set(hints.values()) else _chosen


_WRITE: Final = {kind: _writer(kind) for kind in FIELDS}
_PLAIN: Final = {
    kind: str(kind.__struct_config__.tag).encode()
    for kind, write in _WRITE.items()
    if write is _whole and kind is not events.StreamReset
}
"""The names of events that are always told, in whole, with an id."""
