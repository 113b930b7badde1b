from __future__ import annotations

import pytest

from awaken.client import ClientError
from awaken.client.http import unreachable
from awaken.client.patience import Patience
from awaken.testing.clock import SequentialIds


class SteppingClock:
    """A clock on which a sleep takes its time at once."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> int:
        return round(self.time * 1000)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Waiting:
    """A patience, and what it did."""

    def __init__(self, seconds: float) -> None:
        self.clock = SteppingClock()
        self.pauses: list[float] = []
        self.patience = Patience(
            self.clock, SequentialIds(), seconds, lambda _, pause: self.pauses.append(pause)
        )

    async def until_it_is_over(self, error: ClientError, limit: int = 1000) -> None:
        with pytest.raises(ClientError) as raised:
            await self._try(error, limit)
        assert raised.value is error

    async def _try(self, error: ClientError, times: int) -> None:
        for _ in range(times):
            await self.patience.wait_after(error)


async def test_pauses_grow_to_a_limit_and_end_when_the_time_is_over() -> None:
    waiting = Waiting(10)
    await waiting.until_it_is_over(unreachable("gone"))
    assert waiting.pauses[:6] == pytest.approx([0.075, 0.15, 0.3, 0.6, 1.2, 2.25])
    assert max(waiting.pauses) == 2.25
    assert sum(waiting.pauses) == pytest.approx(10)


async def test_without_patience_there_is_one_try() -> None:
    waiting = Waiting(0)
    await waiting.until_it_is_over(unreachable("gone"), limit=1)
    assert waiting.pauses == []


async def test_what_would_not_help_is_not_tried() -> None:
    waiting = Waiting(10)
    await waiting.until_it_is_over(ClientError("run_not_found", "no", status=404), limit=1)
    assert waiting.pauses == []


async def test_a_longer_pause_that_the_server_asks_for_is_kept() -> None:
    waiting = Waiting(60)
    busy = ClientError("draining", "no", retryable=True, retry_after_seconds=5)
    await waiting.patience.wait_after(busy)
    waiting.patience.asked_for(1)
    await waiting.patience.wait_after(unreachable("gone"))
    assert waiting.pauses == [5, 1]


async def test_whatever_is_heard_begins_the_row_anew() -> None:
    waiting = Waiting(10)
    for _ in range(100):
        await waiting.patience.wait_after(unreachable("gone"))
        waiting.patience.heard()
    assert waiting.pauses == pytest.approx([0.075] * 100)
