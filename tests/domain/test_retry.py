"""How long the next attempt waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.retry import delay_ms

TEN_MINUTES = 600_000
attempts = st.integers(0, 10_000)
jitters = st.floats(0.5, 1.0, exclude_max=True)


def backoff(attempt: int) -> int:
    """The formula of the design, in full width."""
    full: int = min(250 * 2**attempt, 30_000)
    return full


@given(attempts, jitters)
def test_a_delay_lies_between_half_the_backoff_and_the_backoff(attempt: int, jitter: float) -> None:
    full = backoff(min(attempt, 100))
    assert full // 2 <= delay_ms(attempt, jitter) < full


def test_the_backoff_doubles_until_it_reaches_30_seconds_at_the_seventh_failure() -> None:
    delays = [delay_ms(attempt, 1.0) for attempt in range(9)]
    assert delays == [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]


@given(attempts, attempts, jitters)
def test_more_failures_never_wait_less(attempt: int, more: int, jitter: float) -> None:
    assert delay_ms(attempt, jitter) <= delay_ms(attempt + more, jitter)


@given(attempts, jitters, st.integers(0, 10**9))
def test_a_longer_retry_after_wins_up_to_ten_minutes(
    attempt: int, jitter: float, retry_after: int
) -> None:
    own = delay_ms(attempt, jitter)
    assert delay_ms(attempt, jitter, retry_after) == max(own, min(retry_after, TEN_MINUTES))


@pytest.mark.parametrize("retry_after", [None, 0, -1])
def test_a_retry_after_that_asks_for_nothing_changes_nothing(retry_after: int | None) -> None:
    assert delay_ms(3, 0.75, retry_after) == delay_ms(3, 0.75) == 1_500
