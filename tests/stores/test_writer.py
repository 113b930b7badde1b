"""Group commit: what shares a commit, who is answered when, and what ends with the store."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from awaken.domain.event import Segment, TextDelta
from awaken.errors import Refusal, StoreFault
from awaken.ports.hints import Hint, LogGrew
from awaken.ports.store import Transaction
from awaken.stores.sqlite import SqliteStore
from awaken.stores.sqlite.writer import MAX_BYTES, MAX_OPERATIONS
from awaken.testing.clock import FakeClock
from awaken.testing.conformance._records import THREAD, A, grow, head_of, run_of, save
from tests.stores.sqlite_faults import Plan, held, planned_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
async def store(path: Path, clock: FakeClock, plan: Plan) -> AsyncIterator[SqliteStore]:
    store = await planned_store(path, clock, plan)
    yield store
    await store.aclose()


async def test_what_queues_up_while_the_writer_is_busy_shares_a_commit(
    store: SqliteStore, plan: Plan
) -> None:
    async with anyio.create_task_group() as group, held(store):
        for _ in range(100):
            group.start_soon(grow, store)
    assert plan.transactions() == ["commit", "commit"]
    assert await store.heads([(A, THREAD)]) == {(A, THREAD): 100}


async def test_a_commit_has_a_limited_number_of_operations(store: SqliteStore, plan: Plan) -> None:
    async with anyio.create_task_group() as group, held(store):
        for _ in range(MAX_OPERATIONS + 1):
            group.start_soon(grow, store)
    assert plan.transactions() == ["commit"] * 3


async def test_a_commit_has_a_limited_size(store: SqliteStore, plan: Plan) -> None:
    third = (TextDelta(delta="x" * (MAX_BYTES // 3)),)
    async with anyio.create_task_group() as group, held(store):
        for _ in range(7):
            group.start_soon(partial(grow, store, events=third))
    assert plan.transactions() == ["commit"] * 4
    assert await store.heads([(A, THREAD)]) == {(A, THREAD): 7}


async def test_an_operation_that_writes_nothing_has_no_savepoint(
    store: SqliteStore, plan: Plan
) -> None:
    async def look(tx: Transaction) -> object:
        return await tx.head(A, THREAD)

    assert await store.transact(look) is None
    assert plan.seen == ["begin", "select", "commit"]


async def test_a_record_that_is_written_repeatedly_is_one_statement(
    store: SqliteStore, plan: Plan
) -> None:
    async def write(tx: Transaction) -> None:
        await tx.head(A, THREAD)
        for seq in range(3):
            tx.put_head(head_of(seq=seq))
            tx.put_run(run_of(steps=seq))

    await store.transact(write)
    assert plan.seen == ["begin", "select", "savepoint", "insert", "insert", "release", "commit"]
    assert await store.head(A, THREAD) == head_of(seq=2)


async def test_all_hints_of_a_commit_come_before_all_its_answers(store: SqliteStore) -> None:
    order: list[str] = []

    def listener(hints: list[Hint]) -> None:
        order.extend(f"hint {h.segment.last_seq}" for h in hints if isinstance(h, LogGrew))

    async def caller() -> None:
        order.append(f"answer {(await grow(store)).last_seq}")

    store.listen(listener)  # type: ignore[arg-type]  # it is given a list
    async with anyio.create_task_group() as group, held(store):
        for _ in range(3):
            group.start_soon(caller)
    assert order == ["hint 1", "hint 2", "hint 3", "answer 1", "answer 2", "answer 3"]


async def test_a_listener_that_raises_keeps_nobody_from_an_answer(store: SqliteStore) -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: errors.append(context["exception"])
    )

    def listener(_: object) -> None:
        raise ZeroDivisionError

    store.listen(listener)
    assert (await grow(store)).last_seq == 1
    assert [type(error) for error in errors] == [ZeroDivisionError]


async def test_an_operation_is_carried_out_though_its_caller_gives_up(store: SqliteStore) -> None:
    async with held(store), anyio.create_task_group() as group:
        group.start_soon(grow, store)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await store.check()
    assert await store.heads([(A, THREAD)]) == {(A, THREAD): 1}


async def test_an_operation_may_not_wait(store: SqliteStore) -> None:
    async def wait(tx: Transaction) -> None:
        tx.put_head(head_of())
        await tx.next_in_line(foreground_only=False)
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="waits for nothing but its transaction"):
        await store.transact(wait)
    assert await store.head(A, THREAD) is None
    gc.collect()  # a coroutine that was never ended would warn


@pytest.mark.parametrize("error", [Refusal("no", "no"), AssertionError(), SystemExit()])
async def test_the_writer_survives_whatever_an_operation_raises(
    store: SqliteStore, error: BaseException
) -> None:
    async def fail(_: Transaction) -> None:
        raise error

    with pytest.raises(type(error)):
        await store.transact(fail)
    assert (await grow(store)).last_seq == 1


async def test_a_store_serves_callers_on_several_event_loops(store: SqliteStore) -> None:
    hinted_on: list[threading.Thread] = []
    store.listen(lambda _: hinted_on.append(threading.current_thread()))

    async def both() -> Segment:
        await store.head(A, THREAD)
        return await grow(store)

    here = threading.current_thread()
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(anyio.to_thread.run_sync, anyio.run, both)
            group.start_soon(both)
    assert await store.heads([(A, THREAD)]) == {(A, THREAD): 8}
    assert set(hinted_on) == {here}


async def test_a_closed_store_has_done_what_it_accepted(store: SqliteStore, path: Path) -> None:
    async with anyio.create_task_group() as group, held(store):
        for _ in range(5):
            group.start_soon(grow, store)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(store.aclose)
    for call in (store.check, partial(store.head, A, THREAD), partial(grow, store)):
        with pytest.raises(StoreFault, match="closed"):
            await call()
    await store.aclose()
    again = await SqliteStore.open(path)
    assert await again.heads([(A, THREAD)]) == {(A, THREAD): 5}
    await again.aclose()


async def test_an_abandoned_store_loses_what_is_not_committed(
    store: SqliteStore, path: Path
) -> None:
    answers: list[str] = []

    async def caller() -> None:
        try:
            await grow(store)
        except StoreFault as fault:
            answers.append(fault.code)

    await grow(store)
    async with anyio.create_task_group() as group, held(store):
        for _ in range(5):
            group.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(store.abandon)
    assert answers == ["store_closed"] * 5
    again = await SqliteStore.open(path)
    assert await again.heads([(A, THREAD)]) == {(A, THREAD): 1}
    await again.aclose()


def put_head(seq: int, tx: Transaction) -> None:
    tx.put_head(head_of(seq=seq))


async def test_reads_see_what_was_answered_before(store: SqliteStore) -> None:
    for seq in range(1, 101):
        await save(store, partial(put_head, seq))
        head = await store.head(A, THREAD)
        assert head is not None
        assert head.seq == seq


def test_a_store_outlives_the_event_loop_it_was_opened_on(path: Path) -> None:
    store = anyio.run(SqliteStore.open, path)
    segment: Segment = anyio.run(grow, store)
    assert segment.last_seq == 1
    assert anyio.run(store.heads, [(A, THREAD)]) == {(A, THREAD): 1}
    anyio.run(store.aclose)
