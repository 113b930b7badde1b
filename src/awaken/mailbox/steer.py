"""Steering: a message for the run that is going on, read at its next step or its natural end.

If that run ends without having read it, the follow-up that was made ready here starts (`unread`).
"""

from __future__ import annotations

from collections.abc import Sequence

from awaken.domain.delivery import Boundary, DeliveryMode, FollowUp
from awaken.domain.dispatch import Claimed
from awaken.domain.event import PendingChanged
from awaken.domain.message import Message
from awaken.domain.run import Run
from awaken.domain.submission import Accepted, Submission
from awaken.errors import Refusal
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import stage

STEER = DeliveryMode(boundary=Boundary.next_step)


async def steer(
    unit: ThreadUnit, sub: Submission, fresh: Sequence[Message], follow_up: FollowUp
) -> Accepted | None:
    """Give the messages to the run that goes on; None when there is none that could read them.

    Raises:
        Refusal: `run_not_active` when the delivery names another run, and may not fall back.
    """
    mode = sub.delivery or STEER
    run = await _going_on(unit)
    if run is None or mode.target_run not in (None, run.run_id):
        if not mode.fallback:
            raise _not_active(mode.target_run)
        return None
    cursor = unit.head.seq
    fallback = follow_up if mode.fallback else None
    bound = DeliveryMode(
        boundary=mode.boundary,
        granularity=mode.granularity,
        barrier=mode.barrier,
        target_run=run.run_id,
        fallback=mode.fallback,
    )
    stage(unit, run.run_id, fresh, bound, fallback)
    ids = tuple(message.message_id for message in fresh)
    unit.emit(run.run_id, PendingChanged(revision=unit.pending_changed(), added=ids))
    await unit.save()
    return Accepted(
        run_id=run.run_id,
        dispatch_id=run.dispatch_id or "",
        thread_id=run.thread_id,
        cursor=cursor,
        status=run.status,
        fallback_run_id=sub.run_id if fallback else None,
    )


async def _going_on(unit: ThreadUnit) -> Run | None:
    """The run that has the thread or waits, unless it was asked to stop or was interrupted."""
    run_id = unit.head.active_run or unit.head.waiting_run
    run = await unit.tx.run(unit.head.tenant, run_id) if run_id else None
    dispatch = await unit.tx.dispatch(run.tenant, run.dispatch_id or "") if run else None
    if run is None or dispatch is None:
        return None
    stopping = isinstance(dispatch.body, Claimed) and dispatch.body.cancel_request is not None
    stale = isinstance(dispatch.body, Claimed) and dispatch.epoch < unit.head.epoch
    return None if stopping or stale else run


def not_waiting(thread_id: str) -> Refusal:
    """The refusal of an answer that nobody waits for."""
    return Refusal(
        "run_not_waiting",
        f"no run of thread {thread_id} waits for this answer",
        details={"thread_id": thread_id},
    )


def _not_active(run_id: str | None) -> Refusal:
    return Refusal(
        "run_not_active",
        f"run {run_id} is not the one that is going on, and the message may start no other",
        details={"run_id": run_id},
    )
