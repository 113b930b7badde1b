"""What must happen to threads, runs and dispatches, kept in dictionaries.

The model has no rules of its own about dispatches and lines: it carries commands to
`dispatch.apply` and asks `line.line_row`, as everyone should. It adds what the mailbox adds: which
commands a request comes to, and what their effects mean for runs and unread messages. A request
that is refused raises `Refused` and must have changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from awaken.domain.claim import Claim, holds
from awaken.domain.delivery import Boundary
from awaken.domain.dispatch import (
    Applied,
    CancelCommand,
    ClaimCommand,
    Claimed,
    Dispatch,
    Effect,
    ExpireCommand,
    Mode,
    Queued,
    Refusal,
    RenewCommand,
    SettleCommand,
    SupersedeCommand,
    apply,
)
from awaken.domain.line import LineRow, rank
from awaken.domain.outcome import Completed, Outcome
from awaken.domain.run import RunStatus
from awaken.domain.submission import OnBusy, Stop, Submission
from awaken.mailbox.claim import Claimer
from awaken.mailbox.settle import form_of
from awaken.mailbox.steer import STEER

from .model_thread import PRIORITY, ModelEntry, ModelRun, ModelThread

GRACE_MS = 2_000
MAX_ATTEMPTS = 3
JITTER = 0.75
EARLY_STOP_MS = 60_000
TAKES = (OnBusy.interrupt, OnBusy.rollback)


class Refused(Exception):
    """The request is refused; `why` is its code."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Model:
    """All threads of all tenants. Each method is one request or one command."""

    def __init__(self) -> None:
        self.threads: dict[tuple[str, str], ModelThread] = {}
        self.early_stops: dict[tuple[str, str, str], int] = {}

    def thread(self, tenant: str, thread_id: str) -> ModelThread:
        return self.threads[tenant, thread_id]

    def line(self, *, foreground_only: bool = False) -> LineRow | None:
        """The row with the smallest rank."""
        rows = [thread.line for thread in self.threads.values() if thread.line is not None]
        wanted = [row for row in rows if row.foreground or not foreground_only]
        return min(wanted, key=lambda row: (row.rank, row.dispatch_id), default=None)

    # --- submit

    def submit(
        self, sub: Submission, dispatch_id: str, claimer: Claimer | None, now: int
    ) -> ModelRun:
        """The new run, or the one that is steered."""
        assert sub.thread_id is not None
        key = (sub.tenant, sub.thread_id)
        thread = self.threads.get(key) or ModelThread(*key)
        (message,) = sub.messages
        stopped = self.early_stops.get((*key, message.message_id), 0) > now
        if not stopped:
            _check(thread, sub)
        self.threads[key] = thread
        thread.begin(now)
        target = thread.going_on() if sub.on_busy is OnBusy.steer and not stopped else None
        dispatch = _new_dispatch(thread, sub, dispatch_id, now)
        if target is not None:
            mode = sub.delivery or STEER
            entry = ModelEntry(
                message.message_id,
                message.text,
                target.run_id,
                mode=replace(mode, target_run=target.run_id),
                follow_up=dispatch if mode.fallback else None,
            )
            thread.queue.append(entry)
            thread.queue_changed()
            thread.save()
            return target
        inherited = []
        if not stopped and sub.on_busy in TAKES and thread.busy:
            inherited = _interrupt(thread, sub)
            dispatch = replace(dispatch, epoch=thread.head.epoch)
        takes = not stopped and sub.on_busy in TAKES and thread.head.waiting_run is None
        thread.enqueue(dispatch, in_front=takes and dispatch.eligible_at <= now)
        run = ModelRun(sub.run_id, dispatch_id)
        thread.runs[run.run_id] = run
        own = [(entry.message_id, entry.text) for entry in inherited]
        own.append((message.message_id, message.text))
        thread.queue += [ModelEntry(*each, run.run_id) for each in own]
        thread.latest = run.run_id
        if stopped:
            thread.send(dispatch_id, CancelCommand(by="ada"))
            thread.end(run, "cancelled")
            thread.save()
            return run
        thread.save()
        # Only who is next is claimed at once: nobody is overtaken.
        if claimer is not None and thread.line and thread.line.dispatch_id == dispatch_id:
            _claim(thread, dispatch_id, claimer, just_staged=True)
            thread.save()
        else:
            thread.queue_changed()
        return run

    # --- claim

    def claim(self, claimers: Iterable[Claimer], now: int, *, foreground_only: bool) -> list[str]:
        """The ids of the dispatches that are claimed."""
        claimed = []
        for claimer in claimers:
            row = self.line(foreground_only=foreground_only)
            if row is None:
                break
            thread = self.thread(row.tenant, row.thread_id)
            thread.begin(now)
            if _claim(thread, row.dispatch_id, claimer):
                claimed.append(row.dispatch_id)
            thread.save()
        return claimed

    # --- the owner, or who believes to be it

    def append(self, claim: Claim, batch_no: int, tokens: int, now: int) -> Refusal | None:
        """Write a batch; None when it is written, or was."""
        thread, dispatch = self._of(claim)
        body = dispatch.body
        ours = isinstance(body, Claimed) and body.claim_token == claim.claim_token
        if isinstance(body, Claimed) and ours and body.batch_no >= batch_no:
            return None
        refusal = holds(dispatch, thread.head, claim.claim_token)
        if refusal is None:
            assert isinstance(body, Claimed)
            written = replace(dispatch, body=replace(body, batch_no=batch_no))
            thread.dispatches[dispatch.dispatch_id] = written
            run = thread.runs[claim.run_id]
            run.said = (run.said or 0) + tokens
            run.published += tokens
        return refusal

    def renew(self, claim: Claim, now: int) -> Refusal | None:
        thread, dispatch = self._of(claim)
        thread.begin(now)
        answer = apply(dispatch, thread.head, RenewCommand(claim_token=claim.claim_token), now)
        if not isinstance(answer, Applied):
            return answer.why
        thread.send(dispatch.dispatch_id, RenewCommand(claim_token=claim.claim_token))
        thread.save()
        return None

    def settle(
        self,
        claim: Claim,
        outcome: Outcome,
        tokens: int | None,
        now: int,
        *,
        batch_no: int,
        steerable: bool,
    ) -> Effect | Literal["goes on"] | None:
        """End a claim, or let its run go on; None when nothing changes.

        So many tokens are published in the same commit, as batch `batch_no`; None: no step is
        opened by it either.
        """
        thread, dispatch = self._of(claim)
        body = dispatch.body
        if dispatch.settled_by == claim.claim_token:
            return None
        ours = isinstance(body, Claimed) and body.claim_token == claim.claim_token
        if isinstance(body, Claimed) and ours and body.turn > claim.turn:
            return None
        if steerable and isinstance(outcome, Completed) and _goes_on(thread, dispatch, claim):
            _next_turn(thread, dispatch, tokens, now, batch_no)
            return "goes on"
        form = form_of(outcome, dispatch.attempt, now, JITTER)
        stale = dispatch.epoch < thread.head.epoch
        thread.begin(now)
        command = SettleCommand(claim_token=claim.claim_token, form=form)
        answer = thread.send(dispatch.dispatch_id, command)
        if answer is None:
            return None
        assert isinstance(dispatch.body, Claimed)
        run = thread.runs[claim.run_id]
        if tokens is not None and not stale:
            run.said = (run.said or 0) + tokens
            run.published += tokens
        _carry_out(thread, run, dispatch.body, answer.effect)
        thread.save()
        return answer.effect

    def _of(self, claim: Claim) -> tuple[ModelThread, Dispatch]:
        thread = self.thread(claim.tenant, claim.thread_id)
        return thread, thread.dispatches[claim.dispatch_id]

    # --- stopping and deciding

    def cancel_message(self, place: tuple[str, str], message_id: str, now: int) -> Stop:
        thread = self.threads.get(place)
        entry = thread.waits(message_id) if thread else None
        run_id = entry.run_id if entry else thread.read.get(message_id) if thread else None
        if thread is None or run_id is None:
            self.early_stops[*place, message_id] = now + EARLY_STOP_MS
            return Stop.requested
        thread.begin(now)
        if entry is not None and entry.mode.target_run is not None:
            thread.queue.remove(entry)
            thread.queue_changed()
            return Stop.requested
        stop = _stop(thread, thread.runs[run_id])
        thread.save()
        return stop

    def cancel_run(self, thread: ModelThread, run_id: str, now: int) -> Stop:
        thread.begin(now)
        stop = _stop(thread, thread.runs[run_id])
        thread.save()
        return stop

    def cancel_thread(self, thread: ModelThread, now: int, *, new_epoch: bool) -> int:
        thread.begin(now)
        grace_ms = GRACE_MS if new_epoch else None
        runs = list(thread.runs.values())
        unfinished = [r for r in runs if r.run_id == thread.head.active_run]
        unfinished += [r for r in runs if r.status is RunStatus.waiting]
        stopped = sum(_stop(thread, run, grace_ms) is Stop.requested for run in unfinished)
        queued = [thread.runs[dispatch.run_id] for dispatch in thread.queued()]
        stopped += sum(_stop(thread, run, grace_ms) is Stop.requested for run in queued)
        if new_epoch and stopped:
            thread.raise_epoch()
        thread.save()
        return stopped

    def decide(self, thread: ModelThread, run: ModelRun, dispatch_id: str, now: int) -> None:
        """The only open ticket of a waiting run is closed: it goes on before all others."""
        thread.begin(now)
        resume = Dispatch(
            tenant=thread.head.tenant,
            dispatch_id=dispatch_id,
            thread_id=thread.head.thread_id,
            run_id=run.run_id,
            mode=Mode.resume,
            epoch=thread.head.epoch,
            rank=rank(now, PRIORITY[Mode.resume]),
            eligible_at=now,
            created_at=now,
            updated_at=now,
            body=Queued(available_at=now),
            priority=PRIORITY[Mode.resume],
            life_expiries=thread.dispatches[run.dispatch_id].life_expiries,
            max_attempts=MAX_ATTEMPTS,
        )
        thread.enqueue(resume, in_front=True)
        run.dispatch_id, run.ticket = dispatch_id, None
        thread.save()

    # --- what waits to be read

    def edit(self, thread: ModelThread, message_id: str, text: str, revision: int) -> None:
        entry = _changeable(thread, message_id, revision)
        entry.text, entry.revision = text, revision + 1
        thread.queue_changed()

    def retract(self, thread: ModelThread, message_id: str, revision: int, now: int) -> None:
        entry = _changeable(thread, message_id, revision)
        thread.begin(now)
        thread.queue.remove(entry)
        thread.queue_changed()
        run = thread.runs[entry.run_id]
        if run.status is RunStatus.created and not thread.unread(run.run_id):
            thread.send(run.dispatch_id, CancelCommand(by="system", reason="nothing_to_do"))
            thread.end(run, "cancelled")
        thread.save()

    def reorder(self, thread: ModelThread, message_ids: list[str], revision: int, now: int) -> None:
        if sorted(message_ids) != sorted(entry.message_id for entry in thread.queue):
            raise Refused("invalid_field")
        if revision != thread.head.pending_revision:
            raise Refused("stale_revision")
        thread.begin(now)
        thread.queue.sort(key=lambda entry: message_ids.index(entry.message_id))
        thread.queue_changed()
        for entry in thread.queue:
            entry.revision += 1
        runs = [thread.runs[run_id] for run_id in dict.fromkeys(e.run_id for e in thread.queue)]
        waiting = [thread.dispatches[r.dispatch_id] for r in runs if r.status is RunStatus.created]
        ranks = sorted(dispatch.rank for dispatch in waiting)
        for dispatch, place in zip(waiting, ranks, strict=True):
            thread.keep(replace(dispatch, rank=place, updated_at=now))
        ids = [dispatch.dispatch_id for dispatch in waiting]
        if thread.head.front in ids:
            thread.head = replace(thread.head, front=ids[0])
        thread.save()

    # --- time

    def expire(
        self, thread: ModelThread, dispatch_id: str, now: int, *, owner_dead: bool
    ) -> Effect | None:
        dispatch = thread.dispatches[dispatch_id]
        thread.begin(now)
        answer = thread.send(dispatch_id, ExpireCommand(owner_dead=owner_dead))
        if answer is None:
            return None
        assert isinstance(dispatch.body, Claimed)
        _carry_out(thread, thread.runs[dispatch.run_id], dispatch.body, answer.effect)
        thread.save()
        return answer.effect

    def sweep(self, now: int) -> None:
        for thread in self.threads.values():
            claimed = thread.head.claimed_dispatch
            if claimed is not None:
                self.expire(thread, claimed, now, owner_dead=False)
            thread.begin(now)
            for dispatch in thread.queued():
                assert isinstance(dispatch.body, Queued)
                if dispatch.dispatch_id not in thread.due and dispatch.body.available_at <= now:
                    thread.keep(dispatch)
            thread.save()

    def next_due_at(self) -> int | None:
        """When something is to be done though nothing happens."""
        times: list[int] = []
        for thread in self.threads.values():
            for dispatch in thread.live():
                match dispatch.body:
                    case Queued(available_at=at) if dispatch.dispatch_id not in thread.due:
                        times.append(at)
                    case Claimed(lease_until=until, interrupt_deadline=deadline):
                        times += [until] if deadline is None else [until, deadline]
        return min(times, default=None)


