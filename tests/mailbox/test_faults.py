"""Faults by enumeration: whatever call of the store fails, and however, no promise is broken.

Each scenario runs again and again on a store whose nth call fails, n = 1, 2, 3 … until it gets by
without meeting the fault. A call fails *before* it did anything, after it was committed (*lost
reply*), or after it was rolled back late, which its caller cannot tell from a lost reply; alone, or
together with all calls for some seconds, fewer than a lease or more. Then the process is gone.
Another one takes over on the healthy store, leases run out, and when all work is done the records
must agree with each other, with the log, and with what clients were told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

import anyio
import pytest

from awaken.domain.claim import Claim
from awaken.domain.dispatch import Mode
from awaken.domain.event import MessageCommitted, RunFinish, RunRetry
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Accepted, OnBusy, Stop
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault as Way
from awaken.testing.history import ThreadHistory, all_threads, read_history, violations

from .process import TENANT, TEXT, Process, TroubledStore, jumping, submission

pytestmark = pytest.mark.timeout(60)

ENUMERATED = 100
"""More calls than any scenario makes."""
ONCE, SHORT, LONG = 0.0, 3.0, 40.0
"""Seconds that trouble lasts; a lease is 30."""


class Client:
    """Sends requests to one process, and remembers what came of each."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.sent: list[str] = []
        self.answered: dict[str, Accepted] = {}
        self.stops: dict[str, Stop] = {}
        self.maybe_stopped: set[str] = set()
        self.faults: list[StoreFault] = []
        self.interrupts = False
        self.fails: set[str] = set()
        self.rolled_back: set[str] = set()

    async def submit(self, text: str = "hi", **fields: object) -> str:
        """Submit one message as a run; returns the run's id."""
        run_id = f"run-{len(self.sent) + 1}"
        if self.sent and fields.get("on_busy") not in (OnBusy.enqueue, OnBusy.steer):
            self.interrupts = True
        if fields.get("on_busy") is OnBusy.rollback:
            self.rolled_back.update(self.sent)
        self.sent.append(run_id)
        if "fail:" in text:
            self.fails.add(run_id)
        try:
            wanted = submission(run_id, text, **fields)
            self.answered[run_id] = await self._process.mailbox.submit(wanted)
        except StoreFault as fault:
            self.faults.append(fault)
        return run_id

    async def stop(self, run_id: str) -> None:
        """Stop a run, if there is one as far as the client knows."""
        self.maybe_stopped.add(run_id)
        if run_id in self.answered:
            cancel = self._process.mailbox.cancel_run
            try:
                self.stops[run_id] = await cancel(TENANT, run_id, by="ada")
            except StoreFault as fault:
                self.faults.append(fault)

    async def stop_thread(self, *, interrupt: bool = False) -> None:
        """Stop all runs of the thread."""
        mailbox = self._process.mailbox
        self.maybe_stopped.update(self.sent)
        stop = mailbox.interrupt_thread if interrupt else mailbox.cancel_thread
        if self.answered:
            try:
                answer, _ = await stop(TENANT, "t", by="ada")
                self.stops.update(dict.fromkeys(self.answered, answer))
            except StoreFault as fault:
                self.faults.append(fault)

    async def decide(self, run_id: str) -> None:
        """Answer the question of a run, if it has one."""
        try:
            await answer(self._process, run_id)
        except StoreFault as fault:
            self.faults.append(fault)


async def answer(process: Process, run_id: str) -> None:
    """Allow what a run asks for; no matter if it asks for nothing, or was answered already."""
    with suppress(RequestError, Refusal):
        await process.mailbox.decide(TENANT, f"ticket-{run_id}", action="resume", by="ada")


