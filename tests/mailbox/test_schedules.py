"""Schedules: a tick makes one run, over schedulers, crashes, lost replies and clocks that jump."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from awaken.agent import Agent
from awaken.domain.care import Children
from awaken.domain.dispatch import Mode
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.run import Origin, Run, RunStatus
from awaken.domain.schedule import MAX_CAUGHT_UP, Missed, Schedule, tick_run_id
from awaken.domain.submission import OnBusy
from awaken.domain.ticket import WaitingReason
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.mailbox.config import MailboxConfig
from awaken.ports.clock import SystemClock
from awaken.ports.hints import Hint, LogGrew
from awaken.ports.store import MessageFilter, RunFilter, Store, Transaction
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault, FaultyStore

from .agents import AGENTS, TestModel
from .lab import TENANT, Lab, lab
from .schedule_victim import MINUTE_MS, START_MS, TICKS
from .tools import Bench

HOUR_MS = 3_600_000
NOON = 12 * 3_600


class Leaving(TestModel):
    name = "test:leaving"


class Shifted(SystemClock):
    """The machine's clock, set so that a full hour comes in so many ms."""

    def __init__(self, ms: int) -> None:
        self._shift = HOUR_MS - ms - super().now() % HOUR_MS

    def now(self) -> int:
        return super().now() + self._shift


def wanted(**fields: Any) -> Schedule:
    """A schedule that comes at every full hour, not kept yet."""
    text = Message(message_id="0", role=Role.user, content=(TextBlock(text="report"),))
    given = {"cron": "0 * * * *", "agent_id": "echo", "messages": (text,), **fields}
    return Schedule(
        tenant=TENANT, schedule_id="", created_by="ada", created_at=0, updated_at=0, **given
    )


async def runs_of(store: Store, tenant: str = TENANT) -> list[Run]:
    """All runs, oldest first."""
    page = await store.runs(tenant, RunFilter(), 1_000, None)
    return list(reversed(page.items))


def ticks_of(runs: list[Run]) -> list[str]:
    """When the runs' ticks were, in UTC, in the order of the runs' times."""
    times = sorted(run.metadata["scheduled_at"] for run in runs)
    return [datetime.fromtimestamp(at / 1000, UTC).strftime("%d %H:%M") for at in times]


async def kept(here: Lab, schedule: Schedule) -> Schedule:
    """The schedule as it is now."""
    found = await here.store.schedule(TENANT, schedule.schedule_id)
    assert found is not None
    return found


# --- a tick --------------------------------------------------------------------------------------


async def test_a_tick_submits_a_background_run_and_the_next_one_is_waited_for() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted(metadata={"team": "a"}))
        assert made.next_at == here.clock.now() + HOUR_MS
        assert await here.store.next_due_at() == made.next_at
        await here.sweeper.sweep()
        assert await runs_of(here.store) == []

        here.clock.advance(3_600)
        await here.sweeper.sweep()
        (run,) = await runs_of(here.store)
        assert run.run_id == tick_run_id(made.schedule_id, made.next_at)
        assert (run.origin, run.tenant, run.agent_id) == (Origin.schedule, TENANT, "echo")
        assert run.metadata == {
            "team": "a",
            "schedule_id": made.schedule_id,
            "scheduled_at": made.next_at,
        }
        dispatch = await here.store.dispatch(TENANT, run.dispatch_id or "")
        assert dispatch is not None
        assert dispatch.mode is Mode.background
        after = await kept(here, made)
        assert (after.last_at, after.last_run_id) == (made.next_at, run.run_id)
        assert after.next_at == made.next_at + HOUR_MS
        await here.work()
        assert await here.done(run.run_id) == "natural_end"
        await here.check(run.thread_id)


async def test_each_tick_has_a_new_thread_or_the_one_that_was_named() -> None:
    async with lab(AGENTS) as here:
        await here.mailbox.create_thread(TENANT, thread_id="t")
        await here.mailbox.create_schedule(wanted())
        await here.mailbox.create_schedule(wanted(thread_id="t"))
        for _ in range(3):
            here.clock.advance(3_600)
            await here.sweeper.sweep()
            await here.work()
        threads = [run.thread_id for run in await runs_of(here.store)]
        assert threads.count("t") == 3
        assert len(set(threads)) == 4
        page = await here.store.messages(TENANT, "t", MessageFilter(), 100, None)
        assert [stored.message.text for stored in page.items][::2] == ["report"] * 3
        await here.check("t")


