"""The mailbox's operations on a real store, against a model: whatever is done, in whatever order.

Workers, clients and sweepers of two tenants do things at random, also with claims that are long
over, while the clock jumps. `model.Model` says what must come of it. After each step the rows of
the store equal the model's; what was refused has changed nothing at all; what is over stays as it
is. At the end all work is done, and the history of every thread is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from awaken.domain.agent import resolution_id
from awaken.domain.claim import Claim
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Claimed, Dispatch, Effect, Finished, Mode, Refusal
from awaken.domain.event import Event, RunFinish, Segment, StepStart, TextDelta
from awaken.domain.line import LineRow
from awaken.domain.message import Message, Role, StoredMessage, TextBlock
from awaken.domain.outcome import (
    CancelledOutcome,
    Completed,
    Failed,
    Failure,
    Interrupted,
    Outcome,
    Retry,
    StepClose,
    SupersededOutcome,
    Suspended,
)
from awaken.domain.record import Record
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import OnBusy, Stop
from awaken.domain.termination import Cancelled, NaturalEnd, Superseded
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Decision, Ticket, WaitingReason
from awaken.errors import AwakenError
from awaken.mailbox.claim import Claimer, claim_next
from awaken.mailbox.control import Stopper, cancel_run, cancel_thread
from awaken.mailbox.decide import Verdict, decide
from awaken.mailbox.lease import renew_all
from awaken.mailbox.settle import expire, settle
from awaken.mailbox.submit import Order, submit
from awaken.ports.events import Unwritten
from awaken.ports.store import Operation, Transaction, operation
from awaken.stores.sqlite import SqliteStore
from awaken.streams.writer import append_batch
from awaken.testing.history import read_history, violations

from .model import GRACE_MS, JITTER, MAX_ATTEMPTS, Model, ModelRun, ModelThread, Refused
from .process import SPEC, TEXT, TOKENS, Process, SettableClock, submission

T = TypeVar("T")

LEASE_MS = 30_000
STOPPER = Stopper(by="ada")
FAILURE = Failure(code="overloaded", message="busy")
Place = tuple[str, str]
"""A tenant, and a thread of it; two tenants have threads of one name."""

places = st.sampled_from([("acme", "t1")] * 3 + [("acme", "t2"), ("zeta", "t1")])
picks = st.integers(0, 7)
priorities = st.sampled_from([None, None, 0, 255])
modes = st.sampled_from([Mode.foreground, Mode.foreground, Mode.background])
jumps = st.sampled_from([1, 250, 1_999, 2_001, 29_999, 30_001, 600_000, 864_000_000])
outcomes = st.sampled_from(["completed", "retry", "retry", "failed", "cancelled", "released"])


class Rows(Record):
    """All rows of one thread."""

    head: ThreadHead
    thread: Thread | None
    runs: dict[str, Run]
    dispatches: dict[str, Dispatch]
    first_due: str | None
    pending: tuple[PendingEntry, ...]
    messages: tuple[StoredMessage, ...]
    segments: dict[str, tuple[Segment, ...]]


class Everything(Record):
    """All rows, and who is first in line: of all, and of those with a client that waits."""

    threads: dict[tuple[str, str], Rows]
    line: LineRow | None
    foreground_line: LineRow | None


class Mailboxes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = SettableClock()
        opened = SqliteStore.open(":memory:", clock=self.clock, worker_id="w1")
        self.store = self.wait(opened)
        self.model = Model()
        self.claims: list[Claim] = []
        self.numbers = 0
        self.over: dict[str, Run | Dispatch] = {}
        self.rows = self.wait(self.store.transact(self.read_everything))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # --- clients

    @precondition(lambda self: self.room())
    @rule(place=places, mode=modes, priority=priorities, with_slot=st.booleans())
    def enqueue(self, place: Place, mode: Mode, priority: int | None, with_slot: bool) -> None:
        fields = {"mode": mode, "on_busy": OnBusy.enqueue, "priority": priority}
        self.submit(place, with_slot=with_slot, **fields)

    @precondition(lambda self: self.room())
    @rule(place=places, mode=modes, with_slot=st.booleans())
    def interrupt(self, place: Place, mode: Mode, with_slot: bool) -> None:
        self.submit(place, mode=mode, on_busy=OnBusy.interrupt, with_slot=with_slot)

    @precondition(lambda self: self.room())
    @rule(place=places, mode=modes, with_slot=st.booleans())
    def submit_or_be_refused(self, place: Place, mode: Mode, with_slot: bool) -> None:
        self.submit(place, mode=mode, on_busy=OnBusy.reject, with_slot=with_slot)

    @precondition(lambda self: self.room())
    @rule(
        place=places,
        delay=st.sampled_from([500, 60_000]),
        key=st.sampled_from([None, "k"]),
        on_busy=st.sampled_from([OnBusy.enqueue, OnBusy.enqueue, OnBusy.interrupt]),
        with_slot=st.booleans(),
    )
    def submit_for_later(
        self, place: Place, delay: int, key: str | None, on_busy: OnBusy, with_slot: bool
    ) -> None:
        self.submit(
            place,
            mode=Mode.background,
            on_busy=on_busy,
            available_at=self.now + delay,
            dedupe_key=key,
            with_slot=with_slot,
        )

    def submit(self, place: Place, *, with_slot: bool, **fields: object) -> None:
        tenant, thread_id = place
        sub = submission(self.new("run"), "hi", tenant=tenant, thread_id=thread_id, **fields)
        order = Order(
            submission=sub,
            thread_id=thread_id,
            dispatch_id=self.new("dispatch"),
            resolution_id=resolution_id(SPEC),
            spec=SPEC,
            max_attempts=MAX_ATTEMPTS,
            grace_ms=GRACE_MS,
            claimer=self.claimer() if with_slot else None,
        )
        try:
            run = self.model.submit(sub, order.dispatch_id, order.claimer, self.now)
        except Refused as refused:
            self.must_refuse(operation(submit, order), refused.why)
            return
        submitted = self.do(operation(submit, order))
        assert submitted.accepted.status is run.status
        assert (submitted.claim is not None) == (run.status is RunStatus.running)
        if submitted.claim is not None:
            self.claims.append(submitted.claim)
        again = self.do(operation(submit, order), changes=False)
        cursor = (
            submitted.accepted.cursor
        )  # one as good as the other: no entry of the run is before
        assert replace(again, accepted=replace(again.accepted, cursor=cursor)) == submitted

    @precondition(lambda self: self.numbers % 3 == 0 and self.all_runs())
    @rule(pick=picks)
    def cancel_run(self, pick: int) -> None:
        thread, run = self.pick_run(pick)
        stop = self.model.cancel_run(thread, run.run_id, self.now)
        op = operation(cancel_run, thread.head.tenant, run.run_id, STOPPER)
        assert self.do(op, changes=stop is Stop.requested) is stop

    @precondition(lambda self: self.numbers % 4 == 0 and self.model.threads)
    @rule(pick=picks, new_epoch=st.booleans())
    def cancel_thread(self, pick: int, new_epoch: bool) -> None:
        thread = self.pick_thread(pick)
        stopped = self.model.cancel_thread(thread, self.now, new_epoch=new_epoch)
        op = operation(
            cancel_thread,
            thread.head.tenant,
            thread.head.thread_id,
            STOPPER,
            new_epoch=new_epoch,
        )
        assert self.do(op, changes=stopped > 0).stopped == stopped

    @precondition(lambda self: self.waiting())
    @rule(pick=picks)
    def decide(self, pick: int) -> None:
        waiting = self.waiting()
        thread, run = waiting[pick % len(waiting)]
        verdict = self.verdict(run)
        self.model.decide(thread, run, verdict.dispatch_id, self.now)
        op = operation(decide, thread.head.tenant, verdict)
        assert self.do(op).resumed
        assert self.do(op, changes=False).resumed, "a repeated decision is answered from the record"

    # --- workers

    @precondition(lambda self: self.model.line())
    @rule(count=st.integers(1, 3), foreground_only=st.sampled_from([False, False, True]))
    def claim(self, count: int, foreground_only: bool) -> None:
        claimers = tuple(self.claimer() for _ in range(count))
        offered = self.model.line(foreground_only=foreground_only)
        expected = self.model.claim(claimers, self.now, foreground_only=foreground_only)
        op = operation(claim_next, claimers, foreground_only=foreground_only)
        claims = self.do(op, changes=offered is not None)
        assert [claim.dispatch_id for claim in claims] == expected
        self.claims += claims

    @precondition(lambda self: self.owners())
    @rule(pick=picks, count=st.integers(1, 2))
    def append_as_owner(self, pick: int, count: int) -> None:
        owners = self.owners()
        claim = owners[pick % len(owners)]
        body = self.dispatch(claim).body
        assert isinstance(body, Claimed)
        self.append(claim, body.batch_no + 1, count)

    @precondition(lambda self: len(self.claims) > 1)
    @rule(pick=picks, batch_no=st.integers(1, 3))
    def append_with_any_claim_and_number(self, pick: int, batch_no: int) -> None:
        claim = self.pick_claim(pick)
        body = self.dispatch(claim).body
        if isinstance(body, Claimed) and body.claim_token == claim.claim_token:
            batch_no = min(batch_no, body.batch_no + 1)  # batches are written in order
        self.append(claim, batch_no, 1)

    @precondition(lambda self: self.model.line() and not self.owners())
    @rule(count=st.integers(1, 2))
    def claim_and_begin(self, count: int) -> None:
        self.claim(1, False)
        if self.owners():
            self.append_as_owner(0, count)

    @precondition(lambda self: self.owners())
    @rule(pick=picks)
    def complete_as_owner(self, pick: int) -> None:
        self.settle_as_owner(pick, "completed", 0)

    @precondition(lambda self: self.owners())
    @rule(pick=picks)
    def suspend_as_owner(self, pick: int) -> None:
        self.settle_as_owner(pick, "suspended", 0)

    @precondition(lambda self: self.owners())
    @rule(pick=picks, kind=outcomes, tokens=st.integers(0, 1))
    def settle_as_owner(self, pick: int, kind: str, tokens: int) -> None:
        owners = self.owners()
        self.settle(owners[pick % len(owners)], kind, tokens)

    @precondition(lambda self: len(self.claims) > 1)
    @rule(pick=picks, kind=outcomes, tokens=st.integers(0, 1))
    def settle_with_any_claim(self, pick: int, kind: str, tokens: int) -> None:
        self.settle(self.pick_claim(pick), kind, tokens)

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def renew_with_any_claim(self, pick: int) -> None:
        claim = self.pick_claim(pick)
        refusal = self.model.renew(claim, self.now)
        op = operation(renew_all, (claim,))
        (renewal,) = self.do(op, changes=refusal is None)
        assert renewal.refused == (refusal and refusal.value)
        body = self.dispatch(claim).body
        if refusal is None:
            assert isinstance(body, Claimed)
            assert renewal.cancel_request == body.cancel_request, "a lost hint costs one renewal"

    # --- time

    @rule(ms=jumps)
    def let_time_pass(self, ms: int) -> None:
        self.clock.advance(ms / 1000)

    @rule(ms=st.sampled_from([5, 600, 3_600_000]))
    def set_the_clock_back(self, ms: int) -> None:
        self.clock.ahead_ms -= ms

    @rule()
    def sweep(self) -> None:
        self.model.sweep(self.now)
        self.wait(Process(self.store, self.clock, "sweeper").sweeper.sweep())
        self.check()

    @precondition(lambda self: self.owners())
    @rule(pick=picks)
    def find_the_owner_dead(self, pick: int) -> None:
        owners = self.owners()
        claim = owners[pick % len(owners)]
        seen = self.dispatch(claim)
        thread = self.model.thread(claim.tenant, claim.thread_id)
        effect = self.model.expire(thread, claim.dispatch_id, self.now, owner_dead=True)
        assert effect is not None
        assert self.do(operation(expire, seen, owner_dead=True)) is effect
        again = self.do(operation(expire, seen, owner_dead=True), changes=False)
        assert again is Refusal.lease_lost, "a claim that moved on is left alone"
        if self.model.line() is not None:
            self.claim(1, False)
            self.do(operation(expire, seen, owner_dead=True), changes=False)

    # --- the end

    def teardown(self) -> None:
        try:
            self.wait(self.end())
        finally:
            self.wait(self.store.aclose())
            self.runner.close()

    async def end(self) -> None:
        """Do all work that is left, and check the history of every thread."""
        self.clock.ahead_ms = 0
        process = Process(self.store, self.clock, "last")
        for thread, waiting in self.waiting():
            verdict = self.verdict(waiting)
            await self.store.transact(operation(decide, thread.head.tenant, verdict))
        await process.work_to_the_end(self.clock)
        for tenant, thread_id in self.model.threads:
            history = await read_history(self.store, tenant, thread_id)
            broken = violations(history)
            assert not broken, "\n".join(broken)
            known = self.model.thread(tenant, thread_id).runs
            for run in history.runs:
                ends = [e.event for e in history.entries if e.run_id == run.run_id]
                check_end(run, known[run.run_id], ends)

    # --- how

    @property
    def now(self) -> int:
        return self.clock.now()

    def new(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}-{self.numbers}"

    def claimer(self) -> Claimer:
        return Claimer(claim_token=self.new("token"), worker_id="w1", lease_ms=LEASE_MS)

    def do(self, op: Operation[T], *, changes: bool = True) -> T:
        """Run an operation, and compare; without `changes` not a single row may differ."""
        before = self.rows
        answer = self.wait(self.store.transact(op))
        self.check()
        assert changes or self.rows == before
        return answer

    def must_refuse(self, op: Operation[Any], code: str) -> None:
        before = self.rows
        with pytest.raises(AwakenError) as refused:
            self.wait(self.store.transact(op))
        assert refused.value.code == code
        self.check()
        assert self.rows == before

    def append(self, claim: Claim, batch_no: int, count: int) -> None:
        run = self.run_of(claim)
        events = tokens_after(claim, run, count)
        before = self.dispatch(claim)
        refusal = self.model.append(claim, batch_no, count_tokens(events), self.now)
        op = operation(append_batch, claim, batch_no, events)
        assert self.do(op, changes=self.dispatch(claim) != before) is refusal

    def settle(self, claim: Claim, kind: str, tokens: int) -> None:
        run, body = self.run_of(claim), self.dispatch(claim).body
        if kind in ("completed", "suspended"):
            tokens = len(TOKENS)
        events = tokens_after(claim, run, tokens) if tokens else ()
        batch_no = body.batch_no + 1 if isinstance(body, Claimed) else 1
        unwritten = Unwritten(batch_no=batch_no, events=events)
        outcome = self.outcome(claim, run, kind)
        count = count_tokens(events) if events else None
        effect = self.model.settle(claim, outcome, count, self.now)
        if effect is Effect.suspend_run:
            assert isinstance(outcome, Suspended)
            run.ticket = outcome.tickets[0].ticket_id
        op = operation(settle, claim, outcome, unwritten, JITTER)
        assert self.do(op, changes=effect is not None).effect is effect
        if effect is not None:
            again = self.do(op, changes=False)
            assert again.repeated, "a repeated settle is answered from the record"

    def outcome(self, claim: Claim, run: ModelRun, kind: str) -> Outcome:
        answer = Message(
            message_id=message_id(claim, run), role=Role.assistant, content=(TextBlock(text=TEXT),)
        )
        close = StepClose(messages=(answer,))
        match kind:
            case "completed":
                return Completed(termination=NaturalEnd(), text=TEXT, close=close)
            case "suspended":
                reason = WaitingReason.tool_permission
                return Suspended(reason=reason, tickets=(self.ticket(claim),), close=close)
            case "retry":
                return Retry(failure=FAILURE)
            case "failed":
                return Failed(failure=FAILURE)
            case "cancelled":
                superseded = self.run_of(claim).superseded_by is not None
                return SupersededOutcome() if superseded else CancelledOutcome()
            case _:
                return Interrupted()

    def verdict(self, run: ModelRun) -> Verdict:
        assert run.ticket is not None
        return Verdict(
            ticket_id=run.ticket,
            decision=Decision(decision_id=self.new("decision"), action="resume"),
            dispatch_id=self.new("dispatch"),
            max_attempts=MAX_ATTEMPTS,
        )

    def ticket(self, claim: Claim) -> Ticket:
        return Ticket(
            ticket_id=self.new("ticket"),
            thread_id=claim.thread_id,
            run_id=claim.run_id,
            tool_call_id="call",
            tool_name="refund",
            arguments={},
            arguments_hash="hash",
            reason=WaitingReason.tool_permission,
            opened_at=self.now,
        )

    # --- what there is to choose from

    def pick_thread(self, pick: int) -> ModelThread:
        threads = list(self.model.threads.values())
        return threads[pick % len(threads)]

    def room(self) -> bool:
        """Whether there is so little to do that more may come."""
        return sum(len(thread.live()) for thread in self.model.threads.values()) < 4

    def all_runs(self) -> list[tuple[ModelThread, ModelRun]]:
        return [(t, run) for t in self.model.threads.values() for run in t.runs.values()]

    def pick_run(self, pick: int) -> tuple[ModelThread, ModelRun]:
        recent = self.all_runs()[-8:]
        return recent[pick % len(recent)]

    def waiting(self) -> list[tuple[ModelThread, ModelRun]]:
        return [(thread, run) for thread, run in self.all_runs() if run.ticket is not None]

    def owners(self) -> list[Claim]:
        """Claims that are in the rows, stale ones among them."""
        bodies = [(claim, self.dispatch(claim).body) for claim in self.claims]
        return [
            claim
            for claim, body in bodies
            if isinstance(body, Claimed) and body.claim_token == claim.claim_token
        ]

    def pick_claim(self, pick: int) -> Claim:
        recent = self.claims[-8:]
        return recent[pick % len(recent)]

    def dispatch(self, claim: Claim) -> Dispatch:
        return self.model.thread(claim.tenant, claim.thread_id).dispatches[claim.dispatch_id]

    def run_of(self, claim: Claim) -> ModelRun:
        return self.model.thread(claim.tenant, claim.thread_id).runs[claim.run_id]

    # --- comparing

    def check(self) -> None:
        self.rows = self.wait(self.store.transact(self.read_everything))
        assert self.rows.line == self.model.line()
        assert self.rows.foreground_line == self.model.line(foreground_only=True)
        for key, thread in self.model.threads.items():
            rows = self.rows.threads[key]
            self.compare(rows, thread)
            self.check_over(rows)
        assert self.wait(self.store.next_due_at()) == self.model.next_due_at()

    def compare(self, rows: Rows, thread: ModelThread) -> None:
        counted = {"seq", "message_seq", "pending_revision"}
        for name in set(ThreadHead.__struct_fields__) - counted:
            assert getattr(rows.head, name) == getattr(thread.head, name), name
        assert rows.dispatches == thread.dispatches
        due = thread.first_due()
        assert rows.first_due == (due and due.dispatch_id)
        unread = {run.run_id: run.unread for run in thread.runs.values() if run.unread}
        assert unread_by_run(rows) == unread
        for run in thread.runs.values():
            compare_run(rows.runs[run.run_id], run)
            logged = [i.event for s in rows.segments[run.run_id] for i in s.items]
            assert count_tokens(logged) == run.published, "what a lost claim writes lands nowhere"

    def check_over(self, rows: Rows) -> None:
        """I3: finished is final."""
        done = [run for run in rows.runs.values() if run.status is RunStatus.done]
        finished = [d for d in rows.dispatches.values() if isinstance(d.body, Finished)]
        over: dict[str, Run | Dispatch] = {run.run_id: run for run in done}
        over.update({dispatch.dispatch_id: dispatch for dispatch in finished})
        for key, record in over.items():
            assert self.over.setdefault(key, record) == record

    async def read_everything(self, tx: Transaction) -> Everything:
        return Everything(
            threads={key: await read_rows(tx, thread) for key, thread in self.known()},
            line=await tx.next_in_line(foreground_only=False),
            foreground_line=await tx.next_in_line(foreground_only=True),
        )

    def known(self) -> list[tuple[tuple[str, str], ModelThread]]:
        return list(self.model.threads.items())


async def read_rows(tx: Transaction, thread: ModelThread) -> Rows:
    tenant, thread_id = thread.head.tenant, thread.head.thread_id
    head = await tx.head(tenant, thread_id)
    assert head is not None
    runs = [await tx.run(tenant, run_id) for run_id in thread.runs]
    dispatches = [await tx.dispatch(tenant, dispatch_id) for dispatch_id in thread.dispatches]
    due = await tx.first_due(tenant, thread_id)
    names = [f"question-{run_id}" for run_id in thread.runs]
    names += [f"answer-{run_id}-{n}" for run_id in thread.runs for n in range(4)]
    return Rows(
        head=head,
        thread=await tx.thread(tenant, thread_id),
        runs={run.run_id: run for run in runs if run is not None},
        dispatches={d.dispatch_id: d for d in dispatches if d is not None},
        first_due=None if due is None else due.dispatch_id,
        pending=tuple(await tx.pending(tenant, thread_id)),
        messages=tuple(await tx.messages_with(tenant, thread_id, names)),
        segments={run_id: tuple(await tx.segments_of(tenant, run_id, 0)) for run_id in thread.runs},
    )


def message_id(claim: Claim, run: ModelRun) -> str:
    return f"answer-{claim.run_id}-{run.activation}"


def tokens_after(claim: Claim, run: ModelRun, count: int) -> tuple[Event, ...]:
    """The next `count` events of what the run says, as far as there is more to say."""
    events: list[Event] = []
    if run.said is None:
        events.append(StepStart(message_id=message_id(claim, run)))
    said = run.said or 0
    events += [TextDelta(delta=token) for token in TOKENS[said : said + count]]
    return tuple(events) or (TextDelta(delta=""),)


def count_tokens(events: Sequence[Event]) -> int:
    return sum(isinstance(event, TextDelta) for event in events)


def unread_by_run(rows: Rows) -> dict[str, list[str]]:
    unread: dict[str, list[str]] = {}
    for entry in rows.pending:
        assert entry.run_id is not None
        unread.setdefault(entry.run_id, []).append(entry.message.message_id)
    return unread


def compare_run(run: Run, known: ModelRun) -> None:
    assert (run.status, run.dispatch_id) == (known.status, known.dispatch_id)
    assert run.activation == known.activation
    assert (run.outcome is not None) == (known.ended is not None)
    if run.outcome is not None:
        termination = run.outcome.termination
        assert termination.__struct_config__.tag == known.ended
        if isinstance(termination, Superseded):
            assert termination.by_run_id == known.superseded_by


def check_end(run: Run, known: ModelRun, events: list[Event]) -> None:
    """I9: a stop that was answered ended the run, or the run says that it came too late."""
    finish = events[-1]
    assert isinstance(finish, RunFinish)
    if known.asked:
        stopped = isinstance(finish.termination, Cancelled | Superseded)
        failed = finish.termination.__struct_config__.tag == "error"
        assert stopped or failed or finish.cancel == "too_late"
    assert run.outcome is not None
    assert TEXT.startswith(run.outcome.text or "")


@pytest.mark.timeout(180)
def test_whatever_is_done_the_store_holds_what_the_rules_say() -> None:
    run_state_machine_as_test(
        Mailboxes, settings=settings(max_examples=100, stateful_step_count=30)
    )


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_whatever_is_done_for_long_the_store_holds_what_the_rules_say() -> None:
    run_state_machine_as_test(
        Mailboxes, settings=settings(max_examples=5_000, stateful_step_count=50)
    )
