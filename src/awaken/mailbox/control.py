"""Stopping: of a run, of a thread. A stop that was answered is durable (I9)."""

from __future__ import annotations

from awaken.domain import dispatch as rules
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import PendingChanged
from awaken.domain.record import Record
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Stop
from awaken.errors import not_found
from awaken.mailbox.early import Stopper, note_stop
from awaken.mailbox.finish import finish
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import leave
from awaken.ports.store import Transaction

SLICE = 200
"""Queued runs one commit ends; a longer queue takes several."""


class ThreadStop(Record):
    """What stopping a thread did in one commit; `more` asks to be called again."""

    stopped: int
    more: bool


async def cancel_run(
    tx: Transaction, tenant: str, run_id: str, stopper: Stopper, *, repeated: bool = False
) -> Stop:
    """Stop one run wherever it is.

    Queued or waiting ends now, claimed is asked, done is too late; unless this stop is `repeated`,
    and the run shows that it ended by it.
    """
    run = await tx.run(tenant, run_id)
    if run is None:
        raise not_found("run", run_id)
    unit = await ThreadUnit.open(tx, tenant, run.thread_id)
    if unit is None:  # it is being deleted with its thread
        raise not_found("run", run_id)
    run = await tx.run(tenant, run_id)
    assert run is not None
    if repeated and run.outcome is not None and run.outcome.termination == stopper.termination:
        return Stop.requested
    answer = await _stop(unit, run, stopper)
    await unit.save()
    return answer


async def cancel_thread(
    tx: Transaction,
    tenant: str,
    thread_id: str,
    stopper: Stopper,
    *,
    new_epoch: bool,
    before: int = 0,
) -> ThreadStop:
    """Stop the running or waiting run and up to `SLICE` queued ones.

    `new_epoch` fences what runs, with the last slice. `before` is how many runs were stopped by
    earlier slices.
    """
    unit = await ThreadUnit.open(tx, tenant, thread_id)
    if unit is None:
        raise not_found("thread", thread_id)
    stopped = 0
    unfinished = [] if before else await _unfinished(unit)
    for run in unfinished:
        stopped += await _stop(unit, run, stopper) is Stop.requested
    queued = await tx.queued(tenant, thread_id, SLICE)
    for dispatch in queued:
        stopped += await _stop_queued(unit, dispatch, stopper)
    more = len(queued) == SLICE
    if new_epoch and not more and before + stopped:
        unit.raise_epoch()
    await unit.save()
    return ThreadStop(stopped=stopped, more=more)


async def cancel_message(
    tx: Transaction, tenant: str, thread_id: str, message_id: str, stopper: Stopper
) -> Stop:
    """Stop what a message started, wherever that is; one that has not come yet is awaited a minute.

    A message that was sent to steer a run, and is not read yet, is taken back; the run goes on.
    """
    unit = await ThreadUnit.open(tx, tenant, thread_id)
    run_id, entry = await _owner(unit, message_id) if unit else (None, None)
    run = await tx.run(tenant, run_id) if run_id else None
    if unit is None or run is None:
        note_stop(tx, tenant, thread_id, message_id, stopper)
        return Stop.requested
    if entry is not None and entry.mode.target_run is not None:
        answer = retract_entry(unit, entry)
    else:
        answer = await _stop(unit, run, stopper)
    await unit.save()
    return answer


async def _owner(unit: ThreadUnit, message_id: str) -> tuple[str | None, PendingEntry | None]:
    """The run that has the message, and the message's entry if it was not read yet."""
    tenant, thread_id = unit.head.tenant, unit.head.thread_id
    for entry in await unit.tx.pending_with(tenant, thread_id, [message_id]):
        return entry.run_id, entry
    found = await unit.tx.messages_with(tenant, thread_id, [message_id])
    return (found[0].run_id, None) if found else (None, None)


def retract_entry(unit: ThreadUnit, entry: PendingEntry) -> Stop:
    """Take an entry back before it was read."""
    ids = (entry.message.message_id,)
    unit.tx.delete_pending(unit.head.tenant, unit.head.thread_id, ids)
    unit.emit(entry.run_id, PendingChanged(revision=unit.pending_changed(), retracted=ids))
    return Stop.requested


async def _unfinished(unit: ThreadUnit) -> list[Run]:
    """The run that has the thread, and the one that waits."""
    tenant, found = unit.head.tenant, []
    if unit.head.active_run is not None:
        found.append(await unit.tx.run(tenant, unit.head.active_run))
    found.append(await unit.tx.waiting_run(tenant, unit.head.thread_id))
    return [run for run in found if run is not None]


async def _stop_queued(unit: ThreadUnit, dispatch: Dispatch, stopper: Stopper) -> bool:
    run = await unit.tx.run(dispatch.tenant, dispatch.run_id)
    assert run is not None
    return await _stop(unit, run, stopper) is Stop.requested


async def _stop(unit: ThreadUnit, run: Run, stopper: Stopper) -> Stop:
    if run.status is RunStatus.done:
        return Stop.too_late
    dispatch = await unit.tx.dispatch(run.tenant, run.dispatch_id or "")
    if dispatch is not None:
        command = rules.CancelCommand(
            by=stopper.by, reason=stopper.reason, grace_ms=stopper.grace_ms
        )
        answer = unit.apply(dispatch, command)
        if isinstance(answer, rules.Applied) and answer.effect is rules.Effect.ask_owner:
            await leave(unit, run, stopper.termination)
            return Stop.requested
    await finish(unit, run, stopper.termination)
    return Stop.requested
