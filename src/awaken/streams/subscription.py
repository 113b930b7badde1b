"""A reader's place in a thread's log: a cursor, and a way to wait for what comes after it.

No wake-up can be lost: a subscription is registered first, then looks (in the ring, else in the
store), and waits only when it has looked since it was registered and knows of nothing behind its
cursor. Nothing is queued for it: a reader that is slow finds its place in the ring gone and reads
the store.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from awaken.domain.event import Segment
from awaken.errors import Refusal, StoreFault
from awaken.streams.compact import cut
from awaken.streams.delivered import Delivered

if TYPE_CHECKING:
    from awaken.streams.hub import Hub
    from awaken.streams.topic import Topic

PAGE: Final = 32
"""How many segments are read from the store at once."""
FAULT_PAUSE_SECONDS: Final = 0.5


class StreamsClosed(Refusal):
    """The process is draining: the stream ends here, unfinished, and goes on elsewhere."""

    def __init__(self) -> None:
        super().__init__(
            "draining", "the server is shutting down", status=503, retry_after_seconds=1
        )


class ThreadGone(Refusal):
    """The thread was deleted: the stream ends here, and goes on nowhere."""

    def __init__(self) -> None:
        super().__init__("thread_not_found", "the thread was deleted", status=404)


class Subscription:
    """One reader. A sync context manager: entered it is registered, left it leaves no trace.

    One task at a time may call `next`.
    """

    __slots__ = (
        "_beat",
        "_cursor",
        "_hub",
        "_looked",
        "_since",
        "_topic",
        "_waiter",
        "run_id",
        "tenant",
        "thread_id",
    )

    def __init__(
        self, hub: Hub, tenant: str, thread_id: str, cursor: int | None, run_id: str | None
    ) -> None:
        self.tenant = tenant
        self.thread_id = thread_id
        self.run_id = run_id
        self._hub = hub
        self._cursor = cursor
        self._topic: Topic | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._looked = False
        self._beat = False
        self._since = 0

    def __enter__(self) -> Self:
        self._topic = self._hub.attach(self)
        self._since = self._hub.ticks
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._topic = None
        self._hub.detach(self)

    @property
    def cursor(self) -> int:
        """The number of the last entry passed; what is next comes strictly after it."""
        assert self._cursor is not None, "seek first"
        return self._cursor

    @property
    def waiting(self) -> bool:
        """Whether the reader waits for something to come."""
        return self._waiter is not None

    def seek(self, cursor: int, run_id: str | None = None, thread_id: str | None = None) -> None:
        """Go on after `cursor`; with a `run_id`, as reader of that run; also on another thread."""
        if thread_id is not None and thread_id != self.thread_id:
            self._hub.detach(self)
            self.thread_id = thread_id
            self._topic = self._hub.attach(self)
        self._cursor = cursor
        self._looked = False
        if run_id is not None and run_id != self.run_id:
            self._hub.reads_run(self, run_id)

    async def next(self) -> list[Delivered]:
        """What comes after the cursor, which moves behind it; empty when a heartbeat is due.

        With a `run_id` only that run's segments are given; the cursor passes over the others.

        Raises:
            StreamsClosed: the hub was closed, and the ring has nothing more for this reader.
            ThreadGone: the thread was deleted, likewise.
            StoreFault: reading failed for good. One that may pass is outwaited, with heartbeats.
        """
        while True:
            batch = self.next_nowait()
            if not batch:
                self.check_thread()
            if not batch and self._hub.closed:
                raise StreamsClosed
            if not batch and self._behind():
                batch = await self._read_patiently()
            if batch or self._beat:
                self._beat = False
                self._since = self._hub.ticks
                return batch
            if not self._behind():
                await self._wait()

    def next_nowait(self) -> list[Delivered]:
        """What the ring has after the cursor, which moves behind it; empty when that is nothing."""
        start = self.cursor
        batch = self._of.after(start)
        if batch is None:
            return []
        # What was committed before we registered is below the ring, and the ring has no holes.
        self._looked = True
        self._cursor = batch[-1].segment.last_seq
        if batch[0].segment.first_seq <= start:
            batch[0] = _rest(batch[0].segment, start)
        if self.run_id is None:
            return batch
        return [entry for entry in batch if entry.segment.run_id == self.run_id]

    async def catch_up(self) -> list[Delivered]:
        """One page of what the store has after the cursor; an empty list means that this is all.

        Raises:
            StoreFault: as the store does.
        """
        batch: list[Delivered] = []
        self._looked = False
        while not batch and self._behind():
            batch = await self._read()
        return batch

    def check_thread(self) -> None:
        """Raises ThreadGone when the thread was deleted while the reader was here."""
        if self._of.ended:
            raise ThreadGone

    def wake_nowait(self) -> None:
        """There may be something to read."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def tick_nowait(self, ticks: int, idle_ticks: int) -> None:
        """Time has passed: a reader that waited for `idle_ticks` is given a heartbeat."""
        if ticks - self._since >= idle_ticks and not self._beat:
            self._beat = True
            self.wake_nowait()

    # --- how

    @property
    def _of(self) -> Topic:
        assert self._topic is not None, "not entered"
        return self._topic

    def _behind(self) -> bool:
        return not self._looked or self._of.head > self.cursor

    async def _read_patiently(self) -> list[Delivered]:
        try:
            return await self._read()
        except StoreFault as fault:
            if not fault.retryable:
                raise
        await self._hub.clock.sleep(FAULT_PAUSE_SECONDS)
        return []

    async def _read(self) -> list[Delivered]:
        topic, start = self._of, self.cursor
        known = topic.head  # before the read, so all of it is in the read's snapshot
        segments = await self._hub.store.segments(
            self.tenant, self.thread_id, start, PAGE, self.run_id
        )
        reached = segments[-1].last_seq if segments else start
        if len(segments) < PAGE:
            self._looked = True
            reached = max(reached, known)
        self._cursor = reached
        return [_rest(segment, start) for segment in segments]

    async def _wait(self) -> None:
        assert self._waiter is None, "one task at a time"
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def _rest(segment: Segment, cursor: int) -> Delivered:
    return Delivered(cut(segment, cursor))