async def test_a_tick_that_is_refused_is_passed_over_and_says_why() -> None:
    async with lab(AGENTS) as here:
        await here.submit("hi")
        made = await here.mailbox.create_schedule(wanted(thread_id="t", on_busy=OnBusy.reject))
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        assert len(await runs_of(here.store)) == 1
        passed = await kept(here, made)
        assert (passed.last_error, passed.last_at) == ("thread_busy", None)
        await here.work()
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        assert len(await runs_of(here.store)) == 2
        assert (await kept(here, made)).last_error is None


async def test_a_tick_answers_no_question_that_was_put_to_a_person() -> None:
    made = Bench()
    async with lab([made.agent]) as here:
        accepted = await here.submit("ask(what=size)", agent_id="tooled")
        await here.work()
        run = await here.run(accepted.run_id)
        assert run.waiting is not None
        assert run.waiting.reason is WaitingReason.user_input
        fitting = Message(message_id="0", role=Role.user, content=(TextBlock(text="7"),))
        await here.mailbox.create_schedule(
            wanted(agent_id="tooled", thread_id="t", messages=(fitting,))
        )
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        assert (await here.run(accepted.run_id)).status is RunStatus.waiting
        assert len(await runs_of(here.store)) == 2


# --- once ----------------------------------------------------------------------------------------


async def test_two_schedulers_on_one_store_submit_each_tick_once() -> None:
    """Regression list of peers.md, 6."""
    async with lab(AGENTS) as one:
        other = Lab(one.store, one.clock, AGENTS, worker_id="w2")
        schedules = [await one.mailbox.create_schedule(wanted(missed=Missed.all)) for _ in range(3)]
        for hours in (1, 1, 5):
            one.clock.advance(hours * 3_600)
            async with anyio.create_task_group() as tasks:
                for scheduler in (one, other, one, other):
                    tasks.start_soon(scheduler.sweeper.sweep)
        runs = await runs_of(one.store)
        ids = [run.metadata["schedule_id"] for run in runs]
        assert len(runs) == 7 * 3
        assert {schedule.schedule_id: 7 for schedule in schedules} == {
            each: ids.count(each) for each in ids
        }
        assert len({run.thread_id for run in runs}) == len(runs)


@pytest.mark.parametrize("fault", Fault)
async def test_whatever_call_of_the_store_fails_a_tick_makes_one_run(fault: Fault) -> None:
    for nth in count(1):
        clock = FakeClock()
        inner = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
        try:
            healthy = Lab(inner, clock, AGENTS)
            await healthy.mailbox.create_schedule(wanted(missed=Missed.all))
            clock.advance(3 * 3_600)
            faulty = FaultyStore(inner, fault, nth=nth, reads=True)
            with anyio.move_on_after(10):
                try:
                    await Lab(faulty, clock, AGENTS, worker_id="w2").sweeper.sweep()
                except StoreFault:
                    assert faulty.failed
            await healthy.sweeper.sweep()
            assert ticks_of(await runs_of(inner)) == ["01 01:00", "01 02:00", "01 03:00"]
        finally:
            await inner.aclose()
        if not faulty.failed:
            assert nth > 6, "the scenario made that many calls at least"
            break


@pytest.mark.slow
async def test_a_scheduler_that_is_killed_around_a_tick_doubles_and_loses_none(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "awaken.db")
    kills = 0
    for life in range(40):
        command = [sys.executable, "-m", "tests.mailbox.schedule_victim", path, f"v{life}"]
        async with await anyio.open_process(command, stderr=None) as victim:
            assert victim.stdout is not None
            first = await victim.stdout.receive()
            assert first.startswith(b"ready")
            with anyio.move_on_after(0.004 + 0.003 * life):  # each lives a little longer
                await victim.wait()
            if victim.returncode is None:
                victim.kill()
                kills += 1
        if victim.returncode == 0:
            break
    assert kills > 1
    store = await SqliteStore.open(path, worker_id="heir", clock=FakeClock())
    times = sorted(run.metadata["scheduled_at"] for run in await runs_of(store))
    await store.aclose()
    assert times == [START_MS + minute * MINUTE_MS for minute in range(1, TICKS + 1)]


async def test_a_clock_that_jumps_back_fires_nothing_again_and_goes_on_where_it_was() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        for _ in range(3):
            here.clock.advance(3_600)
            await here.sweeper.sweep()
        here.clock.advance(-2 * 3_600 - 1)
        for _ in range(3):
            await here.sweeper.sweep()
            assert len(await runs_of(here.store)) == 3
            here.clock.advance(3_600)
        here.clock.advance(1)
        await here.sweeper.sweep()
        assert ticks_of(await runs_of(here.store)) == [
            "01 01:00",
            "01 02:00",
            "01 03:00",
            "01 04:00",
        ]
        assert (await kept(here, made)).last_error is None


