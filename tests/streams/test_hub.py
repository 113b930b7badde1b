from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awaken.domain.event import Event, Segment
from awaken.errors import StoreFault
from awaken.ports.clock import SystemClock
from awaken.ports.hints import LogGrew
from awaken.streams.delivered import Delivered
from awaken.streams.hub import HEARTBEAT_TICKS, Hub, HubStatistics
from awaken.streams.subscription import StreamsClosed, Subscription
from awaken.streams.topic import RING_BYTES, RING_SEGMENTS
from awaken.testing.clock import FakeClock
from tests.streams.support import (
    RUN,
    TENANT,
    THREAD,
    ProbedStore,
    append,
    events,
    text,
    texts,
    wait_until,
)

NOTHING = HubStatistics(topics=0, subscriptions=0, waiters=0, ring_bytes=0)


async def read(subscription: Subscription, count: int) -> list[Event]:
    """The next events of a reader, at least `count` of them."""
    got: list[Event] = []
    with anyio.fail_after(10):
        while len(got) < count:
            got += events(await subscription.next())
    return got


def waiting(hub: Hub, count: int = 1) -> Callable[[], bool]:
    return lambda: hub.statistics().waiters == count


# --- no event lost, none twice


async def test_a_reader_from_before_the_first_event_reads_it_from_the_ring(
    store: ProbedStore, hub: Hub
) -> None:
    """Regression list of peers.md, 1."""
    with hub.subscribe(TENANT, THREAD, None, RUN) as subscription:
        await append(store, text(1))
        subscription.seek(0)
        assert await read(subscription, 1) == texts(1)
        await append(store, text(2), text(3))
        assert await read(subscription, 2) == texts(2, 3)
    assert store.reads == 0


async def test_a_reader_that_comes_with_the_first_event_gets_it(
    store: ProbedStore, hub: Hub
) -> None:
    """Regression list of peers.md, 1."""
    got: list[Event] = []

    async def come_and_read(turns: int) -> None:
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        with hub.subscribe(TENANT, THREAD, 0) as subscription:
            got.extend(await read(subscription, 1))

    async with anyio.create_task_group() as tasks:
        for turns in range(20):
            tasks.start_soon(come_and_read, turns)
        tasks.start_soon(append, store, text(1))
    assert got == texts(1) * 20


async def test_a_reader_from_after_the_first_event_gets_it(store: ProbedStore, hub: Hub) -> None:
    """Regression list of peers.md, 1."""
    await append(store, text(1))
    with hub.subscribe(TENANT, THREAD, 0) as subscription:
        assert await read(subscription, 1) == texts(1)
        await append(store, text(2))
        assert await read(subscription, 1) == texts(2)


async def test_a_cursor_inside_a_segment_gets_only_the_rest_of_it(
    store: ProbedStore, hub: Hub
) -> None:
    with hub.subscribe(TENANT, THREAD, None) as early:
        await append(store, text(1), text(2), text(3))
        early.seek(2)
        assert await read(early, 1) == texts(3)
    with hub.subscribe(TENANT, THREAD, 1) as late:
        assert await read(late, 2) == texts(2, 3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_hints_in_any_order_lose_nothing(
    store: ProbedStore, deaf_hub: Hub, order: tuple[int, ...]
) -> None:
    got: list[Event] = []

    async def follow() -> None:
        with deaf_hub.subscribe(TENANT, THREAD, 0) as subscription:
            while len(got) < 8:
                got.extend(events(await subscription.next()))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await wait_until(waiting(deaf_hub))
            for number in range(4):
                await append(store, text(2 * number), text(2 * number + 1))
            segments = await store.segments(TENANT, THREAD, 0, 10)
            for index in order:
                deaf_hub.deliver([LogGrew(segment=segments[index])])
                await anyio.lowlevel.checkpoint()
    assert got == texts(*range(8))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["commit", "hint", "lose", "look", "poll"]), st.integers(0, 3)),
        max_size=40,
    ),
    cursor=st.integers(0, 3),
)
async def test_commits_hints_lost_hints_and_polls_in_any_order_give_the_log(
    store: ProbedStore, steps: list[tuple[str, int]], cursor: int
) -> None:
    hub = Hub(store, SystemClock())
    thread_id = f"thread-{next(_threads)}"
    await append(store, *texts(1, 2, 3), thread_id=thread_id)
    committed, late = 3, list[Segment]()
    got: list[Event] = []
    with hub.subscribe(TENANT, thread_id, cursor) as subscription:
        for step, number in steps:
            if step == "commit":
                new = range(committed + 1, committed + 2 + number % 2)
                await append(store, *texts(*new), thread_id=thread_id)
                late += await store.segments(TENANT, thread_id, committed, 1)
                committed += len(new)
            elif step == "hint" and late:
                hub.deliver([LogGrew(segment=late.pop(number % len(late)))])
            elif step == "lose" and late:
                late.pop(number % len(late))
            elif step == "look":
                got += events(subscription.next_nowait())
            elif step == "poll":
                await hub.poll()
                got += await read(subscription, committed - cursor - len(got))
        await hub.poll()
        got += await read(subscription, committed - cursor - len(got))
    assert got == texts(*range(cursor + 1, committed + 1))


