"""Work handed from an event loop to a thread of the store, and its answer handed back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from awaken.ports.hints import Hint
from awaken.stores.sqlite import faults

W = TypeVar("W")


class Job(Generic[W]):
    """`work`, and who waits for it: a future of the loop it was made on."""

    __slots__ = ("_error", "_future", "_loop", "_value", "hints", "work")

    def __init__(self, work: W) -> None:
        self.work: Final = work
        self.hints: Sequence[Hint] = ()
        self._value: Any = None
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()

    async def answer(self) -> Any:
        """Wait for the answer. Who gives up waiting takes nothing back."""
        return await self._future

    def succeed(self, value: Any, hints: Sequence[Hint] = ()) -> None:
        self._value, self._error, self.hints = value, None, hints

    def fail(self, error: BaseException) -> None:
        self._value, self._error, self.hints = None, error, ()

    def settle(self, here: asyncio.AbstractEventLoop | None = None) -> None:
        """Wake the one who waits; `here` is the loop that this is called on, if any."""
        if here is self._loop:
            self._resolve()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._value)


class Inbox(Generic[W]):
    """The queue before one or more threads. None in it tells one thread to end.

    Nothing that was put is forgotten: what comes too late is answered with a fault.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job[W] | None] = SimpleQueue()
        self._closing = False
        self._ended = False

    async def do(self, work: W) -> Any:
        """Hand `work` over, and wait for its answer."""
        if self._closing:
            raise faults.closed()
        job = Job(work)
        self._jobs.put(job)
        if self._ended:  # the threads ended in between, and may not have seen it
            self.refuse_rest()
        return await job.answer()

    def get(self) -> Job[W] | None:
        return self._jobs.get()

    def get_waiting(self, limit: int) -> list[Job[W]]:
        """What is in the queue now, at most `limit`; the sign to end stays in it."""
        jobs: list[Job[W]] = []
        for _ in range(min(self._jobs.qsize(), limit)):
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def close(self, threads: int) -> None:
        """Take nothing more; the threads end when they have done what was put before."""
        self._closing = True
        for _ in range(threads):
            self._jobs.put(None)

    def refuse_rest(self) -> None:
        """Called when the threads have ended: answer what they did not do."""
        self._ended = True
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                job.fail(faults.closed())
                job.settle()
