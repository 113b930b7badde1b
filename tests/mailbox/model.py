"""What must happen to threads, runs and dispatches, kept in dictionaries.

The model has no rules of its own about dispatches and lines: it carries commands to
`dispatch.apply` and asks `line.line_row`, as everyone should. It adds what the mailbox adds: which
commands a request comes to, and what their effects mean for runs and unread messages. A request
that is refused raises `Refused` and must have changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from msgspec.structs import replace

from awaken.domain.claim import Claim, holds
from awaken.domain.dispatch import (
    Applied,
    CancelCommand,
    ClaimCommand,
    Claimed,
    Command,
    Dispatch,
    Effect,
    ExpireCommand,
    Finished,
    Mode,
    Queued,
    Refusal,
    RenewCommand,
    SettleCommand,
    SupersedeCommand,
    apply,
)
from awaken.domain.line import LineRow, line_row, rank
from awaken.domain.outcome import Outcome
from awaken.domain.run import RunStatus
from awaken.domain.submission import OnBusy, Stop, Submission
from awaken.domain.thread import ThreadHead
from awaken.mailbox.claim import Claimer
from awaken.mailbox.settle import form_of

GRACE_MS = 2_000
MAX_ATTEMPTS = 3
JITTER = 0.75
PRIORITY = {Mode.foreground: 64, Mode.background: 128, Mode.resume: 64}


class Refused(Exception):
    """The request is refused; `why` is its code."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass
class ModelRun:
    """A run: where it is, and how it must end.

    `said` counts the tokens published of the open step, None when no step is open; `published`
    those of all its steps. `asked` says that a stop was answered `cancel_requested`.
    """

    run_id: str
    dispatch_id: str
    status: RunStatus = RunStatus.created
    activation: int = 0
    ended: str | None = None
    superseded_by: str | None = None
    too_late: bool = False
    said: int | None = None
    published: int = 0
    asked: bool = False
    unread: list[str] = field(default_factory=list)
    ticket: str | None = None


class ModelThread:
    """One thread. A *unit* is one commit: `begin`, changes, `save`."""

    def __init__(self, tenant: str, thread_id: str) -> None:
        self.head = ThreadHead(tenant=tenant, thread_id=thread_id)
        self.dispatches: dict[str, Dispatch] = {}
        self.runs: dict[str, ModelRun] = {}
        self.due: set[str] = set()
        self.line: LineRow | None = None
        self.latest = ""
        self._moved: dict[str, Dispatch] = {}
        self._freed = False
        self._was_claimed = False

    def begin(self, now: int) -> None:
        self.now = now
        self._moved, self._freed = {}, False
        self._was_claimed = self.head.claimed_dispatch is not None

    def save(self) -> None:
        for dispatch_id, dispatch in self._moved.items():
            self.due.discard(dispatch_id)
            if isinstance(dispatch.body, Queued) and dispatch.body.available_at <= self.now:
                self.due.add(dispatch_id)
        still_claimed = self._was_claimed and self.head.claimed_dispatch is not None
        if (self._moved or self._freed) and not still_claimed:
            self.line = self.choice()

    def choice(self) -> LineRow | None:
        """Who may be claimed next."""
        first = None
        if self.head.active_run is not None:
            first = self.dispatches[self.runs[self.head.active_run].dispatch_id]
        elif self.head.front is not None:
            first = self.dispatches[self.head.front]
        # What was due when it was written is early now if the clock was set back meanwhile.
        early = [first] if first else list(takewhile(self.early, self.all_due()))
        self.due -= {dispatch.dispatch_id for dispatch in early if self.early(dispatch)}
        return line_row(self.head, first, self.first_due(), self.now)

    def early(self, dispatch: Dispatch) -> bool:
        return isinstance(dispatch.body, Queued) and dispatch.body.available_at > self.now

    def all_due(self) -> list[Dispatch]:
        return sorted((self.dispatches[dispatch_id] for dispatch_id in self.due), key=_by_rank)

    def first_due(self) -> Dispatch | None:
        return next(iter(self.all_due()), None)

    def queued(self, *, foreground: bool = False) -> list[Dispatch]:
        found = [d for d in self.dispatches.values() if isinstance(d.body, Queued)]
        return sorted((d for d in found if d.foreground or not foreground), key=_by_rank)

    def live(self) -> list[Dispatch]:
        return [d for d in self.dispatches.values() if not isinstance(d.body, Finished)]

    def send(self, dispatch_id: str, command: Command) -> Applied | None:
        """Carry a command to a dispatch; None when it is refused."""
        answer = apply(self.dispatches[dispatch_id], self.head, command, self.now)
        if not isinstance(answer, Applied):
            return None
        self.head = answer.head
        self.keep(answer.dispatch)
        return answer

    def keep(self, dispatch: Dispatch) -> None:
        self.dispatches[dispatch.dispatch_id] = self._moved[dispatch.dispatch_id] = dispatch

    def enqueue(self, dispatch: Dispatch, *, in_front: bool) -> None:
        front = dispatch.dispatch_id if in_front else self.head.front
        count = self.head.queued_count + 1
        self.head = replace(self.head, queued_count=count, front=front)
        self.keep(dispatch)

    def raise_epoch(self) -> None:
        self.head = replace(self.head, epoch=self.head.epoch + 1)

    def end(self, run: ModelRun, ended: str, by: str | None = None) -> None:
        """`finish`."""
        run.status, run.ended, run.superseded_by = RunStatus.done, ended, by
        run.unread, run.said, run.ticket = [], None, None
        if self.head.waiting_run == run.run_id:
            self.head = replace(self.head, waiting_run=None)
            self._freed = True


