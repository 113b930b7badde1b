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
from awaken.domain.delivery import Boundary, FollowUp
from awaken.domain.dispatch import Claimed, Dispatch, Mode
from awaken.domain.event import PendingChanged, RunInterrupted, RunQueued, StateDelta
from awaken.domain.message import Message, StoredMessage, same_content
from awaken.domain.record import Record
from awaken.domain.run import MessageRanges, Origin, Run, RunStatus
from awaken.domain.state import patch
from awaken.domain.submission import Accepted, OnBusy, Submission
from awaken.domain.termination import Superseded
from awaken.domain.thread import Thread, ThreadHead
from awaken.errors import Refusal
from awaken.mailbox.admission import thread_full
from awaken.mailbox.branch import Cut, find_cut, hide, kept
from awaken.mailbox.claim import Claimer, claim_in, claim_of
from awaken.mailbox.decide import answer_waiting
from awaken.mailbox.deliver import delivery
from awaken.mailbox.early import Stopper, early_stop
from awaken.mailbox.finish import finish
from awaken.mailbox.repeat import Submitted, describe, remember, repeated
from awaken.mailbox.steer import not_waiting, steer
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import stage, take
from awaken.ports.store import Transaction

MAX_SUPERSEDED = 500
"""How many queued foreground runs one interrupt ends; more than that never piles up."""

_PRIORITY = {Mode.foreground: 64, Mode.background: 128, Mode.resume: 64, Mode.wake: 128}


class Order(Record):
    """A submission made ready: thread, dispatch id and agent are fixed.

    `claimer` is given when the process has a slot for the run. `tenant_lead` (ms) is how far its
    tenant runs ahead of its share; `thread_limit` how many due runs may wait on a thread (0: any
    number). `cut` is where it branches off, which `submit` finds out.
    """

    submission: Submission
    thread_id: str
    dispatch_id: str
    resolution_id: str
    spec: AgentSpec
    max_attempts: int
    grace_ms: int
    claimer: Claimer | None = None
    tenant_lead: int = 0
    thread_limit: int = 0
    cut: Cut | None = None

    @property
    def priority(self) -> int:
        """That of the submission, or the default of its mode."""
        given = self.submission.priority
        return _PRIORITY[self.submission.mode] if given is None else given


async def submit(tx: Transaction, order: Order) -> Submitted:
    """Accept `order`, or raise Refusal and change nothing.

    Repeating it is answered from the record.
    """
    sub = order.submission
    done = await _already(tx, order) or await repeated(tx, sub)
    if done is not None:
        return done
    submitted = await _submit(tx, order)
    remember(tx, sub, submitted.accepted)
    return submitted


async def _submit(tx: Transaction, order: Order) -> Submitted:
    sub = order.submission
    unit = await ThreadUnit.open_or_make(tx, sub.tenant, order.thread_id)
    cut = await find_cut(unit, sub)
    if cut is not None:
        return await _branch(unit, order, cut)
    fresh = await _fresh_messages(unit, sub)
    if not fresh and sub.messages:
        return await _attach(unit, sub)
    stopper = await early_stop(tx, sub.tenant, order.thread_id, fresh)
    if stopper is not None:
        return await _stopped_before(unit, order, fresh, stopper)
    await _check_dedupe(unit, sub)
    await _check_room(unit, order)
    answered = await answer_waiting(unit, sub, fresh, order)
    if answered is None and sub.delivery and sub.delivery.boundary is Boundary.resume_input:
        raise not_waiting(order.thread_id)
    if answered is None and sub.on_busy is OnBusy.steer:
        run = _new_run(unit, order)
        dispatch = _new_dispatch(unit, order, run)
        answered = await steer(
            unit, sub, fresh, FollowUp(run=run, dispatch=dispatch, spec=order.spec)
        )
    if answered is not None:
        return Submitted(accepted=answered)
    return await _enqueue(unit, order, fresh)


async def _branch(unit: ThreadUnit, order: Order, cut: Cut) -> Submitted:
    """Go back in the conversation: what is in the way is stopped, what follows is hidden."""
    await _check_room(unit, order)
    sub = replace(order.submission, on_busy=cut.on_busy, messages=cut.messages)
    order = replace(order, submission=sub, cut=cut)
    unit.tx.put_run(_new_run(unit, order))  # so that what it answers anew is not hidden on the way
    return await _enqueue(unit, order, list(cut.messages))


