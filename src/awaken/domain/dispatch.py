"""The lifecycle of a dispatch: one pure function, `apply`.

A *dispatch* is one delivery of a run. It is queued, claimed or finished, and only `apply` moves it.

Rules of this file
1. Whatever decides about a dispatch is decided here. Stores load the row and its thread's head
   under their own exclusion, call `apply`, and save what it answers; they have no rules themselves.
2. `apply` is total: each state meets each command, and the answer is either `Applied` (with the
   dispatch, the head and the effects to carry out in the same commit) or `Refused` (a name, and
   nothing changes). Finished is final (I3).
3. A dispatch is *stale* when its epoch is older than its thread's: a newer turn took the thread.
   Queued background work is never stale: its claim stamps the thread's current epoch. A stale
   claim may still settle, but is recorded as superseded, or as cancelled if that turn was a stop
   without a new run; it can renew nothing and write nothing else; past its `interrupt_deadline`
   anyone may end it with `expire`.
4. A stored cancel request cannot be lost (I9): what would go on after it becomes cancelled.

`dispatch_table.TABLE` states the same as data, for the documentation and for tests that compare.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, assert_never

from msgspec.structs import replace

from awaken.domain.record import Record
from awaken.domain.thread import ThreadHead

MAX_EXPIRIES: Final = 10
"""Lease expiries without progress before a run counts as poison."""
MAX_EXPIRIES_IN_LIFE: Final = 25
"""Lease expiries in the whole life of a run before it counts as poison."""
DEFAULT_MAX_ATTEMPTS: Final = 5


class Mode(StrEnum):
    """What started this delivery; foreground ones have a client waiting."""

    foreground = "foreground"
    background = "background"
    resume = "resume"
    wake = "wake"


class How(StrEnum):
    """How a dispatch finished. Acked does not mean that the run succeeded."""

    acked = "acked"
    cancelled = "cancelled"
    superseded = "superseded"
    dead_letter = "dead_letter"


class CancelRequest(Record):
    """A stop that was accepted and not yet carried out; the first reason wins.

    `hide` asks that the messages of the run be hidden when it ends (rollback).
    """

    by: str
    reason: str | None
    requested_at: int
    hide: bool = False


class Queued(Record, tag="queued"):
    """Waiting to be claimed, not before `available_at`."""

    available_at: int


class Claimed(Record, tag="claimed"):
    """Held by `worker_id` under a lease. `claim_token` is the attempt's id and its fence.

    `batch_no` is the number of the last event batch that was written under this claim.
    `interrupt_deadline` is set when the thread was taken away, and `superseded_by` with it if a
    newer run took it.
    `turn` counts how often the run came to an end and went on, since a message had come meanwhile.
    """

    claim_token: str
    worker_id: str
    lease_until: int
    lease_ms: int
    claimed_at: int
    batch_no: int = 0
    cancel_request: CancelRequest | None = None
    interrupt_deadline: int | None = None
    superseded_by: str | None = None
    turn: int = 0


class Finished(Record, tag="finished"):
    """Over, for good."""

    how: How
    finished_at: int
    reason: str | None = None


Body = Queued | Claimed | Finished


class Dispatch(Record):
    """One delivery of a run: the header, and one of three bodies.

    `attempt` counts retryable failures since the last completed step, `expiries` lease expiries
    since then, `life_expiries` those in the run's life (carried over to its next dispatch).
    `settled_by` names the attempt whose settle was carried out last: the record that answers one
    repeated after an ambiguous commit. `retry_reason` tells the next claim why it follows another.
    """

    tenant: str
    dispatch_id: str
    thread_id: str
    run_id: str
    mode: Mode
    epoch: int
    rank: int
    eligible_at: int
    created_at: int
    updated_at: int
    body: Body
    priority: int = 128
    dedupe_key: str | None = None
    attempt: int = 0
    expiries: int = 0
    life_expiries: int = 0
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    last_error: str | None = None
    retry_reason: str | None = None
    settled_by: str | None = None

    @property
    def foreground(self) -> bool:
        """Whether a client waits for it (resumes count: somebody has just decided)."""
        return self.mode in (Mode.foreground, Mode.resume)


# --- commands ----------------------------------------------------------------------------------


class ClaimCommand(Record, tag="claim"):
    """Take a queued dispatch. Claim is start: the run is running from this commit on."""

    claim_token: str
    worker_id: str
    lease_ms: int


class RenewCommand(Record, tag="renew"):
    """Move the lease's end to `now + lease_ms` of the row."""

    claim_token: str