_threads = itertools.count()


async def test_a_ring_with_a_hole_is_dropped(store: ProbedStore, deaf_hub: Hub) -> None:
    for number in (1, 2, 3, 4000):
        await append(store, text(number))
    one, two, three, four = await store.segments(TENANT, THREAD, 0, 10)
    with deaf_hub.subscribe(TENANT, THREAD, 0) as subscription:
        deaf_hub.deliver([LogGrew(segment=one), LogGrew(segment=four)])
        assert subscription.next_nowait() == []
        held = deaf_hub.statistics().ring_bytes
        deaf_hub.deliver([LogGrew(segment=three), LogGrew(segment=two)])
        assert deaf_hub.statistics().ring_bytes == held  # too late to continue it
        assert await read(subscription, 4) == texts(1, 2, 3, 4000)
        assert await is_quiet(subscription)


async def is_quiet(subscription: Subscription) -> bool:
    """Whether nothing more is to be read, not even from the store."""
    return subscription.next_nowait() == [] and await subscription.catch_up() == []


# --- slow readers


async def test_a_slow_reader_reads_the_store_and_sees_the_same(
    store: ProbedStore, hub: Hub
) -> None:
    count = 4 * RING_SEGMENTS
    with hub.subscribe(TENANT, THREAD, 0) as slow, hub.subscribe(TENANT, THREAD, 0) as fast:
        fast_got: list[Event] = []
        for number in range(count):
            await append(store, text(number))
            fast_got += await read(fast, 1)
        assert store.reads == 0  # the fast one had all from the ring
        assert await read(slow, count) == fast_got == texts(*range(count))
        assert store.reads > 0


async def test_the_ring_is_bounded_and_takes_the_newest_segment_whatever_its_size(
    store: ProbedStore, hub: Hub
) -> None:
    with hub.subscribe(TENANT, THREAD, 0) as subscription:
        for number in range(10):
            await append(store, *[text(number)] * 250)
            assert hub.statistics().ring_bytes <= RING_BYTES
        await append(store, *[text(0)] * 4000)
        assert RING_BYTES < hub.statistics().ring_bytes < 4 * RING_BYTES
        subscription.seek(2500)
        assert len(events(subscription.next_nowait())) == 4000


async def test_a_ring_nobody_has_moved_for_a_while_is_let_go(store: ProbedStore, hub: Hub) -> None:
    with hub.subscribe(TENANT, THREAD, 0) as subscription:
        await append(store, text(1))
        for _ in range(2 * HEARTBEAT_TICKS):
            hub.tick()
        assert hub.statistics().ring_bytes == 0
        assert await read(subscription, 1) == texts(1)
        await append(store, text(2))
        assert await read(subscription, 1) == texts(2)
    assert store.reads == 1


