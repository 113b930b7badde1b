"""Deleting threads: nothing is left, nobody comes back, and a crash changes nothing (E1 to E4)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from awaken.agent import Agent
from awaken.domain.care import Children, Erased
from awaken.domain.dispatch import Mode
from awaken.domain.outcome import Lost
from awaken.domain.submission import OnBusy
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.erase import ROWS, carry_out_all
from awaken.mailbox.keeper import Keeper
from awaken.ports.model import Finish, ModelEvent, ModelRequest, TextChunk
from awaken.ports.store import Store
from awaken.registry.registry import Registry
from awaken.stores.sqlite.store import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.conformance._records import grow
from awaken.testing.faulty import Fault, FaultyStore
from tests.mailbox.agents import AGENTS
from tests.mailbox.lab import TENANT, Lab
from tests.mailbox.rows import nothing_left, rows_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, clock=FakeClock(), worker_id="w1")
    yield store
    await store.aclose()


def lab_on(store: Store, agents: list[Agent] | None = None) -> Lab:
    return Lab(store, FakeClock(), agents or AGENTS)


async def delete(lab: Lab, children: Children = Children.reject, thread_id: str = "t") -> Erased:
    return await lab.mailbox.keeper.delete_thread(TENANT, thread_id, children=children, by="ada")


async def try_delete(store: Store, children: Children = Children.reject) -> None:
    """Delete as a process does that dies with the first fault."""
    mailbox = lab_on(store).mailbox
    keeper = Keeper(
        store, Registry(AGENTS), store.transact, MailboxConfig(), mailbox._with_position
    )
    with suppress(StoreFault):
        await keeper.delete_thread(TENANT, "t", children=children, by="ada")


async def busy_thread(lab: Lab) -> None:
    """A thread with a run that is done, one that is claimed, and some that are queued."""
    await lab.submit("hello")
    await lab.work()
    await lab.submit("break:2")
    assert await lab.claim() is not None
    for _ in range(3):
        await lab.submit("later", on_busy=OnBusy.enqueue, mode=Mode.background)
    await lab.submit("much later", available_at=10**13, on_busy=OnBusy.enqueue)


# --- E1: nothing is left -------------------------------------------------------------------------


async def test_a_deleted_thread_leaves_no_row_anywhere(store: SqliteStore, path: Path) -> None:
    lab = lab_on(store)
    await busy_thread(lab)
    before = await rows_of(path)
    assert min(before[table] for table in ("runs", "dispatches", "events", "messages")) > 0
    assert before["pending"] > 0
    erased = await delete(lab)
    assert (erased.threads, erased.runs, erased.pending) == (1, before["runs"], 0)
    await nothing_left(path)
    counts = await store.counts()
    assert (counts.queued, counts.claimed, counts.in_line) == (0, 0, 0)


async def test_a_queue_longer_than_a_slice_goes_too(store: SqliteStore, path: Path) -> None:
    lab = lab_on(store)
    for n in range(450):
        await lab.submit("later", message_id=f"m{n}", on_busy=OnBusy.enqueue, mode=Mode.background)
    assert (await delete(lab)).runs == 450
    await nothing_left(path)


async def test_each_run_of_a_deleted_thread_tells_its_readers_first(store: SqliteStore) -> None:
    """E2: what readers are given before the log goes ends with the run's `run_finish`."""
    lab = lab_on(store)
    await busy_thread(lab)
    told: list[object] = []
    store.listen(told.extend)
    await delete(lab)
    ends = [
        item.event
        for hint in told
        for item in getattr(getattr(hint, "segment", None), "items", ())
        if item.event.__struct_config__.tag == "run_finish"
    ]
    assert len(ends) == 5
    assert {end.termination.reason for end in ends} == {"thread_deleted"}


