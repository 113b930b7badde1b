"""How long to wait before the next attempt."""

from __future__ import annotations

from typing import Final

BASE_MS: Final = 250
MAX_MS: Final = 30_000
MAX_RETRY_AFTER_MS: Final = 600_000


def delay_ms(attempt: int, jitter: float, retry_after_ms: int | None = None) -> int:
    """Milliseconds until the next attempt.

    Args:
        attempt: failures so far, counted before this one (0, 1, 2 …).
        jitter: a number in [½, 1), drawn by the caller.
        retry_after_ms: what the failing side asked for; wins when it is longer, up to ten minutes.
    """
    backoff: int = min(BASE_MS * 2 ** min(attempt, 7), MAX_MS)
    return max(int(backoff * jitter), min(retry_after_ms or 0, MAX_RETRY_AFTER_MS))
