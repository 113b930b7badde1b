"""The threads in which sync tools run: counted until they end, whether or not anyone waits.

A thread cannot be stopped. When a stop or a time limit gives a call up, its thread goes on, and
keeps its place here until the function returns. So there are never more than `most` threads.
Calls wait for a place as long as others are at work; once every thread was given up, nobody knows
whether one will ever be free, and a new call is refused.

The state belongs to the process, not to an event loop: it is guarded by a lock that is never held
while anything waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from awaken.leftovers import LEFTOVERS, told
from awaken.ports.tool import ToolUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_THREADS: Final = 64
"""How many threads sync tools may have, those that were given up among them."""


class _Call:
    """A call that has a place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun = False
        self.given_up = False


class _Waiter:
    """A call that waits for a place, on whatever event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = anyio.Event()

    async def wait(self) -> None:
        await self._woken.wait()

    def wake(self) -> None:
        """From any thread; harmless when the event loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._woken.set)


class ToolThreads:
    """At most `most` threads, in all event loops together."""

    def __init__(self, most: int = MAX_THREADS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._waiters: list[_Waiter] = []

    @property
    def used(self) -> int:
        """How many run now, those that were given up among them."""
        with self._lock:
            return sum(call.begun for call in self._calls)

    @property
    def given_up(self) -> int:
        """How many of these nobody waits for any more."""
        with self._lock:
            return len(self._given_up())

    async def run(self, name: str, function: Callable[[], T]) -> T:
        """Call `function` in a thread; a cancelled wait gives it up at once.

        Raises:
            ToolUnavailable: all threads were given up, and none has ended.
        """
        call = _Call(name)
        await self._take_place(call)
        try:
            return await anyio.to_thread.run_sync(
                self._in_thread,
                call,
                function,
                abandon_on_cancel=True,
                limiter=anyio.CapacityLimiter(1),  # the places here are what is limited
            )
        finally:
            self._give_up(call)

    async def _take_place(self, call: _Call) -> None:
        while True:
            with self._lock:
                if len(self._calls) < self._most:
                    self._calls.add(call)
                    return
                if len(self._given_up()) >= self._most:
                    raise self._refusal(call)
                waiter = _Waiter()
                self._waiters.append(waiter)
            await waiter.wait()

    def _in_thread(self, call: _Call, function: Callable[[], T]) -> T:
        with self._lock:
            if call.given_up:  # before the thread came to it: what was stopped must not begin
                raise ToolUnavailable("the call was given up")
            call.begun = True
        try:
            return function()
        finally:
            self._end(call)

    def _give_up(self, call: _Call) -> None:
        """Nobody waits for the call any more; one that has ended has no place to lose."""
        with self._lock:
            if call not in self._calls:
                return
            call.given_up = True
            if call.begun:
                LEFTOVERS.add(call, f"tool {call.name}")
        if not call.begun:
            self._end(call)
            return
        log.info("tool %s was given up; its thread goes on until the function returns", call.name)
        self._wake()

    def _end(self, call: _Call) -> None:
        with self._lock:
            self._calls.discard(call)
        LEFTOVERS.ended(call)
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.wake()

    def _given_up(self) -> list[_Call]:
        return [call for call in self._calls if call.given_up]

    def _refusal(self, call: _Call) -> ToolUnavailable:
        names = told(Counter(other.name for other in self._calls))
        log.error("tool %s not run: %d threads hang in %s", call.name, self._most, names)
        return ToolUnavailable(
            f"there is no free thread: {self._most} calls do not end, of {names}. "
            "The call was not begun; it may be tried again later"
        )
