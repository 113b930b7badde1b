"""What is deleted by age, by the sweeper: in which order, and that what is left holds together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awaken.domain.dispatch import Mode
from awaken.domain.submission import OnBusy
from awaken.mailbox.config import DAY_MS, MailboxConfig
from awaken.ports.store import MessageFilter
from awaken.stores.sqlite.store import SqliteStore
from awaken.testing.clock import FakeClock
from tests.mailbox.agents import AGENTS
from tests.mailbox.lab import TENANT, Lab
from tests.mailbox.rows import rows_of
from tests.mailbox.test_retry import retry

pytestmark = pytest.mark.anyio

DAY = DAY_MS / 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
async def here(path: Path) -> AsyncIterator[Lab]:
    clock = FakeClock()
    store = await SqliteStore.open(path, clock=clock, worker_id="w1")
    yield Lab(store, clock, AGENTS)
    await store.aclose()


async def a_day_of_work(here: Lab, text: str = "hello") -> str:
    """A run that is done, and then a day without any."""
    run = await here.submit(text, on_busy=OnBusy.enqueue, mode=Mode.background)
    await here.work()
    here.clock.advance(DAY)
    return run.run_id


async def test_with_time_events_go_before_their_runs_and_messages_stay(
    here: Lab, path: Path
) -> None:
    old = await a_day_of_work(here)
    here.clock.advance(28 * DAY)
    young = await a_day_of_work(here)
    await here.sweeper.collect_garbage()
    assert await here.entries(old), "not yet"
    here.clock.advance(2 * DAY)
    await here.sweeper.collect_garbage()
    assert await here.entries(old) == []
    assert await here.entries(young)
    assert await here.done(old) == "natural_end"
    await here.check()
    here.clock.advance(60 * DAY)
    await here.sweeper.collect_garbage()
    assert await here.store.run(TENANT, old) is None
    assert await here.store.run(TENANT, young) is not None
    await here.check()
    rows = await rows_of(path)
    assert (rows["messages"], rows["runs"], rows["events"]) == (4, 1, 0)
    here.clock.advance(60 * DAY)
    await here.sweeper.collect_garbage()
    rows = await rows_of(path)
    left = {table: count for table, count in rows.items() if count}
    assert left == {"messages": 4, "threads": 1, "thread_heads": 1}, "and no specification"


async def test_a_thread_goes_on_after_its_past_was_deleted(here: Lab) -> None:
    await a_day_of_work(here)
    here.clock.advance(120 * DAY)
    await here.sweeper.collect_garbage()
    run_id = await a_day_of_work(here, "and now?")
    assert await here.done(run_id) == "natural_end"
    page = await here.store.messages(TENANT, "t", MessageFilter(), 9, None)
    assert [message.message_seq for message in page.items] == [1, 2, 3, 4]
    await here.check()


async def test_what_is_to_be_kept_for_ever_is_kept(here: Lab, path: Path) -> None:
    config = MailboxConfig(
        finished_retention_ms=0,
        dead_letter_retention_ms=0,
        ticket_retention_ms=0,
        event_retention_ms=0,
        run_retention_ms=0,
    )
    keeping = Lab(here.store, here.clock, AGENTS, ids=here.ids, config=config)
    await a_day_of_work(keeping)
    await a_day_of_work(keeping, "permanent")
    before = await rows_of(path)
    here.clock.advance(10_000 * DAY)
    await keeping.sweeper.collect_garbage()
    assert await rows_of(path) == before


async def test_a_run_that_is_not_done_keeps_everything(here: Lab, path: Path) -> None:
    await a_day_of_work(here)
    await here.submit("hello", on_busy=OnBusy.enqueue, available_at=here.clock.now() * 2)
    before = await rows_of(path)
    assert before["pending"] == 1
    here.clock.advance(400 * DAY)
    await here.sweeper.collect_garbage()
    after = await rows_of(path)
    assert (after["runs"], after["dispatches"], after["pending"]) == (1, 1, 1)
    assert after["resolutions"] == 1


async def test_a_failed_run_can_be_tried_again_until_it_is_deleted(here: Lab) -> None:
    failed = await a_day_of_work(here, "permanent")
    here.clock.advance(40 * DAY)
    await here.sweeper.collect_garbage()
    again = await retry(here, failed)
    await here.work()
    assert await here.done(again.run_id) == "error"
    await here.check()
