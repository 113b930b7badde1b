from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from awaken.domain import event as events
from awaken.domain.event import (
    EVENT_TYPES,
    Entry,
    Event,
    LogItem,
    Segment,
    StreamReset,
    TextDelta,
    event_type,
)
from awaken.domain.message import Message, MessageVisibility, Role, TextBlock, ToolCall
from awaken.domain.termination import Cancelled, NaturalEnd, Stopped, SuspendedEnd
from awaken.domain.ticket import Decision, Ticket, WaitingReason
from awaken.protocols import sse
from awaken.protocols.encoder import CloseReason, Encoder, Frame
from awaken.protocols.native.encode import (
    DROPPED,
    FIELDS,
    INSIDE,
    NativeEncoder,
    encode_segment,
    is_told,
    view,
)
from awaken.streams.compact import compact_run, cut
from tests.streams.runs import logs

MESSAGE = Message(
    message_id="m1",
    role=Role.assistant,
    content=(TextBlock(text="hi"),),
    tool_calls=(ToolCall(id="c1", name="refund", arguments={"order": 7}),),
    metadata={"model": "gpt"},
)
TICKET = Ticket(
    ticket_id="k1",
    thread_id="t",
    run_id="r",
    tool_call_id="c1",
    tool_name="refund",
    arguments={"order": 7},
    arguments_hash="abc",
    reason=WaitingReason.tool_permission,
    opened_at=5,
    message="Refund?",
    allowed_approvers=("ann",),
    decision=Decision(decision_id="d", action="resume"),
)

