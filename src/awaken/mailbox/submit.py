"""Submit: one commit that accepts a run, or changes nothing.

Everything was validated and resolved before. The operation upserts the thread, deals with what is
in the way (`on_busy`), stages the messages as pending entries of the run, makes run and dispatch,
and, on a free thread whose process has a free slot, claims in the same commit, so that the first
token is one commit away.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain import dispatch as rules
from awaken.domain.agent import AgentSpec
from awaken.domain.claim import Claim
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Claimed, Dispatch, Mode, Queued
from awaken.domain.event import PendingChanged, RunInterrupted, RunQueued
from awaken.domain.line import rank
from awaken.domain.message import Message, StoredMessage, same_content
from awaken.domain.record import Record
from awaken.domain.run import Origin, Run, RunStatus
from awaken.domain.submission import Accepted, OnBusy, Submission
from awaken.domain.termination import Superseded
from awaken.domain.thread import Thread
from awaken.errors import Refusal
from awaken.mailbox.claim import Claimer, claim_in, claim_of
from awaken.mailbox.decide import answer_waiting
from awaken.mailbox.finish import finish
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.store import Transaction

MAX_SUPERSEDED = 500
"""How many queued foreground runs one interrupt ends; more than that never piles up."""

_PRIORITY = {Mode.foreground: 64, Mode.background: 128, Mode.resume: 64, Mode.wake: 128}


class Order(Record):
    """A submission made ready: thread, dispatch id and agent are fixed.

    `claimer` is given when the process has a slot for the run.
    """

    submission: Submission
    thread_id: str
    dispatch_id: str
    resolution_id: str
    spec: AgentSpec
    max_attempts: int
    grace_ms: int
    claimer: Claimer | None = None


class Submitted(Record):
    """What was accepted, and the claim if it was claimed at once."""

    accepted: Accepted
    claim: Claim | None = None


async def submit(tx: Transaction, order: Order) -> Submitted:
    """Accept `order`, or raise Refusal and change nothing.

    Repeating it is answered from the record.
    """
    sub = order.submission
    done = await _already(tx, order)
    if done is not None:
        return done
    unit = await ThreadUnit.open_or_make(tx, sub.tenant, order.thread_id)
    cursor = unit.head.seq
    fresh = await _fresh_messages(unit, sub)
    if not fresh and sub.messages:
        return await _attach(unit, sub)
    await _check_dedupe(unit, sub)
    answered = await answer_waiting(unit, sub, fresh, order)
    if answered is not None:
        return Submitted(accepted=answered)
    inherited = await _make_way(unit, order)
    run = _new_run(unit, order)
    dispatch = _new_dispatch(unit, order)
    unit.enqueue(dispatch, in_front=_takes_the_thread(unit, sub, dispatch))
    unit.emit(run.run_id, RunQueued(dispatch_id=dispatch.dispatch_id, reason="submitted"))
    _stage(unit, run, inherited, fresh)
    await _put_thread(unit, order)
    tx.put_resolution(sub.tenant, order.resolution_id, order.spec)
    tx.put_run(run)
    claim = None
    if order.claimer is not None and await unit.goes_next(dispatch):
        claim = await claim_in(unit, run, dispatch, order.claimer, just_staged=True)
    if claim is None:
        ids = tuple(message.message_id for message in fresh)
        unit.emit(run.run_id, PendingChanged(revision=unit.pending_changed(), added=ids))
    await unit.save()
    return Submitted(accepted=_accepted(order, cursor, claim), claim=claim)


def _accepted(order: Order, cursor: int, claim: Claim | None) -> Accepted:
    return Accepted(
        run_id=order.submission.run_id,
        dispatch_id=order.dispatch_id,
        thread_id=order.thread_id,
        cursor=cursor,
        status=RunStatus.created if claim is None else RunStatus.running,
    )


async def _already(tx: Transaction, order: Order) -> Submitted | None:
    """The answer to a submit that was committed, but whose caller never heard of it."""
    run = await tx.run(order.submission.tenant, order.submission.run_id)
    if run is None:
        return None
    dispatch = await tx.dispatch(run.tenant, order.dispatch_id)
    claim = None
    if dispatch is not None and order.claimer is not None and isinstance(dispatch.body, Claimed):
        ours = dispatch.body.claim_token == order.claimer.claim_token
        claim = claim_of(dispatch) if ours else None
    return Submitted(accepted=await _describe(tx, run, order.dispatch_id), claim=claim)


async def _describe(tx: Transaction, run: Run, dispatch_id: str) -> Accepted:
    segments = await tx.segments_of(run.tenant, run.run_id, 0)
    return Accepted(
        run_id=run.run_id,
        dispatch_id=dispatch_id,
        thread_id=run.thread_id,
        cursor=segments[0].first_seq - 1 if segments else 0,
        status=run.status,
    )


# --- messages that are known already -----------------------------------------------------------


async def _fresh_messages(unit: ThreadUnit, sub: Submission) -> list[Message]:
    """The messages the thread does not have yet; known ids with other content are refused."""
    if unit.new:
        return list(sub.messages)
    known = {message.message_id: message for message, _ in await _known(unit, sub)}
    fresh = []
    for message in sub.messages:
        before = known.get(message.message_id)
        if before is None:
            fresh.append(message)
        elif not same_content(before, message):
            raise Refusal(
                "message_conflict",
                f"the thread has a message {message.message_id!r} with other content",
                details={"message_id": message.message_id},
            )
    return fresh


async def _known(unit: ThreadUnit, sub: Submission) -> list[tuple[Message, str | None]]:
    """Those of the submission's messages that the thread has, with the run that owns each."""
    ids = [message.message_id for message in sub.messages]
    stored: Sequence[StoredMessage] = await unit.tx.messages_with(
        sub.tenant, unit.head.thread_id, ids
    )
    found = [(item.message, item.run_id) for item in stored]
    if unit.head.queued_count:
        waiting = await unit.tx.pending(sub.tenant, unit.head.thread_id)
        found += [
            (entry.message, entry.run_id) for entry in waiting if entry.message.message_id in ids
        ]
    return found


