"""The pulse of a process: whether its event loop keeps time, and its wall clock goes on evenly.

Twice a second the loop is to wake a task; how late it does is how long everything else had to wait.
A process that was stopped, or a machine that slept, shows as one very long beat. The wall clock is
compared with the monotonic one: the difference stays the same unless somebody sets the clock.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import anyio

from awaken.ports.clock import Clock

BEAT_SECONDS: Final = 0.5
MEMORY_SECONDS: Final = 600.0
STEP_SECONDS: Final = 86_400.0
LEAST_LAG: Final = 0.1
"""Shorter ones are not remembered: every busy process has them."""
LEAST_STEP_MS: Final = 500
"""Smaller steps are how time servers keep a clock right."""
_REMEMBERED: Final = 1_000


class Late(NamedTuple):
    """A beat that came late."""

    at: float
    """Monotonic seconds."""
    lag: float


class Step(NamedTuple):
    """The wall clock was set: by that many ms, at that (monotonic) time."""

    at: float
    by_ms: int


class Pulse:
    """The pulse of the event loop that `run` runs on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late: deque[Late] = deque(maxlen=_REMEMBERED)
        self._steps: deque[Step] = deque(maxlen=_REMEMBERED)
        self._offset: int | None = None

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            due = anyio.current_time() + BEAT_SECONDS
            await anyio.sleep_until(due)
            self.beat(anyio.current_time() - due)

    def beat(self, lag: float) -> None:
        """A beat that came `lag` seconds late."""
        now = self._clock.monotonic()
        if lag >= LEAST_LAG:
            self._late.append(Late(now, lag))
        offset = self._clock.now() - round(now * 1000)
        if self._offset is not None and abs(offset - self._offset) >= LEAST_STEP_MS:
            self._steps.append(Step(now, offset - self._offset))
        self._offset = offset

    @property
    def longest_lag(self) -> Late | None:
        """The longest lag of the last `MEMORY_SECONDS`, if there was one worth telling."""
        since = self._clock.monotonic() - MEMORY_SECONDS
        recent = [late for late in self._late if late.at >= since]
        return max(recent, key=lambda late: late.lag, default=None)

    @property
    def steps(self) -> list[Step]:
        """When the clock jumped in the last `STEP_SECONDS`, latest last."""
        since = self._clock.monotonic() - STEP_SECONDS
        return [step for step in self._steps if step.at >= since]