# The public format: a change here is a change for every client.
GOLDEN: list[tuple[Event, dict[str, Any]]] = [
    (
        events.RunQueued(dispatch_id="d1", reason="submitted", position=3),
        {"dispatch_id": "d1", "reason": "submitted", "position": 3},
    ),
    (
        events.RunStart(thread_id="t", run_id="r", activation=2, resumed=True, agent_id="echo"),
        {"thread_id": "t", "run_id": "r", "activation": 2, "resumed": True, "agent_id": "echo"},
    ),
    (
        events.RunRetry(attempt=1, reason="retry", retry_at=9, error_code="overloaded"),
        {"attempt": 1, "reason": "retry", "retry_at": 9, "error_code": "overloaded"},
    ),
    (events.RunInterrupted(by_run_id="r2"), {"by_run_id": "r2"}),
    (
        events.RunFinish(
            thread_id="t", run_id="r", termination=NaturalEnd(), result={"response": "hi"}
        ),
        {
            "thread_id": "t",
            "run_id": "r",
            "termination": {"type": "natural_end"},
            "result": {"response": "hi"},
        },
    ),
    (
        events.RunFinish(
            thread_id="t", run_id="r", termination=Stopped(code="max_rounds"), cancel="too_late"
        ),
        {
            "thread_id": "t",
            "run_id": "r",
            "termination": {"type": "stopped", "code": "max_rounds"},
            "cancel": "too_late",
        },
    ),
    (
        events.RunFinish(thread_id="t", run_id="r", termination=Cancelled(by="user", reason="no")),
        {
            "thread_id": "t",
            "run_id": "r",
            "termination": {"type": "cancelled", "by": "user", "reason": "no"},
        },
    ),
    (
        events.RunFinish(thread_id="t", run_id="r", termination=SuspendedEnd()),
        {"thread_id": "t", "run_id": "r", "termination": {"type": "suspended"}},
    ),
    (events.StepStart(message_id="m1"), {"message_id": "m1"}),
    (events.StepEnd(), {}),
    (
        events.InferenceComplete(
            model="gpt", duration_ms=12, usage={"input_tokens": 3}, finish_reason="stop"
        ),
        {
            "model": "gpt",
            "duration_ms": 12,
            "usage": {"input_tokens": 3},
            "finish_reason": "stop",
        },
    ),
    (
        events.ErrorEvent(code="tool_failed", message="no"),
        {"code": "tool_failed", "message": "no"},
    ),
    (events.TextDelta(delta='a "b"\n'), {"delta": 'a "b"\n'}),
    (events.ReasoningDelta(delta="hm"), {"delta": "hm"}),
    (events.ReasoningEncryptedValue(encrypted_value="x=="), {"encrypted_value": "x=="}),
    (events.ToolCallStart(id="c1", name="refund"), {"id": "c1", "name": "refund"}),
    (events.ToolCallDelta(id="c1", args_delta='{"o'), {"id": "c1", "args_delta": '{"o'}),
    (
        events.ToolCallReady(id="c1", name="refund", arguments={"order": 7}),
        {"id": "c1", "name": "refund", "arguments": {"order": 7}},
    ),
    (
        events.ToolCallStreamDelta(id="c1", name="refund", delta="…"),
        {"id": "c1", "name": "refund", "delta": "…"},
    ),
    (
        events.ToolCallDone(id="c1", message_id="m2", outcome="succeeded", result=[1]),
        {"id": "c1", "message_id": "m2", "outcome": "succeeded", "result": [1]},
    ),
    (
        events.ToolCallResumed(target_id="c1", result={"ok": True}),
        {"target_id": "c1", "result": {"ok": True}},
    ),
    (
        events.ToolCallCancel(id="c1", name="refund", reason="broken"),
        {"id": "c1", "name": "refund", "reason": "broken"},
    ),
    (StreamReset(from_seq=4, reason="broken"), {"from_seq": 4, "reason": "broken"}),
    (
        events.ActivitySnapshot(message_id="m", activity_type="plan", content=[1], replace=False),
        {"message_id": "m", "activity_type": "plan", "content": [1], "replace": False},
    ),
    (
        events.ActivityDelta(message_id="m", activity_type="plan", patch=[{"op": "add"}]),
        {"message_id": "m", "activity_type": "plan", "patch": [{"op": "add"}]},
    ),
    (events.StateSnapshot(snapshot={"a": 1}), {"snapshot": {"a": 1}}),
    (events.StateDelta(delta=[{"op": "add"}]), {"delta": [{"op": "add"}]}),
    (
        events.MessageCommitted(message_seq=4, message=MESSAGE),
        {
            "message_seq": 4,
            "message": {
                "message_id": "m1",
                "role": "assistant",
                "content": [{"type": "text", "text": "hi"}],
                "tool_calls": [{"id": "c1", "name": "refund", "arguments": {"order": 7}}],
                "metadata": {"model": "gpt"},
            },
        },
    ),
    (
        events.MessagesReplaced(message_ids=("m1", "m2"), by_run_id="r2"),
        {"message_ids": ["m1", "m2"], "by_run_id": "r2"},
    ),
    (
        events.PendingChanged(revision=3, changed=("m1",), retracted=("m2",)),
        {"revision": 3, "changed": ["m1"], "retracted": ["m2"]},
    ),
    (
        events.PendingChanged(revision=2, added=("m1",), consumed=("m0",)),
        {"revision": 2, "added": ["m1"], "consumed": ["m0"]},
    ),
    (
        events.TicketOpened(ticket=TICKET),
        {
            "ticket": {
                "ticket_id": "k1",
                "thread_id": "t",
                "run_id": "r",
                "tool_call_id": "c1",
                "tool_name": "refund",
                "arguments": {"order": 7},
                "arguments_hash": "abc",
                "reason": "tool_permission",
                "opened_at": 5,
                "message": "Refund?",
            }
        },
    ),
    (
        events.TicketClosed(ticket_id="k1", status="answered", by="ann", decision_id="d"),
        {"ticket_id": "k1", "status": "answered", "by": "ann", "decision_id": "d"},
    ),
    (
        events.ChildStarted(run_id="r2", thread_id="t2", tool_call_id="c1"),
        {"run_id": "r2", "thread_id": "t2", "tool_call_id": "c1"},
    ),
    (events.ThreadChanged(changes={"title": "x"}), {"changes": {"title": "x"}}),
]


def entry(event: Event, *, run_id: str | None = "r", first: int | None = None) -> Entry:
    return Entry(seq=7, thread_id="t", run_id=run_id, at=1000, event=event, first=first)


def segment(*items: Event) -> Segment:
    return Segment(
        tenant="acme",
        thread_id="t",
        run_id="r",
        first_seq=1,
        last_seq=len(items),
        at=1000,
        items=tuple(LogItem(seq=n, event=event) for n, event in enumerate(items, start=1)),
    )


