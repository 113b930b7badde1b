"""A clock that stands still, ids that count up, and chance that never varies."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final

import anyio

START_MS: Final = 1_767_225_600_000
"""When every `FakeClock` starts: 2026-01-01T00:00:00Z."""


class FakeClock:
    """A `ports.clock.Clock` that goes on by `advance` only.

    `now` and `monotonic` may be read on any thread; the rest belongs to one event loop.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self._start_ms = start_ms
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = count()

    def now(self) -> int:
        """The time in epoch milliseconds."""
        return self._start_ms + round(self._elapsed * 1000)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has passed the end of the sleep."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        woken = anyio.Event()
        entry = (self._elapsed + seconds, next(self._order), woken)
        heapq.heappush(self._sleepers, entry)
        try:
            await woken.wait()
        finally:
            if entry in self._sleepers:  # the sleeper was cancelled
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and wake those whose sleep is over, the earliest first."""
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            heapq.heappop(self._sleepers)[2].set()

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper's time, or None when nobody sleeps."""
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None


class SequentialIds:
    """A `ports.clock.Ids` without chance: `id-000001`, `id-000002` and so on."""

    def __init__(self, prefix: str = "id") -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def new(self) -> str:
        """The next id."""
        return f"{self._prefix}-{next(self._numbers):06d}"

    def jitter(self) -> float:
        """Always ¾."""
        return 0.75
