"""Tickets: what a waiting run waits for, one record per open question.

A ticket is single use. It is bound to the hash of the exact arguments it was opened for, so a
decision can never approve something else (`decide` in design section 7). All open tickets answered
means the run may be resumed; closing the last one and enqueueing the resume is one commit.

    open --decide--> answered | denied, or open with a vote more, up to its quorum
    open --now > expires_at--> expired
    open --end or supersession of the run--> cancelled | superseded
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec.structs import replace

from awaken.domain.record import Record


class WaitingReason(StrEnum):
    """Why a run waits."""

    tool_permission = "tool_permission"
    user_input = "user_input"
    background_tasks = "background_tasks"
    external_event = "external_event"
    rate_limit = "rate_limit"
    manual_pause = "manual_pause"
    resuming = "resuming"

    @property
    def takes_messages(self) -> bool:
        """Whether a new message of the thread is the answer this run waits for."""
        return self in (
            WaitingReason.user_input,
            WaitingReason.external_event,
            WaitingReason.manual_pause,
        )


class TicketStatus(StrEnum):
    """Where a ticket is; only `open` can change."""

    open = "open"
    answered = "answered"
    denied = "denied"
    expired = "expired"
    cancelled = "cancelled"
    superseded = "superseded"


class OnExpiry(StrEnum):
    """What becomes of a run whose ticket expires: the call is denied, or the run is stopped.

    leave: the ticket does not expire.
    """

    deny = "deny"
    cancel = "cancel"
    leave = "leave"


class ResumeMode(StrEnum):
    """What the decision is used for when the suspended call is taken up again."""

    replay_tool_call = "replay_tool_call"
    use_decision_as_tool_result = "use_decision_as_tool_result"
    pass_decision_to_tool = "pass_decision_to_tool"


class Decision(Record):
    """An answer to a ticket; `decision_id` makes repeating it harmless.

    `message_id` is the id that a client has for the tool message of its answer.
    """

    decision_id: str
    action: str
    payload: Any = None
    by: str | None = None
    decided_at: int = 0
    message_id: str | None = None


class Ticket(Record):
    """One open question of a waiting run.

    It is answered when `quorum` people have said so; `votes` are theirs, the last one aside.
    """

    ticket_id: str
    thread_id: str
    run_id: str
    tool_call_id: str
    tool_name: str
    arguments: Any
    arguments_hash: str
    reason: WaitingReason
    opened_at: int
    resume_mode: ResumeMode = ResumeMode.replay_tool_call
    message: str | None = None
    response_schema: dict[str, Any] | None = None
    allowed_approvers: tuple[str, ...] = ()
    earlier_answers: tuple[Any, ...] = ()
    expires_at: int | None = None
    on_expiry: OnExpiry = OnExpiry.deny
    quorum: int = 1
    votes: tuple[Decision, ...] = ()
    status: TicketStatus = TicketStatus.open
    decision: Decision | None = None
    closed_at: int | None = None


class TicketRefused(Record):
    """Why a ticket did not change.

    `code` is `not_an_approver`, `ticket_closed`, `ticket_expired`, `ticket_changed` or
    `already_approved`.
    """

    code: str


def decide(
    ticket: Ticket, decision: Decision, arguments_hash: str, now: int
) -> Ticket | TicketRefused:
    """The ticket after `decision`, or why it stays as it is.

    The same `decision_id` again returns the ticket as it is (idempotent). `arguments_hash` is the
    hash the decider saw; another one than the ticket's is `ticket_changed`. Where approvers are
    named, anybody else (`decision.by`) is told no more than `not_an_approver`. A ticket with a
    quorum stays open until as many have allowed it, each of another name; who denies it closes it.
    """
    if ticket.allowed_approvers and decision.by not in ticket.allowed_approvers:
        return TicketRefused(code="not_an_approver")
    if decision.decision_id in {
        each.decision_id for each in (*ticket.votes, ticket.decision) if each
    }:
        return ticket
    if ticket.status is not TicketStatus.open:
        return TicketRefused(code="ticket_closed")
    if ticket.expires_at is not None and now > ticket.expires_at:
        return TicketRefused(code="ticket_expired")
    if arguments_hash != ticket.arguments_hash:
        return TicketRefused(code="ticket_changed")
    if decision.action == "cancel":
        return close(ticket, TicketStatus.denied, now, decision)
    if decision.by in {vote.by for vote in ticket.votes}:
        return TicketRefused(code="already_approved")
    if len(ticket.votes) + 1 < ticket.quorum:
        return replace(ticket, votes=(*ticket.votes, decision))
    return close(ticket, TicketStatus.answered, now, decision)


def close(
    ticket: Ticket, status: TicketStatus, now: int, decision: Decision | None = None
) -> Ticket:
    """The ticket closed as `status`; a closed ticket is returned unchanged."""
    if ticket.status is not TicketStatus.open:
        return ticket
    return replace(ticket, status=status, closed_at=now, decision=decision)
