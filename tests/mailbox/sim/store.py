"""The real store without its thread, and the wire between it and one process.

`InlineStore` is SQLite in memory: the real operations, statements, savepoints and group commits,
carried out on the event loop, where chance decides who comes first. `Wire` is how one process
reaches it: slowly, or not at all, with hints that come late or get lost, until it is killed.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from functools import cache, partial
from typing import Any, Final, TypeVar

import anyio

from awaken.domain.record import Record
from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.hints import Hint, HintListener
from awaken.ports.store import Operation, Store
from awaken.stores.sqlite import wal
from awaken.stores.sqlite.jobs import Job
from awaken.stores.sqlite.migrate import migrate
from awaken.stores.sqlite.store import SqliteStore
from awaken.stores.sqlite.writer import MAX_OPERATIONS, Writer
from awaken.testing.faulty import Fault as Way
from awaken.testing.faulty import FaultyStore

T = TypeVar("T")


@cache
def _empty() -> bytes:
    """An empty database at the newest schema."""
    connection = wal.connect(wal.MEMORY)
    try:
        migrate(connection)
        return connection.serialize()
    finally:
        connection.close()


class _InlineWriter(Writer):
    """The writer, whose batches are made when the loop comes to it."""

    def __init__(self, clock: Clock) -> None:
        connection = wal.connect(wal.MEMORY)
        connection.deserialize(_empty())
        self._connection = connection
        self._cursor = connection.cursor()
        self._connect = None
        self._clock = clock
        self._home = asyncio.get_running_loop()
        self._listeners = []
        self._abandoned = threading.Event()
        self._waiting: list[Job[Any]] = []
        self._context = copy_context()  # of the one who made it: it belongs to no process

    async def submit(self, operation: Any) -> Any:
        job: Job[Any] = Job(operation)
        self._waiting.append(job)
        if len(self._waiting) == 1:
            self._home.call_soon(self._work_off, context=self._context)
        return await job.answer()

    def _work_off(self) -> None:
        jobs, self._waiting = self._waiting[:MAX_OPERATIONS], self._waiting[MAX_OPERATIONS:]
        if self._waiting:
            self._home.call_soon(self._work_off, context=self._context)
        self._work(jobs)


class InlineStore(SqliteStore):
    """A `SqliteStore` in memory, without threads, for the loop it was made on."""

    def __init__(self, clock: Clock) -> None:
        # Not the constructor of its base, which starts a thread.
        self.worker_id = "store"  # type: ignore[misc]  # see above
        self._clock = clock
        self._lock = None
        self._readers = None
        self._checkpointer = None
        self._writer = _InlineWriter(clock)

    def end(self) -> None:
        """Let go of the connection."""
        self._writer._disconnect()


class Trouble(Record):
    """What may happen on the wire.

    `slow_seconds` is the longest that a call, its answer and a hint take each. The others are
    chances: that a call fails, and that a hint gets lost.
    """

    slow_seconds: float = 0.0
    fails: float = 0.0
    deaf: float = 0.0


WAYS: Final = tuple(Way)


class Wire(FaultyStore):
    """The store as one process reaches it. `made` is told of each call before it is made."""

    def __init__(
        self, inner: Store, chance: random.Random, trouble: Trouble, made: Callable[[], None]
    ) -> None:
        super().__init__(inner, reads=True)
        self.trouble = trouble
        self.dead = False
        self._chance = chance
        self._made_call = made

    def kill(self) -> None:
        """The process is gone: it hears nothing, and nothing that it does reaches the store.

        What was under way may have arrived, but it will not know.
        """
        self.dead = True

    def listen(self, listener: HintListener) -> None:
        def told(hints: Sequence[Hint]) -> None:
            if self._chance.random() >= self.trouble.deaf:
                delay = self._chance.random() * self.trouble.slow_seconds
                asyncio.get_running_loop().call_later(delay, hear, hints)

        def hear(hints: Sequence[Hint]) -> None:
            if not self.dead:
                listener(hints)

        self.inner.listen(told)

    async def _write(self, operation: Operation[T]) -> T:
        return await self._there_and_back(partial(super()._write, operation))

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._there_and_back(partial(super()._call, name, call))

    async def _there_and_back(self, call: Callable[[], Awaitable[T]]) -> T:
        self._check_alive()
        self._made_call()
        await self._pass()
        if self._chance.random() < 0.5:  # a call that is under way may get there, or not
            self._check_alive()
        answer = await call()
        await self._pass()
        self._check_alive()
        return answer

    async def _pass(self) -> None:
        await anyio.sleep(self._chance.random() * self.trouble.slow_seconds)

    def _check_alive(self) -> None:
        if self.dead:
            raise StoreFault("store_closed", "killed", retryable=False, unknown=True)

    def _fails(self) -> bool:
        self.fault = self._chance.choice(WAYS)
        fails = self._chance.random() < self.trouble.fails
        self.calls += 1
        self.failed += fails
        return fails