class Hands:
    """A worker's steps, one by one; it takes trouble as the real worker does, and looks again."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def claim(self) -> Claim | None:
        with suppress(StoreFault):
            return await self._process.claim()
        return None

    async def execute(self, claim: Claim | None) -> None:
        if claim is not None:
            await self._process.execute(claim)

    async def work(self) -> None:
        while (claim := await self.claim()) is not None:
            await self.execute(claim)

    async def sweep(self, after_seconds: float) -> None:
        clock = self._process.clock
        assert isinstance(clock, FakeClock)
        clock.advance(after_seconds)
        with suppress(StoreFault):
            await self._process.sweeper.sweep()


class World:
    """What a scenario has: a client, and a worker that is moved by hand or works by itself."""

    def __init__(self, store: TroubledStore, clock: FakeClock, seconds: float) -> None:
        self.store = store
        self.clock = clock
        self.seconds = seconds
        self.process = Process(store, clock)
        self.client = Client(self.process)
        self.hands = Hands(self.process)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Let the process work by itself; it must survive all trouble, and end what it accepted.

        Unless trouble lasts longer than a lease: then its sweeper would have to, in real time.
        """
        async with self.process.working():
            yield
            await self.store.wait_quiet()
            self.process.speaker.let_go.set()
            if not self.process.mailbox.draining and self.seconds < LONG:
                await self.wait_done()
            await self.process.worker.wait_idle()

    async def wait_done(self) -> None:
        """Until all that was answered is done."""
        with anyio.fail_after(10):
            for run_id in self.client.answered:
                while not await self._done(run_id):
                    await self.store.wait_quiet()

    async def _done(self, run_id: str) -> bool:
        run = await self.store.inner.run(TENANT, run_id)
        assert run is not None
        return run.status is RunStatus.done

    @asynccontextmanager
    async def deaf(self, claim: Claim | None) -> AsyncIterator[None]:
        """Execute a claim in the background, and let it hear of nothing that happens meanwhile."""
        self.process.leases.stop_asked = lambda *_, **__: None  # type: ignore[method-assign]  # as if hints were lost
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.hands.execute, claim)
            await self.store.wait_quiet()
            yield
            self.process.speaker.let_go.set()


Scenario = Callable[[World], Awaitable[None]]


# --- scenarios, by hand ------------------------------------------------------------------------


async def submit_foreground(world: World) -> None:
    await world.client.submit()


async def claim_and_execute_to_completion(world: World) -> None:
    await world.client.submit()
    await world.hands.work()


async def interrupt_a_claimed_run(world: World) -> None:
    await world.client.submit()
    claim = await world.hands.claim()
    await world.client.submit()
    await world.hands.execute(claim)
    await world.hands.work()


async def interrupt_a_run_in_the_middle_of_its_text(world: World) -> None:
    await world.client.submit("break:2")
    await world.hands.work()
    await world.hands.sweep(1)
    claim = await world.hands.claim()
    await world.client.submit()
    await world.hands.execute(claim)
    await world.hands.work()


async def interrupt_a_claimed_run_whose_owner_never_settles(world: World) -> None:
    await world.client.submit()
    await world.hands.claim()
    await world.client.submit()
    await world.hands.sweep(2.1)
    await world.hands.work()


async def interrupt_queued_runs(world: World) -> None:
    await world.client.submit(mode=Mode.background, on_busy=OnBusy.enqueue)
    await world.client.submit(on_busy=OnBusy.enqueue)
    await world.client.submit(on_busy=OnBusy.enqueue)
    await world.client.submit()
    await world.hands.work()


async def enqueue(world: World) -> None:
    for _ in range(3):
        await world.client.submit(on_busy=OnBusy.enqueue)
    await world.hands.work()


async def fail_and_retry(world: World) -> None:
    await world.client.submit("break:2")
    await world.hands.work()
    await world.hands.sweep(1)
    await world.hands.work()


async def cancel_a_queued_run(world: World) -> None:
    run_id = await world.client.submit()
    await world.client.submit(on_busy=OnBusy.enqueue)
    await world.client.stop(run_id)
    await world.hands.work()


async def cancel_a_claimed_run(world: World) -> None:
    run_id = await world.client.submit()
    claim = await world.hands.claim()
    await world.client.stop(run_id)
    await world.hands.execute(claim)


async def cancel_a_claimed_run_whose_worker_dies(world: World) -> None:
    run_id = await world.client.submit()
    await world.hands.claim()
    await world.client.stop(run_id)
    await world.hands.sweep(31)
    await world.hands.work()


async def cancel_a_run_that_waits_to_be_retried(world: World) -> None:
    run_id = await world.client.submit("break:2")
    await world.hands.work()
    await world.client.stop(run_id)


