"""Admission: how much may wait, in all and on one thread; more is refused with 429.

What is not due does not count, and what was accepted is never refused later. The count of the whole
store is read at most once a second, and what this process accepted since is added to it.
"""

from __future__ import annotations

import logging
from typing import Final

from awaken.domain.submission import Submission
from awaken.errors import Refusal, StoreFault
from awaken.ports.clock import Clock
from awaken.ports.store import Store

log = logging.getLogger(__name__)

COUNTED_AGAIN_SECONDS: Final = 1.0
RETRY_AFTER_SECONDS: Final = 5
MAX_POSITION: Final = 1_000
"""A place behind this one is told as this one."""


class Admission:
    """Counts what waits in the store, for one process."""

    def __init__(self, store: Store, clock: Clock, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._waiting = 0
        self._count_again = 0.0

    async def check(self, submission: Submission) -> None:
        """Raises Refusal `too_much_queued` (429) when the limit is reached; 0 is no limit."""
        if not self._limit or (submission.available_at or 0) > self._clock.now():
            return
        if self._clock.monotonic() >= self._count_again:
            self._count_again = self._clock.monotonic() + COUNTED_AGAIN_SECONDS
            self._waiting = await self._count()
        if self._waiting >= self._limit:
            raise _full("too_much_queued", "too much waits on this server", self._waiting)

    async def _count(self) -> int:
        try:
            return await self._store.count_due(self._limit)
        except StoreFault as fault:  # the submit itself will say so, if it lasts
            log.warning("what waits was not counted: %s", fault.code)
            return self._waiting

    def waits(self) -> None:
        """A submission was accepted and has to wait."""
        self._waiting += 1


def thread_full(thread_id: str, waiting: int) -> Refusal:
    """As many runs wait on the thread as may."""
    return _full("thread_queue_full", f"too much waits on thread {thread_id}", waiting)


def _full(code: str, message: str, waiting: int) -> Refusal:
    position = min(waiting + 1, MAX_POSITION)
    return Refusal(
        code,
        f"{message}; try again later",
        status=429,
        details={"position": position},
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
