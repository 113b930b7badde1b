"""The effect ledger: a finished call is final, a begun one is known to have been begun."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.ledger import (
    CallStatus,
    PlannedCall,
    StepPlan,
    ToolResult,
    arguments_hash,
    failed,
    finished,
    started,
    suspended,
)
from tests.domain.strategies import json_values

DONE = ToolResult(succeeded=True, content={"sum": 3})
PLAN = StepPlan(
    step=1,
    calls=tuple(PlannedCall(id=name, name="add", message_id=f"m-{name}") for name in "abc"),
)


def call(plan: StepPlan | None, call_id: str) -> PlannedCall:
    found = plan.call(call_id) if plan else None
    assert found is not None
    return found


def test_a_call_that_begins_is_marked_with_its_attempt() -> None:
    begun = call(started(PLAN, ("b",), "attempt-1"), "b")
    assert (begun.status, begun.started_by, begun.begun) == (CallStatus.started, "attempt-1", 1)


def test_marking_a_call_twice_changes_nothing() -> None:
    once = started(PLAN, ("a", "b"), "attempt-1")
    assert started(once, ("a", "b"), "attempt-1") == once


def test_the_next_attempt_begins_a_call_again_and_counts_it() -> None:
    again = started(started(PLAN, ("a",), "attempt-1"), ("a",), "attempt-2")
    assert (call(again, "a").begun, call(again, "a").started_by) == (2, "attempt-2")


def test_a_finished_call_is_never_begun_again() -> None:
    plan = finished(PLAN, "a", DONE)
    assert plan is not None
    assert started(plan, ("a",), "attempt-2") == plan


def test_the_first_result_of_a_call_stands() -> None:
    plan = finished(PLAN, "a", DONE)
    assert call(plan, "a").result == DONE
    assert plan is not None
    assert finished(plan, "a", failed("timeout", "too slow")) is None


def test_a_result_of_an_unknown_call_is_not_stored() -> None:
    assert finished(PLAN, "z", DONE) is None


def test_a_suspended_call_waits_for_its_ticket_and_is_begun_afresh() -> None:
    plan = suspended(started(PLAN, ("a",), "attempt-1"), "a", "ticket-1")
    waiting = call(plan, "a")
    assert (waiting.status, waiting.ticket_id) == (CallStatus.suspended, "ticket-1")
    assert call(started(plan, ("a",), "attempt-1"), "a").status is CallStatus.started


@given(st.permutations("abc"))
def test_calls_stay_in_the_models_order_whatever_order_they_end_in(order: list[str]) -> None:
    plan = PLAN
    for call_id in order:
        changed = finished(plan, call_id, DONE)
        assert changed is not None
        plan = changed
    assert [one.id for one in plan.calls] == list("abc")
    assert plan.open_calls == ()


def test_what_an_approver_edited_is_what_the_call_is_run_with() -> None:
    planned = PlannedCall(id="a", name="add", message_id="m", arguments={"a": 1})
    assert planned.effective == {"a": 1}
    edited = PlannedCall(id="a", name="add", message_id="m", arguments={"a": 1}, edited={"a": 2})
    assert edited.effective == {"a": 2}


def test_a_result_is_told_as_text_or_as_json() -> None:
    assert ToolResult(succeeded=True, content="fine").text == "fine"
    assert DONE.text == '{"sum":3}'
    assert not failed("timeout", "too slow").succeeded
    assert failed("timeout", "too slow").text == '{"error":{"code":"timeout","message":"too slow"}}'


# --- what a ticket is bound to -----------------------------------------------------------------


def test_the_order_of_arguments_makes_no_difference_to_their_hash() -> None:
    one = arguments_hash("send", {"to": "bob", "body": {"b": 1, "a": 2}})
    assert one == arguments_hash("send", {"body": {"a": 2, "b": 1}, "to": "bob"})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("send", {"to": "eve"}), ("send", {}), ("send", None), ("receive", {"to": "bob"})],
)
def test_another_tool_or_other_arguments_have_another_hash(name: str, arguments: object) -> None:
    assert arguments_hash(name, arguments) != arguments_hash("send", {"to": "bob"})


@given(json_values)
def test_arguments_have_a_hash_whatever_they_are(arguments: object) -> None:
    assert arguments_hash("tool", arguments) == arguments_hash("tool", arguments)