async def test_changing_the_times_back_and_forth_makes_no_tick_twice() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        here.clock.advance(-1)  # the tick of 01:00 is ahead again
        for cron in ("30 * * * *", "0 * * * *"):
            await here.mailbox.change_schedule(TENANT, made.schedule_id, {"cron": cron})
        here.clock.advance(1)
        await here.sweeper.sweep()
        assert ticks_of(await runs_of(here.store)) == ["01 01:00"]
        assert (await kept(here, made)).next_at == made.next_at + HOUR_MS  # type: ignore[operator]  # it has one


# --- missed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        (Missed.skip, []),
        (Missed.once, ["01 12:00"]),
        (Missed.all, [f"01 {hour:02}:00" for hour in range(1, 13)]),
    ],
)
async def test_after_a_long_stop_each_policy_does_what_it_says(
    missed: Missed, expected: list[str]
) -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted(missed=missed))
        here.clock.advance(NOON + 1_800)
        await here.sweeper.sweep()
        assert ticks_of(await runs_of(here.store)) == expected
        assert (await kept(here, made)).next_at == here.clock.now() + HOUR_MS // 2
        here.clock.advance(1_800)
        await here.sweeper.sweep()
        assert ticks_of(await runs_of(here.store)) == [*expected, "01 13:00"]


async def test_a_tick_that_is_a_little_late_is_not_missed() -> None:
    async with lab(AGENTS) as here:
        await here.mailbox.create_schedule(wanted(missed=Missed.skip))
        here.clock.advance(NOON + 59)
        await here.sweeper.sweep()
        assert ticks_of(await runs_of(here.store)) == ["01 12:00"]


async def test_all_that_was_missed_has_a_limit() -> None:
    async with lab(AGENTS) as here:
        await here.mailbox.create_schedule(wanted(missed=Missed.all))
        here.clock.advance(30 * 24 * 3_600)
        await here.sweeper.sweep()
        runs = await runs_of(here.store)
        assert len(runs) == MAX_CAUGHT_UP
        assert max(ticks_of(runs)) == "31 00:00"


# --- keeping them --------------------------------------------------------------------------------


async def test_what_is_disabled_misses_nothing() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted(missed=Missed.all))
        stopped = await here.mailbox.change_schedule(TENANT, made.schedule_id, {"enabled": False})
        assert stopped.next_at is None
        here.clock.advance(NOON)
        await here.sweeper.sweep()
        again = await here.mailbox.change_schedule(TENANT, made.schedule_id, {"enabled": True})
        assert again.next_at == here.clock.now() + HOUR_MS
        await here.sweeper.sweep()
        assert await runs_of(here.store) == []


async def test_a_deleted_schedule_submits_nothing_and_its_runs_go_on() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        await here.mailbox.delete_schedule(TENANT, made.schedule_id)
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        (run,) = await runs_of(here.store)
        await here.work()
        assert await here.done(run.run_id) == "natural_end"
        with pytest.raises(RequestError, match="no schedule"):
            await here.mailbox.delete_schedule(TENANT, made.schedule_id)


async def test_a_schedule_does_not_bring_back_a_deleted_thread() -> None:
    async with lab(AGENTS) as here:
        await here.mailbox.create_thread(TENANT, thread_id="t")
        made = await here.mailbox.create_schedule(wanted(thread_id="t"))
        await here.mailbox.keeper.delete_thread(TENANT, "t", children=Children.detach, by="ada")
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        stopped = await kept(here, made)
        assert (stopped.enabled, stopped.next_at) == (False, None)
        assert stopped.last_error == "thread_not_found"
        assert await here.store.thread(TENANT, "t") is None
        assert await runs_of(here.store) == []


async def test_an_agent_that_is_gone_is_told_and_the_next_tick_is_tried() -> None:
    async with lab([*AGENTS, Agent("leaving", model=Leaving())]) as here:
        made = await here.mailbox.create_schedule(wanted(agent_id="leaving"))
        later = Lab(here.store, here.clock, AGENTS, worker_id="w2")
        here.clock.advance(3_600)
        await later.sweeper.sweep()
        passed = await kept(here, made)
        assert (passed.last_error, passed.enabled) == ("agent_not_found", True)
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        assert ticks_of(await runs_of(here.store)) == ["01 02:00"]


