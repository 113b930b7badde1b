"""Wrappers round a store: what times its calls, and what lets them fail."""

from __future__ import annotations

from functools import partial
from itertools import count

import anyio
import pytest

from awaken.domain.dispatch import Refusal as Why
from awaken.domain.dispatch import Refused
from awaken.errors import Refusal, StoreFault
from awaken.ports.care import CareOfStore
from awaken.ports.outbox import OutboxOfStore
from awaken.ports.rules import RulesOfStore
from awaken.ports.schedules import SchedulesOfStore
from awaken.ports.store import Store, Transaction, operation
from awaken.stores.instrumented import InstrumentedStore, Result
from awaken.stores.sqlite import SqliteStore
from awaken.stores.wrapper import StoreWrapper
from awaken.testing.clock import FakeClock
from awaken.testing.conformance._records import RUN, THREAD, A, grow, run_of
from awaken.testing.faulty import Fault, FaultyStore

pytestmark = pytest.mark.anyio

ALL_FAULTS = pytest.mark.parametrize("fault", Fault)


def test_a_wrapper_has_every_method_of_the_port() -> None:
    parts = (CareOfStore, SchedulesOfStore, OutboxOfStore, RulesOfStore, Store)
    declared = {name for part in parts for name in vars(part)}
    names = {name for name in declared if not name.startswith("_")}
    assert names <= set(vars(StoreWrapper))
    assert names <= set(dir(SqliteStore))


async def put_run(tx: Transaction) -> None:
    tx.put_run(run_of())


async def test_each_call_is_reported_with_its_name_and_time(
    store: SqliteStore, clock: FakeClock
) -> None:
    reports: list[tuple[str, Result, float]] = []
    timed = InstrumentedStore(store, lambda *report: reports.append(report), clock)

    async def slow(_: Transaction) -> None:
        clock.advance(2)

    async def refuse(_: Transaction) -> Refused:
        return Refused(why=Why.thread_busy)

    async def raise_refusal(_: Transaction) -> None:
        raise Refusal("no", "no")

    async def fail(_: Transaction) -> None:
        raise ZeroDivisionError

    async def with_arguments(_: Transaction, number: int) -> int:
        return number

    await timed.transact(slow)
    await timed.transact(refuse)
    assert await timed.transact(operation(with_arguments, 5)) == 5
    await timed.transact(partial(with_arguments, number=5))
    for raising in (raise_refusal, fail):
        with pytest.raises((Refusal, ZeroDivisionError)):
            await timed.transact(raising)
    await timed.head(A, THREAD)
    assert reports == [
        ("slow", "ok", 2.0),
        ("refuse", "refused", 0.0),
        ("with_arguments", "ok", 0.0),
        ("with_arguments", "ok", 0.0),
        ("raise_refusal", "refused", 0.0),
        ("fail", "error", 0.0),
        ("head", "ok", 0.0),
    ]


async def test_a_call_that_is_cancelled_is_not_reported(
    store: SqliteStore, clock: FakeClock
) -> None:
    reports: list[tuple[str, Result, float]] = []
    timed = InstrumentedStore(store, lambda *report: reports.append(report), clock)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await timed.check()
    assert reports == []


async def test_a_fault_before_the_write_has_no_effect(store: SqliteStore) -> None:
    faulty = FaultyStore(store, Fault.before, nth=1)
    with pytest.raises(StoreFault) as raised:
        await faulty.transact(put_run)
    assert (raised.value.retryable, raised.value.unknown) == (True, False)
    assert await faulty.run(A, RUN) is None


async def test_a_lost_reply_has_all_effects(store: SqliteStore) -> None:
    hints: list[object] = []
    faulty = FaultyStore(store, Fault.lost_reply, nth=1)
    faulty.listen(hints.extend)
    with pytest.raises(StoreFault) as raised:
        await grow(faulty)
    assert (raised.value.retryable, raised.value.unknown) == (True, True)
    assert await faulty.heads([(A, THREAD)]) == {(A, THREAD): 1}
    assert len(hints) == 1


async def test_a_late_rollback_runs_the_operation_without_effect(store: SqliteStore) -> None:
    ran: list[str] = []
    faulty = FaultyStore(store, Fault.rolled_back, nth=1)

    async def run(tx: Transaction) -> None:
        await put_run(tx)
        ran.append("run")

    with pytest.raises(StoreFault) as raised:
        await faulty.transact(run)
    assert raised.value.unknown
    assert ran == ["run"]
    assert await faulty.run(A, RUN) is None


@ALL_FAULTS
async def test_only_the_nth_call_fails(store: SqliteStore, fault: Fault) -> None:
    faulty = FaultyStore(store, fault, nth=2)
    outcomes = []
    for _ in range(4):
        try:
            await faulty.transact(put_run)
        except StoreFault:
            outcomes.append("failed")
        else:
            outcomes.append("ok")
        await faulty.check()
    assert outcomes == ["ok", "failed", "ok", "ok"]
    assert (faulty.calls, faulty.failed) == (4, 1)


async def test_a_persistent_fault_lasts_until_it_is_healed(store: SqliteStore) -> None:
    faulty = FaultyStore(store, nth=2, persistent=True)
    await faulty.transact(put_run)
    for _ in range(3):
        with pytest.raises(StoreFault):
            await faulty.transact(put_run)
    faulty.heal()
    await faulty.transact(put_run)
    assert (faulty.calls, faulty.failed) == (5, 3)


async def test_reads_fail_only_when_they_are_counted(store: SqliteStore) -> None:
    faulty = FaultyStore(store, nth=1, reads=True)
    with pytest.raises(StoreFault):
        await faulty.next_due_at()
    assert await faulty.next_due_at() is None
    assert (faulty.calls, faulty.failed) == (2, 1)


@ALL_FAULTS
async def test_enumeration_ends_when_no_call_is_left_to_fail(
    store: SqliteStore, fault: Fault
) -> None:
    async def scenario(faulty: Store) -> int:
        failures = 0
        for _ in range(3):
            try:
                await faulty.transact(put_run)
            except StoreFault:
                failures += 1
        return failures

    seen = []
    for n in count(1):
        faulty = FaultyStore(store, fault, nth=n)
        seen.append(await scenario(faulty))
        if not faulty.failed:
            break
    assert seen == [1, 1, 1, 0]
