"""An event loop on which chance decides who goes next, and time is virtual.

Rules of this file
1. Of all that is ready, a seeded generator picks one: every order in which tasks can take their
   steps is possible, and a seed gives the same one again.
2. Nothing waits. When nothing is ready, the time of the next timer has come; so an hour of leases
   and pauses passes in no time. Each step takes some microseconds, or what never ends would keep
   the time from passing.
3. There are no threads, sockets or signals here. Work that others give to a thread is a function
   that is called at a time that chance decides (`no_threads`).
4. A seed gives the same order in every process, so nothing may depend on where objects lie in
   memory: the sets in which anyio keeps tasks and scopes are in order here (`in_order`).
5. What belongs to a place (the context says so) can be frozen, as by SIGSTOP: nothing of it takes a
   step until it is thawed, and then all that was due meanwhile goes on in any order.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import pytest
from anyio._backends import _asyncio

T = TypeVar("T")

PLACE: ContextVar[Any] = ContextVar("PLACE", default=None)
"""Where a task belongs: the process it is a part of."""

STEP_SECONDS: Final = 20e-6
LONE_STEP_SECONDS: Final = 400e-6
"""A step that nobody competes for, such as anyio's asking again whether a cancelled task ended."""
MAX_STEPS: Final = 2_000_000
"""More than any simulation takes: what goes on behind that would go on for ever."""


class Stuck(AssertionError):
    """Everybody waits for somebody else."""


class SeededLoop(asyncio.BaseEventLoop):
    """Made by `simulate`."""

    _ready: list[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._ready = []
        self._pick = chance.random
        self._now = 0.0
        self._frozen: list[object] = []
        self._aside: list[asyncio.Handle] = []
        self.steps = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def freeze(self, place: object) -> None:
        """Nothing of `place` takes a step from now on."""
        self._frozen.append(place)

    def thaw(self, place: object) -> None:
        """It goes on."""
        self._frozen.remove(place)
        self._ready += self._aside
        self._aside = []

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled
        self.steps += 1
        self._now += STEP_SECONDS if len(ready) > 1 else LONE_STEP_SECONDS
        if self.steps > MAX_STEPS:
            raise Stuck("the simulation does not end")
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]  # as asyncio does
        if not ready:
            if not timers:
                raise Stuck("nothing is ready, and nobody waits for a time")
            self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]  # as asyncio does
            ready.append(timer)
        last = len(ready) - 1
        chosen = int(self._pick() * (last + 1))
        ready[chosen], ready[last] = ready[last], ready[chosen]
        handle = ready.pop()
        if handle.cancelled():
            return
        if self._frozen and handle._context.get(PLACE) in self._frozen:  # type: ignore[attr-defined]  # as asyncio does
            self._aside.append(handle)
        else:
            handle._run()

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError("nothing comes from outside")

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


def simulate(chance: random.Random, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The answer of `work`, run on a loop of its own; an error names the time it came at."""
    loop = SeededLoop(chance)
    with (
        silence(),
        in_order(),
        no_threads(chance),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        try:
            return runner.run(work())
        except BaseException as error:
            error.add_note(f"at {loop.time():.6f} s, step {loop.steps}")
            raise


@contextmanager
def silence() -> Iterator[None]:
    """No warnings of trouble that is wanted: there is a lot of it."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


class _InOrder(dict[Any, None]):
    """A set, as far as anyio needs one, whose members come in the order they were added in."""

    def add(self, member: Any) -> None:
        self[member] = None

    def remove(self, member: Any) -> None:
        del self[member]

    def discard(self, member: Any) -> None:
        self.pop(member, None)


@contextmanager
def in_order() -> Iterator[None]:
    """Let cancellation reach tasks in the order they were started in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_asyncio, "set", _InOrder, raising=False)
        yield


@contextmanager
def no_threads(chance: random.Random) -> Iterator[None]:
    """Let what is given to a thread be called on the loop, at a time that chance decides.

    A call that was given up is made all the same, as in a thread that nobody can stop.
    """

    async def run_sync(function: Callable[..., T], *args: object, **_: object) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                loop.call_later(chance.random() * 0.02, tell, function(*args), None)
            except Exception as error:  # noqa: BLE001  # it is raised where the answer is awaited
                loop.call_soon(tell, None, error)

        def tell(value: Any, error: Exception | None) -> None:
            if answer.cancelled():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(value)

        loop.call_later(chance.random() * 0.02, call)
        return await answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anyio.to_thread, "run_sync", run_sync)
        yield


class LoopClock:
    """`ports.clock.Clock` on the virtual time; its wall time is `ahead_ms` ahead of that."""

    def __init__(self, start_ms: int) -> None:
        self.ahead_ms = 0
        self._start_ms = start_ms
        self._loop = asyncio.get_running_loop()

    def now(self) -> int:
        return self._start_ms + self.ahead_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
