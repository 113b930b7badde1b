"""Faults of the reference system (reference/mailbox.md, 8.1 to 8.4), none of which is ours.

Each is a test. The number stands in the docstring. Some are held by tests elsewhere:

 5 a signal for a busy thread is lost     test_worker, queued_runs_start_by_themselves_when_…
 9 an interrupt ends background work      test_way_of_a_run, an_interrupt_keeps_queued_background_…
10 nobody starts the lifecycle            e2e/test_recovery, whose servers work by themselves
15 a suspended run is executed again      test_machine, where every form of settle is repeated
16 a failure to be retried looks final    test_way_of_a_run, a_transient_failure_is_retried_with_…
19 counts are full scans                  stores/test_plans
22 a run has no delivery                  test_faults, where a submission is absent or done
23 a waiting run cannot be stopped        test_tools, stopping_a_waiting_run_closes_its_tickets_…
25 a submit that fails leaves its row     test_faults, submit_foreground
28 there are no explicit transactions     test_faults, rolled_back; stores/test_faults
30 indexes are missing                    stores/test_plans

The half of 21 that is about steering comes with steering. 29 (limits of SQL) has no counterpart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from awaken.domain.claim import Claim
from awaken.domain.dispatch import Claimed, Finished, How, Mode, Queued, Refusal
from awaken.domain.event import MessageCommitted, RunFinish, RunRetry
from awaken.domain.message import Role
from awaken.domain.outcome import Lost, Outcome, SupersededOutcome
from awaken.domain.retry import delay_ms
from awaken.domain.run import OnDisconnect, Run, RunStatus
from awaken.domain.submission import OnBusy, Stop
from awaken.domain.termination import Errored
from awaken.errors import StoreFault
from awaken.mailbox.claim import claim_next
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.control import cancel_run
from awaken.mailbox.lease import renew_all
from awaken.mailbox.settle import Settled
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.store import Operation, Store, T
from awaken.stores.sqlite import SqliteStore
from awaken.stores.sqlite.transaction import SqliteTransaction
from awaken.stores.wrapper import StoreWrapper
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault, FaultyStore
from awaken.testing.history import read_history, violations

from .process import TENANT, TEXT, Process, SettableClock, submission

PATIENT = MailboxConfig(poll_ms=60_000, sweep_ms=60_000)
"""Whoever waits for a poll or a sweep waits for a minute, and the test fails."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    yield opened
    await opened.aclose()


@pytest.fixture
def here(store: SqliteStore, clock: FakeClock) -> Process:
    return Process(store, clock)


@pytest.fixture
async def real_store() -> AsyncIterator[SqliteStore]:
    """A store on the machine's clock."""
    opened = await SqliteStore.open(":memory:", worker_id="w1")
    yield opened
    await opened.aclose()


async def run_of(store: Store, run_id: str) -> Run:
    run = await store.run(TENANT, run_id)
    assert run is not None
    return run


