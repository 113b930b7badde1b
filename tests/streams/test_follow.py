from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import anyio
import pytest
from msgspec.structs import replace

from awaken.domain.dispatch import Ack, SettleCommand
from awaken.domain.event import (
    Event,
    RunFinish,
    RunQueued,
    RunStart,
    StreamReset,
    TextDelta,
    TicketClosed,
)
from awaken.domain.run import Run, RunOutcome, RunStatus
from awaken.domain.termination import Cancelled, NaturalEnd, SuspendedEnd, Termination
from awaken.domain.thread import ThreadHead
from awaken.errors import Refusal, StoreFault
from awaken.streams.compact import compact_run
from awaken.streams.delivered import Delivered
from awaken.streams.follow import SLICE, Until, check_cursor, follow_run, follow_thread
from awaken.streams.hub import HEARTBEAT_TICKS, Hub
from awaken.streams.subscription import StreamsClosed
from tests.streams.support import (
    RUN,
    TENANT,
    THREAD,
    TOKEN,
    ProbedStore,
    append,
    claimed,
    command,
    events,
    put_run,
    text,
    wait_until,
)


def start(activation: int = 1) -> RunStart:
    return RunStart(
        thread_id=THREAD,
        run_id=RUN,
        activation=activation,
        resumed=activation > 1,
        agent_id="echo",
    )


def finish(termination: Termination | None = None) -> RunFinish:
    return RunFinish(thread_id=THREAD, run_id=RUN, termination=termination or NaturalEnd())


SUSPENDED = finish(SuspendedEnd())
QUEUED = RunQueued(dispatch_id="next", reason="resume")
ANSWERED = TicketClosed(ticket_id="ticket", status="answered")


class Life:
    """Lets the run `RUN` live, in commits as the mailbox makes them."""

    def __init__(self, store: ProbedStore) -> None:
        self.store = store
        self.run: Run | None = None

    async def start(self) -> None:
        """Claimed and started."""
        self.claim = await claimed(self.store)
        self.run = await self.store.run(TENANT, RUN)
        await append(self.store, start())

    async def suspend(self) -> None:
        """Its dispatch is acked, and it waits."""
        await command(self.store, self.claim, SettleCommand(claim_token=TOKEN, form=Ack()))
        await self.becomes(RunStatus.waiting)
        await append(self.store, SUSPENDED)

    async def resume(self) -> None:
        """Answered, and claimed again."""
        await append(self.store, ANSWERED, QUEUED)
        self.claim = await claimed(self.store)
        await append(self.store, start(2))

    async def finish(self, termination: Termination | None = None) -> None:
        """Done."""
        await self.becomes(RunStatus.done)
        await append(self.store, finish(termination))

    async def becomes(self, status: RunStatus) -> None:
        assert self.run is not None
        outcome = RunOutcome(termination=NaturalEnd()) if status is RunStatus.done else None
        self.run = replace(self.run, status=status, outcome=outcome)
        await put_run(self.store, self.run)


@pytest.fixture
async def life(store: ProbedStore) -> Life:
    life = Life(store)
    await life.start()
    return life


class Reader:
    """Follows the run in a task of its own."""

    def __init__(self, store: ProbedStore, hub: Hub, until: Until, cursor: int = 0) -> None:
        self.store, self.hub, self.until, self.cursor = store, hub, until, cursor
        self.got: list[Event] = []
        self.beats = 0
        self.ended = False

    async def read(self) -> None:
        with (
            anyio.fail_after(10),
            self.hub.subscribe(TENANT, THREAD, self.cursor, RUN) as subscription,
        ):
            async with aclosing(follow_run(self.store, subscription, self.until)) as batches:
                async for batch in batches:
                    self.beats += not batch
                    self.got += events(batch)
        self.ended = True

    def waits(self) -> bool:
        return self.hub.statistics().waiters == 1 or self.ended


# --- the end


