"""The threads of sync tools, with threads that really hang."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from awaken.leftovers import LEFTOVERS
from awaken.loop.threads import ToolThreads
from awaken.ports.tool import ToolUnavailable

MOST = 4


class Hanging:
    """A function that hangs until it is let go; `inside` is released once per call that began."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.inside = threading.Semaphore(0)

    def __call__(self) -> str:
        self.inside.release()
        assert self.let_go.wait(20)
        return "ended"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.let_go.set()


async def give_up(threads: ToolThreads, hanging: Hanging, count: int, name: str = "hang") -> None:
    """Leave `count` threads behind that hang."""
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(threads.run, name, hanging)
        for _ in range(count):
            await anyio.to_thread.run_sync(functools.partial(hanging.inside.acquire, timeout=5))
        tasks.cancel_scope.cancel()


async def ended(threads: ToolThreads) -> None:
    with anyio.fail_after(5):
        while threads.used:
            await checkpoint()


async def test_no_more_threads_hang_than_allowed_and_the_next_call_says_in_what(
    hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    threads = ToolThreads(MOST)
    before = threading.active_count()
    await give_up(threads, hanging, MOST - 1, "fax")
    await give_up(threads, hanging, 1, "scan")
    assert (threads.used, threads.given_up) == (MOST, MOST)
    alive = threading.active_count()
    assert alive <= before + MOST + 1, "the threads that hang, and the one that this test waits in"

    for _ in range(3):
        with pytest.raises(ToolUnavailable, match=r"4 calls do not end, of fax \(3\), scan \(1\)"):
            await threads.run("quick", lambda: "quick")
    assert threading.active_count() == alive
    assert "tool quick not run: 4 threads hang in fax (3), scan (1)" in caplog.text

    hanging.let_go.set()
    await ended(threads)
    assert threads.given_up == 0
    assert await threads.run("quick", lambda: "quick") == "quick"


async def test_calls_wait_for_a_place_while_others_are_at_work(hanging: Hanging) -> None:
    threads, answers = ToolThreads(MOST), []

    async def call(name: str) -> None:
        answers.append(await threads.run(name, hanging))

    async with anyio.create_task_group() as tasks:
        for nth in range(3 * MOST):
            tasks.start_soon(call, f"t{nth}")
        for _ in range(MOST):
            await anyio.to_thread.run_sync(functools.partial(hanging.inside.acquire, timeout=5))
        assert threads.used == MOST
        hanging.let_go.set()
    assert answers == ["ended"] * 3 * MOST
    assert (threads.used, threads.given_up) == (0, 0)


async def test_a_call_that_waits_is_refused_once_everything_before_it_was_given_up(
    hanging: Hanging,
) -> None:
    threads = ToolThreads(MOST)
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(give_up, threads, hanging, MOST)
            while threads.used < MOST:
                await checkpoint()
            with pytest.raises(ToolUnavailable):
                await threads.run("quick", lambda: "quick")
        assert not scope.cancelled_caught


async def test_a_thread_that_was_given_up_keeps_its_place_until_it_ends(hanging: Hanging) -> None:
    threads = ToolThreads(2)
    await give_up(threads, hanging, 1)
    at_once, most = 0, 0

    def working() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        threading.Event().wait(0.002)
        at_once -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(threads.run, "work", working)
    assert most == 1
    assert LEFTOVERS.count() == 1
    hanging.let_go.set()
    await ended(threads)
    assert LEFTOVERS.count() == 0


async def test_a_call_that_was_stopped_before_its_thread_began_does_not_begin() -> None:
    threads, begun = ToolThreads(MOST), []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await threads.run("work", lambda: begun.append(1))
    assert scope.cancelled_caught
    assert (begun, threads.used, threads.given_up) == ([], 0, 0)


async def test_an_exception_is_raised_and_the_place_is_free_again() -> None:
    threads = ToolThreads(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run("divide", lambda: 1 / 0)
    assert threads.used == 0


def test_event_loops_share_the_places(hanging: Hanging) -> None:
    """What one loop left behind counts in the next, and a closed loop is not woken."""
    threads = ToolThreads(1)
    anyio.run(give_up, threads, hanging, 1)

    async def later() -> None:
        with pytest.raises(ToolUnavailable):
            await threads.run("quick", lambda: "quick")
        hanging.let_go.set()
        await ended(threads)
        assert await threads.run("quick", lambda: "quick") == "quick"

    anyio.run(later)