async def _enqueue(unit: ThreadUnit, order: Order, fresh: list[Message]) -> Submitted:
    """Make the run, and claim it at once if it may start now."""
    cursor = unit.head.seq
    inherited = await _make_way(unit, order)
    if order.cut is not None:
        inherited = kept(order.cut, inherited)
    run, dispatch = await _put_new(unit, order, [*inherited, *fresh])
    if order.cut is not None:
        await hide(unit, order.cut, run.run_id)
    claim = None
    if order.claimer is not None and await unit.goes_next(dispatch):
        claim = await claim_in(unit, run, dispatch, order.claimer, just_staged=True)
    if claim is None:
        ids = tuple(message.message_id for message in fresh)
        unit.emit(run.run_id, PendingChanged(revision=unit.pending_changed(), added=ids))
    await unit.save()
    status = RunStatus.created if claim is None else RunStatus.running
    return Submitted(accepted=_accepted(order, cursor, status), claim=claim)


async def _put_new(unit: ThreadUnit, order: Order, messages: list[Message]) -> tuple[Run, Dispatch]:
    sub = order.submission
    run = _new_run(unit, order)
    dispatch = _new_dispatch(unit, order, run)
    unit.enqueue(dispatch, in_front=_takes_the_thread(unit, sub, dispatch))
    unit.emit(run.run_id, RunQueued(dispatch_id=dispatch.dispatch_id, reason="submitted"))
    stage(unit, run.run_id, messages)
    await _put_thread(unit, order)
    unit.tx.put_resolution(sub.tenant, order.resolution_id, order.spec)
    unit.tx.put_run(run)
    return run, dispatch


async def _stopped_before(
    unit: ThreadUnit, order: Order, fresh: list[Message], stopper: Stopper
) -> Submitted:
    """The stop of a message came before the message: its run ends at once, and disturbs nobody."""
    cursor = unit.head.seq
    quiet = replace(order, submission=replace(order.submission, on_busy=OnBusy.enqueue))
    run, dispatch = await _put_new(unit, quiet, fresh)
    unit.apply(dispatch, rules.CancelCommand(by=stopper.by, reason=stopper.reason))
    await finish(unit, run, stopper.termination)
    await unit.save()
    return Submitted(accepted=_accepted(order, cursor, RunStatus.done))


def _accepted(order: Order, cursor: int, status: RunStatus) -> Accepted:
    return Accepted(
        run_id=order.submission.run_id,
        dispatch_id=order.dispatch_id,
        thread_id=order.thread_id,
        cursor=cursor,
        status=status,
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
    return Submitted(accepted=await describe(tx, run, order.dispatch_id), claim=claim)


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
        elif not sub.known_stands and not same_content(before, message):
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
    if _busy_with(unit.head):
        waiting = await unit.tx.pending_with(sub.tenant, unit.head.thread_id, ids)
        found += [(entry.message, entry.run_id) for entry in waiting]
    return found


async def _attach(unit: ThreadUnit, sub: Submission) -> Submitted:
    """A repeated submission starts nothing: it gets the run that owns its last message."""
    last = sub.messages[-1].message_id
    owners = {message.message_id: run_id for message, run_id in await _known(unit, sub)}
    run = await unit.tx.run(sub.tenant, owners[last] or "")
    if run is None or run.dispatch_id is None:
        raise Refusal("message_conflict", f"the thread has a message {last!r} already")
    accepted = await describe(unit.tx, run, run.dispatch_id)
    return Submitted(accepted=replace(accepted, fallback_run_id=await _fallback(unit, sub, last)))


async def _fallback(unit: ThreadUnit, sub: Submission, message_id: str) -> str | None:
    """The run that starts if the one that the message steers ends first; None once it was read."""
    waiting = await unit.tx.pending_with(sub.tenant, unit.head.thread_id, [message_id])
    follow_up = waiting[0].follow_up if waiting else None
    return follow_up.run.run_id if follow_up else None


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


async def _check_room(unit: ThreadUnit, order: Order) -> None:
    """What is not due does not count."""
    limit, sub = order.thread_limit, order.submission
    if not limit or unit.head.queued_count < limit or (sub.available_at or 0) > unit.now:
        return
    waiting = await unit.tx.count_due(sub.tenant, order.thread_id, limit)
    if waiting >= limit:
        raise thread_full(order.thread_id, waiting)


# --- what is in the way ------------------------------------------------------------------------


async def _make_way(unit: ThreadUnit, order: Order) -> list[Message]:
    """Apply `on_busy`; returns the unread messages that the new run inherits."""
    sub = order.submission
    head = unit.head
    if not _busy_with(head) or sub.on_busy in (OnBusy.enqueue, OnBusy.steer):
        return []
    if sub.on_busy is OnBusy.reject:
        raise await _busy(unit)
    hide = sub.on_busy is OnBusy.rollback
    inherited = await _supersede_waiting(unit, sub, hide=hide)
    unit.raise_epoch()
    if unit.head.active_run is not None:
        inherited += await take(unit, unit.head.active_run)
    for queued in await unit.tx.queued_foreground(sub.tenant, order.thread_id, MAX_SUPERSEDED):
        inherited += await _supersede_queued(unit, queued, sub.run_id, hide=hide)
    await _supersede_active(unit, sub.run_id, order.grace_ms, hide=hide)
    if hide and inherited:
        ids = tuple(message.message_id for message in inherited)
        unit.emit(None, PendingChanged(revision=unit.pending_changed(), retracted=ids))
    return [] if hide else inherited


def _busy_with(head: ThreadHead) -> bool:
    """Whether anything of the thread runs, waits or is queued."""
    return head.active_run is not None or head.queued_count > 0 or head.waiting_run is not None


def _takes_the_thread(unit: ThreadUnit, sub: Submission, dispatch: Dispatch) -> bool:
    """Whether the new run goes before all that is queued.

    Never before a run that waits; and one for later holds up nothing until then.
    """
    now = dispatch.eligible_at <= unit.now
    takes = sub.on_busy in (OnBusy.interrupt, OnBusy.rollback)
    return takes and unit.head.waiting_run is None and now


async def _supersede_waiting(unit: ThreadUnit, sub: Submission, *, hide: bool) -> list[Message]:
    """Only the user's own next message ends a run that waits for permission.

    Others queue behind. Returns what the run had not read.
    """
    if unit.head.waiting_run is None:
        return []
    if sub.mode is not Mode.foreground or sub.origin is not Origin.user:
        return []
    run = await unit.tx.run(sub.tenant, unit.head.waiting_run)
    assert run is not None, "a waiting run exists"
    unread = await take(unit, run.run_id)
    dispatch = await unit.tx.dispatch(sub.tenant, run.dispatch_id or "")
    if dispatch is not None:  # its resume, if it was decided already
        unit.apply(dispatch, rules.SupersedeCommand(by_run_id=sub.run_id, grace_ms=0))
    await finish(unit, run, Superseded(by_run_id=sub.run_id), hide=hide)
    return unread


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
    unit: ThreadUnit, queued: Dispatch, by_run_id: str, *, hide: bool
) -> list[Message]:
    """End a queued foreground run, which may have begun (it waits to be retried) or not.

    Its unread messages move to the run that takes its place.
    """
    run = await unit.tx.run(queued.tenant, queued.run_id)
    assert run is not None
    unread = await take(unit, run.run_id)
    unit.apply(queued, rules.SupersedeCommand(by_run_id=by_run_id, grace_ms=0))
    unit.emit(run.run_id, RunInterrupted(by_run_id=by_run_id))
    await finish(unit, run, Superseded(by_run_id=by_run_id), hide=hide)
    return unread