async def test_a_schedule_can_be_stopped_whatever_is_wrong_with_it() -> None:
    async with lab([*AGENTS, Agent("leaving", model=Leaving())]) as here:
        made = await here.mailbox.create_schedule(wanted(agent_id="leaving"))
        broken = replace(made, timezone="Gone/Zone")

        async def put(tx: Transaction) -> None:
            tx.put_schedule(broken)

        await here.store.transact(put)
        later = Lab(here.store, here.clock, AGENTS, worker_id="w2")
        changed = await later.mailbox.change_schedule(TENANT, made.schedule_id, {"enabled": False})
        assert (changed.enabled, changed.next_at) == (False, None)
        with pytest.raises(RequestError, match="timezone: "):
            await later.mailbox.change_schedule(TENANT, made.schedule_id, {"enabled": True})


async def test_a_zone_that_left_the_tables_stops_its_schedule_alone() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        other = await here.mailbox.create_schedule(wanted())

        async def put(tx: Transaction) -> None:
            tx.put_schedule(replace(made, timezone="Gone/Zone"))

        await here.store.transact(put)
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        stopped = await kept(here, made)
        assert (stopped.enabled, stopped.next_at) == (False, None)
        assert stopped.last_error == "invalid_field"
        (run,) = await runs_of(here.store)
        assert run.metadata["schedule_id"] == other.schedule_id


async def test_what_does_not_exist_is_refused_when_a_schedule_is_made_or_changed() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        for code, fields in (
            ("agent_not_found", {"agent_id": "nobody"}),
            ("thread_not_found", {"thread_id": "nowhere"}),
            ("invalid_field", {"cron": "61 * * * *"}),
            ("invalid_field", {"timezone": "Mars/Olympus"}),
        ):
            for doing in (
                here.mailbox.create_schedule(wanted(**fields)),
                here.mailbox.change_schedule(TENANT, made.schedule_id, fields),
            ):
                with pytest.raises(RequestError) as caught:
                    await doing
                assert caught.value.code == code
        assert await kept(here, made) == made


async def test_a_change_while_ticks_come_is_not_lost() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        here.clock.advance(3_600)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.sweeper.sweep)
            tasks.start_soon(
                here.mailbox.change_schedule, TENANT, made.schedule_id, {"missed": Missed.skip}
            )
        after = await kept(here, made)
        assert (after.missed, after.last_at) == (Missed.skip, made.next_at)
        assert len(await runs_of(here.store)) == 1


async def test_a_schedule_that_cannot_be_read_holds_up_no_other() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted())
        broken = replace(made, schedule_id="broken", next_at=made.created_at)

        async def spoil(tx: Transaction) -> None:
            tx.put_schedule(broken)
            await tx.schedule(TENANT, "broken")  # it is written
            tx._write("update schedules set data = x'00' where schedule_id = ?", ("broken",))  # type: ignore[attr-defined]  # of SQLite

        await here.store.transact(spoil)
        here.clock.advance(3_600)
        await here.sweeper.sweep()
        assert len(await runs_of(here.store)) == 1
        assert await here.store.due_schedules(10) == []


async def test_a_trigger_submits_at_once_and_changes_no_tick() -> None:
    async with lab(AGENTS) as here:
        made = await here.mailbox.create_schedule(wanted(enabled=False))
        accepted = await here.mailbox.submit(await here.mailbox.triggered(TENANT, made.schedule_id))
        assert (await here.run(accepted.run_id)).origin is Origin.schedule
        assert await kept(here, made) == made


async def test_a_tenant_has_so_many_schedules_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awaken.mailbox.schedules.MAX_SCHEDULES", 3)
    async with lab(AGENTS) as here:
        for _ in range(3):
            await here.mailbox.create_schedule(wanted())
        with pytest.raises(Refusal) as caught:
            await here.mailbox.create_schedule(wanted())
        assert (caught.value.code, caught.value.status) == ("too_many_schedules", 429)


async def test_a_running_mailbox_wakes_for_a_tick() -> None:
    """By its due time: a pass comes once an hour here."""
    clock = Shifted(ms=700)
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    config = MailboxConfig(sweep_ms=HOUR_MS)
    here = Lab(store, clock, AGENTS, config=config)  # type: ignore[arg-type]  # a clock that goes
    submitted = anyio.Event()
    store.listen(lambda hints: submitted.set() if any(map(is_growth, hints)) else None)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(here.mailbox.run)
            made = await here.mailbox.create_schedule(wanted())
            await here.mailbox.create_schedule(wanted(cron="0 0 1 1 *"))
            with anyio.fail_after(5):
                await submitted.wait()
            assert clock.now() >= (made.next_at or 0)
            tasks.cancel_scope.cancel()
        (run,) = await runs_of(store)
        assert run.run_id == tick_run_id(made.schedule_id, made.next_at or 0)
    finally:
        await store.aclose()


def is_growth(hint: Hint) -> bool:
    return isinstance(hint, LogGrew)