async def cancel_a_thread(world: World) -> None:
    for _ in range(3):
        await world.client.submit(on_busy=OnBusy.enqueue)
    claim = await world.hands.claim()
    await world.client.stop_thread()
    await world.hands.execute(claim)


async def interrupt_a_thread_without_a_new_run(world: World) -> None:
    for _ in range(3):
        await world.client.submit(on_busy=OnBusy.enqueue)
    claim = await world.hands.claim()
    await world.client.stop_thread(interrupt=True)
    await world.hands.execute(claim)


async def interrupt_an_attempt_that_hears_nothing(world: World) -> None:
    await world.client.submit("hang:2")
    async with world.deaf(await world.hands.claim()):
        await world.client.submit()
    await world.hands.work()


async def cancel_an_attempt_that_hears_nothing(world: World) -> None:
    run_id = await world.client.submit("hang:2 break:2")
    async with world.deaf(await world.hands.claim()):
        await world.client.stop(run_id)
    await world.hands.work()


async def expire_an_owner_that_wakes_up_later(world: World) -> None:
    await world.client.submit("hang:2")
    async with world.deaf(await world.hands.claim()):
        await world.hands.sweep(31)
        successor = await world.hands.claim()
        world.process.speaker.let_go.set()
        await world.store.wait_quiet()
    await world.hands.execute(successor)
    await world.hands.work()


async def ask_and_go_on_with_the_answer(world: World) -> None:
    run_id = await world.client.submit("ask")
    await world.hands.work()
    await world.client.submit(mode=Mode.background, on_busy=OnBusy.enqueue)
    await world.hands.work()
    await world.client.decide(run_id)
    await world.hands.work()


async def cancel_a_run_that_asks(world: World) -> None:
    run_id = await world.client.submit("ask")
    await world.hands.work()
    await world.client.submit(mode=Mode.background, on_busy=OnBusy.enqueue)
    await world.client.stop(run_id)
    await world.hands.work()


async def interrupt_a_run_that_asks(world: World) -> None:
    await world.client.submit("ask")
    await world.hands.work()
    await world.client.submit()
    await world.hands.work()


async def steer_a_claimed_run(world: World) -> None:
    await world.client.submit()
    claim = await world.hands.claim()
    await world.client.submit(on_busy=OnBusy.steer)
    await world.hands.execute(claim)
    await world.hands.work()


async def steer_a_run_that_waits_to_be_retried(world: World) -> None:
    await world.client.submit("break:2")
    await world.hands.work()
    await world.client.submit(on_busy=OnBusy.steer)
    await world.hands.sweep(1)
    await world.hands.work()


async def steer_a_run_that_fails(world: World) -> None:
    await world.client.submit("fail:2")
    claim = await world.hands.claim()
    await world.client.submit(on_busy=OnBusy.steer)
    await world.hands.execute(claim)
    await world.hands.work()


async def steer_a_run_and_stop_it(world: World) -> None:
    run_id = await world.client.submit()
    claim = await world.hands.claim()
    await world.client.submit(on_busy=OnBusy.steer)
    await world.client.stop(run_id)
    await world.hands.execute(claim)
    await world.hands.work()


async def steer_a_run_and_interrupt_it(world: World) -> None:
    await world.client.submit()
    claim = await world.hands.claim()
    await world.client.submit(on_busy=OnBusy.steer)
    await world.client.submit()
    await world.hands.execute(claim)
    await world.hands.work()


async def roll_back_a_claimed_run(world: World) -> None:
    await world.client.submit()
    claim = await world.hands.claim()
    await world.client.submit(on_busy=OnBusy.rollback)
    await world.hands.execute(claim)
    await world.hands.work()


async def expire_and_go_on(world: World) -> None:
    await world.client.submit()
    await world.hands.claim()
    await world.hands.sweep(31)
    await world.hands.work()


async def promote_a_delayed_run(world: World) -> None:
    due_at = world.clock.now() + 60_000
    await world.client.submit(mode=Mode.background, on_busy=OnBusy.enqueue, available_at=due_at)
    await world.hands.work()
    await world.hands.sweep(61)
    await world.hands.work()


# --- scenarios of a process that works by itself -----------------------------------------------


async def submit_to_a_free_worker(world: World) -> None:
    async with world.working():
        await world.client.submit()


