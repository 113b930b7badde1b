"""Pending entries on their way: read by their run, or left unread when it ends.

Invariants: consumption is one commit (I5), with the step that it follows; an entry is read by the
run that it points at or by the follow-up that was made ready for it, and by nobody else; when a run
ends, none of its entries is left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from awaken.domain.delivery import Boundary, DeliveryMode, FollowUp, PendingEntry, select
from awaken.domain.event import PendingChanged, RunQueued
from awaken.domain.message import Message
from awaken.domain.run import Run
from awaken.domain.termination import Cancelled, FinalTermination
from awaken.mailbox.deliver import delivery, put_latest
from awaken.mailbox.unit import ThreadUnit


async def consume(
    unit: ThreadUnit, run: Run, boundary: Boundary, *, just_staged: bool = False
) -> tuple[Run, tuple[Message, ...]]:
    """Make the run's entries that wait for `boundary` part of the thread, in order.

    The caller saves the run. `just_staged`: they were staged by this very commit, so nobody has
    seen them pending.
    """
    queue = await unit.tx.pending(run.tenant, run.thread_id, run.run_id)
    messages = tuple(entry.message for entry in select(queue, boundary, run.run_id))
    if not messages:
        return run, ()
    ids = tuple(message.message_id for message in messages)
    numbers = tuple(unit.commit_message(run.run_id, message) for message in messages)
    unit.tx.delete_pending(run.tenant, run.thread_id, ids)
    if not just_staged:
        unit.emit(run.run_id, PendingChanged(revision=unit.pending_changed(), consumed=ids))
    return replace(run, input=run.input.with_seqs(*numbers)), messages


def stage(
    unit: ThreadUnit,
    run_id: str,
    messages: Iterable[Message],
    mode: DeliveryMode | None = None,
    follow_up: FollowUp | None = None,
) -> None:
    """Put messages for a run at the end of the thread's queue, in order."""
    for offset, message in enumerate(messages):
        entry = PendingEntry(
            tenant=unit.head.tenant,
            thread_id=unit.head.thread_id,
            position=(unit.head.pending_revision + 1) * 1_000_000 + offset,
            message=message,
            created_at=unit.now,
            run_id=run_id,
            mode=mode or DeliveryMode(),
            follow_up=follow_up,
        )
        unit.tx.put_pending(entry)


async def take(unit: ThreadUnit, run_id: str) -> list[Message]:
    """Take the unread messages away from a run; another one inherits them."""
    entries = await unit.tx.pending(unit.head.tenant, unit.head.thread_id, run_id)
    return _remove(unit, entries)


async def leave(unit: ThreadUnit, run: Run, termination: FinalTermination) -> None:
    """What becomes of the entries of a run that ends without having read them.

    Those with a follow-up start it, unless somebody stopped the run: a stop begins nothing. The
    others are retracted.
    """
    entries = await unit.tx.pending(run.tenant, run.thread_id, run.run_id)
    if not entries:
        return
    stopped = isinstance(termination, Cancelled)
    lost = [entry for entry in entries if stopped or entry.follow_up is None]
    kept = [entry for entry in entries if not stopped and entry.follow_up is not None]
    ids = tuple(message.message_id for message in _remove(unit, lost))
    if ids:
        unit.emit(run.run_id, PendingChanged(revision=unit.pending_changed(), retracted=ids))
    for follow_up in {e.follow_up.run.run_id: e.follow_up for e in kept if e.follow_up}.values():
        mine = [e for e in kept if e.follow_up and e.follow_up.run.run_id == follow_up.run.run_id]
        await _follow(unit, follow_up, mine)


def _remove(unit: ThreadUnit, entries: Sequence[PendingEntry]) -> list[Message]:
    messages = [entry.message for entry in entries]
    ids = [message.message_id for message in messages]
    unit.tx.delete_pending(unit.head.tenant, unit.head.thread_id, ids)
    return messages


async def _follow(unit: ThreadUnit, follow_up: FollowUp, entries: Sequence[PendingEntry]) -> None:
    """Start the run that was made ready for `entries`, behind what is queued already."""
    run = replace(follow_up.run, created_at=unit.now, updated_at=unit.now)
    before = follow_up.dispatch
    made = delivery(
        unit,
        run,
        before.dispatch_id,
        mode=before.mode,
        priority=before.priority,
        max_attempts=before.max_attempts,
    )
    dispatch = replace(made, dedupe_key=before.dedupe_key)
    unit.enqueue(dispatch)
    unit.emit(run.run_id, RunQueued(dispatch_id=dispatch.dispatch_id, reason="fallback"))
    for entry in entries:
        moved = replace(
            entry,
            run_id=run.run_id,
            mode=DeliveryMode(),
            follow_up=None,
            revision=entry.revision + 1,
        )
        unit.tx.put_pending(moved)
    changed = tuple(entry.message.message_id for entry in entries)
    unit.emit(run.run_id, PendingChanged(revision=unit.pending_changed(), changed=changed))
    unit.tx.put_resolution(run.tenant, run.resolution_id, follow_up.spec)
    unit.tx.put_run(run)
    await put_latest(unit, run)