@pytest.mark.parametrize("until", ["settled", "done", "activation"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_stream_ends_with_the_end_of_its_run(
    store: ProbedStore, hub: Hub, life: Life, until: Until, early: bool
) -> None:
    reader = Reader(store, hub, until)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            if early:
                tasks.start_soon(reader.read)
                await wait_until(reader.waits)
            await append(store, text(1))
            await append(store, text(9), run_id="other")
            await life.finish()
            if not early:
                tasks.start_soon(reader.read)
    assert reader.got == [start(), text(1), finish()]


@pytest.mark.parametrize("until", ["settled", "activation"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_stream_ends_when_its_run_waits_and_nothing_is_queued(
    store: ProbedStore, hub: Hub, life: Life, until: Until, early: bool
) -> None:
    reader = Reader(store, hub, until)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            if early:
                tasks.start_soon(reader.read)
                await wait_until(reader.waits)
            await life.suspend()
            if not early:
                tasks.start_soon(reader.read)
    assert reader.got == [start(), SUSPENDED]


async def test_a_suspension_that_is_followed_by_more_is_passed_on(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    await life.suspend()
    await life.resume()
    reader = Reader(store, hub, "settled")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.read)
            await wait_until(reader.waits)
            assert not reader.ended
            await life.finish()
    assert reader.got == [start(), SUSPENDED, ANSWERED, QUEUED, start(2), finish()]


async def test_a_stream_of_one_activation_ends_at_its_suspension_whatever_follows(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    await life.suspend()
    await life.resume()
    reader = Reader(store, hub, "activation")
    await reader.read()
    assert reader.got == [start(), SUSPENDED]


async def test_a_stream_until_done_stays_open_with_heartbeats_across_waits(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    reader = Reader(store, hub, "done")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.read)
            await wait_until(reader.waits)
            await life.suspend()
            await wait_until(lambda: SUSPENDED in reader.got and reader.waits())
            for _ in range(HEARTBEAT_TICKS):
                hub.tick()
            await wait_until(lambda: reader.beats == 1)
            assert not reader.ended
            await life.resume()
            await life.finish()
    assert reader.got == [start(), SUSPENDED, ANSWERED, QUEUED, start(2), finish()]


async def test_a_suspended_run_with_a_queued_dispatch_keeps_its_stream_open(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    await life.suspend()
    await append(store, ANSWERED, QUEUED)
    await claimed(store)  # a live dispatch, and no `run_start` yet
    await life.becomes(RunStatus.waiting)
    reader = Reader(store, hub, "settled", cursor=2)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.read)
            await wait_until(reader.waits)
            await life.finish(Cancelled(by="user"))
    assert reader.got == [ANSWERED, QUEUED, finish(Cancelled(by="user"))]


@pytest.mark.parametrize("until", ["settled", "done", "activation"])
async def test_a_reader_that_has_all_of_a_done_run_is_ended_at_once(
    store: ProbedStore, hub: Hub, life: Life, until: Until
) -> None:
    await life.finish()
    reader = Reader(store, hub, until, cursor=2)
    with anyio.fail_after(10):
        await reader.read()
    assert reader.got == []


async def test_a_reader_that_has_all_of_a_waiting_run_is_ended_at_once(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    await life.suspend()
    await append(store, TicketClosed(ticket_id="one of two", status="answered"))
    for cursor, rest in ((2, 1), (3, 0)):
        reader = Reader(store, hub, "settled", cursor=cursor)
        with anyio.fail_after(10):
            await reader.read()
        assert len(reader.got) == rest


async def test_what_is_written_between_the_question_and_the_answer_is_not_lost(
    store: ProbedStore, hub: Hub, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends while a reader that has all asks whether it is over."""
    run_of = store.run

    async def run(tenant: str, run_id: str) -> Run | None:
        monkeypatch.undo()
        await append(store, text(1))
        await life.finish()
        return await run_of(tenant, run_id)

    monkeypatch.setattr(store, "run", run)
    reader = Reader(store, hub, "settled", cursor=1)
    with anyio.fail_after(10):
        await reader.read()
    assert reader.got == [text(1), finish()]


async def test_a_store_that_fails_when_asked_is_asked_again(
    store: ProbedStore, hub: Hub, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression list of peers.md, 18."""

    async def fail(*_: object) -> Run | None:
        raise StoreFault("store_unreachable", "gone for a moment")

    await life.suspend()
    monkeypatch.setattr(store, "run", fail)
    reader = Reader(store, hub, "settled", cursor=2)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.read)
            await wait_until(reader.waits)
            assert not reader.ended
            monkeypatch.undo()
            for _ in range(HEARTBEAT_TICKS):
                hub.tick()
    assert reader.got == []


async def test_the_stream_of_a_run_that_is_gone_ends(store: ProbedStore, hub: Hub) -> None:
    reader = Reader(store, hub, "settled")
    with anyio.fail_after(10):
        await reader.read()
    assert reader.got == []


async def test_a_reader_of_a_new_run_asks_the_store_nothing(store: ProbedStore, hub: Hub) -> None:
    """POST /v1/runs: subscribed before the submit, ended by the run's own last entry."""
    got: list[Event] = []
    with hub.subscribe(TENANT, THREAD, None) as subscription:
        life = Life(store)
        await life.start()
        subscription.seek(0, RUN)
        await append(store, text(1))
        await life.finish()
        writes, reads = store.writes, store.reads
        async with aclosing(follow_run(store, subscription, "activation")) as batches:
            async for batch in batches:
                got += events(batch)
        # In memory every read is an operation too.
        assert (store.writes, store.reads) == (writes, reads)
    assert got == [start(), text(1), finish()]


async def test_a_reader_that_joins_a_running_run_asks_for_its_record_once(
    store: ProbedStore, hub: Hub, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run_of = store.run

    async def run(tenant: str, run_id: str) -> Run | None:
        asked.append(run_id)
        return await run_of(tenant, run_id)

    monkeypatch.setattr(store, "run", run)
    reader = Reader(store, hub, "settled", cursor=1)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.read)
            for number in range(3):
                await wait_until(reader.waits)
                await append(store, text(number))
            for _ in range(HEARTBEAT_TICKS):
                hub.tick()
            await wait_until(reader.waits)
            await life.finish()
    assert asked == [RUN]


async def test_a_drain_ends_a_stream_with_an_error(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    closed: list[bool] = []

    async def read() -> None:
        with pytest.raises(StreamsClosed):
            await Reader(store, hub, "settled").read()
        closed.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await wait_until(lambda: hub.statistics().waiters == 1)
        hub.close()
    assert closed == [True]


# --- threads, cursors, size


async def test_a_thread_is_followed_across_runs(store: ProbedStore, hub: Hub) -> None:
    got: list[Event] = []

    async def read() -> None:
        with hub.subscribe(TENANT, THREAD, 1) as subscription:
            async with aclosing(follow_thread(subscription)) as batches:
                async for batch in batches:
                    got.extend(events(batch))
                    if len(got) == 3:
                        return

    await append(store, text(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await append(store, text(2), run_id="two")
        await append(store, text(3), run_id=None)
        await append(store, text(4), run_id="three")
    assert got == [text(2), text(3), text(4)]


async def test_a_compacted_run_is_followed_from_a_cursor_inside_a_part(
    store: ProbedStore, hub: Hub, life: Life
) -> None:
    await append(store, text(1), text(2))
    await append(store, text(3))
    await life.finish()
    log = await store.segments(TENANT, THREAD, 0, 100)
    await store.compact(TENANT, RUN, compact_run(log))
    whole = TextDelta(delta="1 2 3 ")
    for cursor in (2, 3):
        reader = Reader(store, hub, "settled", cursor=cursor)
        await reader.read()
        assert reader.got == [StreamReset(from_seq=2, reason="compacted"), whole, finish()]
    reader = Reader(store, hub, "settled", cursor=0)
    await reader.read()
    assert reader.got == [start(), whole, finish()]


async def test_a_long_replay_comes_in_pieces(store: ProbedStore, hub: Hub, life: Life) -> None:
    for _ in range(50):
        await append(store, *[text(1)] * 250)
    await life.finish()
    sizes = []

    async def pieces(batch: Sequence[Delivered]) -> None:
        sizes.append(len(events(batch)))

    with hub.subscribe(TENANT, THREAD, 0, RUN) as subscription:
        async with aclosing(follow_run(store, subscription)) as batches:
            async for batch in batches:
                await pieces(batch)
    assert sum(sizes) == 50 * 250 + 2
    assert max(sizes) < SLICE + 250


def test_a_cursor_above_the_head_is_refused() -> None:
    head = ThreadHead(tenant=TENANT, thread_id=THREAD, seq=5)
    check_cursor(5, head)
    check_cursor(0, None)
    for cursor, known in ((6, head), (1, None)):
        with pytest.raises(Refusal) as raised:
            check_cursor(cursor, known)
        assert (raised.value.code, raised.value.status) == ("cursor_ahead", 409)
        assert raised.value.details["cursor"] == cursor
