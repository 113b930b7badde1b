"""Waiting for code that ignores its cancellation: it ends, and the code is known until it ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint

from awaken.leftovers import LEFTOVERS, PAUSE_SECONDS, attend

Work = Callable[[], Awaitable[object]]


class Stubborn:
    """Ignores every cancellation until it is let go; `heard` counts them."""

    def __init__(self) -> None:
        self.let_go = anyio.Event()
        self.begun = anyio.Event()
        self.ended = anyio.Event()
        self.heard = 0

    async def catching(self) -> str:
        """Catches its cancellation, again and again."""
        self.begun.set()
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except anyio.get_cancelled_exc_class():
                self.heard += 1
        self.ended.set()
        return "late"

    async def shielded(self) -> str:
        """Is not even told."""
        self.begun.set()
        with anyio.CancelScope(shield=True):
            await self.let_go.wait()
        self.ended.set()
        return "late"


@pytest.mark.parametrize("way", ["catching", "shielded"])
async def test_a_cancelled_wait_for_stubborn_work_ends_after_the_grace(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn, closed = Stubborn(), []
    began = anyio.current_time()
    with caplog.at_level(logging.INFO, "awaken.leftovers"):
        with anyio.move_on_after(0.01) as scope:
            await attend(getattr(stubborn, way), "tool mule", 0.1, lambda: closed.append(1))
        assert scope.cancelled_caught
        assert 0.1 <= anyio.current_time() - began < 1
        assert (LEFTOVERS.count(), str(LEFTOVERS), closed) == (1, "tool mule (1)", [1])
        assert "tool mule goes on" in caplog.text

        stubborn.let_go.set()
        with anyio.fail_after(1):
            await stubborn.ended.wait()
        await checkpoint()
    assert LEFTOVERS.count() == 0
    assert "tool mule, left behind, ended" in caplog.text


async def test_what_was_left_behind_is_not_cancelled_any_more() -> None:
    """Else it would be woken on every turn of the event loop, for ever."""
    stubborn = Stubborn()
    with anyio.move_on_after(0.01):
        await attend(stubborn.catching, "tool mule", 0.01)
    await checkpoint()
    heard = stubborn.heard
    assert heard > 0
    for _ in range(20):
        await checkpoint()
    assert stubborn.heard == heard
    stubborn.let_go.set()
    await stubborn.ended.wait()
    await checkpoint()


async def test_code_that_catches_its_cancellation_does_not_keep_the_event_loop_busy() -> None:
    heard: list[float] = []

    async def catching() -> None:
        while True:
            with suppress(anyio.get_cancelled_exc_class()):
                await anyio.sleep_forever()
            heard.append(anyio.current_time())
            if heard[-1] - heard[0] > 2 * PAUSE_SECONDS:
                return

    with anyio.move_on_after(0.01):
        await attend(catching, "catching", 5)
    assert LEFTOVERS.count() == 0, "it is told again, and obeys in the end"
    pauses = [later - earlier for earlier, later in pairwise(heard)]
    assert max(pauses) >= PAUSE_SECONDS * 0.9


async def test_work_that_ends_within_the_grace_is_not_left_and_its_answer_counts() -> None:
    async def slow() -> str:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await checkpoint()
        return "saved"

    with anyio.CancelScope() as scope:
        scope.cancel()
        with anyio.CancelScope(shield=True) as inner:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_soon, inner)
                assert await attend(slow, "slow", 5) == "saved"
                tasks.cancel_scope.cancel()
    assert LEFTOVERS.count() == 0


async def _cancel_soon(scope: anyio.CancelScope) -> None:
    for _ in range(5):
        await checkpoint()
    scope.cancel()


async def test_obedient_work_is_cancelled_again_at_every_wait_of_its_cleanup() -> None:
    waits = 0

    async def cleaning() -> None:
        nonlocal waits
        try:
            await anyio.sleep_forever()
        finally:
            waits += 1
            await checkpoint()  # raises at once
            waits += 1

    with anyio.move_on_after(0.01) as scope:
        await attend(cleaning, "cleaning", 5)
    assert scope.cancelled_caught
    assert waits == 1


async def test_what_was_cancelled_before_it_began_does_not_begin() -> None:
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    with anyio.CancelScope() as scope:
        scope.cancel()
        await attend(work, "work", 5)
    assert scope.cancelled_caught
    assert not begun


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=repr)
async def test_what_work_raises_is_raised_where_it_is_waited_for(error: BaseException) -> None:
    async def work() -> None:
        await checkpoint()
        raise error

    with pytest.raises(type(error)) as raised:
        await attend(work, "work", 5)
    assert raised.value is error


async def test_what_something_left_behind_raises_is_only_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stubborn = Stubborn()

    async def failing() -> None:
        await stubborn.shielded()
        raise ValueError("too late")

    with anyio.move_on_after(0.01):
        await attend(failing, "tool mule", 0.01)
    with caplog.at_level(logging.INFO, "awaken.leftovers"):
        stubborn.let_go.set()
        await stubborn.ended.wait()
        await checkpoint()
    assert "ended with ValueError" in caplog.text
    assert LEFTOVERS.count() == 0
