"""Changing what waits to be read: edit, take back, reorder, until it is consumed.

Every change names the revision it was made for, so that two people who change the queue at once do
not overwrite one another. A message that was read answers `already_consumed`. A queued run that is
left without a message ends: there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain import dispatch as rules
from awaken.domain.delivery import PendingEntry, PendingQueue, Placed
from awaken.domain.dispatch import Dispatch, Queued
from awaken.domain.event import PendingChanged
from awaken.domain.message import Block
from awaken.domain.run import RunStatus
from awaken.errors import Refusal, RequestError, not_found
from awaken.mailbox.control import retract_entry
from awaken.mailbox.early import Stopper
from awaken.mailbox.finish import finish
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.store import Transaction

NOTHING_TO_DO = Stopper(by="system", reason="nothing_to_do")


async def edit(
    tx: Transaction,
    tenant: str,
    thread_id: str,
    message_id: str,
    content: tuple[Block, ...],
    revision: int,
) -> Placed:
    """Give a message other content.

    Raises:
        RequestError: `thread_not_found`, `message_not_found`.
        Refusal: `already_consumed` (409), `stale_revision` (412).
    """
    unit, entry, place = await _open(tx, tenant, thread_id, message_id, revision)
    message = replace(entry.message, content=content)
    changed = replace(entry, message=message, revision=entry.revision + 1)
    tx.put_pending(changed)
    event = PendingChanged(revision=unit.pending_changed(), changed=(message_id,))
    unit.emit(entry.run_id, event)
    await unit.save()
    return Placed(entry=changed, place=place)


async def retract(
    tx: Transaction, tenant: str, thread_id: str, message_id: str, revision: int
) -> None:
    """Take a message back. Raises as `edit`."""
    unit, entry, _ = await _open(tx, tenant, thread_id, message_id, revision)
    retract_entry(unit, entry)
    await _end_empty(unit, entry)
    await unit.save()


async def reorder(
    tx: Transaction, tenant: str, thread_id: str, message_ids: Sequence[str], revision: int
) -> PendingQueue:
    """Put the whole queue into another order; runs that wait are served in that order too.

    Raises:
        RequestError: `thread_not_found`, `invalid_field` when `message_ids` are not the queue's.
        Refusal: `already_consumed` (409), `stale_revision` (412).
    """
    unit = await _thread(tx, tenant, thread_id)
    queue = await tx.pending(tenant, thread_id)
    await _check_ids(unit, queue, message_ids)
    if revision != unit.head.pending_revision:
        raise stale(revision, unit.head.pending_revision)
    number = unit.pending_changed()
    by_id = {entry.message.message_id: entry for entry in queue}
    places = sorted(entry.position for entry in queue)
    entries = tuple(
        replace(by_id[message_id], position=place, revision=by_id[message_id].revision + 1)
        for message_id, place in zip(message_ids, places, strict=True)
    )
    for entry in entries:
        tx.put_pending(entry)
    await _reorder_runs(unit, entries)
    unit.emit(None, PendingChanged(revision=number, changed=tuple(message_ids)))
    await unit.save()
    return PendingQueue(thread_id=thread_id, revision=number, entries=entries)


async def _reorder_runs(unit: ThreadUnit, entries: Sequence[PendingEntry]) -> None:
    """Let the runs that wait change places: the ranks they have stay, and are given out anew."""
    waiting: list[Dispatch] = []
    for run_id in dict.fromkeys(entry.run_id for entry in entries):
        run = await unit.tx.run(unit.head.tenant, run_id or "")
        dispatch = await unit.tx.dispatch(run.tenant, run.dispatch_id or "") if run else None
        if run and dispatch and run.status is RunStatus.created:
            waiting.append(dispatch)
    unit.reorder([dispatch for dispatch in waiting if isinstance(dispatch.body, Queued)])


async def _end_empty(unit: ThreadUnit, entry: PendingEntry) -> None:
    """End the queued run whose last message was taken back."""
    tx, tenant = unit.tx, unit.head.tenant
    run = await tx.run(tenant, entry.run_id or "")
    if run is None or run.status is not RunStatus.created:
        return
    if await tx.pending(tenant, run.thread_id, run.run_id):
        return
    dispatch = await tx.dispatch(tenant, run.dispatch_id or "")
    assert dispatch is not None, "a run that waits has a dispatch"
    command = rules.CancelCommand(by=NOTHING_TO_DO.by, reason=NOTHING_TO_DO.reason)
    unit.apply(dispatch, command)
    await finish(unit, run, NOTHING_TO_DO.termination)


async def _open(
    tx: Transaction, tenant: str, thread_id: str, message_id: str, revision: int
) -> tuple[ThreadUnit, PendingEntry, int]:
    unit = await _thread(tx, tenant, thread_id)
    queue = await tx.pending(tenant, thread_id)
    found = [n for n, entry in enumerate(queue) if entry.message.message_id == message_id]
    if not found:
        if await tx.messages_with(tenant, thread_id, [message_id]):
            raise _consumed(message_id)
        raise not_found("message", message_id)
    entry = queue[found[0]]
    if entry.revision != revision:
        raise stale(revision, entry.revision)
    return unit, entry, found[0] + 1


async def _thread(tx: Transaction, tenant: str, thread_id: str) -> ThreadUnit:
    unit = await ThreadUnit.open(tx, tenant, thread_id)
    if unit is None:
        raise not_found("thread", thread_id)
    return unit


async def _check_ids(
    unit: ThreadUnit, queue: Sequence[PendingEntry], message_ids: Sequence[str]
) -> None:
    there = {entry.message.message_id for entry in queue}
    unknown = [message_id for message_id in message_ids if message_id not in there]
    tenant, thread_id = unit.head.tenant, unit.head.thread_id
    read = await unit.tx.messages_with(tenant, thread_id, unknown) if unknown else []
    if read:
        raise _consumed(read[0].message.message_id)
    if unknown or len(message_ids) != len(there) or set(message_ids) != there:
        raise RequestError(
            "invalid_field",
            "message_ids: must be the ids of all pending messages, each once",
            status=422,
            details={"field": "message_ids", "pending": sorted(there)},
        )


def _consumed(message_id: str) -> Refusal:
    return Refusal(
        "already_consumed",
        f"message {message_id!r} was read by its run already",
        details={"message_id": message_id},
    )


def stale(given: int, current: int) -> Refusal:
    """The refusal of a change that was made for an older state."""
    return Refusal(
        "stale_revision",
        f"If-Match: the revision is {current}, not {given}; read again and decide anew",
        status=412,
        details={"revision": current},
    )