class Ack(Record, tag="ack"):
    """The activation came to its end; `suspended` means that the run waits."""

    suspended: bool = False


class RetryAt(Record, tag="retry"):
    """Try again not before `available_at`; counts an attempt."""

    available_at: int
    error: str


class Release(Record, tag="release"):
    """Hand over at once; counts nothing."""


class Fail(Record, tag="fail"):
    """No attempt can succeed."""

    error: str


class StopNow(Record, tag="stop_now"):
    """The attempt obeyed a cancel request."""


class SettleCommand(Record, tag="settle"):
    """The owner's last word about its claim, in one of five forms."""

    claim_token: str
    form: Ack | RetryAt | Release | Fail | StopNow


class CancelCommand(Record, tag="cancel"):
    """Stop it: queued ends at once, claimed is asked; `grace_ms` if it loses its thread too."""

    by: str
    reason: str | None = None
    hide: bool = False
    grace_ms: int | None = None


class SupersedeCommand(Record, tag="supersede"):
    """A newer run took the thread; a claimed dispatch gets `grace_ms` to settle."""

    by_run_id: str
    grace_ms: int
    hide: bool = False


class ExpireCommand(Record, tag="expire"):
    """End a claim whose time is over; `owner_dead` says the owner is known not to live any more."""

    owner_dead: bool = False


Command = (
    ClaimCommand | RenewCommand | SettleCommand | CancelCommand | SupersedeCommand | ExpireCommand
)


# --- answers -----------------------------------------------------------------------------------


class Refusal(StrEnum):
    """Why a command was not carried out."""

    gone = "gone"
    not_yet_available = "not_yet_available"
    thread_busy = "thread_busy"
    not_the_owner = "not_the_owner"
    lease_lost = "lease_lost"
    superseded = "superseded"
    not_expired = "not_expired"
    already_finished = "already_finished"


class Effect(StrEnum):
    """What the caller must also do, in the same commit."""

    start_run = "start_run"
    suspend_run = "suspend_run"
    requeue_run = "requeue_run"
    complete_run = "complete_run"
    complete_run_cancel_too_late = "complete_run_cancel_too_late"
    fail_run = "fail_run"
    cancel_run = "cancel_run"
    supersede_run = "supersede_run"
    ask_owner = "ask_owner"


class Applied(Record):
    """The command was carried out; save `dispatch` and `head`, and carry out `effect`."""

    dispatch: Dispatch
    head: ThreadHead
    effect: Effect | None = None


class Refused(Record):
    """The command was not carried out, and nothing changed."""

    why: Refusal


Answer = Applied | Refused


def apply(dispatch: Dispatch, head: ThreadHead, command: Command, now: int) -> Answer:
    """What `command` does to `dispatch`, whose thread has `head`; `now` is the store's clock."""
    match dispatch.body:
        case Queued() as body:
            return _queued(dispatch, body, head, command, now)
        case Claimed() as body:
            return _claimed(dispatch, body, head, command, now)
        case Finished():
            return Refused(why=Refusal.already_finished)
        case _ as never:
            assert_never(never)


def _queued(
    dispatch: Dispatch, body: Queued, head: ThreadHead, command: Command, now: int
) -> Answer:
    match command:
        case ClaimCommand():
            return _claim(dispatch, body, head, command, now)
        case RenewCommand() | SettleCommand():
            return Refused(why=Refusal.lease_lost)
        case CancelCommand():
            return _finish(dispatch, head, How.cancelled, command.reason, Effect.cancel_run, now)
        case SupersedeCommand():
            reason = f"superseded by {command.by_run_id}"
            return _finish(dispatch, head, How.superseded, reason, Effect.supersede_run, now)
        case ExpireCommand():
            return Refused(why=Refusal.not_expired)
        case _ as never:
            assert_never(never)