def by_frames(part: Segment) -> bytes:
    encoder: Encoder = NativeEncoder()
    return b"".join(sse.render_entry(encoder.encode(one)) for one in part.entries())


# --- the table


def test_every_event_has_a_frame_or_a_documented_drop() -> None:
    mapped = {str(kind.__struct_config__.tag) for kind in FIELDS}
    dropped = {str(kind.__struct_config__.tag) for kind in DROPPED}
    assert mapped | dropped == set(EVENT_TYPES)
    assert not mapped & dropped
    assert all(DROPPED.values())


def test_every_field_that_is_told_exists_and_every_event_has_a_golden_form() -> None:
    for kind, names in (FIELDS | INSIDE).items():
        assert set(names) <= set(kind.__struct_fields__), kind
    assert {type(event) for event, _ in GOLDEN} == set(FIELDS)


@pytest.mark.parametrize(("event", "told"), GOLDEN, ids=lambda value: type(value).__name__)
def test_an_event_has_exactly_this_form(event: Event, told: dict[str, Any]) -> None:
    (frame,) = NativeEncoder().encode(entry(event))
    body = {"event_type": event_type(event), **told}
    data = {"seq": 7, "thread_id": "t", "run_id": "r", "at": 1000, "event": body}
    assert msgspec.json.decode(frame.data) == data == view(entry(event))
    assert (frame.id, frame.event) == ("7", event_type(event))


def test_a_field_that_is_not_listed_stays_inside() -> None:
    told = view(entry(events.TicketOpened(ticket=TICKET)))["event"]["ticket"]
    assert "allowed_approvers" not in told
    assert "decision" not in told


# --- bytes


def test_an_entry_has_exactly_these_bytes() -> None:
    assert (
        by_frames(segment(TextDelta(delta="hé")))
        == (
            "id: 1\n"
            "event: text_delta\n"
            'data: {"seq":1,"thread_id":"t","run_id":"r","at":1000,'
            '"event":{"event_type":"text_delta","delta":"hé"}}\n\n'
        ).encode()
    )


def test_an_entry_of_no_run_says_so() -> None:
    (frame,) = NativeEncoder().encode(entry(events.ThreadChanged(changes={}), run_id=None))
    assert msgspec.json.decode(frame.data)["run_id"] is None


def test_internal_entries_and_drops_have_no_frame() -> None:
    hidden = Message(message_id="m", role=Role.system, visibility=MessageVisibility.internal)
    internal = events.MessageCommitted(message_seq=1, message=hidden)
    for event in (internal, events.MessagesSnapshot(messages=[])):
        assert not is_told(event)
        assert NativeEncoder().encode(entry(event)) == []
    assert encode_segment(segment(internal)) == b""


def test_a_reset_in_front_of_a_merged_part_has_no_id_and_a_stored_one_has() -> None:
    reset = StreamReset(from_seq=3, reason="compacted")
    assert NativeEncoder().encode(entry(reset, first=3))[0].id is None
    assert NativeEncoder().encode(entry(reset))[0].id == "7"
    assert NativeEncoder().encode(entry(TextDelta(delta="x"), first=3))[0].id == "7"


def test_a_segment_is_the_frames_of_its_entries() -> None:
    part = segment(*[event for event, _ in GOLDEN])
    assert encode_segment(part) == by_frames(part)


@given(logs())
def test_a_segment_is_the_frames_of_its_entries_whatever_they_are_and_wherever_cut(
    log: list[Segment],
) -> None:
    for part in (*log, *compact_run([s for s in log if s.run_id == "run"])):
        for cursor in range(part.first_seq - 1, part.last_seq):
            assert encode_segment(cut(part, cursor)) == by_frames(cut(part, cursor))


# --- the end


def test_a_clean_end_needs_no_frame_and_any_other_asks_to_reconnect() -> None:
    encoder = NativeEncoder()
    assert encoder.close(CloseReason.finished) == []
    for reason in (CloseReason.drain, CloseReason.fault):
        frames = encoder.close(reason)
        assert frames == [Frame(event="reconnect", data=b"{}", retry_ms=1000)]
        assert sse.render(frames) == b"event: reconnect\nretry: 1000\ndata: {}\n\n"
