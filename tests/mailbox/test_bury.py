"""A record that cannot be read is given up, and stops nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awaken.domain.care import UNDECODABLE, Children, DeadLetter, LetterFilter
from awaken.domain.dispatch import Mode
from awaken.domain.run import RunStatus
from awaken.domain.submission import OnBusy
from awaken.errors import Refusal, UndecodableRecord
from awaken.mailbox.bury import bury
from awaken.ports.store import RunFilter, operation
from awaken.stores.burying import BuryingStore
from awaken.stores.sqlite.store import SqliteStore
from awaken.testing.clock import FakeClock
from tests.mailbox.agents import AGENTS, TEXT
from tests.mailbox.lab import TENANT, Lab
from tests.mailbox.rows import nothing_left, spoil
from tests.mailbox.test_retry import retry

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
async def here(path: Path) -> AsyncIterator[Lab]:
    clock = FakeClock()
    store = await SqliteStore.open(path, clock=clock, worker_id="w1")
    yield Lab(BuryingStore(store, lambda *row: operation(bury, *row)), clock, AGENTS)
    await store.aclose()


async def queue(here: Lab, thread_id: str = "t") -> tuple[str, str]:
    accepted = await here.submit("hello", thread_id, on_busy=OnBusy.enqueue, mode=Mode.background)
    return accepted.run_id, accepted.dispatch_id


async def letters(here: Lab) -> list[DeadLetter]:
    page = await here.store.dead_letters(TENANT, LetterFilter(), 99, None)
    return list(page.items)


async def test_a_queued_dispatch_that_cannot_be_read_is_a_dead_letter(
    here: Lab, path: Path
) -> None:
    first, dispatch_id = await queue(here)
    second, _ = await queue(here)
    other, _ = await queue(here, "other")
    await spoil(path, "dispatches", "dispatch_id", dispatch_id)
    assert await here.work() == 2
    assert await here.done(second) == await here.done(other) == "natural_end"
    assert await here.done(first) == "error"
    (letter,) = await letters(here)
    assert (letter.dispatch_id, letter.run_id, letter.agent_id) == (dispatch_id, first, "echo")
    assert (letter.reason, letter.last_error) == ("undecodable", UNDECODABLE)
    assert (await here.types(first))[-1] == "run_finish"
    counts = await here.store.counts()
    assert (counts.queued, counts.dead_letter, counts.in_line) == (0, 1, 0)


async def test_what_was_said_to_it_can_be_answered_by_a_retry(here: Lab, path: Path) -> None:
    first, dispatch_id = await queue(here)
    await spoil(path, "dispatches", "dispatch_id", dispatch_id)
    await here.work()
    again = await retry(here, first)
    await here.work()
    assert await here.done(again.run_id) == "natural_end"
    run = await here.run(again.run_id)
    assert run.outcome is not None
    assert run.outcome.text == TEXT


async def test_a_run_that_cannot_be_read_is_given_up(here: Lab, path: Path) -> None:
    first, dispatch_id = await queue(here)
    second, _ = await queue(here)
    await spoil(path, "runs", "run_id", first)
    await here.work()
    assert await here.done(second) == "natural_end"
    (letter,) = await letters(here)
    assert (letter.dispatch_id, letter.reason) == (dispatch_id, "undecodable")
    segments = await here.store.segments(TENANT, "t", 0, 99, first)
    last = segments[-1].items[-1].event
    assert last.__struct_config__.tag == "run_finish", "its streams end"
    with pytest.raises(UndecodableRecord):
        await here.run(first)
    with pytest.raises(Refusal) as raised:
        await retry(here, first)
    assert raised.value.code == "not_retryable"


@pytest.mark.parametrize("table", ["dispatches", "runs"])
async def test_a_claim_that_cannot_be_read_is_given_up_when_its_lease_ends(
    here: Lab, path: Path, table: str
) -> None:
    first, dispatch_id = await queue(here)
    other, _ = await queue(here, "other")
    for _ in range(2):
        assert await here.claim() is not None
    behind, _ = await queue(here)
    key, identifier = ("run_id", first) if table == "runs" else ("dispatch_id", dispatch_id)
    await spoil(path, table, key, identifier)
    here.clock.advance(31)
    await here.settle_down()
    assert await here.done(other) == await here.done(behind) == "natural_end"
    assert [letter.dispatch_id for letter in await letters(here)] == [dispatch_id]
    head = await here.store.head(TENANT, "t")
    assert head is not None
    assert (head.claimed_dispatch, head.active_run, head.queued_count) == (None, None, 0)


async def test_one_that_is_not_due_yet_does_not_keep_the_others_from_their_time(
    here: Lab, path: Path
) -> None:
    soon = here.clock.now() + 1_000
    rotten = await here.submit("later", "t", available_at=soon, mode=Mode.background)
    well = await here.submit("later", "other", available_at=soon, mode=Mode.background)
    await spoil(path, "dispatches", "dispatch_id", rotten.dispatch_id)
    here.clock.advance(2)
    await here.sweeper.sweep()
    await here.work()
    assert await here.done(well.run_id) == "natural_end"
    assert len(await letters(here)) == 1


async def test_one_that_comes_next_does_not_keep_the_one_before_from_its_end(
    here: Lab, path: Path
) -> None:
    first, _ = await queue(here)
    claim = await here.claim()
    assert claim is not None
    _, dispatch_id = await queue(here)
    third, _ = await queue(here)
    await spoil(path, "dispatches", "dispatch_id", dispatch_id)
    _, settled = await here.execute(claim)
    assert settled is not None
    assert settled.refused is None
    await here.work()
    assert await here.done(first) == await here.done(third) == "natural_end"


async def test_a_dead_letter_that_cannot_be_read_is_discarded_like_any_other(
    here: Lab, path: Path
) -> None:
    _, dispatch_id = await queue(here)
    await spoil(path, "dispatches", "dispatch_id", dispatch_id)
    await here.work()
    await here.mailbox.keeper.discard(TENANT, dispatch_id)
    assert await letters(here) == []


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("table", ["dispatches", "runs"])
async def test_a_thread_with_records_that_cannot_be_read_can_be_deleted(
    here: Lab, path: Path, table: str, claimed: bool
) -> None:
    run_id, dispatch_id = await queue(here)
    if claimed:
        assert await here.claim() is not None
    await queue(here)
    key, identifier = ("run_id", run_id) if table == "runs" else ("dispatch_id", dispatch_id)
    await spoil(path, table, key, identifier)
    await here.mailbox.keeper.delete_thread(TENANT, "t", children=Children.reject, by="ada")
    await nothing_left(path)


async def test_a_thread_whose_own_record_cannot_be_read_is_deleted_with_its_resource(
    here: Lab, path: Path
) -> None:
    await here.mailbox.create_thread(TENANT, thread_id="t", resource_id="ada")
    await queue(here)
    await spoil(path, "threads", "thread_id", "t")
    erased = await here.mailbox.keeper.delete_resource(TENANT, "ada", by="ada")
    assert erased.threads == 1
    await nothing_left(path)


async def test_a_list_is_shown_without_what_cannot_be_read(here: Lab, path: Path) -> None:
    first, _ = await queue(here)
    second, _ = await queue(here)
    await spoil(path, "runs", "run_id", first)
    page = await here.store.runs(TENANT, RunFilter(status=RunStatus.created), 99, None)
    assert [run.run_id for run in page.items] == [second]