# --- what commands come to -----------------------------------------------------------------------


def _check(thread: ModelThread, sub: Submission) -> None:
    """Raise what the submission is refused for."""
    if sub.dedupe_key and any(d.dedupe_key == sub.dedupe_key for d in thread.live()):
        raise Refused("duplicate_dedupe_key")
    if sub.on_busy is OnBusy.reject and thread.busy:
        raise Refused("thread_busy")
    alone = sub.delivery is not None and not sub.delivery.fallback
    if sub.on_busy is OnBusy.steer and alone and thread.going_on() is None:
        raise Refused("run_not_active")


def _interrupt(thread: ModelThread, sub: Submission) -> list[ModelEntry]:
    """Take the thread; what was not read yet is inherited, or dropped by a rollback."""
    hide = sub.on_busy is OnBusy.rollback
    command = SupersedeCommand(by_run_id=sub.run_id, grace_ms=GRACE_MS, hide=hide)
    inherited: list[ModelEntry] = []
    if thread.head.waiting_run is not None and sub.mode is Mode.foreground:
        waiting = thread.runs[thread.head.waiting_run]
        inherited += thread.take(waiting.run_id)
        thread.send(waiting.dispatch_id, SupersedeCommand(by_run_id=sub.run_id, grace_ms=0))
        thread.end(waiting, "superseded", sub.run_id, hide=hide)
    thread.raise_epoch()
    if thread.head.active_run is not None:
        inherited += thread.take(thread.head.active_run)
    for queued in thread.queued(foreground=True):
        run = thread.runs[queued.run_id]
        inherited += thread.take(run.run_id)
        assert thread.send(queued.dispatch_id, command)
        thread.end(run, "superseded", sub.run_id, hide=hide)
    if thread.head.active_run is not None:
        run = thread.runs[thread.head.active_run]
        answer = thread.send(run.dispatch_id, command)
        if answer is not None and answer.effect is Effect.supersede_run:
            thread.end(run, "superseded", sub.run_id, hide=hide)
        elif answer is None and hide:  # it gives way to another run already
            again = CancelCommand(by="system", reason="superseded", hide=True)
            thread.send(run.dispatch_id, again)
    if hide and inherited:
        thread.queue_changed()
    return [] if hide else inherited