async def _attach(unit: ThreadUnit, sub: Submission) -> Submitted:
    """A repeated submission starts nothing: it gets the run that owns its last message."""
    last = sub.messages[-1].message_id
    owners = {message.message_id: run_id for message, run_id in await _known(unit, sub)}
    run = await unit.tx.run(sub.tenant, owners[last] or "")
    if run is None or run.dispatch_id is None:
        raise Refusal("message_conflict", f"the thread has a message {last!r} already")
    return Submitted(accepted=await _describe(unit.tx, run, run.dispatch_id))


async def _check_dedupe(unit: ThreadUnit, sub: Submission) -> None:
    if sub.dedupe_key is None or unit.new:
        return
    holder = await unit.tx.live_dispatch_with(sub.tenant, unit.head.thread_id, sub.dedupe_key)
    if holder is not None:
        raise Refusal(
            "duplicate_dedupe_key",
            f"run {holder.run_id} with the same dedupe_key is queued or running",
            details={"run_id": holder.run_id, "dedupe_key": sub.dedupe_key},
        )


# --- what is in the way ------------------------------------------------------------------------


async def _make_way(unit: ThreadUnit, order: Order) -> list[PendingEntry]:
    """Apply `on_busy`; returns the unread entries that the new run inherits."""
    sub = order.submission
    head = unit.head
    busy = head.active_run is not None or head.queued_count > 0 or head.waiting_run is not None
    if not busy or sub.on_busy is OnBusy.enqueue:
        return []
    if sub.on_busy is OnBusy.reject:
        raise await _busy(unit)
    await _supersede_waiting(unit, sub)
    unit.raise_epoch()
    inherited = []
    for queued in await unit.tx.queued_foreground(sub.tenant, order.thread_id, MAX_SUPERSEDED):
        inherited += await _supersede_queued(unit, queued, sub.run_id, order.grace_ms)
    await _supersede_claimed(unit, sub.run_id, order.grace_ms)
    return inherited


def _takes_the_thread(unit: ThreadUnit, sub: Submission, dispatch: Dispatch) -> bool:
    """Whether the new run goes before all that is queued.

    Never before a run that waits; and one for later holds up nothing until then.
    """
    now = dispatch.eligible_at <= unit.now
    return sub.on_busy is OnBusy.interrupt and unit.head.waiting_run is None and now


async def _supersede_waiting(unit: ThreadUnit, sub: Submission) -> None:
    """Only the user's own next message ends a run that waits for permission.

    Others queue behind.
    """
    if unit.head.waiting_run is None:
        return
    if sub.mode is not Mode.foreground or sub.origin is not Origin.user:
        return
    run = await unit.tx.run(sub.tenant, unit.head.waiting_run)
    assert run is not None, "a waiting run exists"
    dispatch = await unit.tx.dispatch(sub.tenant, run.dispatch_id or "")
    if dispatch is not None:  # its resume, if it was decided already
        unit.apply(dispatch, rules.SupersedeCommand(by_run_id=sub.run_id, grace_ms=0))
    await finish(unit, run, Superseded(by_run_id=sub.run_id))