async def submit_more_than_there_is_room_for(world: World) -> None:
    async with world.working():
        for _ in range(3):
            await world.client.submit(on_busy=OnBusy.enqueue)


async def interrupt_a_running_attempt(world: World) -> None:
    async with world.working():
        await world.client.submit("hang:2")
        await world.store.wait_quiet()
        await world.client.submit()


async def cancel_a_running_attempt(world: World) -> None:
    async with world.working():
        run_id = await world.client.submit("hang:2")
        await world.store.wait_quiet()
        await world.client.stop(run_id)


async def drain_and_hand_over(world: World) -> None:
    async with world.working():
        await world.client.submit("hang:2")
        await world.client.submit(on_busy=OnBusy.enqueue)
        await world.store.wait_quiet()
        await world.process.mailbox.drain(0)


BY_HAND: list[Scenario] = [
    submit_foreground,
    claim_and_execute_to_completion,
    interrupt_a_claimed_run,
    interrupt_a_run_in_the_middle_of_its_text,
    interrupt_a_claimed_run_whose_owner_never_settles,
    interrupt_queued_runs,
    enqueue,
    fail_and_retry,
    cancel_a_queued_run,
    cancel_a_claimed_run,
    cancel_a_claimed_run_whose_worker_dies,
    cancel_a_run_that_waits_to_be_retried,
    cancel_a_thread,
    interrupt_a_thread_without_a_new_run,
    interrupt_an_attempt_that_hears_nothing,
    cancel_an_attempt_that_hears_nothing,
    expire_an_owner_that_wakes_up_later,
    ask_and_go_on_with_the_answer,
    cancel_a_run_that_asks,
    interrupt_a_run_that_asks,
    steer_a_claimed_run,
    steer_a_run_that_waits_to_be_retried,
    steer_a_run_that_fails,
    steer_a_run_and_stop_it,
    steer_a_run_and_interrupt_it,
    roll_back_a_claimed_run,
    expire_and_go_on,
    promote_a_delayed_run,
]
BY_ITSELF: list[Scenario] = [
    submit_to_a_free_worker,
    submit_more_than_there_is_room_for,
    interrupt_a_running_attempt,
    cancel_a_running_attempt,
    drain_and_hand_over,
]


# --- what must hold afterwards -----------------------------------------------------------------


async def check(world: World, healthy: SqliteStore) -> None:
    """After another process has done all that was left."""
    client, attempts = world.client, world.process.speaker.attempts
    assert len(attempts) == len(set(attempts)), "a claim is executed once"
    found: dict[str, Run] = {}
    for thread_id in await all_threads(healthy, TENANT):
        history = await read_history(healthy, TENANT, thread_id)
        broken = violations(history)
        assert not broken, "\n".join(broken)
        found.update({run.run_id: run for run in history.runs})
        check_questions(client, history)
        for entry in history.entries:
            if isinstance(entry.event, RunRetry) and entry.event.reason == "handoff":
                assert entry.event.attempt == 1, "a hand-over counts no attempt"
        for dispatch in history.dispatches:
            known = (None, "overloaded", "hopeless")
            assert dispatch.last_error in known, "trouble of the store counts none"
    assert {each.run_id for each in client.answered.values()} <= set(found) <= set(client.sent)
    for run in found.values():
        assert run.status is RunStatus.done
        check_end(client, run)
        await check_stop(client, healthy, run)


def check_questions(client: Client, history: ThreadHistory) -> None:
    """What was asked is in the thread, unless it was stopped before anyone read it."""
    there = {
        entry.event.message.message_id
        for entry in history.entries
        if isinstance(entry.event, MessageCommitted)
    }
    for run_id, accepted in client.answered.items():
        if accepted.thread_id != history.head.thread_id:
            continue
        if not {run_id, accepted.run_id} & (client.maybe_stopped | client.rolled_back):
            assert f"question-{run_id}" in there


def check_end(client: Client, run: Run) -> None:
    """It ended as it was told to, and said nothing twice."""
    assert run.outcome is not None
    kind = run.outcome.termination.__struct_config__.tag
    text = run.outcome.text or ""
    assert TEXT.startswith(text), "no text is doubled or lost"
    match kind:
        case "natural_end":
            assert text == TEXT
        case "cancelled":
            assert run.run_id in client.maybe_stopped
        case "superseded":
            assert client.interrupts
        case "error" if text == "one two ":
            assert run.run_id in client.fails
        case _:
            raise AssertionError(f"trouble of the store ended a run: {run.outcome}")


