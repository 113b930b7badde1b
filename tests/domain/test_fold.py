"""The fold: what of an open step readers have seen, and where the next attempt goes on (I7)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.event import (
    ActivityDelta,
    Event,
    InferenceComplete,
    MessageCommitted,
    ReasoningDelta,
    ReasoningEncryptedValue,
    RunQueued,
    RunRetry,
    StepEnd,
    StepStart,
    StreamReset,
    TextDelta,
    ToolCallCancel,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
    ToolCallStreamDelta,
)
from awaken.domain.fold import Partial, PartialCall, fold
from awaken.domain.message import Message, Role, TextBlock, ThinkingBlock

STEP = StepStart(message_id="m1")


def text(delta: str) -> Event:
    return TextDelta(delta=delta)


def thought(delta: str) -> Event:
    return ReasoningDelta(delta=delta)


def signed(value: str) -> Event:
    return ReasoningEncryptedValue(encrypted_value=value)


def commit(message_id: str) -> Event:
    message = Message(message_id=message_id, role=Role.assistant)
    return MessageCommitted(message_seq=1, message=message)


CALL = (
    ToolCallStart(id="c1", name="add"),
    ToolCallDelta(id="c1", args_delta='{"a":'),
    ToolCallDelta(id="c1", args_delta="1}"),
)
READY = ToolCallReady(id="c1", name="add", arguments={"a": 1})


def test_nothing_is_open_before_the_first_event() -> None:
    assert fold([]) == Partial()
    assert fold([]).empty


def test_an_open_step_knows_the_id_its_message_will_have() -> None:
    partial = fold([STEP])
    assert partial.message_id == "m1"
    assert partial.empty


@pytest.mark.parametrize("said", [text("a"), thought("a"), signed("s"), CALL[0]], ids=repr)
def test_a_step_in_which_anything_was_said_is_not_empty(said: Event) -> None:
    assert not fold([STEP, said]).empty


# --- text and reasoning ------------------------------------------------------------------------


def test_text_deltas_become_one_block() -> None:
    partial = fold([STEP, text("Hel"), text("lo")])
    assert partial.blocks == (TextBlock(text="Hello"),)
    assert partial.text == "Hello"


def test_reasoning_and_text_are_blocks_in_the_order_they_came() -> None:
    partial = fold([STEP, thought("hm"), thought("m"), text("a"), thought("so"), text("b")])
    assert partial.blocks == (
        ThinkingBlock(thinking="hmm"),
        TextBlock(text="a"),
        ThinkingBlock(thinking="so"),
        TextBlock(text="b"),
    )
    assert partial.text == "ab"


def test_a_signature_belongs_to_the_reasoning_before_it() -> None:
    partial = fold([STEP, thought("hm"), signed("sig"), text("a")])
    assert partial.blocks == (ThinkingBlock(thinking="hm", signature="sig"), TextBlock(text="a"))


def test_a_signature_without_visible_reasoning_is_a_block_of_its_own() -> None:
    partial = fold([STEP, text("a"), signed("redacted")])
    assert partial.blocks == (TextBlock(text="a"), ThinkingBlock(thinking="", signature="redacted"))


def test_reasoning_after_a_signature_is_a_new_block() -> None:
    """A signature covers what stands before it; a provider refuses the block if more is added."""
    partial = fold([STEP, thought("one"), signed("sig1"), thought("two"), signed("sig2")])
    assert partial.blocks == (
        ThinkingBlock(thinking="one", signature="sig1"),
        ThinkingBlock(thinking="two", signature="sig2"),
    )


def test_no_signature_is_lost_when_two_follow_one_another() -> None:
    partial = fold([STEP, signed("redacted1"), signed("redacted2")])
    assert partial.blocks == (
        ThinkingBlock(thinking="", signature="redacted1"),
        ThinkingBlock(thinking="", signature="redacted2"),
    )


# --- tool calls --------------------------------------------------------------------------------


def test_a_half_written_call_keeps_its_text() -> None:
    assert fold([STEP, *CALL[:2]]).calls == (PartialCall(id="c1", name="add", args_text='{"a":'),)


def test_a_complete_call_has_its_arguments() -> None:
    assert fold([STEP, *CALL, READY]).calls == (
        PartialCall(id="c1", name="add", ready=True, arguments={"a": 1}),
    )


def test_calls_stay_in_the_order_they_were_begun() -> None:
    later = ToolCallStart(id="c2", name="sub")
    assert [call.id for call in fold([STEP, *CALL, later, READY]).calls] == ["c1", "c2"]


def test_interleaved_calls_do_not_mix() -> None:
    partial = fold(
        [
            STEP,
            ToolCallStart(id="c1", name="add"),
            ToolCallStart(id="c2", name="sub"),
            ToolCallDelta(id="c2", args_delta="2"),
            ToolCallDelta(id="c1", args_delta="1"),
        ]
    )
    assert [call.args_text for call in partial.calls] == ["1", "2"]


def test_a_dropped_call_is_gone() -> None:
    partial = fold([STEP, *CALL, ToolCallCancel(id="c1", name="add", reason="retry")])
    assert partial.calls == ()
    assert partial.empty


def test_a_delta_of_an_unknown_call_is_ignored() -> None:
    assert fold([STEP, ToolCallDelta(id="c9", args_delta="{")]).calls == ()


# --- where it starts anew ----------------------------------------------------------------------


def test_a_reset_forgets_the_content_and_keeps_the_step_open() -> None:
    reset = StreamReset(from_seq=1, reason="retry")
    partial = fold([STEP, thought("hm"), text("a"), *CALL, reset, text("b")])
    assert partial == Partial(message_id="m1", blocks=(TextBlock(text="b"),))


def test_the_commit_of_its_message_closes_the_step() -> None:
    assert fold([STEP, text("a"), *CALL, READY, commit("m1")]) == Partial()


def test_the_commit_of_another_message_leaves_the_step_open() -> None:
    partial = fold([STEP, text("a"), commit("m0"), text("b")])
    assert (partial.message_id, partial.text) == ("m1", "ab")


def test_the_end_of_a_step_closes_it() -> None:
    assert fold([STEP, text("a"), StepEnd()]) == Partial()


def test_the_next_step_starts_empty() -> None:
    partial = fold([STEP, text("a"), StepEnd(), StepStart(message_id="m2"), text("b")])
    assert partial == Partial(message_id="m2", blocks=(TextBlock(text="b"),))


@pytest.mark.parametrize(
    "event",
    [
        RunRetry(attempt=2, reason="lease_expired"),
        RunQueued(dispatch_id="d1", reason="retry"),
        InferenceComplete(model="m", duration_ms=1),
        ToolCallStreamDelta(id="c1", name="add", delta="50 %"),
        ActivityDelta(message_id="m1", activity_type="progress", patch=[]),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_is_not_part_of_the_answer_does_not_interrupt_it(event: Event) -> None:
    assert fold([STEP, text("a"), event, text("b")]) == fold([STEP, text("a"), text("b")])


def test_a_second_attempt_continues_the_text_of_the_first() -> None:
    first = [STEP, text("The answer ")]
    second = [RunRetry(attempt=1, reason="lease_expired"), text("is 42.")]
    assert fold([*first, *second]).text == "The answer is 42."


# --- whatever was said -------------------------------------------------------------------------

pieces = st.text(min_size=1, max_size=3)
deltas = st.lists(st.tuples(st.sampled_from(["text", "thought"]), pieces), max_size=10)


def events_of(said: list[tuple[str, str]]) -> list[Event]:
    return [text(piece) if kind == "text" else thought(piece) for kind, piece in said]


@given(deltas)
def test_what_was_published_is_what_is_kept(said: list[tuple[str, str]]) -> None:
    partial = fold([STEP, *events_of(said)])
    assert partial.text == "".join(piece for kind, piece in said if kind == "text")
    thinking = "".join(b.thinking for b in partial.blocks if isinstance(b, ThinkingBlock))
    assert thinking == "".join(piece for kind, piece in said if kind == "thought")


@given(deltas)
def test_neighbouring_blocks_are_of_different_kinds(said: list[tuple[str, str]]) -> None:
    kinds = [type(block) for block in fold([STEP, *events_of(said)]).blocks]
    assert all(one is not other for one, other in pairwise(kinds))


@given(deltas, st.lists(st.integers(1, 2), max_size=10))
def test_how_text_was_cut_into_deltas_makes_no_difference(
    said: list[tuple[str, str]], sizes: list[int]
) -> None:
    pieces = [
        (kind, part)
        for (kind, piece), size in zip(said, sizes + [1] * len(said), strict=False)
        for part in (piece[:size], piece[size:])
        if part
    ]
    assert fold([STEP, *events_of(pieces)]) == fold([STEP, *events_of(said)])


def test_a_call_whose_result_was_published_within_the_step_is_known_to_be_done() -> None:
    done = ToolCallDone(id="c1", message_id="m2", outcome="succeeded", result=3)
    [call] = fold([STEP, *CALL, READY, done]).calls
    assert (call.ready, call.done) == (True, True)
    assert fold([STEP, done]).calls == (), "of a call that nobody saw there is nothing to know"
