"""A ticket is used once, for exactly what it was opened for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.ticket import (
    Decision,
    Ticket,
    TicketRefused,
    TicketStatus,
    WaitingReason,
    close,
    decide,
)

NOW = 5_000
HASH = "sha256:of-the-arguments"
APPROVE = Decision(
    decision_id="x1", action="resume", payload={"ok": True}, by="ann", decided_at=NOW
)
DENY = Decision(decision_id="x2", action="cancel", by="ann", decided_at=NOW)
OPEN = Ticket(
    ticket_id="k1",
    thread_id="t1",
    run_id="r1",
    tool_call_id="c1",
    tool_name="send_mail",
    arguments={"to": "bob"},
    arguments_hash=HASH,
    reason=WaitingReason.tool_permission,
    opened_at=NOW - 100,
    expires_at=NOW,
)
CLOSED = [status for status in TicketStatus if status is not TicketStatus.open]


def decided(ticket: Ticket, decision: Decision, now: int = NOW) -> Ticket:
    answer = decide(ticket, decision, HASH, now)
    assert isinstance(answer, Ticket)
    return answer


def test_an_approval_answers_the_ticket_and_is_kept_with_it() -> None:
    assert decided(OPEN, APPROVE) == replace(
        OPEN, status=TicketStatus.answered, decision=APPROVE, closed_at=NOW
    )


def test_a_cancel_denies_the_ticket() -> None:
    assert decided(OPEN, DENY).status is TicketStatus.denied


@pytest.mark.parametrize("first", [APPROVE, DENY], ids=["approved", "denied"])
def test_a_repeated_decision_is_answered_with_the_ticket_as_it_is(first: Decision) -> None:
    ticket = decided(OPEN, first)
    assert decide(ticket, first, HASH, NOW + 999_999) is ticket


def test_a_repeat_is_recognised_by_its_id_alone() -> None:
    ticket = decided(OPEN, APPROVE)
    other = replace(DENY, decision_id=APPROVE.decision_id)
    assert decide(ticket, other, "another hash", NOW) is ticket


@pytest.mark.parametrize("first", [APPROVE, DENY], ids=["approved", "denied"])
def test_a_ticket_is_used_once(first: Decision) -> None:
    second = replace(APPROVE, decision_id="x3")
    assert decide(decided(OPEN, first), second, HASH, NOW) == TicketRefused(code="ticket_closed")


@pytest.mark.parametrize("status", CLOSED)
def test_no_closed_ticket_takes_a_decision(status: TicketStatus) -> None:
    ticket = close(OPEN, status, NOW)
    assert decide(ticket, APPROVE, HASH, NOW) == TicketRefused(code="ticket_closed")


def test_a_ticket_can_be_decided_at_the_very_millisecond_it_expires() -> None:
    assert decided(OPEN, APPROVE, now=NOW).status is TicketStatus.answered
    assert decide(OPEN, APPROVE, HASH, NOW + 1) == TicketRefused(code="ticket_expired")


def test_a_ticket_without_expiry_waits_for_ever() -> None:
    assert decided(replace(OPEN, expires_at=None), APPROVE, now=2**53).status == "answered"


def test_a_decision_made_for_other_arguments_is_refused() -> None:
    answer = decide(OPEN, APPROVE, "sha256:of-something-else", NOW)
    assert answer == TicketRefused(code="ticket_changed")


@pytest.mark.parametrize("status", CLOSED)
def test_an_open_ticket_can_be_closed_in_each_way(status: TicketStatus) -> None:
    assert close(OPEN, status, NOW) == replace(OPEN, status=status, closed_at=NOW)


@given(st.sampled_from(CLOSED), st.sampled_from(CLOSED), st.integers(0, 10**6))
def test_closing_a_closed_ticket_changes_nothing(
    first: TicketStatus, second: TicketStatus, wait: int
) -> None:
    ticket = close(OPEN, first, NOW)
    assert close(ticket, second, NOW + wait) is ticket


def test_a_message_answers_only_runs_that_wait_for_one() -> None:
    assert {reason for reason in WaitingReason if reason.takes_messages} == {
        WaitingReason.user_input,
        WaitingReason.external_event,
        WaitingReason.manual_pause,
    }