async def check_stop(client: Client, healthy: SqliteStore, run: Run) -> None:
    """I9: a stop that was answered reached the run, or the run says that it was too late."""
    if client.stops.get(run.run_id) is not Stop.requested:
        return
    assert run.outcome is not None
    segments = await healthy.segments(TENANT, run.thread_id, 0, 10_000, run.run_id)
    finish = segments[-1].items[-1].event
    assert isinstance(finish, RunFinish)
    ended = finish.termination.__struct_config__.tag
    assert ended == "cancelled" or finish.cancel == "too_late", ended


async def trial(scenario: Scenario, way: Way, nth: int, seconds: float, *, reads: bool) -> bool:
    """Run a scenario with one fault; whether it met the fault."""
    clock = FakeClock()
    healthy = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    try:
        store = TroubledStore(healthy, clock, way, nth=nth, seconds=seconds, reads=reads)
        world = World(store, clock, seconds)
        with anyio.fail_after(20):
            async with jumping(clock, store):
                await scenario(world)
            successor = Process(healthy, clock, "w2")
            await successor.work_to_the_end(clock)
            for run_id in world.client.sent:
                await answer(successor, run_id)
            await successor.work_to_the_end(clock)
            await check(world, healthy)
            if seconds == ONCE and way is not Way.before:
                assert not world.client.faults, "an unknown commit is asked about until it is known"
        return store.failed > 0
    finally:
        await healthy.aclose()


async def enumerate_faults(
    scenario: Scenario, way: Way, seconds: float, *, reads: bool = False
) -> None:
    for nth in count(1):
        assert nth < ENUMERATED
        try:
            if not await trial(scenario, way, nth, seconds, reads=reads):
                assert nth > 1, "the scenario calls the store"
                return
        except BaseException as error:
            error.add_note(f"the fault: {way.value}, call {nth}, for {seconds} s, reads {reads}")
            raise


def names(scenarios: list[Scenario]) -> list[str]:
    return [scenario.__name__ for scenario in scenarios]


by_hand = pytest.mark.parametrize("scenario", BY_HAND, ids=names(BY_HAND))
by_itself = pytest.mark.parametrize("scenario", BY_ITSELF, ids=names(BY_ITSELF))
every_way = pytest.mark.parametrize("way", list(Way))


@every_way
@by_hand
async def test_any_one_write_may_fail(scenario: Scenario, way: Way) -> None:
    """Regression list of peers.md, 19."""
    await enumerate_faults(scenario, way, ONCE)


@by_hand
async def test_any_one_read_may_fail(scenario: Scenario) -> None:
    await enumerate_faults(scenario, Way.before, ONCE, reads=True)


@by_hand
async def test_the_store_may_be_away_for_a_moment(scenario: Scenario) -> None:
    """Regression list of peers.md, 18."""
    await enumerate_faults(scenario, Way.before, SHORT, reads=True)


@by_hand
async def test_the_store_may_lose_all_replies_for_longer_than_a_lease(scenario: Scenario) -> None:
    await enumerate_faults(scenario, Way.lost_reply, LONG)


@every_way
@by_itself
async def test_a_process_that_works_by_itself_survives_any_one_fault(
    scenario: Scenario, way: Way
) -> None:
    await enumerate_faults(scenario, way, ONCE, reads=True)


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "writes-only"])
@pytest.mark.parametrize("way", [Way.before, Way.lost_reply])
@by_itself
async def test_a_process_that_works_by_itself_survives_an_outage(
    scenario: Scenario, way: Way, reads: bool
) -> None:
    await enumerate_faults(scenario, way, SHORT, reads=reads)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [SHORT, LONG])
@every_way
@pytest.mark.parametrize("scenario", BY_HAND + BY_ITSELF, ids=names(BY_HAND + BY_ITSELF))
async def test_the_store_may_be_in_trouble_for_a_while(
    scenario: Scenario, way: Way, seconds: float
) -> None:
    await enumerate_faults(scenario, way, seconds, reads=True)
