"""The fake clock and the ids that tests use."""

from __future__ import annotations

import anyio
import pytest

from awaken.testing.clock import START_MS, FakeClock, SequentialIds

pytestmark = pytest.mark.anyio


def test_time_passes_only_when_it_is_told_to(clock: FakeClock) -> None:
    assert (clock.now(), clock.monotonic()) == (START_MS, 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (START_MS + 1500, 1.5)


async def test_sleepers_wake_in_the_order_of_their_times(clock: FakeClock) -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with anyio.create_task_group() as group:
        for seconds in (3, 1, 2, 1):
            group.start_soon(sleeper, seconds)
        await anyio.wait_all_tasks_blocked()
        assert clock.next_wake == 1
        clock.advance(0.5)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        clock.advance(1.5)
        await anyio.wait_all_tasks_blocked()
        assert woken == [1, 1, 2]
        clock.advance(1)
    assert woken == [1, 1, 2, 3]
    assert clock.next_wake is None


async def test_a_sleep_of_no_time_gives_others_a_turn(clock: FakeClock) -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await clock.sleep(0)
        turns.append("sleeper")
    assert turns == ["other", "sleeper"]


async def test_a_sleeper_that_is_cancelled_is_forgotten(clock: FakeClock) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 5)
        group.start_soon(clock.sleep, 7)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert clock.next_wake is None
    clock.advance(10)


def test_ids_count_up_and_jitter_stays() -> None:
    ids = SequentialIds()
    assert [ids.new(), ids.new()] == ["id-000001", "id-000002"]
    assert SequentialIds("run").new() == "run-000001"
    assert {ids.jitter() for _ in range(3)} == {0.75}
