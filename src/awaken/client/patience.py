"""How long to wait before the next try, and when to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from awaken.client.errors import ClientError
from awaken.ports.clock import Clock, Ids

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 3.0

OnPause = Callable[[ClientError, float], None]
"""Told of each trouble that is waited out, and how long (seconds) the pause is."""


def say_nothing(error: ClientError, seconds: float) -> None:
    """The listener of a client whose pauses interest nobody."""


class Patience:
    """The tries of one request or stream.

    The n-th pause in a row is `FIRST_PAUSE` times 2ⁿ, at most `LONGEST_PAUSE`, times a jitter; a
    longer one that the server asks for wins. Whatever is heard from the server ends the row. A row
    that lasts `seconds` is given up.
    """

    def __init__(self, clock: Clock, ids: Ids, seconds: float, on_pause: OnPause) -> None:
        self._clock = clock
        self._ids = ids
        self._seconds = seconds
        self._on_pause = on_pause
        self._asked = 0.0
        self.heard()

    def heard(self) -> None:
        """The server is there."""
        self._tries = 0
        self._since: float | None = None

    def asked_for(self, seconds: float) -> None:
        """The server wants pauses to be at least this long from now on."""
        self._asked = seconds

    async def wait_after(self, error: ClientError) -> None:
        """Wait before the try that follows `error`.

        Raises:
            ClientError: `error`, when no try is left or none would help.
        """
        if not error.retryable:
            raise error
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        left = self._since + self._seconds - now
        if left <= 0:
            raise error
        pause = min(left, max(self._backoff(), self._asked, error.retry_after_seconds))
        self._tries += 1
        self._on_pause(error, pause)
        await self._clock.sleep(pause)

    def _backoff(self) -> float:
        return min(FIRST_PAUSE * 2.0 ** min(self._tries, 16), LONGEST_PAUSE) * self._ids.jitter()
