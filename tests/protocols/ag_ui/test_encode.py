"""The encoder: its events, that every stream is legal, and how ends are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given

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
from awaken.protocols.ag_ui.carry import Carry, Names
from awaken.protocols.ag_ui.encode import AgUiEncoder
from awaken.protocols.ag_ui.mapping import MAPPING
from awaken.protocols.encoder import CloseReason, Encoder
from awaken.protocols.mapping import Told, markdown, name_of, unmapped
from tests.protocols.ag_ui.legal import check, events_of
from tests.streams.runs import RUN, logs

NAMES = Names(thread_id="t", run_id="mine", own_run_id=RUN, parent_run_id="before")
START: Event = events.RunStart(
    thread_id="t", run_id=RUN, activation=1, resumed=False, agent_id="echo"
)
STEP: Event = events.StepStart(message_id="m1")
CALL: list[Event] = [
    events.ToolCallStart(id="c1", name="refund"),
    events.ToolCallReady(id="c1", name="refund", arguments={"order": "17"}),
]


def ticket(**fields: Any) -> Ticket:
    return Ticket(
        thread_id="t",
        run_id=RUN,
        tool_name="refund",
        arguments={"order": "17"},
        arguments_hash="h",
        **{
            "ticket_id": "k1",
            "tool_call_id": "c1",
            "reason": WaitingReason.tool_permission,
            "opened_at": 5,
            **fields,
        },
    )


def of_the_client(**fields: Any) -> Ticket:
    return ticket(
        reason=WaitingReason.external_event,
        resume_mode=ResumeMode.use_decision_as_tool_result,
        **fields,
    )


def finish(termination: Termination) -> RunFinish:
    return RunFinish(thread_id="t", run_id=RUN, termination=termination, result={"response": "x"})


def entries(*told: Event) -> list[Entry]:
    return [
        Entry(seq=seq, thread_id="t", run_id=RUN, at=1000 + seq, event=event)
        for seq, event in enumerate(told, start=1)
    ]


def stream(*told: Event, carry: Carry | None = None, whole: bool = True) -> list[dict[str, Any]]:
    """The events of a stream; of a whole one, to the end of it."""
    encoder = AgUiEncoder(NAMES, carry)
    found: list[dict[str, Any]] = []
    for entry in entries(*told):
        if encoder.needs_snapshot(entry):
            encoder.supply([{"id": "u", "role": "user", "content": "hi"}], {"a": 1})
        frames = encoder.encode(entry)
        sse.render_entry(frames)
        found += events_of(frames)
    if whole:
        found += events_of(encoder.close(CloseReason.finished))
    return check(found, whole=whole)


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in told]


def named(told: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in told if each["type"] == kind]


def test_it_is_an_encoder() -> None:
    encoder: Encoder = AgUiEncoder(NAMES)
    assert encoder.close(CloseReason.drain) == []


# --- the table -----------------------------------------------------------------------------------


def test_every_event_is_told_or_dropped_with_a_reason() -> None:
    assert unmapped(MAPPING) == []
    assert all(entry.frames if isinstance(entry, Told) else entry.why for entry in MAPPING.values())


def test_an_event_that_the_table_lacks_is_found() -> None:
    less = {kind: entry for kind, entry in MAPPING.items() if kind is not events.RunRetry}
    assert unmapped(less) == ["run_retry"]


@pytest.mark.parametrize("kind", list(MAPPING), ids=name_of)
def test_the_table_is_what_is_done(kind: type[Event]) -> None:
    assert hasattr(AgUiEncoder, f"on_{name_of(kind)}") == isinstance(MAPPING[kind], Told)


def test_the_docs_print_the_table() -> None:
    assert "| `text_delta` | `TEXT_MESSAGE_START`, `TEXT_MESSAGE_CONTENT` |" in markdown(MAPPING)


# --- every stream --------------------------------------------------------------------------------


def activations(segments: Sequence[Segment]) -> list[list[Event]]:
    found: list[list[Event]] = [[]]
    for segment in segments:
        for item in segment.items if segment.run_id == RUN else ():
            found[-1].append(item.event)
            if isinstance(item.event, RunFinish):
                found.append([])
    return [each for each in found if each]


@given(logs())
def test_every_stream_is_legal_and_ends(segments: list[Segment]) -> None:
    for told in activations(segments):
        assert stream(*told)[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")


@given(logs())
def test_a_stream_that_ends_anywhere_is_closed(segments: list[Segment]) -> None:
    (told, *_) = activations(segments)
    for length in range(0, len(told), 3):
        stream(*told[:length])


def test_times_are_those_of_the_log() -> None:
    told = stream(START, STEP, events.TextDelta(delta="a"), events.TextDelta(delta="b"))
    assert [each["timestamp"] for each in told[:5]] == [1001, 1002, 1003, 1003, 1004]


def test_what_a_client_calls_its_run_is_echoed() -> None:
    first, *_, last = stream(START, finish(NaturalEnd()))
    assert (first["threadId"], first["runId"], first["parentRunId"]) == ("t", "mine", "before")
    assert first["metadata"] == {"awaken": {"runId": RUN}}
    assert (last["threadId"], last["runId"]) == ("t", "mine")


def test_nothing_comes_behind_the_end() -> None:
    assert kinds(stream(START, finish(NaturalEnd()), events.TextDelta(delta="late"))) == [
        "RUN_STARTED",
        "RUN_FINISHED",
    ]


# --- parts ---------------------------------------------------------------------------------------


def test_text_and_calls_of_a_step_are_one_message() -> None:
    told = stream(START, STEP, events.TextDelta(delta="a"), *CALL, events.TextDelta(delta="b"))
    assert {each["messageId"] for each in named(told, "TEXT_MESSAGE_START")} == {"m1"}
    (call,) = named(told, "TOOL_CALL_START")
    assert call["parentMessageId"] == "m1"


def test_arguments_that_were_not_streamed_are_told_whole() -> None:
    told = stream(START, STEP, *CALL)
    assert [each["delta"] for each in named(told, "TOOL_CALL_ARGS")] == ['{"order":"17"}']


def test_arguments_that_were_streamed_are_not_told_again() -> None:
    start, ready = CALL
    told = stream(START, STEP, start, events.ToolCallDelta(id="c1", args_delta="{}"), ready)
    assert [each["delta"] for each in named(told, "TOOL_CALL_ARGS")] == ["{}"]


def test_each_stretch_of_reasoning_is_a_message_and_a_signature_belongs_to_its_own() -> None:
    told = stream(
        START,
        STEP,
        events.ReasoningDelta(delta="a"),
        events.ReasoningEncryptedValue(encrypted_value="s"),
        events.ReasoningDelta(delta="b"),
        events.TextDelta(delta="c"),
        events.ReasoningDelta(delta="d"),
    )
    begun = [each["messageId"] for each in named(told, "REASONING_START")]
    assert begun == ["m1.reasoning.0", "m1.reasoning.1", "m1.reasoning.2"]
    (sealed,) = named(told, "REASONING_ENCRYPTED_VALUE")
    assert (sealed["entityId"], sealed["subtype"]) == ("m1.reasoning.0", "message")


def test_a_dropped_call_is_closed_and_answered_so_that_no_client_executes_it() -> None:
    cancel = events.ToolCallCancel(id="c1", name="refund", reason="recovered")
    told = stream(START, STEP, CALL[0], cancel)
    assert kinds(told)[3:5] == ["TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert "recovered" in told[4]["content"]


def test_a_result_is_told_once_and_not_to_the_client_that_posted_it() -> None:
    done = events.ToolCallDone(id="c1", message_id="r1", outcome="succeeded", result={"ok": True})
    message = Message(message_id="r1", role=Role.tool, tool_call_id="c1")
    committed = events.MessageCommitted(message_seq=3, message=message)
    (told,) = named(stream(START, STEP, *CALL, done, committed), "TOOL_CALL_RESULT")
    assert (told["messageId"], told["content"]) == ("r1", '{"ok":true}')
    carry = Carry(answered=frozenset({"c1"}))
    assert not named(stream(START, done, committed, carry=carry), "TOOL_CALL_RESULT")


def test_a_result_without_a_message_yet_is_told_when_that_is_committed() -> None:
    done = events.ToolCallDone(id="c1", message_id="", outcome="succeeded", result="yes")
    message = Message(
        message_id="r9", role=Role.tool, tool_call_id="c1", content=(TextBlock(text="yes"),)
    )
    told = stream(START, STEP, *CALL, done, events.MessageCommitted(message_seq=2, message=message))
    assert [each["messageId"] for each in named(told, "TOOL_CALL_RESULT")] == ["r9"]


def test_output_of_a_tool_is_an_activity_that_grows() -> None:
    output = events.ToolCallStreamDelta(id="c1", name="refund", delta="a")
    told = stream(START, STEP, *CALL, output, output)
    assert kinds(told)[5:7] == ["ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA"]
    assert told[5]["content"]["chunks"] == ["a"]


def test_an_activity_that_is_no_object_becomes_one() -> None:
    activity = events.ActivitySnapshot(message_id="a", activity_type="x", content=[1])
    assert named(stream(START, activity), "ACTIVITY_SNAPSHOT")[0]["content"] == {"value": [1]}


def test_a_message_is_told_unless_its_reader_has_posted_it() -> None:
    message = Message(message_id="u1", role=Role.user, content=(TextBlock(text="hi"),))
    committed = events.MessageCommitted(message_seq=1, message=message)
    assert kinds(stream(START, committed))[1:4] == [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
    ]
    assert len(stream(START, committed, carry=Carry(known=frozenset({"u1"})))) == 2


def test_messages_for_the_model_alone_are_not_told() -> None:
    message = Message(
        message_id="u1",
        role=Role.system,
        content=(TextBlock(text="secret"),),
        visibility=MessageVisibility.internal,
    )
    committed = events.MessageCommitted(message_seq=1, message=message)
    assert len(stream(START, committed)) == 2


def test_a_reset_takes_back_what_is_void() -> None:
    reset = events.StreamReset(from_seq=2, reason="broken")
    told = stream(START, STEP, events.ReasoningDelta(delta="a"), reset)
    (snapshot,) = named(told, "MESSAGES_SNAPSHOT")
    assert snapshot["messages"] == [
        {"id": "u", "role": "user", "content": "hi"},
        {"id": "m1.reasoning.0", "role": "reasoning", "content": ""},
    ]


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("termination", "kind", "outcome"),
    [
        (NaturalEnd(), "RUN_FINISHED", "success"),
        (BehaviorRequested(), "RUN_FINISHED", "success"),
        (Stopped(code="max_rounds"), "RUN_FINISHED", "cancelled"),
        (Cancelled(by="user", reason="enough"), "RUN_FINISHED", "cancelled"),
        (Superseded(by_run_id="r2"), "RUN_FINISHED", "cancelled"),
        (Blocked(reason="policy"), "RUN_ERROR", None),
        (Errored(code="model_failed", message="no luck"), "RUN_ERROR", None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_ends_are_told_apart(termination: Termination, kind: str, outcome: str | None) -> None:
    last = stream(START, STEP, events.TextDelta(delta="a"), CALL[0], finish(termination))[-1]
    assert last["type"] == kind
    assert last.get("outcome", {}).get("type") == outcome
    assert last["metadata"]["awaken"]["termination"]["type"] == termination.__struct_config__.tag


def test_an_error_has_its_code_and_usage() -> None:
    complete = events.InferenceComplete(
        model="m", duration_ms=1, usage={"prompt_tokens": 3, "cache_read_tokens": 2}
    )
    told = stream(START, STEP, complete, complete, finish(Errored(code="x", message="no luck")))
    assert (told[-1]["code"], told[-1]["message"]) == ("x", "no luck")
    assert told[-1]["usage"] == [{"model": "m", "inputTokens": 6, "cachedInputTokens": 4}]


def test_all_open_tickets_are_interrupts_behind_the_snapshots() -> None:
    other = ticket(
        ticket_id="k2",
        tool_call_id="c2",
        resume_mode=ResumeMode.pass_decision_to_tool,
        reason=WaitingReason.user_input,
        response_schema={"type": "string"},
        expires_at=1_700_000_000_123,
    )
    mine = of_the_client(ticket_id="k3", tool_call_id="c3")
    closed = ticket(ticket_id="k4", tool_call_id="c4")
    told = stream(
        START,
        *(events.TicketOpened(ticket=each) for each in (ticket(), other, mine, closed)),
        events.TicketClosed(ticket_id="k4", status="answered"),
        finish(SuspendedEnd()),
    )
    assert kinds(told)[-3:] == ["STATE_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert told[-3]["snapshot"] == {"a": 1}
    interrupts = told[-1]["outcome"]["interrupts"]
    assert [each["id"] for each in interrupts] == ["k1", "k2", "k3"]
    assert [each["reason"] for each in interrupts] == ["tool_call", "input_required", "tool_call"]
    assert "editedArgs" in interrupts[0]["responseSchema"]["properties"]
    assert interrupts[1]["responseSchema"] == {"type": "string"}
    assert interrupts[1]["expiresAt"] == "2023-11-14T22:13:20.123Z"


def test_what_several_must_allow_cannot_be_edited() -> None:
    told = stream(START, events.TicketOpened(ticket=ticket(quorum=2)), finish(SuspendedEnd()))
    (interrupt,) = told[-1]["outcome"]["interrupts"]
    assert "editedArgs" not in interrupt["responseSchema"]["properties"]


def test_results_of_the_open_step_are_in_the_snapshot_before_an_interrupt() -> None:
    done = events.ToolCallDone(id="c2", message_id="r2", outcome="succeeded", result="x")
    opened = events.TicketOpened(ticket=ticket())
    told = stream(START, STEP, *CALL, done, opened, finish(SuspendedEnd()))
    assert [each["id"] for each in told[-2]["messages"]] == ["u", "r2"]


def test_a_run_that_waits_for_the_clients_tools_alone_is_complete_for_it() -> None:
    opened = events.TicketOpened(ticket=of_the_client())
    told = stream(START, STEP, *CALL, opened, finish(SuspendedEnd()))
    assert told[-1]["outcome"] == {"type": "success", "pendingToolCallIds": ["c1"]}
    assert not named(told, "MESSAGES_SNAPSHOT")


def test_a_deleted_thread_is_an_error_and_a_drained_stream_has_no_end() -> None:
    for reason, wanted in ((CloseReason.deleted, ["RUN_ERROR"]), (CloseReason.drain, [])):
        encoder = AgUiEncoder(NAMES)
        for entry in entries(START, STEP, events.TextDelta(delta="a")):
            encoder.encode(entry)
        ends = [k for k in kinds(events_of(encoder.close(reason))) if k.startswith("RUN_")]
        assert ends == wanted
