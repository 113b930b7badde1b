"""What callers are told when SQLite fails, and that nothing answered is lost."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from awaken.domain.event import TextDelta
from awaken.errors import Refusal, StoreFault
from awaken.ports.store import Store, Transaction
from awaken.stores.sqlite import SqliteStore, wal
from awaken.stores.sqlite.transaction import SqliteTransaction
from awaken.testing.clock import FakeClock
from awaken.testing.conformance._records import A, grow, run_of, stored_of
from tests.stores.sqlite_faults import SECRET, Plan, held, planned_store

pytestmark = pytest.mark.anyio

KIB = 1024


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
async def store(path: Path, clock: FakeClock, plan: Plan) -> AsyncIterator[SqliteStore]:
    store = await planned_store(path, clock, plan)
    yield store
    await store.aclose()


class Callers:
    """Callers of one store at the same time, and how each of them was answered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ok: list[int] = []
        self.faults: dict[int, StoreFault] = {}

    async def grow(self, number: int, size: int = 1) -> None:
        events = (TextDelta(delta="x" * size),)
        try:
            await grow(self.store, thread_id=f"thread-{number}", events=events)
        except StoreFault as fault:
            self.faults[number] = fault
        else:
            self.ok.append(number)

    async def kept(self, callers: int) -> list[int]:
        """Those whose operation is in the store."""
        keys = {(A, f"thread-{number}"): number for number in range(callers)}
        return sorted(keys[key] for key in await self.store.heads(list(keys)))


async def at_once(store: SqliteStore, callers: int) -> Callers:
    """Operations of so many callers, all in one batch."""
    made = Callers(store)
    async with anyio.create_task_group() as group, held(store):
        for number in range(callers):
            group.start_soon(made.grow, number)
    return made


