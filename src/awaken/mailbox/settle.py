"""Settle and expire: the two ways a claim ends, and what its end means for the run.

Both send one command to `domain.dispatch.apply` and carry out the effect it answers. `settle` is
named by the attempt: repeated after an ambiguous commit it is answered from the record
(`settled_by`).
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from awaken.domain import dispatch as rules
from awaken.domain import ledger
from awaken.domain import run as runs
from awaken.domain.claim import Claim
from awaken.domain.dispatch import Applied, Claimed, Dispatch, Effect, Refusal
from awaken.domain.event import RunFinish, TicketOpened
from awaken.domain.outcome import (
    CancelledOutcome,
    Completed,
    Failed,
    Failure,
    Interrupted,
    Lost,
    Outcome,
    Retry,
    SupersededOutcome,
    Suspended,
)
from awaken.domain.record import Record
from awaken.domain.retry import delay_ms
from awaken.domain.run import Run, Waiting
from awaken.domain.termination import Cancelled, Errored, Superseded, SuspendedEnd
from awaken.domain.ticket import Ticket
from awaken.mailbox.claim import claim_of
from awaken.mailbox.finish import close_step, finish, finish_completed
from awaken.mailbox.turn import go_on, turned_already
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.events import Unwritten
from awaken.ports.hints import WorkReady
from awaken.ports.store import Transaction

POISON = Failure(
    code="poison",
    message="the lease of this run expired too often without progress",
    public_message="the run kept losing its worker and was given up",
)


class Settled(Record):
    """What a settle came to: the effect that was carried out, or why nothing was.

    With `goes_on` the claim did not end: messages came while the run came to its end, and it reads
    them in another turn.
    """

    effect: Effect | None = None
    refused: Refusal | None = None
    repeated: bool = False
    goes_on: Claim | None = None


def form_of(
    outcome: Outcome, attempt: int, now: int, jitter: float
) -> rules.Ack | rules.RetryAt | rules.Release | rules.Fail | rules.StopNow:
    """The form of settle for each outcome; `Lost` has none, since it writes nothing."""
    match outcome:
        case Completed():
            return rules.Ack()
        case Suspended():
            return rules.Ack(suspended=True)
        case Retry(failure=failure, retry_after_ms=wanted):
            return rules.RetryAt(
                available_at=now + delay_ms(attempt, jitter, wanted), error=failure.code
            )
        case Failed(failure=failure):
            return rules.Fail(error=failure.code)
        case CancelledOutcome() | SupersededOutcome():
            return rules.StopNow()
        case Interrupted():
            return rules.Release()
        case Lost():
            raise AssertionError("a lost attempt writes nothing")
        case _ as never:
            assert_never(never)


async def settle(
    tx: Transaction,
    claim: Claim,
    outcome: Outcome,
    unwritten: Unwritten | None,
    jitter: float,
    *,
    steerable: bool = False,
) -> Settled:
    """End `claim` as `outcome` says.

    `unwritten` rides in the same commit, if the claim still holds. A `steerable` run that comes to
    its natural end while messages wait for it does not end, but goes on.
    """
    unit = await ThreadUnit.open(tx, claim.tenant, claim.thread_id)
    dispatch = await tx.dispatch(claim.tenant, claim.dispatch_id)
    run = await tx.run(claim.tenant, claim.run_id)
    if unit is None or dispatch is None or run is None:
        return Settled(refused=Refusal.gone)
    if dispatch.settled_by == claim.claim_token:
        return Settled(repeated=True)
    if turned_already(dispatch, claim):
        return Settled(repeated=True, goes_on=claim_of(dispatch))
    if unwritten is not None and _fits(unit, dispatch, unwritten):
        unit.emit(run.run_id, *unwritten.events)
    if steerable and isinstance(outcome, Completed):
        batch_no = claim.batch_no if unwritten is None else unwritten.batch_no
        further = await go_on(unit, run, dispatch, claim, outcome, batch_no)
        if further is not None:
            return Settled(goes_on=further)
    form = form_of(outcome, dispatch.attempt, unit.now, jitter)
    command = rules.SettleCommand(claim_token=claim.claim_token, form=form)
    answer = unit.apply(dispatch, command)
    if not isinstance(answer, Applied):
        return Settled(refused=answer.why)
    assert isinstance(dispatch.body, Claimed)
    await carry_out(unit, run, dispatch.body, answer, outcome)
    await unit.save()
    return Settled(effect=answer.effect)


async def expire(
    tx: Transaction, claimed: Dispatch, *, owner_dead: bool
) -> Effect | Refusal | None:
    """End the claim of `claimed` if its time is over.

    A claim that moved on meanwhile is left alone.
    """
    unit = await ThreadUnit.open(tx, claimed.tenant, claimed.thread_id)
    dispatch = await tx.dispatch(claimed.tenant, claimed.dispatch_id)
    if unit is None or dispatch is None:
        return Refusal.gone
    seen, body = claimed.body, dispatch.body
    assert isinstance(seen, Claimed)
    if not isinstance(body, Claimed) or body.claim_token != seen.claim_token:
        return Refusal.lease_lost
    answer = unit.apply(dispatch, rules.ExpireCommand(owner_dead=owner_dead))
    if not isinstance(answer, Applied):
        return answer.why
    run = await tx.run(claimed.tenant, claimed.run_id)
    assert run is not None, "a dispatch delivers a run"
    await carry_out(unit, run, body, answer, Failed(failure=POISON))
    await unit.save()
    return answer.effect


async def carry_out(
    unit: ThreadUnit, run: Run, body: Claimed, answer: Applied, outcome: Outcome
) -> None:
    """Do to the run what the end of the claim `body` means for it."""
    run = replace(run, active_ms=run.active_ms + max(0, unit.now - body.claimed_at))
    match answer.effect:
        case Effect.complete_run | Effect.complete_run_cancel_too_late as effect:
            assert isinstance(outcome, Completed)
            too_late = effect is Effect.complete_run_cancel_too_late
            await finish_completed(unit, run, outcome, cancel_too_late=too_late)
        case Effect.suspend_run:
            assert isinstance(outcome, Suspended)
            await _suspend(unit, run, outcome)
        case Effect.requeue_run:
            unit.tx.put_run(replace(run, updated_at=unit.now))
        case Effect.fail_run:
            failure = _failure(outcome)
            errored = Errored(code=failure.code, message=failure.for_clients)
            await finish(
                unit,
                run,
                errored,
                internal_error=failure.message,
                cancel_too_late=body.cancel_request is not None,
            )
        case Effect.cancel_run:
            await finish(unit, run, _cancelled(body), hide=_hidden(body))
        case Effect.supersede_run:
            superseded = Superseded(by_run_id=body.superseded_by or "")
            await finish(unit, run, superseded, hide=_hidden(body))
        case _:
            raise AssertionError(f"a claim does not end with {answer.effect}")


def _fits(unit: ThreadUnit, dispatch: Dispatch, unwritten: Unwritten) -> bool:
    """Whether the last batch may still be written: not by a stale claim, and not twice."""
    body = dispatch.body
    if not unwritten.events or dispatch.epoch < unit.head.epoch:
        return False
    return isinstance(body, Claimed) and unwritten.batch_no > body.batch_no


async def _suspend(unit: ThreadUnit, run: Run, outcome: Suspended) -> None:
    """The run waits for its open tickets, old and new, and holds nothing."""
    if outcome.close is not None:
        run = close_step(unit, run, outcome.close)
    still_open = await unit.tx.open_tickets(run.tenant, run.run_id)
    opened = tuple(_stamped(ticket, unit.now) for ticket in outcome.tickets)
    for ticket in opened:
        unit.tx.put_ticket(run.tenant, ticket)
        unit.emit(run.run_id, TicketOpened(ticket=ticket))
        if run.plan is not None:
            plan = ledger.suspended(run.plan, ticket.tool_call_id, ticket.ticket_id)
            run = replace(run, plan=plan)
        if ticket.expires_at is not None:
            unit.tx.hint(WorkReady(due_at=ticket.expires_at))
    ids = tuple(ticket.ticket_id for ticket in (*still_open, *opened))
    waiting = Waiting(reason=outcome.reason, ticket_ids=ids, since=unit.now)
    run = runs.suspend(run, waiting, unit.now)
    ended = RunFinish(thread_id=run.thread_id, run_id=run.run_id, termination=SuspendedEnd())
    unit.emit(run.run_id, ended)
    unit.mark_boundary()
    unit.tx.put_run(replace(run, checkpoint_seq=unit.last_seq))


def _stamped(ticket: Ticket, now: int) -> Ticket:
    """The ticket opened now: due times are on the store's clock, whoever drew the ticket up."""
    if ticket.expires_at is None:
        return replace(ticket, opened_at=now)
    return replace(ticket, opened_at=now, expires_at=now + ticket.expires_at - ticket.opened_at)


def _failure(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failed | Retry), "only failures fail a run"
    return outcome.failure


def _hidden(body: Claimed) -> bool:
    return body.cancel_request is not None and body.cancel_request.hide


def _cancelled(body: Claimed) -> Cancelled:
    request = body.cancel_request
    if request is None:
        return Cancelled(by="system", reason=None)
    return Cancelled(by=request.by, reason=request.reason)