def _claim(
    dispatch: Dispatch, body: Queued, head: ThreadHead, command: ClaimCommand, now: int
) -> Answer:
    if _busy(head, dispatch):
        return Refused(why=Refusal.thread_busy)
    if dispatch.foreground and _stale(dispatch, head):
        return _finish_stale(dispatch, head, now)
    if body.available_at > now:
        return Refused(why=Refusal.not_yet_available)
    claimed = Claimed(
        claim_token=command.claim_token,
        worker_id=command.worker_id,
        lease_until=now + command.lease_ms,
        lease_ms=command.lease_ms,
        claimed_at=now,
    )
    return Applied(
        dispatch=replace(dispatch, body=claimed, epoch=head.epoch, updated_at=now),
        head=replace(
            head,
            claimed_dispatch=dispatch.dispatch_id,
            active_run=dispatch.run_id,
            waiting_run=None,
            front=_unless(head.front, dispatch.dispatch_id),
            queued_count=head.queued_count - 1,
            served_at=now,
        ),
        effect=Effect.start_run,
    )


def _claimed(
    dispatch: Dispatch, body: Claimed, head: ThreadHead, command: Command, now: int
) -> Answer:
    match command:
        case ClaimCommand():
            return Refused(why=Refusal.thread_busy)
        case RenewCommand() | SettleCommand() if command.claim_token != body.claim_token:
            return Refused(why=Refusal.not_the_owner)
        case RenewCommand() if _stale(dispatch, head):
            return Refused(why=Refusal.superseded)
        case RenewCommand():
            renewed = replace(body, lease_until=now + body.lease_ms)
            return Applied(dispatch=replace(dispatch, body=renewed, updated_at=now), head=head)
        case SettleCommand():
            return _settle(dispatch, body, head, command, now)
        case CancelCommand(by=by, reason=reason, hide=hide, grace_ms=grace_ms):
            request = CancelRequest(by=by, reason=reason, requested_at=now, hide=hide)
            deadline = None if grace_ms is None else now + grace_ms
            body = replace(body, interrupt_deadline=body.interrupt_deadline or deadline)
            return _ask_owner(dispatch, body, head, request)
        case SupersedeCommand():
            return _supersede_claimed(dispatch, body, head, command, now)
        case ExpireCommand():
            return _expire(dispatch, body, head, command, now)
        case _ as never:
            assert_never(never)


def _supersede_claimed(
    dispatch: Dispatch, body: Claimed, head: ThreadHead, command: SupersedeCommand, now: int
) -> Answer:
    """Ask the owner to go, with a deadline. The head's epoch is the caller's to raise."""
    if body.interrupt_deadline is not None:
        return Refused(why=Refusal.superseded)
    deadline = now + command.grace_ms
    body = replace(body, interrupt_deadline=deadline, superseded_by=command.by_run_id)
    request = CancelRequest(by="system", reason="superseded", requested_at=now, hide=command.hide)
    return _ask_owner(dispatch, body, head, request)


def _ask_owner(
    dispatch: Dispatch, body: Claimed, head: ThreadHead, request: CancelRequest
) -> Answer:
    """The first request stands, but a rollback that follows it still hides the messages."""
    first = body.cancel_request or request
    asked = replace(body, cancel_request=replace(first, hide=first.hide or request.hide))
    dispatch = replace(dispatch, body=asked, updated_at=request.requested_at)
    return Applied(dispatch=dispatch, head=head, effect=Effect.ask_owner)


def _settle(
    dispatch: Dispatch, body: Claimed, head: ThreadHead, command: SettleCommand, now: int
) -> Answer:
    dispatch = replace(dispatch, settled_by=body.claim_token)
    if _stale(dispatch, head):
        return _finish_stale(dispatch, head, now)
    asked = body.cancel_request is not None
    match command.form:
        case Ack(suspended=False):
            effect = Effect.complete_run_cancel_too_late if asked else Effect.complete_run
            return _finish(dispatch, head, How.acked, None, effect, now)
        case Fail(error=error):
            return _finish(dispatch, head, How.dead_letter, error, Effect.fail_run, now)
        case StopNow():
            return _finish_cancelled(dispatch, body, head, now)
        case _ if asked:
            return _finish_cancelled(dispatch, body, head, now)
        case Ack():
            waiting = replace(head, waiting_run=dispatch.run_id)
            return _finish(dispatch, waiting, How.acked, None, Effect.suspend_run, now)
        case RetryAt() as form:
            return _retry(dispatch, head, form, now)
        case Release():
            return _requeue(replace(dispatch, retry_reason="handoff"), head, now, now)
        case _ as never:
            assert_never(never)