async def test_a_store_that_fails_for_a_moment_is_outwaited(
    store: ProbedStore, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.streams.subscription.FAULT_PAUSE_SECONDS", 0)
    await append(store, text(1))
    store.read_faults = 3
    with hub.subscribe(TENANT, THREAD, 0) as subscription:
        assert await read(subscription, 1) == texts(1)
    assert store.reads == 4


# --- who sees what


async def test_tenants_with_the_same_ids_never_see_each_other(store: ProbedStore, hub: Hub) -> None:
    with (
        hub.subscribe("acme", THREAD, 0, RUN) as ours,
        hub.subscribe("other", THREAD, 0, RUN) as theirs,
    ):
        await append(store, text(1), tenant="acme")
        await append(store, text(2), tenant="other")
        assert await read(ours, 1) == texts(1)
        assert await read(theirs, 1) == texts(2)
        assert (hub.readers("acme", RUN), hub.readers("other", RUN)) == (1, 1)


async def test_a_reader_of_a_run_passes_over_other_runs(store: ProbedStore, hub: Hub) -> None:
    with hub.subscribe(TENANT, THREAD, 0, RUN) as subscription:
        await append(store, text(1), run_id="other")
        await append(store, text(2))
        await append(store, text(3), run_id=None)
        assert await read(subscription, 1) == texts(2)
        assert subscription.cursor == 3
    with hub.subscribe(TENANT, THREAD, 0, RUN) as late:
        assert await read(late, 1) == texts(2)
        assert await is_quiet(late)


async def test_readers_of_one_ring_share_what_was_encoded(store: ProbedStore, hub: Hub) -> None:
    encoded: list[Segment] = []

    def encode(segment: Segment) -> bytes:
        encoded.append(segment)
        return b"%d" % segment.last_seq

    with (
        hub.subscribe(TENANT, THREAD, None) as one,
        hub.subscribe(TENANT, THREAD, None) as two,
        hub.subscribe(TENANT, THREAD, None) as inside,
    ):
        await append(store, text(1), text(2))
        one.seek(0)
        two.seek(0)
        inside.seek(1)
        batches = one.next_nowait(), two.next_nowait()
        assert [d.frames("key", encode) for batch in batches for d in batch] == [b"2", b"2"]
        assert len(encoded) == 1
        (rest,) = inside.next_nowait()
        rest.frames("key", encode)
        assert [segment.first_seq for segment in encoded] == [1, 2]
        rest.frames("another key", encode)
        assert len(encoded) == 3


# --- heartbeats, polls, drain


async def test_an_idle_reader_gets_a_heartbeat_and_a_busy_one_none(
    store: ProbedStore, hub: Hub
) -> None:
    beats: list[list[Delivered]] = []

    async def next_batch(subscription: Subscription) -> None:
        beats.append(await subscription.next())

    with hub.subscribe(TENANT, THREAD, 0) as subscription:
        for _ in range(HEARTBEAT_TICKS - 1):
            hub.tick()
        await append(store, text(1))
        assert await read(subscription, 1) == texts(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(next_batch, subscription)
            await wait_until(waiting(hub))
            for _ in range(HEARTBEAT_TICKS - 1):
                hub.tick()
            await anyio.lowlevel.checkpoint()
            assert beats == []
            hub.tick()
    assert beats == [[]]


async def test_the_hub_gives_heartbeats_and_polls_a_shared_store_by_itself(
    store: ProbedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProbedStore, "shared", True)
    hub = Hub(store, clock)
    batches: list[list[Event]] = []

    async def follow(subscription: Subscription) -> None:
        while len(batches) < 2:
            batches.append(events(await subscription.next()))

    with hub.subscribe(TENANT, THREAD, 0) as subscription:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.run)
            tasks.start_soon(follow, subscription)
            await wait_until(waiting(hub))
            for _ in range(HEARTBEAT_TICKS):
                await wait_until(lambda: clock.next_wake == 1)
                clock.advance(1)
            await wait_until(lambda: batches == [[]])
            await append(store, text(1))  # nobody tells this hub
            await wait_until(lambda: clock.next_wake == 1)
            clock.advance(1)
            await wait_until(lambda: batches == [[], texts(1)])
            tasks.cancel_scope.cancel()


async def test_one_poll_asks_for_all_threads_and_wakes_those_that_missed_a_hint(
    store: ProbedStore, deaf_hub: Hub
) -> None:
    got: dict[str, list[Event]] = {}

    async def follow(thread_id: str) -> None:
        with deaf_hub.subscribe(TENANT, thread_id, 0) as subscription:
            got[thread_id] = events(await subscription.next())

    async with anyio.create_task_group() as tasks:
        for thread_id in ("a", "b", "c"):
            tasks.start_soon(follow, thread_id)
        await wait_until(waiting(deaf_hub, 3))
        for number, thread_id in enumerate(("a", "b", "c")):
            await append(store, text(number), thread_id=thread_id)
        await deaf_hub.poll()
    assert got == {"a": texts(0), "b": texts(1), "c": texts(2)}


async def test_a_poll_that_fails_is_made_again(
    store: ProbedStore, deaf_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StoreFault("store_unreachable", "gone for a moment")

    with deaf_hub.subscribe(TENANT, THREAD, 0):
        with monkeypatch.context() as patch:
            patch.setattr(store, "heads", fail)
            await deaf_hub.poll()
        await deaf_hub.poll()


async def test_a_drain_gives_out_what_is_in_the_ring_and_then_closes(
    store: ProbedStore, hub: Hub
) -> None:
    with hub.subscribe(TENANT, THREAD, None) as behind, hub.subscribe(TENANT, THREAD, 0) as idle:
        behind.seek(0)
        await append(store, text(1))
        assert await read(idle, 1) == texts(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_is_closed, idle)
            await wait_until(waiting(hub))
            hub.close()
        assert await read(behind, 1) == texts(1)
        await _is_closed(behind)


async def _is_closed(subscription: Subscription) -> None:
    with pytest.raises(StreamsClosed) as raised:
        await subscription.next()
    assert (raised.value.code, raised.value.status) == ("draining", 503)


# --- who reads


async def test_a_run_whose_last_reader_left_is_known(hub: Hub, clock: FakeClock) -> None:
    assert hub.last_reader_left(TENANT, RUN) is None
    with hub.subscribe(TENANT, THREAD, 0, RUN):
        with hub.subscribe(TENANT, THREAD, 0, RUN):
            assert hub.readers(TENANT, RUN) == 2
        assert hub.readers(TENANT, RUN) == 1
        assert hub.last_reader_left(TENANT, RUN) is None
    assert hub.readers(TENANT, RUN) == 0
    assert hub.last_reader_left(TENANT, RUN) == clock.monotonic()
    clock.advance(9.9)
    assert hub.unattended(10) == []
    clock.advance(0.1)
    assert hub.unattended(10) == [(TENANT, RUN)]
    with hub.subscribe(TENANT, THREAD, None) as back:
        back.seek(0, RUN)
        assert (hub.readers(TENANT, RUN), hub.last_reader_left(TENANT, RUN)) == (1, None)
        assert hub.unattended(0) == []
    clock.advance(60)
    hub.tick()
    assert hub.last_reader_left(TENANT, RUN) is None


# --- nothing is left


async def test_ten_thousand_readers_leave_nothing(store: ProbedStore, hub: Hub) -> None:
    """Regression list of peers.md, 17."""
    for number in range(10_000):
        with hub.subscribe(TENANT, f"thread-{number % 100}", 0, RUN):
            pass
    assert hub.statistics() == NOTHING


async def test_readers_cancelled_while_they_wait_leave_nothing(
    store: ProbedStore, hub: Hub
) -> None:
    async def follow(number: int) -> None:
        with hub.subscribe(TENANT, f"thread-{number % 10}", 0) as subscription:
            await subscription.next()

    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(follow, number)
            await wait_until(waiting(hub, 100))
            assert hub.statistics().topics == 10
            tasks.cancel_scope.cancel()
        assert hub.statistics() == NOTHING


async def test_an_idle_reader_is_small(store: ProbedStore, hub: Hub) -> None:
    """Topic, subscription and waiter; the task and the connection are the server's."""
    count = 200
    async with anyio.create_task_group() as tasks:

        async def follow(number: int) -> None:
            with hub.subscribe(TENANT, f"thread-{number}", 0, f"run-{number}") as subscription:
                await subscription.next()

        tracemalloc.start()
        for number in range(count):
            tasks.start_soon(follow, number)
        await wait_until(waiting(hub, count))
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        tasks.cancel_scope.cancel()
    assert used / count < 6 * 1024, f"{used / count:.0f} bytes a reader, its task included"
