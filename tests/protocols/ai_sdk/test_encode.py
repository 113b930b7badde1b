"""The encoder: its chunks, what is open, and that the same log always gives the same stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain import event as events
from awaken.domain.event import Entry, Event, RunFinish, Segment
from awaken.domain.message import Message, MessageVisibility, Role, TextBlock
from awaken.domain.termination import (
    BehaviorRequested,
    Blocked,
    Cancelled,
    Errored,
    NaturalEnd,
    Stopped,
    Superseded,
    SuspendedEnd,
    Termination,
)
from awaken.domain.ticket import ResumeMode, Ticket, WaitingReason
from awaken.protocols import sse
from awaken.protocols.ai_sdk.encode import DELETED, AiSdkEncoder
from awaken.protocols.ai_sdk.mapping import MAPPING
from awaken.protocols.encoder import CloseReason, Encoder, Frame
from awaken.protocols.mapping import Dropped, Told, markdown, name_of, unmapped
from tests.protocols.ai_sdk.legal import Chunk, check, chunks_of
from tests.streams.runs import RUN, logs

START = events.RunStart(thread_id="t", run_id=RUN, activation=1, resumed=False, agent_id="echo")


def ticket(call_id: str = "c1", **fields: Any) -> Ticket:
    return Ticket(
        ticket_id="k1",
        thread_id="t",
        run_id=RUN,
        tool_call_id=call_id,
        tool_name="refund",
        arguments={},
        arguments_hash="h",
        **{"reason": WaitingReason.tool_permission, "opened_at": 5, **fields},
    )


def finish(termination: Termination) -> RunFinish:
    return RunFinish(thread_id="t", run_id=RUN, termination=termination)


def entries(*told: Event, first: int = 1) -> list[Entry]:
    return [
        Entry(seq=first + offset, thread_id="t", run_id=RUN, at=7, event=event)
        for offset, event in enumerate(told)
    ]


def encoded(
    *told: Event, close: CloseReason | None = None, encoder: AiSdkEncoder | None = None
) -> list[Chunk]:
    """The chunks of a log, without its `start`."""
    encoder = encoder or AiSdkEncoder(RUN)
    frames = [frame for entry in entries(START, *told) for frame in encoder.encode(entry)]
    frames += encoder.close(close) if close else []
    first, *rest = chunks_of(frames)
    assert first["type"] == "start"
    return rest


# --- the table -----------------------------------------------------------------------------------


def test_every_event_is_told_or_dropped_for_a_reason() -> None:
    assert unmapped(MAPPING) == []
    assert all(entry.why for entry in MAPPING.values() if isinstance(entry, Dropped))
    handlers = {name for name in dir(AiSdkEncoder) if name.startswith("on_")}
    told = {f"on_{name_of(kind)}" for kind, each in MAPPING.items() if isinstance(each, Told)}
    assert handlers == told, "what is handled is in the table, and the other way round"


def test_the_table_can_be_printed() -> None:
    lines = markdown(MAPPING).splitlines()
    assert len(lines) == 2 + len(MAPPING)
    assert all(line.count("|") == 4 for line in lines)


EVERY: list[tuple[list[Event], list[Chunk]]] = [
    (
        [events.StepStart(message_id="m1"), events.StepEnd()],
        [{"type": "start-step"}, {"type": "finish-step"}],
    ),
    (
        [events.TextDelta(delta="a"), events.TextDelta(delta=""), events.TextDelta(delta='"b"\n')],
        [
            {"type": "text-start", "id": "text-2"},
            {"type": "text-delta", "id": "text-2", "delta": "a"},
            {"type": "text-delta", "id": "text-2", "delta": '"b"\n'},
        ],
    ),
    (
        [
            events.ReasoningDelta(delta="hm"),
            events.ReasoningEncryptedValue(encrypted_value="secret"),
            events.ReasoningDelta(delta="so"),
            events.TextDelta(delta="a"),
        ],
        [
            {"type": "reasoning-start", "id": "reasoning-2"},
            {"type": "reasoning-delta", "id": "reasoning-2", "delta": "hm"},
            {"type": "reasoning-end", "id": "reasoning-2"},
            {"type": "reasoning-start", "id": "reasoning-4"},
            {"type": "reasoning-delta", "id": "reasoning-4", "delta": "so"},
            {"type": "reasoning-end", "id": "reasoning-4"},
            {"type": "text-start", "id": "text-5"},
            {"type": "text-delta", "id": "text-5", "delta": "a"},
        ],
    ),
    (
        [
            events.TextDelta(delta="a"),
            events.ToolCallStart(id="c1", name="refund"),
            events.ToolCallDelta(id="c1", args_delta='{"o'),
            events.ToolCallReady(id="c1", name="refund", arguments={"order": 7}),
            events.ToolCallStreamDelta(id="c1", name="refund", delta="half"),
            events.ToolCallStreamDelta(id="c1", name="refund", delta=" done"),
            events.ToolCallDone(id="c1", message_id="m2", outcome="succeeded", result=None),
            events.ToolCallDone(id="unknown", message_id="m2", outcome="succeeded", result=1),
        ],
        [
            {"type": "text-start", "id": "text-2"},
            {"type": "text-delta", "id": "text-2", "delta": "a"},
            {"type": "text-end", "id": "text-2"},
            {"type": "tool-input-start", "toolCallId": "c1", "toolName": "refund"},
            {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"o'},
            {
                "type": "tool-input-available",
                "toolCallId": "c1",
                "toolName": "refund",
                "input": {"order": 7},
                "providerExecuted": True,
            },
            {
                "type": "tool-output-available",
                "toolCallId": "c1",
                "output": "half",
                "preliminary": True,
                "providerExecuted": True,
            },
            {
                "type": "tool-output-available",
                "toolCallId": "c1",
                "output": "half done",
                "preliminary": True,
                "providerExecuted": True,
            },
            {
                "type": "tool-output-available",
                "toolCallId": "c1",
                "output": None,
                "providerExecuted": True,
            },
        ],
    ),
    (
        [
            events.ToolCallStart(id="c1", name="refund"),
            events.ToolCallCancel(id="c1", name="refund", reason="broken"),
        ],
        [
            {"type": "tool-input-start", "toolCallId": "c1", "toolName": "refund"},
            {
                "type": "tool-input-error",
                "toolCallId": "c1",
                "toolName": "refund",
                "input": None,
                "errorText": "the call was dropped: broken",
                "providerExecuted": True,
            },
        ],
    ),
    (
        [events.TextDelta(delta="a"), events.StreamReset(from_seq=2, reason="broken")],
        [
            {"type": "text-start", "id": "text-2"},
            {"type": "text-delta", "id": "text-2", "delta": "a"},
            {"type": "text-end", "id": "text-2"},
        ],
    ),
    (
        [
            events.InferenceComplete(
                model="m", duration_ms=1, usage={"prompt_tokens": 3, "completion_tokens": 4}
            ),
            events.InferenceComplete(
                model="m",
                duration_ms=1,
                usage={"prompt_tokens": 1, "thinking_tokens": 2, "cache_read_tokens": 1},
            ),
        ],
        [
            {
                "type": "message-metadata",
                "messageMetadata": {
                    "model": "m",
                    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
                },
            },
            {
                "type": "message-metadata",
                "messageMetadata": {
                    "model": "m",
                    "usage": {
                        "inputTokens": 4,
                        "outputTokens": 4,
                        "totalTokens": 8,
                        "reasoningTokens": 2,
                        "cachedInputTokens": 1,
                    },
                },
            },
        ],
    ),
    (
        [
            events.RunRetry(attempt=2, reason="retry", retry_at=9),
            events.ErrorEvent(code="odd", message="but no end"),
            events.ActivityDelta(message_id="m", activity_type="plan", patch=[{"op": "add"}]),
            events.StateDelta(delta=[{"op": "add"}]),
        ],
        [
            {
                "type": "data-retry",
                "data": {"attempt": 2, "reason": "retry", "retryAt": 9},
                "transient": True,
            },
            {
                "type": "data-notice",
                "data": {"code": "odd", "message": "but no end"},
                "transient": True,
            },
            {
                "type": "data-activity-delta",
                "data": {"messageId": "m", "activityType": "plan", "patch": [{"op": "add"}]},
                "transient": True,
            },
            {"type": "data-state-delta", "data": [{"op": "add"}], "transient": True},
        ],
    ),
    (
        [
            events.ActivitySnapshot(message_id="m", activity_type="plan", content=[1]),
            events.StateSnapshot(snapshot=None),
            events.ChildStarted(run_id="r2", thread_id="t2", tool_call_id="c1"),
        ],
        [
            {
                "type": "data-activity",
                "id": "m/plan",
                "data": {"messageId": "m", "activityType": "plan", "content": [1]},
            },
            {"type": "data-state", "id": "state", "data": None},
            {
                "type": "data-child-run",
                "id": "r2",
                "data": {"runId": "r2", "threadId": "t2", "toolCallId": "c1"},
            },
        ],
    ),
]


@pytest.mark.parametrize(("told", "chunks"), EVERY)
def test_events_become_exactly_these_chunks(told: list[Event], chunks: list[Chunk]) -> None:
    assert encoded(*told) == chunks


def test_the_examples_have_every_event_that_is_told() -> None:
    shown = {type(event) for told, _ in EVERY for event in told}
    elsewhere = {events.RunStart, events.RunFinish, events.TicketOpened, events.TicketClosed}
    assert shown | elsewhere == {kind for kind, each in MAPPING.items() if isinstance(each, Told)}


# --- the life of a stream ------------------------------------------------------------------------


def test_a_run_is_one_message_with_its_own_id() -> None:
    encoder: Encoder = AiSdkEncoder(RUN)
    (entry,) = entries(START)
    (frame,) = encoder.encode(entry)
    metadata = {"threadId": "t", "runId": RUN, "agentId": "echo"}
    (chunk,) = chunks_of([frame])
    assert chunk == {"type": "start", "messageId": RUN, "messageMetadata": metadata}
    assert frame.id == "1"


ENDS: list[tuple[Termination, list[str], dict[str, Any]]] = [
    (NaturalEnd(), ["finish"], {"finishReason": "stop"}),
    (BehaviorRequested(), ["finish"], {"finishReason": "stop"}),
    (Stopped(code="max_rounds"), ["finish"], {"finishReason": "other"}),
    (Blocked(reason="no"), ["finish"], {"finishReason": "content-filter"}),
    (
        Errored(code="x", message="so it is"),
        ["message-metadata", "error", "finish"],
        {"finishReason": "error"},
    ),
    (Cancelled(by="ada", reason="enough"), ["message-metadata", "abort"], {}),
    (Superseded(by_run_id="r2"), ["message-metadata", "abort"], {}),
]


@pytest.mark.parametrize(("termination", "kinds", "last"), ENDS, ids=lambda x: str(x)[:20])
def test_every_end_can_be_told_apart(
    termination: Termination, kinds: list[str], last: dict[str, Any]
) -> None:
    opening: list[Event] = [events.StepStart(message_id="m"), events.TextDelta(delta="half")]
    told = encoded(*opening, finish(termination))
    assert [chunk["type"] for chunk in told] == [
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        *kinds,
    ]
    tail = told[-len(kinds) :]
    assert last.items() <= tail[-1].items()
    (metadata,) = [each["messageMetadata"] for each in tail if "messageMetadata" in each]
    assert metadata["termination"]["type"] == termination.__struct_config__.tag
    if isinstance(termination, Errored):
        assert tail[1]["errorText"] == "so it is"
    if isinstance(termination, Cancelled):
        assert "by" not in metadata["termination"], "who it was is not for everybody"


@pytest.mark.parametrize(
    ("of_model", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        ("odd", "other"),
        (None, "stop"),
    ],
)
def test_the_last_inference_says_why_it_ended(of_model: str | None, told: str) -> None:
    complete = events.InferenceComplete(model="m", duration_ms=1, finish_reason=of_model)
    assert encoded(complete, finish(NaturalEnd()))[-1]["finishReason"] == told


def test_a_suspension_is_an_end_only_where_the_stream_ends() -> None:
    call = events.ToolCallReady(id="c1", name="refund", arguments={})
    asked: list[Event] = [call, events.TicketOpened(ticket=ticket()), finish(SuspendedEnd())]
    kinds = [chunk["type"] for chunk in encoded(*asked, close=CloseReason.finished)]
    assert kinds == ["tool-input-available", "tool-approval-request", "finish"]
    again = events.RunStart(thread_id="t", run_id=RUN, activation=2, resumed=True, agent_id="echo")
    done = events.ToolCallDone(id="c1", message_id="m", outcome="succeeded", result=1)
    whole = encoded(*asked, again, done, finish(NaturalEnd()), close=CloseReason.finished)
    assert [chunk["type"] for chunk in whole] == [*kinds[:2], "tool-output-available", "finish"]


def test_an_ending_that_is_none_has_no_end() -> None:
    """Drained or unreadable: the client must not take half an answer for a whole one."""
    encoder = AiSdkEncoder(RUN)
    for entry in entries(START, events.TextDelta(delta="half")):
        encoder.encode(entry)
    assert encoder.close(CloseReason.drain) == []
    assert encoder.close(CloseReason.fault) == []


def test_a_deleted_thread_is_an_error() -> None:
    told = encoded(events.TextDelta(delta="half"), close=CloseReason.deleted)
    assert [chunk["type"] for chunk in told[2:]] == ["text-end", "error"]
    assert told[-1]["errorText"] == DELETED


def test_a_stream_without_any_entry_is_legal() -> None:
    frames = AiSdkEncoder(RUN).close(CloseReason.finished)
    assert [chunk["type"] for chunk in chunks_of(frames)] == ["start", "finish"]
    assert frames[-1] == Frame(data=b"[DONE]")


def test_a_run_that_ends_before_it_begins_is_legal() -> None:
    encoder = AiSdkEncoder(RUN)
    (entry,) = entries(finish(Cancelled(by="ada")))
    told = chunks_of([*encoder.encode(entry), *encoder.close(CloseReason.finished)])
    assert [chunk["type"] for chunk in told] == ["start", "message-metadata", "abort"]


# --- questions -----------------------------------------------------------------------------------


def test_a_call_of_the_client_is_not_executed_by_us() -> None:
    asked = ticket(
        reason=WaitingReason.external_event, resume_mode=ResumeMode.use_decision_as_tool_result
    )
    told = encoded(
        events.ToolCallStart(id="c1", name="pick"),
        events.ToolCallReady(id="c1", name="pick", arguments={}),
        events.TicketOpened(ticket=asked),
        events.ToolCallDone(id="c1", message_id="m", outcome="succeeded", result={"color": "red"}),
        encoder=AiSdkEncoder(RUN, client_tools=frozenset({"pick"})),
    )
    assert [chunk["type"] for chunk in told] == [
        "tool-input-start",
        "tool-input-available",
        "tool-output-available",
    ]
    assert not any("providerExecuted" in chunk for chunk in told)


@pytest.mark.parametrize(("code", "kind"), [("denied", "denied"), ("tool_failed", "error")])
def test_a_denied_call_is_told_from_one_that_failed(code: str, kind: str) -> None:
    result = {"error": {"code": code, "message": "not now"}}
    told = encoded(
        events.ToolCallReady(id="c1", name="refund", arguments={}),
        events.TicketOpened(ticket=ticket()),
        events.ToolCallDone(id="c1", message_id="m", outcome="failed", result=result),
    )
    assert told[1] == {"type": "tool-approval-request", "approvalId": "k1", "toolCallId": "c1"}
    assert told[2]["type"] == f"tool-output-{kind}"
    if kind == "error":
        assert told[2]["errorText"] == "not now"


def test_what_needs_more_than_yes_or_no_is_a_data_part() -> None:
    asked = ticket(
        reason=WaitingReason.user_input,
        resume_mode=ResumeMode.pass_decision_to_tool,
        message="Which one?",
        response_schema={"type": "string"},
        allowed_approvers=("ann",),
    )
    told = encoded(
        events.ToolCallReady(id="c1", name="refund", arguments={}),
        events.TicketOpened(ticket=asked),
        events.TicketClosed(ticket_id="k1", status="answered", by="ann"),
        events.TicketClosed(ticket_id="other", status="answered"),
    )
    data = {
        "ticketId": "k1",
        "toolCallId": "c1",
        "message": "Which one?",
        "schema": {"type": "string"},
    }
    assert told[1:] == [
        {"type": "data-question", "id": "k1", "data": {**data, "status": "open"}},
        {"type": "data-question", "id": "k1", "data": {**data, "status": "answered"}},
    ]


def test_a_question_about_a_call_nobody_was_told_of_is_a_data_part() -> None:
    (told,) = encoded(events.TicketOpened(ticket=ticket("unheard-of")))
    assert told["type"] == "data-question"


def test_what_only_the_model_sees_is_not_told() -> None:
    hidden = Message(
        message_id="m",
        role=Role.user,
        content=(TextBlock(text="secret"),),
        visibility=MessageVisibility.internal,
    )
    assert encoded(events.MessageCommitted(message_seq=1, message=hidden)) == []


# --- for every log -------------------------------------------------------------------------------


def own(log: Sequence[Segment]) -> list[Entry]:
    return [entry for segment in log if segment.run_id == RUN for entry in segment.entries()]


def stream(log: Sequence[Entry], encoder: AiSdkEncoder | None = None) -> list[list[Frame]]:
    """The frames of a whole stream, entry by entry, and its end."""
    encoder = encoder or AiSdkEncoder(RUN)
    told = [frames for entry in log if (frames := encoder.encode(entry))]
    return [*told, encoder.close(CloseReason.finished)]


def written(pieces: Sequence[Sequence[Frame]]) -> bytes:
    return b"".join(sse.render_entry(frames) for frames in pieces)


@given(logs())
def test_every_log_becomes_a_legal_stream(log: list[Segment]) -> None:
    pieces = stream(own(log))
    check(chunks_of(frame for frames in pieces for frame in frames))
    assert pieces[-1][-1].data == b"[DONE]"


@given(logs(), st.data())
def test_cut_anywhere_the_tail_behind_the_last_cursor_is_what_was_missed(
    log: list[Segment], data: st.DataObject
) -> None:
    whole = written(stream(own(log)))
    at = data.draw(st.integers(0, len(whole)))
    before, cursor = _read_to(whole[:at])
    encoder = AiSdkEncoder(RUN)
    for entry in own(log):
        if entry.seq <= cursor:
            encoder.encode(entry)
    rest = [entry for entry in own(log) if entry.seq > cursor]
    assert before + written(stream(rest, encoder)) == whole


def _read_to(received: bytes) -> tuple[bytes, int]:
    """What a client has up to the last cursor it was given, and that cursor."""
    events_ = received.split(b"\n\n")[:-1]
    with_id = [index for index, each in enumerate(events_) if each.startswith(b"id: ")]
    if not with_id:
        return b"", 0
    last = with_id[-1]
    cursor = int(events_[last].split(b"\n")[0].removeprefix(b"id: "))
    return b"".join(each + b"\n\n" for each in events_[: last + 1]), cursor


@given(logs())
def test_what_goes_on_behind_a_suspension_is_the_rest_of_the_whole(log: list[Segment]) -> None:
    """A client that posted a decision has the one message that everybody has."""
    entries_ = own(log)
    whole = chunks_of(frame for frames in stream(entries_) for frame in frames)
    ends = [
        index + 1
        for index, entry in enumerate(entries_)
        if isinstance(entry.event, RunFinish) and isinstance(entry.event.termination, SuspendedEnd)
    ]
    for end in ends:
        *first, last = chunks_of(frame for each in stream(entries_[:end]) for frame in each)
        assert (last["type"], last["finishReason"]) == ("finish", "tool-calls")
        encoder = AiSdkEncoder(RUN)
        for entry in entries_[:end]:
            encoder.encode(entry)
        encoder.go_on()
        start, *rest = chunks_of(
            frame for each in stream(entries_[end:], encoder) for frame in each
        )
        assert (start["type"], start["messageId"]) == ("start", RUN)
        assert first + rest == whole


@given(logs())
def test_nothing_is_open_where_the_log_has_a_boundary(log: list[Segment]) -> None:
    encoder = AiSdkEncoder(RUN)
    for segment in log:
        if segment.run_id == RUN:
            for entry in segment.entries():
                encoder.encode(entry)
            assert encoder.parts.empty or not segment.boundary