def _retry(dispatch: Dispatch, head: ThreadHead, form: RetryAt, now: int) -> Answer:
    # Clamped: a record whose limit was lowered meanwhile must still be representable.
    attempt = min(dispatch.attempt + 1, dispatch.max_attempts)
    counted = replace(dispatch, attempt=attempt, last_error=form.error, retry_reason="retry")
    if attempt >= dispatch.max_attempts:
        return _finish(counted, head, How.dead_letter, form.error, Effect.fail_run, now)
    return _requeue(counted, head, form.available_at, now)


def _expire(
    dispatch: Dispatch, body: Claimed, head: ThreadHead, command: ExpireCommand, now: int
) -> Answer:
    stale = _stale(dispatch, head)
    overdue = body.interrupt_deadline is not None and body.interrupt_deadline < now
    lapsed = command.owner_dead or body.lease_until < now
    if not (lapsed or (stale and overdue)):
        return Refused(why=Refusal.not_expired)
    if stale:
        return _finish_stale(dispatch, head, now)
    if body.cancel_request is not None:
        return _finish_cancelled(dispatch, body, head, now)
    expiries, life = dispatch.expiries + 1, dispatch.life_expiries + 1
    counted = replace(dispatch, expiries=expiries, life_expiries=life, retry_reason="lease_expired")
    if expiries >= MAX_EXPIRIES or life >= MAX_EXPIRIES_IN_LIFE:
        return _finish(counted, head, How.dead_letter, "poison", Effect.fail_run, now)
    return _requeue(counted, head, now, now)


# --- the ways out of a body --------------------------------------------------------------------


def _requeue(dispatch: Dispatch, head: ThreadHead, available_at: int, now: int) -> Applied:
    """Back in the queue; the run stays its thread's active run, so nothing overtakes it."""
    body = Queued(available_at=available_at)
    return Applied(
        dispatch=replace(dispatch, body=body, eligible_at=available_at, updated_at=now),
        head=replace(head, claimed_dispatch=None, queued_count=head.queued_count + 1),
        effect=Effect.requeue_run,
    )


def _finish(
    dispatch: Dispatch, head: ThreadHead, how: How, reason: str | None, effect: Effect, now: int
) -> Applied:
    """Over. A queued one may be of the run that has the thread (in backoff, released) or not."""
    body = Finished(how=how, finished_at=now, reason=reason)
    return Applied(
        dispatch=replace(dispatch, body=body, updated_at=now),
        head=replace(
            head,
            claimed_dispatch=_unless(head.claimed_dispatch, dispatch.dispatch_id),
            active_run=_unless(head.active_run, dispatch.run_id),
            front=_unless(head.front, dispatch.dispatch_id),
            queued_count=head.queued_count - isinstance(dispatch.body, Queued),
        ),
        effect=effect,
    )


def _finish_cancelled(dispatch: Dispatch, body: Claimed, head: ThreadHead, now: int) -> Applied:
    reason = body.cancel_request.reason if body.cancel_request else None
    return _finish(dispatch, head, How.cancelled, reason, Effect.cancel_run, now)


def _finish_stale(dispatch: Dispatch, head: ThreadHead, now: int) -> Applied:
    """A newer run won; or, where a stop raised the epoch without one, the stop did."""
    body = dispatch.body
    if isinstance(body, Claimed) and body.cancel_request and body.superseded_by is None:
        return _finish_cancelled(dispatch, body, head, now)
    reason = "a newer turn took the thread"
    return _finish(dispatch, head, How.superseded, reason, Effect.supersede_run, now)


def _busy(head: ThreadHead, dispatch: Dispatch) -> bool:
    """Whether another goes first: what is claimed, the active or the waiting run, or the front."""
    if head.claimed_dispatch is not None:
        return True
    if head.active_run is not None:
        return head.active_run != dispatch.run_id
    if head.waiting_run is not None:
        return head.waiting_run != dispatch.run_id
    return head.front not in (None, dispatch.dispatch_id)


def _unless(value: str | None, gone: str) -> str | None:
    return None if value == gone else value


def _stale(dispatch: Dispatch, head: ThreadHead) -> bool:
    return dispatch.epoch < head.epoch
