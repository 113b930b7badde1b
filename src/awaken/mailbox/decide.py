"""Deciding.

A ticket is closed, and when it was the last open one its run is resumed, in one commit.

Tickets are single use. The same `decision_id` again is answered with the ticket as it is; anything
else that comes for a closed ticket is refused and changes nothing, so the thread stays usable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from awaken.domain import ticket as tickets
from awaken.domain.dispatch import Mode
from awaken.domain.event import RunQueued, TicketClosed, ToolCallResumed
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.rule import ApprovalRule
from awaken.domain.run import Origin, Run, RunStatus
from awaken.domain.submission import Accepted, Submission
from awaken.domain.termination import Cancelled
from awaken.domain.ticket import (
    Decision,
    OnExpiry,
    Ticket,
    TicketRefused,
    TicketStatus,
    WaitingReason,
)
from awaken.errors import Refusal, not_found
from awaken.mailbox.deliver import delivery
from awaken.mailbox.finish import finish
from awaken.mailbox.rules import make_rule
from awaken.mailbox.schema import fitting_answer
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.store import Transaction

RESUME_PRIORITY = 64
EXPIRED = "approval_expired"
"""Why a run was stopped whose ticket expired."""


class Verdict(Record):
    """A decision about a ticket, made ready: `dispatch_id` is the resume's, if it comes to one.

    `arguments_hash` is what the decider saw, if it says so; without it the ticket's own counts.
    `remember` is the rule that is made of it.
    """

    ticket_id: str
    decision: Decision
    dispatch_id: str
    max_attempts: int
    arguments_hash: str | None = None
    remember: ApprovalRule | None = None


class Answerable(Protocol):
    """What of an order an answer needs."""

    @property
    def dispatch_id(self) -> str:
        """The id of the resume."""
        ...

    @property
    def max_attempts(self) -> int:
        """How often it is tried."""
        ...


class Decided(Record):
    """The ticket as it is now, and whether its run goes on."""

    ticket: Ticket
    resumed: bool


async def decide(tx: Transaction, tenant: str, verdict: Verdict) -> Decided:
    """Close a ticket with a decision.

    Raises:
        RequestError: `ticket_not_found`.
        Refusal: `not_an_approver`, `ticket_closed`, `ticket_expired`, `ticket_changed`,
            `already_approved`, `too_many_rules`.
    """
    unit, ticket, run = await _open(tx, tenant, verdict.ticket_id)
    seen = verdict.arguments_hash or ticket.arguments_hash
    decision = replace(verdict.decision, decided_at=unit.now)
    answer = tickets.decide(ticket, decision, seen, unit.now)
    if isinstance(answer, TicketRefused):
        raise _refusal(ticket, answer.code)
    if answer is ticket:
        still_open = await tx.open_tickets(tenant, run.run_id)
        return Decided(ticket=ticket, resumed=not still_open)
    if run.status is not RunStatus.waiting:
        raise _refusal(ticket, "ticket_closed")
    if answer.status is TicketStatus.open:
        tx.put_ticket(tenant, answer)
        return Decided(ticket=answer, resumed=False)
    if verdict.remember is not None:
        await make_rule(tx, verdict.remember)
    return await _close(unit, run, answer, verdict)


async def expire_ticket(tx: Transaction, tenant: str, verdict: Verdict) -> Decided | None:
    """Close a ticket whose time is over; None when it is closed already or not over."""
    unit, ticket, run = await _open(tx, tenant, verdict.ticket_id)
    over = ticket.expires_at is not None and ticket.expires_at < unit.now
    if ticket.status is not TicketStatus.open or not over:
        return None
    expired = tickets.close(ticket, TicketStatus.expired, unit.now)
    if ticket.on_expiry is not OnExpiry.cancel:
        return await _close(unit, run, expired, verdict)
    tx.put_ticket(tenant, expired)
    closed = TicketClosed(ticket_id=ticket.ticket_id, status=expired.status.value, by="system")
    unit.emit(run.run_id, closed)
    await finish(unit, run, Cancelled(by="system", reason=EXPIRED))
    await unit.save()
    return Decided(ticket=expired, resumed=False)


async def _open(tx: Transaction, tenant: str, ticket_id: str) -> tuple[ThreadUnit, Ticket, Run]:
    """Take the ticket's thread; what is decided about is what the records say after that."""
    found = await tx.ticket(tenant, ticket_id)
    unit = found and await ThreadUnit.open(tx, tenant, found.thread_id)
    ticket = unit and await tx.ticket(tenant, ticket_id)
    run = ticket and await tx.run(tenant, ticket.run_id)
    if not unit or not ticket or not run:
        raise not_found("ticket", ticket_id)
    return unit, ticket, run


