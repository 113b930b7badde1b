from __future__ import annotations

from functools import partial

import anyio
from msgspec.structs import replace

from awaken.domain.event import RunFinish, TextDelta
from awaken.domain.run import RunOutcome, RunStatus
from awaken.domain.termination import NaturalEnd
from awaken.streams.care import PAGE, compact_done_runs, keep_logs_small
from awaken.testing.clock import FakeClock
from tests.streams.support import (
    RUN,
    TENANT,
    THREAD,
    ProbedStore,
    append,
    claimed,
    put_run,
    text,
    wait_until,
)


async def test_runs_that_are_done_for_long_are_compacted_once(
    store: ProbedStore, clock: FakeClock
) -> None:
    await claimed(store)
    count = PAGE + 1
    for number in range(count):
        await append(store, text(number))
    await append(store, TextDelta(delta="not of this run"), run_id="other")
    end = RunFinish(thread_id=THREAD, run_id=RUN, termination=NaturalEnd())
    await append(store, end)
    await _done(store, clock)

    assert await compact_done_runs(store, done_before=clock.now(), limit=10) == 0
    assert await compact_done_runs(store, done_before=clock.now() + 1, limit=10) == 1
    assert await compact_done_runs(store, done_before=clock.now() + 1, limit=10) == 0

    whole = TextDelta(delta="".join(text(number).delta for number in range(count)))
    log = [
        (item.seq, item.event)
        for s in await store.segments(TENANT, THREAD, 0, 10)
        for item in s.items
    ]
    assert log == [
        (count, whole),
        (count + 1, TextDelta(delta="not of this run")),
        (count + 2, end),
    ]


async def test_a_run_whose_log_is_gone_meanwhile_is_passed_over(
    store: ProbedStore, clock: FakeClock
) -> None:
    await claimed(store)
    await _done(store, clock)
    assert await compact_done_runs(store, done_before=clock.now() + 1, limit=10) == 0


async def test_logs_are_kept_small_even_if_the_store_fails_now_and_then(
    store: ProbedStore, clock: FakeClock
) -> None:
    await claimed(store)
    end = RunFinish(thread_id=THREAD, run_id=RUN, termination=NaturalEnd())
    await append(store, text(1), text(2), end)
    await _done(store, clock)
    store.read_faults = 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(keep_logs_small, store, clock, every_seconds=60, retention_ms=0))
        for _ in range(2):
            await wait_until(lambda: clock.next_wake == 60)
            clock.advance(60)
        await wait_until(lambda: clock.next_wake == 60)
        tasks.cancel_scope.cancel()
    (segment,) = await store.segments(TENANT, THREAD, 0, 10)
    assert [(item.seq, item.first) for item in segment.items] == [(2, 1), (3, None)]


async def _done(store: ProbedStore, clock: FakeClock) -> None:
    run = await store.run(TENANT, RUN)
    assert run is not None
    outcome = RunOutcome(termination=NaturalEnd())
    done = replace(run, status=RunStatus.done, outcome=outcome, finished_at=clock.now())
    await put_run(store, done)