def _changeable(thread: ModelThread, message_id: str, revision: int) -> ModelEntry:
    entry = thread.waits(message_id)
    if entry is None:
        raise Refused("already_consumed" if message_id in thread.read else "message_not_found")
    if entry.revision != revision:
        raise Refused("stale_revision")
    return entry


def _goes_on(thread: ModelThread, dispatch: Dispatch, claim: Claim) -> bool:
    """Whether something came for the run while it came to its end, and nobody stops it."""
    body = dispatch.body
    if holds(dispatch, thread.head, claim.claim_token) is not None:
        return False
    assert isinstance(body, Claimed)
    return body.cancel_request is None and bool(thread.unread(claim.run_id))


def _next_turn(
    thread: ModelThread, dispatch: Dispatch, tokens: int | None, now: int, batch_no: int
) -> None:
    run, body = thread.runs[dispatch.run_id], dispatch.body
    assert isinstance(body, Claimed)
    thread.begin(now)
    run.published += tokens or 0
    run.said, run.turn = None, run.turn + 1
    assert thread.consume(run, Boundary.on_natural_end)
    body = replace(body, batch_no=max(body.batch_no, batch_no), turn=body.turn + 1)
    thread.keep(replace(dispatch, body=body, attempt=0, expiries=0, updated_at=now))
    thread.save()


