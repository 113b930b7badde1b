"""The mailbox's operations on a real store, against a model: whatever is done, in whatever order.

Workers, clients and sweepers of two tenants do things at random, also with claims that are long
over, while the clock jumps. `model.Model` says what must come of it. After each step the rows of
the store equal the model's; what was refused has changed nothing at all; what is over stays as it
is. At the end all work is done, and the history of every thread is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
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
from awaken.domain.delivery import Boundary, DeliveryMode, Granularity, PendingEntry
from awaken.domain.dispatch import Claimed, Dispatch, Effect, Finished, Mode, Refusal
from awaken.domain.event import Event, RunFinish, Segment, StepStart, TextDelta
from awaken.domain.line import LineRow
from awaken.domain.message import Message, MessageVisibility, Role, StoredMessage, TextBlock
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
from awaken.mailbox.control import cancel_message, cancel_run, cancel_thread
from awaken.mailbox.decide import Verdict, decide
from awaken.mailbox.early import Stopper
from awaken.mailbox.lease import renew_all
from awaken.mailbox.pending import edit, reorder, retract
from awaken.mailbox.settle import expire, settle
from awaken.mailbox.submit import Order, submit
from awaken.ports.events import Unwritten
from awaken.ports.store import Operation, Transaction, operation
from awaken.stores.sqlite import SqliteStore
from awaken.streams.writer import append_batch
from awaken.testing.history import read_history, violations

from .model import GRACE_MS, JITTER, MAX_ATTEMPTS, Model, Refused
from .model_thread import ModelRun, ModelThread
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
deliveries = st.one_of(
    st.none(),
    st.builds(
        DeliveryMode,
        boundary=st.sampled_from([Boundary.next_step, Boundary.on_natural_end]),
        granularity=st.sampled_from(Granularity),
        barrier=st.booleans(),
        fallback=st.booleans(),
    ),
)


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
        self.stopped_early: list[str] = []
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
    def roll_back(self, place: Place, mode: Mode, with_slot: bool) -> None:
        self.submit(place, mode=mode, on_busy=OnBusy.rollback, with_slot=with_slot)

    @precondition(lambda self: self.room() and self.going_on())
    @rule(pick=picks, mode=modes, delivery=deliveries)
    def steer(self, pick: int, mode: Mode, delivery: DeliveryMode | None) -> None:
        """A run that goes on; steering others is the next rule's."""
        places = self.going_on()
        self.steer_any(places[pick % len(places)], mode, delivery, False)

    @precondition(lambda self: self.room())
    @rule(place=places, mode=modes, delivery=deliveries, with_slot=st.booleans())
    def steer_whatever_is_there(
        self, place: Place, mode: Mode, delivery: DeliveryMode | None, with_slot: bool
    ) -> None:
        self.steer_any(place, mode, delivery, with_slot)

    def steer_any(
        self, place: Place, mode: Mode, delivery: DeliveryMode | None, with_slot: bool
    ) -> None:
        fields = {"mode": mode, "on_busy": OnBusy.steer, "delivery": delivery}
        self.submit(place, with_slot=with_slot, **fields)

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
        run_id = self.stopped_early.pop() if self.stopped_early else self.new("run")
        sub = submission(run_id, "hi", tenant=tenant, thread_id=thread_id, **fields)
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
        steers = run.run_id != run_id
        assert submitted.accepted.run_id == run.run_id
        assert submitted.accepted.status is run.status
        started = run.status is RunStatus.running and not steers
        assert (submitted.claim is not None) == started
        if submitted.claim is not None:
            self.claims.append(submitted.claim)
        again = self.do(operation(submit, order), changes=False)
        # One cursor is as good as the other: no entry of the run is before.
        same = replace(again.accepted, cursor=submitted.accepted.cursor)
        assert replace(again, accepted=same) == submitted

    @precondition(lambda self: self.numbers % 3 == 0)
    @rule(place=places)
    def stop_a_message_that_will_come(self, place: Place) -> None:
        run_id = self.new("run")
        self.stopped_early.append(run_id)
        self.cancel_message(place, f"question-{run_id}")

    @precondition(lambda self: self.numbers % 3 == 0 and self.model.threads)
    @rule(pick=picks, which=picks)
    def stop_a_message(self, pick: int, which: int) -> None:
        thread = self.pick_thread(pick)
        message_id = self.pick_message(thread, which)
        if message_id is not None:
            self.cancel_message((thread.head.tenant, thread.head.thread_id), message_id)

    def cancel_message(self, place: Place, message_id: str) -> None:
        known = dict(self.model.early_stops)
        stop = self.model.cancel_message(place, message_id, self.now)
        noted = known != self.model.early_stops
        op = operation(cancel_message, *place, message_id, STOPPER)
        assert self.do(op, changes=stop is Stop.requested and not noted) is stop

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
            replace(STOPPER, grace_ms=GRACE_MS if new_epoch else None),
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

    # --- what waits to be read

    @precondition(lambda self: self.full_queues())
    @rule(pick=picks, which=picks, off=st.sampled_from([0, 0, 0, 1]))
    def edit(self, pick: int, which: int, off: int) -> None:
        thread, message_id = self.pick_waiting(pick, which)
        entry = thread.waits(message_id)
        revision = (entry.revision if entry else 1) - off
        text = f"hi {self.numbers}"
        self.change(
            lambda: self.model.edit(thread, message_id, text, revision),
            operation(edit, *place_of(thread), message_id, (TextBlock(text=text),), revision),
        )

    @precondition(lambda self: self.full_queues())
    @rule(pick=picks, which=picks, off=st.sampled_from([0, 0, 0, 1]))
    def retract(self, pick: int, which: int, off: int) -> None:
        thread, message_id = self.pick_waiting(pick, which)
        entry = thread.waits(message_id)
        revision = (entry.revision if entry else 1) - off
        self.change(
            lambda: self.model.retract(thread, message_id, revision, self.now),
            operation(retract, *place_of(thread), message_id, revision),
        )

    @precondition(lambda self: self.full_queues())
    @rule(pick=picks, chance=st.randoms(use_true_random=False), off=st.sampled_from([0, 0, 0, 1]))
    def reorder(self, pick: int, chance: Random, off: int) -> None:
        thread, _ = self.pick_waiting(pick, 0)
        ids = [entry.message_id for entry in thread.queue]
        chance.shuffle(ids)
        revision = thread.head.pending_revision - off
        self.change(
            lambda: self.model.reorder(thread, ids, revision, self.now),
            operation(reorder, *place_of(thread), tuple(ids), revision),
        )

    def change(self, expected: Callable[[], None], op: Operation[Any]) -> None:
        try:
            expected()
        except Refused as refused:
            self.must_refuse(op, refused.why)
        else:
            self.do(op)

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
        self.settle_as_owner(pick, "completed", 0, True)

    @precondition(lambda self: self.owners())
    @rule(pick=picks)
    def suspend_as_owner(self, pick: int) -> None:
        self.settle_as_owner(pick, "suspended", 0, True)

    @precondition(lambda self: self.owners())
    @rule(pick=picks, kind=outcomes, tokens=st.integers(0, 1), steerable=st.booleans())
    def settle_as_owner(self, pick: int, kind: str, tokens: int, steerable: bool) -> None:
        owners = self.owners()
        self.settle(owners[pick % len(owners)], kind, tokens, steerable=steerable)

    @precondition(lambda self: self.steered_owners())
    @rule(
        pick=picks,
        kind=st.sampled_from(["completed", "completed", "failed"]),
        steerable=st.sampled_from([True, True, False]),
    )
    def settle_what_is_steered(self, pick: int, kind: str, steerable: bool) -> None:
        owners = self.steered_owners()
        self.settle(owners[pick % len(owners)], kind, 0, steerable=steerable)

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
                check_end(run, known.get(run.run_id), ends)  # a follow-up may have come since

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

    def settle(self, claim: Claim, kind: str, tokens: int, *, steerable: bool = True) -> None:
        run, body = self.run_of(claim), self.dispatch(claim).body
        if kind in ("completed", "suspended"):
            tokens = len(TOKENS)
        events = tokens_after(claim, run, tokens) if tokens else ()
        batch_no = body.batch_no + 1 if isinstance(body, Claimed) else 1
        unwritten = Unwritten(batch_no=batch_no, events=events)
        outcome = self.outcome(claim, run, kind)
        count = count_tokens(events) if events else None
        effect = self.model.settle(
            claim, outcome, count, self.now, batch_no=batch_no, steerable=steerable
        )
        if effect is Effect.suspend_run:
            assert isinstance(outcome, Suspended)
            run.ticket = outcome.tickets[0].ticket_id
        op = operation(settle, claim, outcome, unwritten, JITTER, steerable=steerable)
        settled = self.do(op, changes=effect is not None)
        if effect == "goes on":
            assert settled.goes_on is not None
            self.claims.append(settled.goes_on)
        else:
            assert settled.effect is effect
        if effect is not None:
            again = self.do(op, changes=False)
            assert again.repeated, "a repeated settle is answered from the record"
            assert again.goes_on == settled.goes_on

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

    def going_on(self) -> list[Place]:
        """Threads with a run that can be steered."""
        return [key for key, thread in self.known() if thread.going_on() is not None]

    def full_queues(self) -> list[ModelThread]:
        return [thread for thread in self.model.threads.values() if thread.queue]

    def pick_waiting(self, pick: int, which: int) -> tuple[ModelThread, str]:
        """A thread where messages wait, and one of them, or one that was read."""
        queues = self.full_queues()
        thread = queues[pick % len(queues)]
        ids = [entry.message_id for entry in thread.queue] * 2 + list(thread.read)[-2:]
        return thread, ids[which % len(ids)]

    def pick_message(self, thread: ModelThread, which: int) -> str | None:
        ids = [entry.message_id for entry in thread.queue] + list(thread.read)[-2:]
        return ids[which % len(ids)] if ids else None

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

    def steered_owners(self) -> list[Claim]:
        """Those for whose run a message waits."""
        return [
            claim
            for claim in self.owners()
            if self.model.thread(claim.tenant, claim.thread_id).unread(claim.run_id)
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
        counted = {"seq", "message_seq"}
        for name in set(ThreadHead.__struct_fields__) - counted:
            assert getattr(rows.head, name) == getattr(thread.head, name), name
        assert rows.dispatches == thread.dispatches
        due = thread.first_due()
        assert rows.first_due == (due and due.dispatch_id)
        assert [row_of(entry) for entry in rows.pending] == [e.row for e in thread.queue]
        for stored in rows.messages:
            hidden = stored.message.visibility is MessageVisibility.replaced
            assert hidden == thread.runs[stored.run_id or ""].hidden
            owner = thread.read.get(stored.message.message_id, stored.run_id)
            assert owner == stored.run_id, "a message is read by the run it waited for"
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
    names += [f"answer-{run_id}-1-{turn}" for run_id in thread.runs for turn in range(1, 4)]
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
    name = f"answer-{claim.run_id}-{run.activation}"
    return f"{name}-{run.turn}" if run.turn else name


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


def place_of(thread: ModelThread) -> Place:
    return thread.head.tenant, thread.head.thread_id


def row_of(entry: PendingEntry) -> tuple[object, ...]:
    """What a model's entry says of itself."""
    message, follow_up = entry.message, entry.follow_up
    fallback = follow_up and follow_up.run.run_id
    return (
        message.message_id,
        message.text,
        entry.run_id,
        entry.mode,
        entry.revision,
        fallback,
    )


def compare_run(run: Run, known: ModelRun) -> None:
    assert (run.status, run.dispatch_id) == (known.status, known.dispatch_id)
    assert run.activation == known.activation
    assert (run.outcome is not None) == (known.ended is not None)
    if run.outcome is not None:
        termination = run.outcome.termination
        assert termination.__struct_config__.tag == known.ended
        if isinstance(termination, Superseded):
            assert termination.by_run_id == known.superseded_by


def check_end(run: Run, known: ModelRun | None, events: list[Event]) -> None:
    """I9: a stop that was answered ended the run, or the run says that it came too late."""
    finish = events[-1]
    assert isinstance(finish, RunFinish)
    if known is not None and known.asked:
        stopped = isinstance(finish.termination, Cancelled | Superseded)
        assert stopped or finish.cancel == "too_late"
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