async def test_another_thread_keeps_everything(store: SqliteStore, path: Path) -> None:
    lab = lab_on(store)
    for thread_id in ("t", "other"):
        await lab.submit("hello", thread_id)
    await lab.work()
    before = await rows_of(path, "other")
    assert (await delete(lab)).specs == 0
    assert await rows_of(path, "other") == before
    await lab.check("other")


async def test_the_id_can_be_used_again_but_not_before_all_is_gone(store: SqliteStore) -> None:
    lab = lab_on(store)
    await lab.submit("hello")
    await lab.work()
    faulty = FaultyStore(store, Fault.before, nth=2, persistent=True)
    await try_delete(faulty)
    with pytest.raises(Refusal) as raised:
        await lab.submit("too soon")
    assert (raised.value.code, raised.value.retry_after_seconds) == ("thread_being_deleted", 1)
    with pytest.raises(RequestError, match="no thread"):
        await lab.mailbox.update_thread(TENANT, "t", {"title": "x"})
    await carry_out_all(store, 10)
    again = await lab.submit("hello again")
    assert again.cursor == 0
    await lab.work()
    await lab.check()


# --- E3: who executes is fenced ------------------------------------------------------------------


async def test_an_owner_that_was_cut_off_writes_nothing_and_makes_nothing(
    store: SqliteStore, path: Path
) -> None:
    lab = lab_on(store)
    await lab.submit("hello")
    claim = await lab.claim()
    assert claim is not None
    await delete(lab)
    outcome, settled = await lab.execute(claim)
    assert isinstance(outcome, Lost)
    assert settled is None
    await nothing_left(path)


class Deleting:
    """A model in whose middle the thread is deleted."""

    name = "test:deleting"

    def __init__(self) -> None:
        self.lab: Lab | None = None

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield TextChunk(text="one ")
        assert self.lab is not None
        await delete(self.lab)
        yield TextChunk(text="two ")
        yield Finish(reason="stop")


async def test_a_thread_deleted_while_its_agent_speaks_stays_deleted(
    store: SqliteStore, path: Path
) -> None:
    model = Deleting()
    model.lab = lab = lab_on(store, [Agent("echo", model=model)])
    await lab.submit("hello")
    claim = await lab.claim()
    assert claim is not None
    _, settled = await lab.execute(claim)
    assert settled is None or settled.refused is not None
    await nothing_left(path)
    await lab.sweeper.sweep()
    await nothing_left(path)


# --- E4: a deletion that was begun goes on -------------------------------------------------------


@pytest.mark.parametrize("fault", Fault)
async def test_a_deletion_cut_off_anywhere_is_all_or_nothing(tmp_path: Path, fault: Fault) -> None:
    """The store dies at the nth call; who starts next finds all of the thread, or deletes it."""
    for nth in range(1, 100):
        path = tmp_path / f"{nth}.db"
        store = await SqliteStore.open(path, clock=FakeClock(), worker_id="w1")
        await busy_thread(lab_on(store))
        faulty = FaultyStore(store, fault, nth=nth, persistent=True)
        await try_delete(faulty)
        await store.abandon()
        store = await SqliteStore.open(path, clock=FakeClock(), worker_id="w2")
        lab = lab_on(store)
        begun = await store.thread(TENANT, "t") is None
        await carry_out_all(store, 10)
        if begun:
            await nothing_left(path)
        else:
            await lab.check(quiescent=False)
            assert (await delete(lab)).threads == 1
            await nothing_left(path)
        await store.aclose()
        if not faulty.failed:
            return
    raise AssertionError("it never came through")


VICTIM = """
import sys, anyio
from awaken.mailbox.erase import begin, erase_slice
from awaken.domain.care import Children
from awaken.ports.store import operation
from awaken.stores.sqlite.store import SqliteStore

async def main(path):
    store = await SqliteStore.open(path)
    begun = await store.transact(operation(begin, "acme", "t", Children.reject, "ada"))
    await store.transact(operation(erase_slice, begun.deletion))
    print("begun", flush=True)
    await anyio.sleep(60)

anyio.run(main, sys.argv[1])
"""