async def wait_until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look until it does."""
    with anyio.fail_after(5):
        while not await holds():  # noqa: ASYNC110  # records have no events
            await anyio.sleep(0.005)


async def wait_done(store: Store, run_id: str) -> None:
    """Look until the run is done."""

    async def done() -> bool:
        run = await store.run(TENANT, run_id)
        return run is not None and run.status is RunStatus.done

    await wait_until(done)


async def text_of(store: Store, run_id: str) -> str | None:
    """The final text of a run that is done."""
    run = await run_of(store, run_id)
    assert run.outcome is not None
    return run.outcome.text


async def check(store: Store, *, quiescent: bool = True) -> None:
    broken = violations(await read_history(store, TENANT, "t"), quiescent=quiescent)
    assert not broken, "\n".join(broken)


async def submit(process: Process, run_id: str, text: str = "hi", **fields: object) -> str:
    return (await process.mailbox.submit(submission(run_id, text, **fields))).dispatch_id


# --- 8.1 scheduling ------------------------------------------------------------------------------


async def test_future_work_is_looked_at_again_when_it_is_due(real_store: SqliteStore) -> None:
    """1: neither a retry nor a delayed run waits for something else to happen."""
    process = Process(real_store, SystemClock(), config=PATIENT, ids=SystemIds())
    async with process.working():
        await submit(process, "retried", "break:2", thread_id="t")
        soon = SystemClock().now() + 200
        await submit(
            process,
            "delayed",
            thread_id="other",
            mode=Mode.background,
            on_busy=OnBusy.enqueue,
            available_at=soon,
        )
        await wait_done(real_store, "retried")
        await wait_done(real_store, "delayed")
    await check(real_store)


async def test_future_work_of_a_busy_thread_is_looked_at_again_when_it_is_due(
    real_store: SqliteStore,
) -> None:
    """1, when the thread was claimed while the delayed run came in."""
    process = Process(real_store, SystemClock(), config=PATIENT, ids=SystemIds())
    async with process.working():
        await submit(process, "before")
        await wait_done(real_store, "before")  # the sweeper has made its first pass, too
        await submit(process, "busy", "hang:1")
        soon = SystemClock().now() + 200
        await submit(
            process, "delayed", mode=Mode.background, on_busy=OnBusy.enqueue, available_at=soon
        )
        process.speaker.let_go.set()
        await wait_done(real_store, "delayed")
    await check(real_store)


class BetweenStore(StoreWrapper):
    """Calls `between` once, when a claim is committed and its worker does not know it yet.

    `failing` says how often operations of a name fail.
    """

    between: Callable[[], Awaitable[object]] | None = None
    failing: dict[str, int] = {}

    async def _write(self, operation: Operation[T]) -> T:
        name = getattr(operation, "__name__", "")
        if self.failing.get(name):
            self.failing[name] -= 1
            raise StoreFault("store_io", "injected")
        answer = await self.inner.transact(operation)
        between = self.between
        if name == claim_next.__name__ and between is not None:
            self.between = None
            await between()
        return answer


async def test_work_that_comes_while_a_worker_claims_is_claimed_next(
    real_store: SqliteStore,
) -> None:
    """2: no wake-up is lost."""
    store = BetweenStore(real_store)
    clock, ids = SystemClock(), SystemIds()
    process = Process(store, clock, config=PATIENT, ids=ids)
    other = Process(real_store, clock, "other", ids=ids)
    store.between = lambda: submit(other, "late")
    async with process.working():
        await wait_done(real_store, "late")
    assert store.between is None, "it came at the wrong moment"


async def test_a_run_that_waits_for_somebody_is_left_in_peace(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """3: also when its delivery was acked so long ago that the record is deleted."""
    dispatch_id = await submit(here, "waits", "ask")
    await here.work()
    clock.advance(25 * 3600)
    await here.sweeper.collect_garbage()
    assert await store.dispatch(TENANT, dispatch_id) is None, "it was to be deleted"
    before = await read_history(store, TENANT, "t")
    restarted = Process(store, clock, "w2")
    await restarted.sweeper.sweep()
    assert await restarted.work() == 0
    assert await read_history(store, TENANT, "t") == before
    assert (await run_of(store, "waits")).status is RunStatus.waiting


async def test_the_answer_to_a_submit_is_about_its_own_run(real_store: SqliteStore) -> None:
    """4: whether another run of the thread was claimed meanwhile does not show in it."""
    process = Process(real_store, SystemClock(), ids=SystemIds())
    async with process.working():
        first = await process.mailbox.submit(submission("first", "hang:1"))
        second = await process.mailbox.submit(
            submission("second", "hi", mode=Mode.background, on_busy=OnBusy.enqueue)
        )
        process.speaker.let_go.set()
        await wait_done(real_store, "second")
    assert (first.status, first.position) == (RunStatus.running, None)
    assert (second.status, second.position) == (RunStatus.created, 1)


async def test_one_sweep_expires_however_many_leases_ran_out(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """6: a pass works in slices, and there is no limit to their number."""
    count = 2 * here.config.batch + 50
    for number in range(count):
        await submit(here, f"r{number}", thread_id=f"t{number}")
        assert await here.claim() is not None
    clock.advance(31)
    await here.sweeper.sweep()
    counts = await store.counts()
    assert (counts.claimed, counts.queued, counts.in_line) == (0, count, count)


async def test_a_retry_waits_for_a_time_that_was_drawn(
    store: SqliteStore, clock: FakeClock
) -> None:
    """7: so runs that failed together are not tried again together."""

    class Drawing(SystemIds):
        jitters = iter([0.5, 0.6, 0.99])

        def jitter(self) -> float:
            return next(self.jitters)

    here = Process(store, clock, ids=Drawing())
    pauses = []
    for number in range(3):
        dispatch_id = await submit(here, f"r{number}", "break:1", thread_id=f"t{number}")
        await here.work()
        dispatch = await store.dispatch(TENANT, dispatch_id)
        assert dispatch is not None
        assert isinstance(dispatch.body, Queued)
        pauses.append(dispatch.body.available_at - clock.now())
    assert pauses == [delay_ms(0, jitter) for jitter in (0.5, 0.6, 0.99)]


async def test_a_long_queue_on_one_thread_holds_up_no_other(
    here: Process, store: SqliteStore
) -> None:
    """8: threads are served in turn. Slots: test_worker; slow readers: streams/test_hub."""
    for number in range(20):
        await submit(here, f"r{number}", on_busy=OnBusy.enqueue)
    await submit(here, "other", thread_id="other")
    first, second = await here.claim(), await here.claim()
    assert first is not None
    assert second is not None
    assert [first.run_id, second.run_id] == ["r0", "other"]
    assert await here.claim() is None, "nothing else may start before one of them ends"


@asynccontextmanager
async def executing(
    process: Process, claim: Claim
) -> AsyncIterator[list[tuple[Outcome, Settled | None]]]:
    """Execute a claim in the background; what came of it is in the list at the end."""
    outcomes: list[tuple[Outcome, Settled | None]] = []

    async def execute() -> None:
        outcomes.append(await process.execute(claim))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(execute)
        await anyio.wait_all_tasks_blocked()
        yield outcomes
        process.speaker.let_go.set()


async def test_the_end_of_an_interrupted_attempt_does_not_touch_its_successor(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """9b and 12: whatever stops or loses an attempt names its claim, never the thread."""
    await submit(here, "old", "hang:1")
    old = await here.claim()
    assert old is not None
    hints = here.leases.stop_asked
    here.leases.stop_asked = lambda *_, **__: None  # type: ignore[method-assign]  # as if lost
    async with executing(here, old) as outcomes:
        await submit(here, "new", "hang:1")
        clock.advance(2.1)
        await here.sweeper.sweep()
        new = await here.claim()
        assert new is not None
        assert new.run_id == "new"
        async with executing(here, new):
            held = {held.claim.run_id: held for held in here.leases.all()}
            hints(old.claim_token, superseded=True)
            await anyio.wait_all_tasks_blocked()
            assert held["new"].ended is None
    assert outcomes == [(SupersededOutcome(), Settled(refused=Refusal.already_finished))]
    assert await text_of(store, "new") == TEXT
    await check(store)


# --- 8.2 leases ----------------------------------------------------------------------------------


async def test_a_renewal_that_fails_is_made_again(real_store: SqliteStore) -> None:
    """11: renewal does not end with the first error, so nobody else gets the run."""
    store = BetweenStore(real_store)
    store.failing = {renew_all.__name__: 2}
    config = MailboxConfig(lease_ms=900, renewal_ms=100, sweep_ms=50, poll_ms=20)
    process = Process(store, SystemClock(), config=config, ids=SystemIds())
    async with process.working():
        dispatch_id = await submit(process, "long", "hang:1")
        claimed = await store.dispatch(TENANT, dispatch_id)
        assert claimed is not None
        assert isinstance(claimed.body, Claimed)
        first_end = claimed.body.lease_until

        async def renewed_often() -> bool:
            return await _lease_until(store, dispatch_id) > first_end + config.lease_ms

        await wait_until(renewed_often)
        process.speaker.let_go.set()
        await wait_done(store, "long")
    assert store.failing == {renew_all.__name__: 0}
    retries = [e for e in await _events(store, "long") if isinstance(e, RunRetry)]
    assert not retries
    await check(store)


async def _lease_until(store: Store, dispatch_id: str) -> int:
    dispatch = await store.dispatch(TENANT, dispatch_id)
    assert dispatch is not None
    assert isinstance(dispatch.body, Claimed)
    return dispatch.body.lease_until


async def _events(store: Store, run_id: str) -> list[object]:
    segments = await store.segments(TENANT, "t", 0, 10_000, run_id)
    return [item.event for segment in segments for item in segment.items]


async def test_a_read_that_fails_before_the_attempt_begins_is_made_again(
    store: SqliteStore, clock: FakeClock
) -> None:
    """13: the dispatch is not left to its lease, and no attempt is counted."""
    faulty = FaultyStore(store, Fault.before, reads=True)
    here = Process(faulty, clock)
    dispatch_id = await submit(here, "r")
    claim = await here.claim()
    assert claim is not None
    faulty.nth = faulty.calls + 1
    async with executing(here, claim):
        clock.advance(0.1)
    assert faulty.failed == 1
    dispatch = await store.dispatch(TENANT, dispatch_id)
    assert dispatch is not None
    assert isinstance(dispatch.body, Finished)
    assert (dispatch.attempt, dispatch.expiries) == (0, 0)
    await check(store)


async def test_an_owner_measures_its_lease_on_a_clock_that_nobody_sets() -> None:
    """14: setting the wall clock back does not let an owner act beyond its lease."""
    clock = SettableClock()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    try:
        here = Process(store, clock)
        await submit(here, "r", "hang:1")
        claim = await here.claim()
        assert claim is not None
        clock.ahead_ms = -3_600_000
        async with executing(here, claim) as outcomes, anyio.create_task_group() as tasks:
            tasks.start_soon(here.leases._watch_for_ever)
            await anyio.wait_all_tasks_blocked()
            for _ in range(26):
                clock.advance(1)
                await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert outcomes == [(Lost(), None)]
    finally:
        await store.aclose()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_wall_clock_that_is_set_loses_and_doubles_nothing(hours: int) -> None:
    """14, for the line: at worst a run is attempted once more, and nobody holds up the others."""
    clock = SettableClock()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    try:
        here = Process(store, clock)
        await submit(here, "first", "hang:2")
        await submit(here, "second", on_busy=OnBusy.enqueue)
        await submit(here, "third", thread_id="other")
        claim = await here.claim()
        assert claim is not None
        async with executing(here, claim):
            clock.ahead_ms = hours * 3_600_000
            await here.sweeper.sweep()
            await submit(here, "fourth", thread_id="new")
            await here.work()
            assert await text_of(store, "fourth") == TEXT
        clock.ahead_ms = 0
        await here.work_to_the_end(clock)
        for run_id in ("first", "second", "third"):
            assert await text_of(store, run_id) == TEXT
        await check(store)
    finally:
        await store.aclose()


# --- 8.3 recovery and maintenance ----------------------------------------------------------------


async def _calls_of_a_restart(done_runs: int) -> tuple[int, int]:
    """How many calls a process makes that starts on a store with so many done runs, and how many
    entries it writes."""
    clock = FakeClock()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    try:
        here = Process(store, clock)
        for number in range(done_runs):
            await submit(here, f"r{number}", on_busy=OnBusy.enqueue)
        await here.work()
        before = await store.head(TENANT, "t")
        counting = FaultyStore(store, reads=True)
        restarted = Process(counting, clock, "w2")
        for _ in range(3):
            await restarted.sweeper._pass()
            assert await restarted.claim() is None
            clock.advance(61)
        after = await store.head(TENANT, "t")
        assert before is not None
        assert after is not None
        return counting.calls, after.seq - before.seq
    finally:
        await store.aclose()


async def test_what_is_done_costs_a_restart_and_a_sweep_nothing() -> None:
    """17, 18 and 20: nothing is repaired, paged through or published again."""
    few, entries = await _calls_of_a_restart(2)
    many, more_entries = await _calls_of_a_restart(60)
    assert few == many
    assert (entries, more_entries) == (0, 0)


async def test_unread_messages_of_a_run_that_ended_hold_up_nobody(
    here: Process, store: SqliteStore
) -> None:
    """21: they are retracted with their run."""
    await submit(here, "dead", mode=Mode.background, on_busy=OnBusy.enqueue)
    assert await here.mailbox.cancel_run(TENANT, "dead", by="ada") is Stop.requested
    assert await store.pending_entries(TENANT, "t") == []
    await submit(here, "next")
    await here.work()
    assert await text_of(store, "next") == TEXT
    await check(store)


async def test_what_was_said_before_a_fatal_failure_is_kept(
    here: Process, store: SqliteStore
) -> None:
    """24: with the failure itself, though no checkpoint came after it."""
    await submit(here, "r", "fail:2")
    await here.work()
    events = await _events(store, "r")
    said = [e.message for e in events if isinstance(e, MessageCommitted)]
    assert [(m.role, m.text, m.interrupted) for m in said] == [
        (Role.user, "fail:2", False),
        (Role.assistant, "one two ", True),
    ]
    assert isinstance(events[-1], RunFinish)
    assert isinstance(events[-1].termination, Errored)
    assert events[-1].termination.code == "hopeless"
    await check(store)


# --- 8.4 what a requeued row holds ---------------------------------------------------------------


async def test_a_requeued_dispatch_can_be_read_claimed_stopped_and_interrupted(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """26: it is as whole as a new one, so it poisons no query of its thread."""
    for number, end in enumerate(("claim", "stop", "interrupt")):
        thread_id = f"t{number}"
        await submit(here, f"expired-{number}", "hang:2", thread_id=thread_id)
        assert await here.claim() is not None
        clock.advance(31)
        await here.sweeper.sweep()
        page = await store.dispatches(TENANT, thread_id, 10, None)
        assert [type(dispatch.body) for dispatch in page.items] == [Queued]
        here.speaker.let_go.set()
        if end == "stop":
            await here.mailbox.cancel_run(TENANT, f"expired-{number}", by="ada")
        elif end == "interrupt":
            await submit(here, f"next-{number}", thread_id=thread_id)
        await here.work()
        broken = violations(await read_history(store, TENANT, thread_id))
        assert not broken, "\n".join(broken)


async def test_an_expired_claim_is_claimable_at_once_and_a_dead_letter_says_why(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """27"""
    dispatch_id = await submit(here, "r")
    for _ in range(10):
        assert await here.claim() is not None, "no guard of an earlier claim hides it"
        clock.advance(31)
        await here.sweeper.sweep()
    dispatch = await store.dispatch(TENANT, dispatch_id)
    assert dispatch is not None
    body = dispatch.body
    assert isinstance(body, Finished)
    assert (body.how, body.reason) == (How.dead_letter, "poison")
    told = await here.mailbox.explain(TENANT, "r")
    assert told.expiries == 10


async def test_purging_a_thread_forgets_no_epoch(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """34: a very late owner is refused, however little is left of what it once held."""
    await submit(here, "old", "hang:1")
    late = await here.claim()
    assert late is not None
    await submit(here, "new")
    clock.advance(2.1)
    await here.sweeper.sweep()
    await here.work()
    before = await store.head(TENANT, "t")
    clock.advance(25 * 3600)
    await here.sweeper.collect_garbage()
    assert (await store.counts()).acked == 0
    outcome, settled = await here.execute(late)
    assert isinstance(outcome, Lost)
    assert settled is None
    assert await store.head(TENANT, "t") == before
    await submit(here, "next")
    await here.work()
    assert await text_of(store, "next") == TEXT
    await check(store)


# --- ours: what was found here, where no enumeration or machine holds it -------------------------


class Held:
    """The next claim of a store is committed, and its worker is told when `answer` is set."""

    def __init__(self, store: BetweenStore) -> None:
        self.asked = anyio.Event()
        self.answer = anyio.Event()
        store.between = self._hold

    async def _hold(self) -> None:
        self.asked.set()
        await self.answer.wait()


async def test_a_drain_hands_over_what_is_just_being_claimed(real_store: SqliteStore) -> None:
    store = BetweenStore(real_store)
    clock, ids = SystemClock(), SystemIds()
    process = Process(store, clock, ids=ids)
    other = Process(real_store, clock, "other", ids=ids)
    dispatch_id = await submit(other, "late", "hang:1")
    claim = Held(store)
    async with process.working():
        with anyio.fail_after(5):
            await claim.asked.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.mailbox.drain, 0)
            await anyio.wait_all_tasks_blocked()
            claim.answer.set()
    dispatch = await real_store.dispatch(TENANT, dispatch_id)
    assert dispatch is not None
    assert isinstance(dispatch.body, Queued)
    assert (dispatch.attempt, dispatch.expiries, dispatch.retry_reason) == (0, 0, "handoff")
    await check(real_store, quiescent=False)


async def test_a_drain_ends_as_soon_as_a_claim_finds_nothing(real_store: SqliteStore) -> None:
    store = BetweenStore(real_store)
    process = Process(store, SystemClock(), ids=SystemIds())
    claim = Held(store)
    with anyio.fail_after(5):
        async with process.working():
            await claim.asked.wait()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(process.mailbox.drain, 60)
                await anyio.wait_all_tasks_blocked()
                claim.answer.set()


@pytest.mark.parametrize("interrupt", [False, True])
async def test_stopping_a_thread_counts_each_run_once_however_many_wait(
    here: Process, store: SqliteStore, interrupt: bool
) -> None:
    await submit(here, "active", on_busy=OnBusy.enqueue)
    assert await here.claim() is not None
    for number in range(450):
        await submit(here, f"r{number}", on_busy=OnBusy.enqueue)
    stop = here.mailbox.interrupt_thread if interrupt else here.mailbox.cancel_thread
    assert await stop(TENANT, "t", by="ada") == (Stop.requested, 451)
    head = await store.head(TENANT, "t")
    assert head is not None
    assert (head.queued_count, head.epoch) == (0, int(interrupt))


@pytest.mark.parametrize("way", [Fault.lost_reply, Fault.rolled_back])
async def test_a_stop_whose_reply_is_lost_is_not_answered_as_too_late(
    store: SqliteStore, clock: FakeClock, way: Fault
) -> None:
    faulty = FaultyStore(store, way)
    here = Process(faulty, clock)
    await submit(here, "r")
    faulty.nth = faulty.calls + 1
    answers: list[Stop] = []

    async def stop() -> None:
        answers.append(await here.mailbox.cancel_run(TENANT, "r", by="ada"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await anyio.wait_all_tasks_blocked()
        clock.advance(1)
    assert answers == [Stop.requested]


async def test_a_fault_while_a_run_without_readers_is_stopped_stops_nothing_else(
    real_store: SqliteStore,
) -> None:
    store = BetweenStore(real_store)
    process = Process(
        store,
        SystemClock(),
        ids=SystemIds(),
        config=MailboxConfig(unattended_seconds=0.0),
        unattended=lambda tenant, run_id: 60.0,
    )
    store.failing = {cancel_run.__name__: 1}
    async with process.working():
        await submit(process, "left", "hang:1", on_disconnect=OnDisconnect.cancel)
        await wait_done(store, "left")
    assert store.failing == {cancel_run.__name__: 0}
    assert await text_of(store, "left") == "one "


@pytest.mark.parametrize("table", ["dispatches", "runs"])
async def test_a_row_that_cannot_be_read_holds_up_no_other_thread(
    here: Process, store: SqliteStore, table: str
) -> None:
    """Regression list of peers.md, 8."""

    async def spoil(tx: SqliteTransaction) -> None:
        tx.read(lambda cursor: cursor.execute(f"update {table} set data = '{{'"))

    await submit(here, "spoilt", thread_id="spoilt")
    await store._writer.submit(spoil)
    await submit(here, "whole")
    assert await here.work() == 1, "the first in line is given up"
    assert await text_of(store, "whole") == TEXT


async def test_a_claim_keeps_the_lease_it_was_made_with(
    store: SqliteStore, clock: FakeClock
) -> None:
    """Regression list of peers.md, 30: replicas with other timings sweep no healthy run."""
    old = Process(store, clock, "old", config=MailboxConfig(lease_ms=60_000))
    new = Process(store, clock, "new", config=MailboxConfig(lease_ms=5_000, renewal_ms=1_000))
    await submit(old, "r", "hang:1")
    claim = await old.claim()
    assert claim is not None
    async with executing(old, claim):
        for _ in range(3):
            clock.advance(50)
            await new.sweeper.sweep()
            assert await new.claim() is None
            await old.leases.renew()
    assert await text_of(store, "r") == TEXT
    assert not [e for e in await _events(store, "r") if isinstance(e, RunRetry)]
    await check(store)


async def test_a_run_for_later_holds_up_nothing_before_its_time(
    here: Process, store: SqliteStore, clock: FakeClock
) -> None:
    """Not even when it is to interrupt what runs then."""
    later = clock.now() + 3_600_000
    await submit(here, "later", mode=Mode.background, available_at=later)
    await submit(here, "now", on_busy=OnBusy.enqueue)
    await here.work()
    assert await text_of(store, "now") == TEXT
    await here.sweeper.sweep()
    clock.advance(3601)
    await here.sweeper.sweep()
    await here.work()
    assert await text_of(store, "later") == TEXT
    await check(store)