async def _busy(unit: ThreadUnit) -> Refusal:
    blocking = unit.head.active_run or unit.head.waiting_run
    if blocking is None:
        queued = await unit.tx.queued(unit.head.tenant, unit.head.thread_id, 1)
        blocking = queued[0].run_id if queued else None
    return Refusal(
        "thread_busy",
        f"run {blocking} has the thread",
        details={"thread_id": unit.head.thread_id, "run_id": blocking},
    )


async def _supersede_queued(
    unit: ThreadUnit, queued: Dispatch, by_run_id: str, grace_ms: int
) -> list[PendingEntry]:
    """End a queued foreground run; its unread entries move to the run that takes its place."""
    tenant, thread_id = queued.tenant, queued.thread_id
    run = await unit.tx.run(tenant, queued.run_id)
    assert run is not None
    entries = await unit.tx.pending(tenant, thread_id, run.run_id)
    unit.tx.delete_pending(tenant, thread_id, [entry.message.message_id for entry in entries])
    unit.apply(queued, rules.SupersedeCommand(by_run_id=by_run_id, grace_ms=grace_ms))
    unit.emit(run.run_id, RunInterrupted(by_run_id=by_run_id))
    await finish(unit, run, Superseded(by_run_id=by_run_id))
    return entries


async def _supersede_claimed(unit: ThreadUnit, by_run_id: str, grace_ms: int) -> None:
    """Ask the claimed run to stop, and end an active background run that waits to be retried."""
    active = unit.head.active_run
    run = await unit.tx.run(unit.head.tenant, active) if active else None
    if run is None or run.dispatch_id is None:
        return
    dispatch = await unit.tx.dispatch(run.tenant, run.dispatch_id)
    assert dispatch is not None
    answer = unit.apply(dispatch, rules.SupersedeCommand(by_run_id=by_run_id, grace_ms=grace_ms))
    if not isinstance(answer, rules.Applied):
        return
    unit.emit(run.run_id, RunInterrupted(by_run_id=by_run_id))
    if answer.effect is rules.Effect.supersede_run:
        await finish(unit, run, Superseded(by_run_id=by_run_id))


# --- what is new -------------------------------------------------------------------------------


def _stage(unit: ThreadUnit, run: Run, inherited: list[PendingEntry], fresh: list[Message]) -> None:
    """Put the entries of the run in the queue: inherited ones first, in their order."""
    messages = [entry.message for entry in inherited] + fresh
    for offset, message in enumerate(messages):
        entry = PendingEntry(
            tenant=run.tenant,
            thread_id=run.thread_id,
            position=(unit.head.pending_revision + 1) * 1_000_000 + offset,
            message=message,
            created_at=unit.now,
            run_id=run.run_id,
        )
        unit.tx.put_pending(entry)


def _new_run(unit: ThreadUnit, order: Order) -> Run:
    sub = order.submission
    return Run(
        tenant=sub.tenant,
        run_id=sub.run_id,
        thread_id=order.thread_id,
        agent_id=order.spec.agent_id,
        resolution_id=order.resolution_id,
        origin=sub.origin,
        adapter=sub.adapter,
        client_run_id=sub.client_run_id,
        dispatch_id=order.dispatch_id,
        on_disconnect=sub.on_disconnect,
        transport_request_id=sub.transport_request_id,
        correlation_id=sub.correlation_id,
        metadata=sub.metadata,
        created_at=unit.now,
        updated_at=unit.now,
    )


def _new_dispatch(unit: ThreadUnit, order: Order) -> Dispatch:
    sub = order.submission
    priority = _PRIORITY[sub.mode] if sub.priority is None else sub.priority
    available_at = max(unit.now, sub.available_at or 0)
    return Dispatch(
        tenant=sub.tenant,
        dispatch_id=order.dispatch_id,
        thread_id=order.thread_id,
        run_id=sub.run_id,
        mode=sub.mode,
        epoch=unit.head.epoch,
        rank=rank(available_at, priority),
        eligible_at=available_at,
        created_at=unit.now,
        updated_at=unit.now,
        body=Queued(available_at=available_at),
        priority=priority,
        dedupe_key=sub.dedupe_key,
        max_attempts=order.max_attempts,
    )


async def _put_thread(unit: ThreadUnit, order: Order) -> None:
    sub = order.submission
    thread = None if unit.new else await unit.tx.thread(sub.tenant, order.thread_id)
    if thread is None:
        thread = Thread(
            tenant=sub.tenant,
            thread_id=order.thread_id,
            created_at=unit.now,
            updated_at=unit.now,
        )
    changed = replace(
        thread,
        agent_id=order.spec.agent_id,
        latest_run_id=sub.run_id,
        updated_at=unit.now,
    )
    unit.tx.put_thread(changed)
