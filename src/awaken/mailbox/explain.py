"""Explain: why a run is where it is, what happens next, and when."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.dispatch import Claimed, Dispatch, Finished, Queued
from awaken.domain.ledger import PlannedCall
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Explanation
from awaken.domain.thread import ThreadHead
from awaken.domain.ticket import WaitingReason
from awaken.errors import not_found
from awaken.ports.store import Store


async def explain(store: Store, tenant: str, run_id: str, now: int) -> Explanation:
    """The state of a run in words and numbers.

    Raises:
        RequestError: `run_not_found`.
    """
    run = await store.run(tenant, run_id)
    if run is None:
        raise not_found("run", run_id)
    dispatch = await store.dispatch(tenant, run.dispatch_id) if run.dispatch_id else None
    head = await store.head(tenant, run.thread_id)
    known = _base(run, dispatch)
    if run.status is RunStatus.done:
        return _done(known, run)
    if _asks(run):
        return _waiting(known, run)
    match dispatch.body if dispatch else None:
        case Queued() as body:
            assert dispatch is not None
            position = await store.position(dispatch)
            return _queued(known, run, body, head, now, position)
        case Claimed() as body:
            return _claimed(known, body)
        case _:
            return replace(
                known,
                summary="the run has no live delivery",
                next_step="nothing: its dispatch record was deleted; this should not happen",
            )


def _base(run: Run, dispatch: Dispatch | None) -> Explanation:
    known = Explanation(
        run_id=run.run_id,
        thread_id=run.thread_id,
        status=run.status,
        summary="",
        next_step="",
        activation=run.activation,
        dispatch_id=run.dispatch_id,
        tool_calls=tuple(_call(call) for call in run.plan.calls) if run.plan else (),
    )
    if dispatch is None:
        return known
    return replace(
        known,
        attempts=dispatch.attempt,
        expiries=dispatch.expiries,
        last_error=dispatch.last_error,
        dispatch_state=_state(dispatch),
    )


def _call(call: PlannedCall) -> dict[str, Any]:
    """An entry of the effect ledger, as far as it is told: neither arguments nor results."""
    return {
        "id": call.id,
        "name": call.name,
        "status": call.status.value,
        "begun": call.begun,
        "ticket_id": call.ticket_id,
        "succeeded": None if call.result is None else call.result.succeeded,
    }


def _asks(run: Run) -> bool:
    """Whether somebody else has to do something; a run whose tickets are answered is in line."""
    waiting = run.waiting is not None and run.waiting.reason is not WaitingReason.resuming
    return run.status is RunStatus.waiting and waiting


def _state(dispatch: Dispatch) -> str:
    match dispatch.body:
        case Finished(how=how):
            return how.value
        case Claimed():
            return "claimed"
        case Queued():
            return "queued"


def _done(known: Explanation, run: Run) -> Explanation:
    assert run.outcome is not None
    ending = str(run.outcome.termination.__struct_config__.tag)
    return replace(known, summary=f"the run is done: {ending}", next_step="nothing")


def _waiting(known: Explanation, run: Run) -> Explanation:
    assert run.waiting is not None
    return replace(
        known,
        summary=f"the run waits since {run.waiting.since}: {run.waiting.reason.value}",
        next_step="it goes on when all its tickets are answered; it holds no worker meanwhile",
        waits_for=run.waiting.ticket_ids,
    )


def _claimed(known: Explanation, body: Claimed) -> Explanation:
    stopping = body.cancel_request is not None
    return replace(
        known,
        summary="a stop was requested; its worker has been told"
        if stopping
        else "a worker is executing the run",
        next_step="the worker settles, or its lease runs out and the run ends"
        if stopping
        else "the worker settles, or its lease runs out and another attempt goes on from the log",
        next_at=body.interrupt_deadline or body.lease_until,
        lease_holder=body.worker_id,
        lease_until=body.lease_until,
    )


def _blocker(head: ThreadHead | None, run_id: str) -> str | None:
    holder = (head.active_run or head.waiting_run) if head else None
    return None if holder == run_id else holder


def _queued(
    known: Explanation,
    run: Run,
    body: Queued,
    head: ThreadHead | None,
    now: int,
    position: int,
) -> Explanation:
    blocker = _blocker(head, run.run_id)
    known = replace(known, position=position, blocked_by_run_id=blocker)
    if body.available_at > now:
        why = "it failed and waits to be tried again" if known.attempts else "it was delayed"
        return replace(known, summary=why, next_step="it stands in line", next_at=body.available_at)
    if blocker is not None:
        return replace(
            known,
            summary=f"run {blocker} has the thread",
            next_step="it is claimed when that run is done or waits for somebody",
        )
    return replace(
        known,
        summary="it stands in line",
        next_step="the next worker with a free slot claims it",
    )