@pytest.mark.slow
async def test_a_deletion_goes_on_after_kill_9(path: Path) -> None:
    store = await SqliteStore.open(path, clock=FakeClock(), worker_id="w1")
    lab = lab_on(store)
    await lab.submit("hello")
    await lab.work()
    for _ in range(ROWS * 3):
        await grow(store, tenant=TENANT, thread_id="t", run_id=None)
    await store.aclose()
    victim = await anyio.to_thread.run_sync(_start, path)
    try:
        assert victim.stdout is not None
        assert await anyio.to_thread.run_sync(victim.stdout.readline) == "begun\n"
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        await anyio.to_thread.run_sync(victim.wait)
        assert victim.stdout is not None
        victim.stdout.close()
    assert (await rows_of(path))["events"] > ROWS
    store = await SqliteStore.open(path, clock=FakeClock(), worker_id="w2")
    lab = lab_on(store)
    assert await store.thread(TENANT, "t") is None
    await lab.sweeper.collect_garbage()
    await nothing_left(path)
    await store.aclose()


def _start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, text=True
    )


# --- long ones -----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_long_thread_does_not_hold_the_writer(store: SqliteStore, path: Path) -> None:
    """While a hundred thousand rows go, others commit: none waits for more than a slice."""
    lab = lab_on(store)
    await lab.submit("hello")
    await lab.work()
    await anyio.to_thread.run_sync(_lengthen, path)
    waits: list[float] = []

    async def others() -> None:
        while True:
            began = anyio.current_time()
            await store.check()
            waits.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        began = anyio.current_time()
        erased = await delete(lab)
        took = anyio.current_time() - began
        tasks.cancel_scope.cancel()
    assert erased.events > 100_000
    assert len(waits) > 100, "others were served meanwhile"
    assert max(waits) < took / 4
    await nothing_left(path)


def _lengthen(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "insert into events with recursive n(i) as (select 1000 union all select i + 1 from n"
            " where i < 101000) select 'acme', 't', i, i, null, 1, 0, '[]' from n"
        )


# --- threads below -------------------------------------------------------------------------------


async def family(lab: Lab) -> None:
    for thread_id, parent in (("t", None), ("child", "t"), ("grandchild", "child")):
        fields = {"parent_thread_id": parent} if parent else {}
        await lab.mailbox.create_thread(TENANT, thread_id=thread_id, **fields)
        await lab.submit("hello", thread_id)
    await lab.work()


@pytest.mark.parametrize("fault", Fault)
async def test_a_cascade_cut_off_anywhere_goes_on_to_the_end(tmp_path: Path, fault: Fault) -> None:
    for nth in range(1, 100):
        path = tmp_path / f"{nth}.db"
        store = await SqliteStore.open(path, clock=FakeClock(), worker_id="w1")
        await family(lab_on(store))
        faulty = FaultyStore(store, fault, nth=nth, persistent=True)
        await try_delete(faulty, Children.cascade)
        begun = await store.thread(TENANT, "t") is None
        while await store.deletions(10):
            await carry_out_all(store, 10)
        if begun:
            for thread_id in ("t", "child", "grandchild"):
                await nothing_left(path, thread_id)
        await store.aclose()
        if not faulty.failed:
            return
    raise AssertionError("it never came through")


async def test_a_child_that_comes_meanwhile_is_not_left_behind(store: SqliteStore) -> None:
    lab = lab_on(store)
    await family(lab)
    await delete(lab, Children.detach)
    child = await store.thread(TENANT, "child")
    assert child is not None
    assert child.parent_thread_id is None
    with pytest.raises(RequestError) as raised:
        await lab.mailbox.create_thread(TENANT, thread_id="late", parent_thread_id="t")
    assert raised.value.code == "parent_thread_not_found"