def _new_dispatch(thread: ModelThread, sub: Submission, dispatch_id: str, now: int) -> Dispatch:
    available_at = max(now, sub.available_at or 0)
    priority = PRIORITY[sub.mode] if sub.priority is None else sub.priority
    return Dispatch(
        tenant=sub.tenant,
        dispatch_id=dispatch_id,
        thread_id=thread.head.thread_id,
        run_id=sub.run_id,
        mode=sub.mode,
        epoch=thread.head.epoch,
        rank=rank(available_at, priority),
        eligible_at=available_at,
        created_at=now,
        updated_at=now,
        body=Queued(available_at=available_at),
        priority=priority,
        dedupe_key=sub.dedupe_key,
        max_attempts=MAX_ATTEMPTS,
    )


def _claim(
    thread: ModelThread, dispatch_id: str, claimer: Claimer, *, just_staged: bool = False
) -> bool:
    """Claim what the line offers: it starts, or is found to be stale and ends."""
    command = ClaimCommand(
        claim_token=claimer.claim_token, worker_id=claimer.worker_id, lease_ms=claimer.lease_ms
    )
    retried = thread.dispatches[dispatch_id].retry_reason is not None
    answer = thread.send(dispatch_id, command)
    if answer is None:
        thread.keep(thread.dispatches[dispatch_id])
        return False
    run = thread.runs[answer.dispatch.run_id]
    if answer.effect is Effect.supersede_run:
        thread.end(run, "superseded", thread.latest)
        return False
    if run.activation == 0:
        thread.consume(run, Boundary.new_run, just_staged=just_staged)
    run.status = RunStatus.running
    run.activation += not retried
    return True


