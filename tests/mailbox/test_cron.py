"""Cron expressions in time zones: both changes of the clock, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.errors import RequestError
from awaken.mailbox.cron import CronTicks, parse

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"


def ms(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    """A local time in ms."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp()) * 1000


def told(at: int | None, zone: str = BERLIN) -> str:
    assert at is not None
    return datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).strftime("%m-%d %H:%M %z")


def ticks_after(cron: str, at: int, count: int, zone: str = BERLIN) -> list[str]:
    ticks = CronTicks(cron, zone)
    found = []
    for _ in range(count):
        following = ticks.after(at)
        assert following is not None
        assert following > at
        at = following
        found.append(told(at, zone))
    return found


# --- daylight saving time ------------------------------------------------------------------------


def test_a_time_that_summer_time_leaves_out_comes_at_the_end_of_the_gap() -> None:
    assert ticks_after("30 2 * * *", ms("2026-03-28T03:00"), 3) == [
        "03-29 03:00 +0200",
        "03-30 02:30 +0200",
        "03-31 02:30 +0200",
    ]


def test_a_time_that_comes_twice_fires_the_first_time_only() -> None:
    assert ticks_after("30 2 * * *", ms("2026-10-24T03:00"), 3) == [
        "10-25 02:30 +0200",
        "10-26 02:30 +0100",
        "10-27 02:30 +0100",
    ]


def test_from_within_the_second_pass_the_first_is_not_told_again() -> None:
    second = ms("2026-10-25T02:10", fold=1)
    assert ticks_after("30 2 * * *", second, 1) == ["10-26 02:30 +0100"]


def test_every_hour_is_every_hour_on_both_days() -> None:
    assert ticks_after("0 * * * *", ms("2026-03-29T00:30"), 3) == [
        "03-29 01:00 +0100",
        "03-29 03:00 +0200",
        "03-29 04:00 +0200",
    ]
    assert ticks_after("0 * * * *", ms("2026-10-25T00:30"), 4) == [
        "10-25 01:00 +0200",
        "10-25 02:00 +0200",
        "10-25 02:00 +0100",
        "10-25 03:00 +0100",
    ]


def test_a_daily_time_keeps_its_hour_over_the_year() -> None:
    winter, summer = ms("2026-01-10T12:00"), ms("2026-07-10T12:00")
    assert ticks_after("0 9 * * *", winter, 1) == ["01-11 09:00 +0100"]
    assert ticks_after("0 9 * * *", summer, 1) == ["07-11 09:00 +0200"]


def test_another_zone_changes_on_its_own_day() -> None:
    assert ticks_after("30 2 * * *", ms("2026-03-07T03:00", NEW_YORK), 2, NEW_YORK) == [
        "03-08 03:00 -0400",
        "03-09 02:30 -0400",
    ]


# --- the last ticks up to a time -----------------------------------------------------------------

CRONS = ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 2 25 10 *"]


@given(
    cron=st.sampled_from(CRONS),
    until=st.datetimes(datetime(2026, 3, 27), datetime(2026, 3, 31))
    | st.datetimes(datetime(2026, 10, 23), datetime(2026, 10, 27)),
    count=st.integers(1, 5),
)
def test_the_last_ticks_are_those_that_walking_on_would_meet(
    cron: str, until: datetime, count: int
) -> None:
    """However the library walks back, what is told is what `after` tells."""
    end = int(until.replace(tzinfo=UTC).timestamp()) * 1000
    since = end - int(timedelta(hours=30).total_seconds()) * 1000
    ticks = CronTicks(cron, BERLIN)
    assert ticks.between(since, end, count) == walked(ticks, since, end)[-count:]


def walked(ticks: CronTicks, since: int, until: int) -> Sequence[int]:
    found, at = [], ticks.after(since - 1)
    while at is not None and at <= until:
        found.append(at)
        at = ticks.after(at)
    return found


def test_a_tick_of_every_28_years_is_not_looked_for_before_there_were_years() -> None:
    ticks = CronTicks("0 0 29 2 */7", "UTC")  # a Sunday
    since = ms("2026-01-01T00:00", "UTC")
    found = ticks.between(since, ms("2100-01-01T00:00", "UTC"), 100)
    assert found == walked(ticks, since, ms("2100-01-01T00:00", "UTC"))
    assert [told(at, "UTC") for at in found] == ["02-29 00:00 +0000"] * 3


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "zone", "field"),
    [
        ("", "UTC", "cron"),
        ("* * * *", "UTC", "cron"),
        ("0 * * * * *", "UTC", "cron"),
        ("61 * * * *", "UTC", "cron"),
        ("* * * * MONDAY", "UTC", "cron"),
        ("*/0 * * * *", "UTC", "cron"),
        ("0 0 31 2 *", "UTC", "cron"),
        ("0 0 * 2 MON#0", "UTC", "cron"),
        ("1," * 200 + "1 * * * *", "UTC", "cron"),
        ("@daily", "UTC", "cron"),
        ("* * * * *", "Berlin", "timezone"),
        ("* * * * *", "", "timezone"),
        ("* * * * *", "Europe", "timezone"),
        ("* * * * *", "../../etc/passwd", "timezone"),
        ("* * * * *", "/etc/passwd", "timezone"),
        ("* * * * *", "a\0b", "timezone"),
        ("* * * * *", "x" * 100_000, "timezone"),
    ],
)
def test_what_is_wrong_is_named(cron: str, zone: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(cron, zone, ms("2026-01-01T00:00"))
    assert (caught.value.code, caught.value.status) == ("invalid_field", 422)
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f"{field}: ")
    assert len(caught.value.message) < 300


def test_a_time_that_never_comes_is_refused() -> None:
    """The 30th of February, and a fifth Monday of a February that begins on none for 50 years."""
    with pytest.raises(RequestError, match="cron"):
        parse("* * */20 * 1L", "UTC", ms("2026-01-01T00:00"))