def _by_rank(dispatch: Dispatch) -> tuple[int, str]:
    return dispatch.rank, dispatch.dispatch_id


class Model:
    """All threads of all tenants. Each method is one request or one command."""

    def __init__(self) -> None:
        self.threads: dict[tuple[str, str], ModelThread] = {}

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
        assert sub.thread_id is not None
        key = (sub.tenant, sub.thread_id)
        thread = self.threads.get(key) or ModelThread(*key)
        if sub.dedupe_key and any(d.dedupe_key == sub.dedupe_key for d in thread.live()):
            raise Refused("duplicate_dedupe_key")
        head = thread.head
        busy = bool(head.active_run or head.queued_count or head.waiting_run)
        if busy and sub.on_busy is OnBusy.reject:
            raise Refused("thread_busy")
        self.threads[key] = thread
        thread.begin(now)
        inherited = []
        if busy and sub.on_busy is OnBusy.interrupt:
            inherited = _interrupt(thread, sub)
        thread.enqueue(
            _new_dispatch(thread, sub, dispatch_id, now),
            in_front=sub.on_busy is OnBusy.interrupt
            and thread.head.waiting_run is None
            and (sub.available_at or now) <= now,
        )
        own = [message.message_id for message in sub.messages]
        run = ModelRun(sub.run_id, dispatch_id, unread=inherited + own)
        thread.runs[run.run_id] = run
        thread.latest = run.run_id
        thread.save()
        # Only who is next is claimed at once: nobody is overtaken.
        if claimer is not None and thread.line and thread.line.dispatch_id == dispatch_id:
            _claim(thread, dispatch_id, claimer)
            thread.save()
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

    def settle(self, claim: Claim, outcome: Outcome, tokens: int | None, now: int) -> Effect | None:
        """End a claim; None when nothing changes.

        So many tokens are published in the same commit; None: no step is opened by it either.
        """
        thread, dispatch = self._of(claim)
        if dispatch.settled_by == claim.claim_token:
            return None
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

    def cancel_run(self, thread: ModelThread, run_id: str, now: int) -> Stop:
        thread.begin(now)
        stop = _stop(thread, thread.runs[run_id])
        thread.save()
        return stop

    def cancel_thread(self, thread: ModelThread, now: int, *, new_epoch: bool) -> int:
        thread.begin(now)
        runs = list(thread.runs.values())
        holding = [r for r in runs if r.run_id == thread.head.active_run]
        waiting = [r for r in runs if r.status is RunStatus.waiting]
        stopped = sum(_stop(thread, run) is Stop.requested for run in holding + waiting)
        queued = [thread.runs[dispatch.run_id] for dispatch in thread.queued()]
        stopped += sum(_stop(thread, run) is Stop.requested for run in queued)
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


def _interrupt(thread: ModelThread, sub: Submission) -> list[str]:
    """Take the thread; the unread messages that are inherited."""
    command = SupersedeCommand(by_run_id=sub.run_id, grace_ms=GRACE_MS)
    if thread.head.waiting_run is not None and sub.mode is Mode.foreground:
        waiting = thread.runs[thread.head.waiting_run]
        thread.send(waiting.dispatch_id, SupersedeCommand(by_run_id=sub.run_id, grace_ms=0))
        thread.end(waiting, "superseded", sub.run_id)
    thread.raise_epoch()
    inherited = []
    for queued in thread.queued(foreground=True):
        run = thread.runs[queued.run_id]
        inherited += run.unread
        assert thread.send(queued.dispatch_id, command)
        thread.end(run, "superseded", sub.run_id)
    if thread.head.active_run is not None:
        run = thread.runs[thread.head.active_run]
        answer = thread.send(run.dispatch_id, command)
        if answer is not None and answer.effect is Effect.supersede_run:
            thread.end(run, "superseded", sub.run_id)
    return inherited


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


def _claim(thread: ModelThread, dispatch_id: str, claimer: Claimer) -> bool:
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
    run.status, run.unread = RunStatus.running, []
    run.activation += not retried
    return True


def _carry_out(thread: ModelThread, run: ModelRun, body: Claimed, effect: Effect | None) -> None:
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
            thread.end(run, "cancelled")
        case Effect.supersede_run:
            thread.end(run, "superseded", body.superseded_by)
        case Effect.requeue_run:
            pass
        case _:
            raise AssertionError(f"a claim does not end with {effect}")


def _stop(thread: ModelThread, run: ModelRun) -> Stop:
    if run.status is RunStatus.done:
        return Stop.too_late
    run.asked = True
    answer = thread.send(run.dispatch_id, CancelCommand(by="ada"))
    if answer is None or answer.effect is not Effect.ask_owner:
        thread.end(run, "cancelled")
    return Stop.requested