async def test_one_operation_that_sqlite_refuses_takes_no_other_along(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("insert into thread_heads", sqlite3.SQLITE_CONSTRAINT, nth=3)
    callers = await at_once(store, 5)
    assert callers.ok == await callers.kept(5) == [0, 1, 3, 4]
    assert callers.faults[2].code == "store_constraint"
    assert not callers.faults[2].retryable
    assert plan.transactions() == ["commit", "commit"]


@pytest.mark.parametrize("nth", [1, 3, 5])
async def test_a_batch_that_sqlite_rolled_back_is_run_again_one_by_one(
    store: SqliteStore, plan: Plan, nth: int
) -> None:
    runs: list[str] = []
    plan.fail("insert into thread_heads", sqlite3.SQLITE_FULL, nth=nth, rolls_back=True)

    async def counted(tx: Transaction) -> None:
        runs.append("run")
        tx.put_run(run_of())

    async with anyio.create_task_group() as group, held(store):
        group.start_soon(store.transact, counted)
        callers = Callers(store)
        for number in range(5):
            group.start_soon(callers.grow, number)
    assert callers.ok == await callers.kept(5) == [0, 1, 2, 3, 4]
    assert runs == ["run", "run"]
    assert await store.run(A, "run-1") is not None
    assert plan.transactions() == ["commit"] * 7


async def test_an_operation_alone_is_told_why_sqlite_rolled_it_back(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("insert into events", sqlite3.SQLITE_IOERR, rolls_back=True)
    with pytest.raises(StoreFault) as raised:
        await grow(store)
    assert (raised.value.code, raised.value.retryable) == ("store_io", True)
    assert not raised.value.unknown
    assert (await grow(store)).last_seq == 1


async def test_an_operation_that_hides_a_lost_transaction_does_not_get_away_with_it(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("select", sqlite3.SQLITE_IOERR, nth=4, rolls_back=True)

    async def careless(tx: Transaction) -> str:
        with suppress(sqlite3.OperationalError):
            await tx.run(A, "none")
        return "done"

    callers = Callers(store)
    answers: list[str] = []
    async with anyio.create_task_group() as group, held(store):
        for number in range(3):
            group.start_soon(callers.grow, number)
        group.start_soon(lambda: answer(answers, store.transact(careless)))
        group.start_soon(callers.grow, 3)
    assert callers.ok == await callers.kept(4) == [0, 1, 2, 3]
    assert answers == ["done"]
    assert plan.transactions() == ["commit"] * 6


async def answer(answers: list[str], call: Awaitable[str]) -> None:
    answers.append(await call)


async def test_a_savepoint_that_cannot_be_undone_ends_the_transaction(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("rollback to", sqlite3.SQLITE_IOERR)

    async def refuse(tx: Transaction) -> None:
        tx.put_message(A, stored_of(1))
        raise Refusal("no", "no")

    with pytest.raises(StoreFault) as raised:
        await store.transact(refuse)
    assert raised.value.code == "store_io"
    callers = await at_once(store, 3)
    assert callers.ok == [0, 1, 2]


@pytest.mark.parametrize("after", [False, True])
async def test_a_commit_that_fails_is_unknown_to_all_of_its_batch(
    store: SqliteStore, plan: Plan, after: bool
) -> None:
    plan.fail("commit", sqlite3.SQLITE_IOERR, nth=2, after=after)
    callers = await at_once(store, 3)
    assert callers.ok == []
    assert await callers.kept(3) == ([0, 1, 2] if after else [])
    for fault in callers.faults.values():
        assert (fault.code, fault.unknown, fault.retryable) == ("commit_unknown", True, True)
    again = await at_once(store, 3)
    assert again.ok == [0, 1, 2]


async def test_no_hint_is_given_for_a_commit_that_failed(store: SqliteStore, plan: Plan) -> None:
    hints: list[object] = []
    store.listen(hints.extend)
    plan.fail("commit", sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreFault):
        await grow(store)
    assert hints == []
    await grow(store)
    assert len(hints) == 1


async def test_a_disk_that_is_full_at_commit_lets_in_what_fits(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("commit", sqlite3.SQLITE_FULL, nth=2)
    callers = await at_once(store, 3)
    assert callers.ok == await callers.kept(3) == [0, 1, 2]


async def test_an_operation_whose_own_commit_finds_the_disk_full_is_unknown(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("commit", sqlite3.SQLITE_FULL)
    with pytest.raises(StoreFault) as raised:
        await grow(store)
    assert (raised.value.code, raised.value.unknown) == ("store_full", True)


async def test_a_transaction_that_cannot_begin_has_done_nothing(
    store: SqliteStore, plan: Plan
) -> None:
    plan.fail("begin", sqlite3.SQLITE_BUSY, nth=2)
    callers = await at_once(store, 2)
    assert callers.ok == []
    assert {f.code for f in callers.faults.values()} == {"store_busy"}
    assert not any(f.unknown for f in callers.faults.values())
    assert (await at_once(store, 2)).ok == [0, 1]


@pytest.mark.parametrize("statement", ["begin", "insert into events", "commit"])
async def test_a_fault_says_nothing_about_files_or_statements(
    store: SqliteStore, plan: Plan, statement: str
) -> None:
    plan.fail(statement, sqlite3.SQLITE_ERROR)
    with pytest.raises(StoreFault) as raised:
        await grow(store)
    assert SECRET not in str(raised.value)
    assert str(raised.value) == raised.value.message
    assert str(raised.value.__cause__) == SECRET


# --- with SQLite's own errors --------------------------------------------------------------------


async def max_pages(store: Store, pages: int) -> None:
    async def limit(tx: Transaction) -> None:
        assert isinstance(tx, SqliteTransaction)
        tx.read(lambda cursor: cursor.execute(f"pragma max_page_count = {pages}").fetchone())

    await store.transact(limit)


async def test_a_full_disk_refuses_what_does_not_fit_and_nothing_else(
    file_store: SqliteStore,
) -> None:
    store = file_store
    await max_pages(store, 1)  # as many as there are: SQLite takes no smaller limit
    callers = Callers(store)
    async with anyio.create_task_group() as group, held(store):
        for number in range(20):
            group.start_soon(partial(callers.grow, number, 500 * KIB if number % 2 else 1))
    assert callers.ok == list(range(0, 20, 2))
    for fault in callers.faults.values():
        assert (fault.code, fault.retryable, fault.unknown) == ("store_full", True, False)
    assert await callers.kept(20) == callers.ok
    await max_pages(store, 1_000_000)
    async with anyio.create_task_group() as group:
        for number in list(callers.faults):
            group.start_soon(callers.grow, number, 500 * KIB)
    assert await callers.kept(20) == list(range(20))


async def test_a_commit_that_cannot_be_written_is_survived(file_store: SqliteStore) -> None:
    """The operating system refuses to let the log grow: SQLite's COMMIT fails."""
    store = file_store
    callers = Callers(store)
    await callers.grow(0)
    with files_limited_to(400 * KIB):
        await callers.grow(1, 800 * KIB)
    assert await callers.kept(2) == callers.ok == [0]
    assert callers.faults[1].unknown
    await callers.grow(1, 800 * KIB)
    assert await callers.kept(2) == callers.ok == [0, 1]
    await store.check()


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_store_that_another_connection_writes_to_is_busy(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "BUSY_MS", 20)
    store = await SqliteStore.open(path, clock=clock)
    other = await anyio.to_thread.run_sync(wal.connect, str(path))
    await anyio.to_thread.run_sync(other.execute, "begin immediate")
    with pytest.raises(StoreFault) as raised:
        await grow(store)
    assert (raised.value.code, raised.value.retryable) == ("store_busy", True)
    other.close()
    assert (await grow(store)).last_seq == 1
    await store.aclose()


async def test_a_read_that_fails_is_a_fault_and_the_next_one_works(
    file_store: SqliteStore,
) -> None:
    readers = file_store._readers
    assert readers is not None
    for _ in range(4):
        with pytest.raises(StoreFault) as raised:
            await readers.run(lambda cursor: cursor.execute("select * from nothing"))
        assert raised.value.code == "store_error"
        assert await file_store.head(A, "none") is None