def _refusal(ticket: Ticket, code: str) -> Refusal:
    details = {"ticket_id": ticket.ticket_id}
    if code == "not_an_approver":
        return Refusal(
            "not_an_approver",
            "others were named to decide about this ticket",
            status=403,
            details=details,
        )
    words = {
        "ticket_closed": f"the ticket is {ticket.status.value} already",
        "ticket_expired": "the time to decide is over",
        "ticket_changed": "the arguments are not those that were decided about",
        "already_approved": "you allowed it already; others have to",
    }
    return Refusal(code, words[code], details=details)


async def _close(unit: ThreadUnit, run: Run, ticket: Ticket, verdict: Verdict) -> Decided:
    tx, decision = unit.tx, ticket.decision
    tx.put_ticket(run.tenant, ticket)
    closed = TicketClosed(
        ticket_id=ticket.ticket_id,
        status=ticket.status.value,
        by=decision.by if decision else "system",
        decision_id=decision.decision_id if decision else None,
    )
    payload = decision.payload if decision else None
    unit.emit(run.run_id, closed, ToolCallResumed(target_id=ticket.tool_call_id, result=payload))
    run = await _named(unit, _edit_arguments(run, ticket), ticket)
    resumed = not await tx.open_tickets(run.tenant, run.run_id)
    if resumed:
        run = await _resume(unit, run, verdict)
    tx.put_run(replace(run, updated_at=unit.now))
    await unit.save()
    return Decided(ticket=ticket, resumed=resumed)


def _edit_arguments(run: Run, ticket: Ticket) -> Run:
    """Arguments an approver put in the place of the model's are kept with the call."""
    payload = ticket.decision.payload if ticket.decision else None
    call = run.plan.call(ticket.tool_call_id) if run.plan else None
    edits = ticket.resume_mode is tickets.ResumeMode.replay_tool_call
    if not edits or run.plan is None or call is None or not isinstance(payload, dict):
        return run
    if payload.get("arguments") is None:
        return run
    return replace(run, plan=run.plan.with_call(replace(call, edited=payload["arguments"])))


async def _named(unit: ThreadUnit, run: Run, ticket: Ticket) -> Run:
    """The tool message of an answer has the id that its client gave it, where that is free."""
    name = ticket.decision.message_id if ticket.decision else None
    call = run.plan.call(ticket.tool_call_id) if run.plan else None
    if name is None or run.plan is None or call is None:
        return run
    if await unit.tx.messages_with(run.tenant, run.thread_id, [name]):
        return run
    return replace(run, plan=run.plan.with_call(replace(call, message_id=name)))


async def _resume(unit: ThreadUnit, run: Run, verdict: Verdict) -> Run:
    """Put the run's next delivery before everything else of its thread."""
    before = await unit.tx.dispatch(run.tenant, run.dispatch_id or "")
    made = delivery(
        unit,
        run,
        verdict.dispatch_id,
        mode=Mode.resume,
        priority=RESUME_PRIORITY,
        max_attempts=verdict.max_attempts,
    )
    dispatch = replace(made, life_expiries=before.life_expiries if before else 0)
    unit.enqueue(dispatch, in_front=True)
    unit.emit(run.run_id, RunQueued(dispatch_id=dispatch.dispatch_id, reason="resume"))
    assert run.waiting is not None, "only a waiting run is resumed"
    waiting = replace(run.waiting, reason=WaitingReason.resuming, ticket_ids=())
    return replace(run, waiting=waiting, dispatch_id=dispatch.dispatch_id)


async def answer_waiting(
    unit: ThreadUnit, sub: Submission, fresh: Sequence[Message], order: Answerable
) -> Accepted | None:
    """Let a message be the answer that the thread's run waits for; None when it is not one.

    It is when the run waits for the user, one question is open, and the text fits it; but what a
    schedule says was written before the question was asked.
    """
    if unit.head.waiting_run is None or not fresh or sub.origin is Origin.schedule:
        return None
    run = await unit.tx.run(sub.tenant, unit.head.waiting_run)
    open_tickets = await unit.tx.open_tickets(sub.tenant, unit.head.waiting_run)
    if run is None or len(open_tickets) != 1:
        return None
    ticket, text = open_tickets[0], "".join(message.text for message in fresh)
    fitting = fitting_answer(ticket.response_schema, text)
    if ticket.reason is not WaitingReason.user_input or fitting is None:
        return None
    cursor = unit.head.seq
    decision = Decision(
        decision_id=sub.run_id,
        action="resume",
        payload=fitting[0],
        by=sub.actor or sub.origin.value,
        decided_at=unit.now,
    )
    verdict = Verdict(
        ticket_id=ticket.ticket_id,
        decision=decision,
        dispatch_id=order.dispatch_id,
        max_attempts=order.max_attempts,
    )
    numbers = tuple(unit.commit_message(run.run_id, message) for message in fresh)
    run = replace(run, input=run.input.with_seqs(*numbers))
    closed = tickets.close(ticket, TicketStatus.answered, unit.now, decision)
    await _close(unit, run, closed, verdict)
    return Accepted(
        run_id=run.run_id,
        dispatch_id=order.dispatch_id,
        thread_id=run.thread_id,
        cursor=cursor,
        status=RunStatus.waiting,
    )
