"""Time, ids and chance.

The only place below the composition root that asks the machine for them.
"""

from __future__ import annotations

import random
import time
from typing import Protocol

import anyio
import uuid_utils


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and sleeping."""

    def now(self) -> int:
        """Epoch milliseconds. Written into records; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock's monotonic time."""
        ...


class Ids(Protocol):
    """Fresh ids and random numbers."""

    def new(self) -> str:
        """A new UUIDv7 string: unique without coordination, sortable by time."""
        ...

    def jitter(self) -> float:
        """A number in [½, 1), for retry delays."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class SystemIds:
    """UUIDv7 and the machine's randomness."""

    def new(self) -> str:
        return str(uuid_utils.uuid7())

    def jitter(self) -> float:
        return random.uniform(0.5, 1.0)