def _carry_out(thread: ModelThread, run: ModelRun, body: Claimed, effect: Effect | None) -> None:
    hide = body.cancel_request is not None and body.cancel_request.hide
    match effect:
        case Effect.complete_run:
            thread.end(run, "natural_end")
        case Effect.complete_run_cancel_too_late:
            thread.end(run, "natural_end")
            run.too_late = True
        case Effect.suspend_run:
            run.status, run.said = RunStatus.waiting, None
        case Effect.fail_run:
            thread.end(run, "error")
        case Effect.cancel_run:
            thread.end(run, "cancelled", hide=hide)
        case Effect.supersede_run:
            thread.end(run, "superseded", body.superseded_by, hide=hide)
        case Effect.requeue_run:
            pass
        case _:
            raise AssertionError(f"a claim does not end with {effect}")


def _stop(thread: ModelThread, run: ModelRun, grace_ms: int | None = None) -> Stop:
    if run.status is RunStatus.done:
        return Stop.too_late
    run.asked = True
    answer = thread.send(run.dispatch_id, CancelCommand(by="ada", grace_ms=grace_ms))
    if answer is not None and answer.effect is Effect.ask_owner:
        thread.leave(run, stopped=True)
    else:
        thread.end(run, "cancelled")
    return Stop.requested