async def _supersede_active(unit: ThreadUnit, by_run_id: str, grace_ms: int, *, hide: bool) -> None:
    """Ask the claimed run to stop, and end an active background run that waits to be retried."""
    active = unit.head.active_run
    run = await unit.tx.run(unit.head.tenant, active) if active else None
    if run is None or run.dispatch_id is None:
        return
    dispatch = await unit.tx.dispatch(run.tenant, run.dispatch_id)
    assert dispatch is not None
    command = rules.SupersedeCommand(by_run_id=by_run_id, grace_ms=grace_ms, hide=hide)
    answer = unit.apply(dispatch, command)
    if not isinstance(answer, rules.Applied):
        if hide:  # it is stopping for another run already, but what it says is to be hidden now
            unit.apply(dispatch, rules.CancelCommand(by="system", reason="superseded", hide=True))
        return
    unit.emit(run.run_id, RunInterrupted(by_run_id=by_run_id))
    if answer.effect is rules.Effect.supersede_run:
        await finish(unit, run, Superseded(by_run_id=by_run_id), hide=hide)


# --- what is new -------------------------------------------------------------------------------


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
        started_by=sub.actor,
        client_run_id=sub.client_run_id,
        answers=order.cut.answers if order.cut else MessageRanges(),
        dispatch_id=order.dispatch_id,
        on_disconnect=sub.on_disconnect,
        transport_request_id=sub.transport_request_id,
        correlation_id=sub.correlation_id,
        metadata=sub.metadata,
        created_at=unit.now,
        updated_at=unit.now,
    )


def _new_dispatch(unit: ThreadUnit, order: Order, run: Run) -> Dispatch:
    sub = order.submission
    made = delivery(
        unit,
        run,
        order.dispatch_id,
        mode=sub.mode,
        priority=order.priority,
        max_attempts=order.max_attempts,
        available_at=sub.available_at,
        tenant_lead=order.tenant_lead,
    )
    return replace(made, dedupe_key=sub.dedupe_key)


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
    state = {**thread.state, **sub.state}
    changes = patch(thread.state, state)
    if changes:
        unit.emit(sub.run_id, StateDelta(delta=changes))
    changed = replace(
        thread,
        agent_id=order.spec.agent_id,
        latest_run_id=sub.run_id,
        state=state,
        updated_at=unit.now,
    )
    unit.tx.put_thread(changed)
