"""Cron expressions in a time zone: the `domain.schedule.Ticks` of the server.

Five fields: minute, hour, day of month, month, day of week. Daylight saving time is as in Debian's
cron. An expression whose minute or hour field begins with a star follows the time that passes:
`0 * * * *` comes every 60 minutes, always. Any other names times of the day, and each comes once a
day: one that the change to summer time leaves out comes at the end of the gap, and of one that the
change back brings twice the first counts.

Time zones are read from files, and a rare expression is looked for through years: not for the event
loop.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from awaken.errors import RequestError

MAX_CRON: Final = 200
"""Characters of an expression."""
_SPARE: Final = 8
"""How many more ticks are walked back than asked for.

Around a change of the clock the library walks back another way than it walks on.
"""


class CronTicks:
    """The ticks of `cron` in `timezone`.

    Raises:
        RequestError: `invalid_field` (422), which names `cron` or `timezone`.
    """

    def __init__(self, cron: str, timezone: str) -> None:
        self._cron = cron
        self._zone = _zone(timezone)
        _check(cron)

    def after(self, at: int) -> int | None:
        """As the port says."""
        ticks = self._walk(at)
        while True:
            found = next(ticks, None)
            if found is None:
                return None
            tick = _ms(found)
            if tick > at:  # the second pass of an hour begins before ticks of the first
                return tick

    def between(self, since: int, until: int, count: int) -> list[int]:
        """As the port says."""
        at = max(since, self._back(since, until, count + _SPARE)) - 1
        found: list[int] = []
        while (tick := self.after(at)) is not None and tick <= until:
            found.append(tick)
            at = tick
        return found[-count:]

    def _back(self, since: int, until: int, count: int) -> int:
        """A time with about `count` ticks between it and `until`, or one before `since`."""
        start = self._local(until) + timedelta(seconds=1)
        ticks = CronSim(self._cron, start, reverse=True)
        at = until
        for _ in range(count):
            tick = next(ticks, None)
            if tick is None or at <= since:
                break
            at = _ms(tick)
        return at

    def _walk(self, at: int) -> CronSim:
        return CronSim(self._cron, self._local(at))

    def _local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at / 1000, UTC).astimezone(self._zone)


def parse(cron: str, timezone: str, now: int) -> CronTicks:
    """The ticks of a schedule that somebody makes at `now`; as `CronTicks`, and there is a tick."""
    ticks = CronTicks(cron, timezone)
    if ticks.after(now) is None:
        raise _invalid("cron", "names no time in the next 50 years")
    return ticks


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid(
            "timezone", f"{name[:100]!r} is no time zone; expected a name such as Europe/Berlin"
        ) from error


def _check(cron: str) -> None:
    if len(cron) > MAX_CRON:
        raise _invalid("cron", f"must have at most {MAX_CRON} characters")
    if len(cron.split()) != 5:
        raise _invalid("cron", "must have five fields: minute hour day month weekday")
    try:
        CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        text = str(error).lower()
        raise _invalid("cron", f"{text}; expected five fields such as 30 9 * * MON-FRI") from error


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def _invalid(field: str, problem: str) -> RequestError:
    return RequestError(
        "invalid_field", f"{field}: {problem}", status=422, details={"field": field}
    )
