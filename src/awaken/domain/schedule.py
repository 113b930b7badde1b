"""Schedules: messages that are submitted again and again, when a cron expression says so.

A *tick* is one of those times. `next_at` is the tick that comes next; the commit that submits a
tick's run moves it on, and the run's id follows from schedule and tick (`tick_run_id`). So a tick
makes one run, however many schedulers look, crash, or do not hear of their commit.

A tick is *missed* when nobody submitted it within `MISSED_AFTER_MS`: the server was down, or its
clock jumped forward. What becomes of missed ticks is the schedule's policy. A clock that jumps back
fires nothing twice: `next_at` stays where it is, and is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from msgspec.structs import replace

from awaken.domain.dispatch import Mode
from awaken.domain.ids import derived_id
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.run import Origin
from awaken.domain.submission import OnBusy, Submission

MISSED_AFTER_MS: Final = 60_000
"""A tick that is submitted this late or less is on time."""
MAX_CAUGHT_UP: Final = 100
"""How many missed ticks, the latest, `all` submits."""


class Missed(StrEnum):
    """What becomes of ticks that were missed.

    skip: nothing. once: the latest is submitted, for all of them. all: each is submitted, one after
    the other, but no more than the latest `MAX_CAUGHT_UP`.
    """

    skip = "skip"
    once = "once"
    all = "all"


class Schedule(Record):
    """What is submitted when, in whose name.

    `thread_id` None means a new thread for each tick. The ids of `messages` do not count: each tick
    has its own. `next_at` (ms) is None while it is not enabled. `last_at` is the tick that was
    submitted last, `last_run_id` the run that its messages went to. `last_error` is the code of
    what kept the latest tick from being submitted.
    """

    tenant: str
    schedule_id: str
    cron: str
    agent_id: str
    messages: tuple[Message, ...]
    created_by: str
    created_at: int
    updated_at: int
    timezone: str = "UTC"
    thread_id: str | None = None
    on_busy: OnBusy = OnBusy.enqueue
    missed: Missed = Missed.once
    enabled: bool = True
    next_at: int | None = None
    last_at: int | None = None
    last_run_id: str | None = None
    last_error: str | None = None
    metadata: dict[str, Any] = {}


class Ticks(Protocol):
    """The times that a cron expression names in a time zone."""

    def after(self, at: int) -> int | None:
        """The first tick later than `at` (ms); None when there is none in the next 50 years."""
        ...

    def between(self, since: int, until: int, count: int) -> Sequence[int]:
        """The last `count` ticks from `since` to `until`, both included, in order."""
        ...


class Due(Record):
    """What is to be done about a schedule now: the tick to submit, if any, and what comes next."""

    fire_at: int | None
    next_at: int | None


def due(schedule: Schedule, ticks: Ticks, now: int) -> Due | None:
    """What is due at `now`; None when nothing is."""
    at = schedule.next_at
    if at is None or at > now:
        return None
    if now - at <= MISSED_AFTER_MS:
        return Due(fire_at=at, next_at=ticks.after(at))
    match schedule.missed:
        case Missed.skip:
            return Due(fire_at=None, next_at=ticks.after(now - MISSED_AFTER_MS - 1))
        case Missed.once:
            latest = ticks.between(at, now, 1)
            return Due(fire_at=latest[-1] if latest else at, next_at=ticks.after(now))
        case Missed.all:
            recent = ticks.between(at, now, MAX_CAUGHT_UP)
            first = recent[0] if recent else at
            return Due(fire_at=first, next_at=ticks.after(first))


def tick_run_id(schedule_id: str, at: int) -> str:
    """The id of the run that the tick at `at` makes: there is one at most."""
    return derived_id(schedule_id, "tick", str(at))


def submission(schedule: Schedule, run_id: str, at: int) -> Submission:
    """What is submitted as `run_id` for `at` (ms): in the schedule's tenant, for nobody who waits.

    The run's metadata tells the schedule and the time.
    """
    messages = tuple(
        replace(message, message_id=derived_id(run_id, "message", str(number)))
        for number, message in enumerate(schedule.messages)
    )
    return Submission(
        tenant=schedule.tenant,
        run_id=run_id,
        messages=messages,
        thread_id=schedule.thread_id or derived_id(run_id, "thread"),
        agent_id=schedule.agent_id,
        actor=schedule.created_by,
        mode=Mode.background,
        on_busy=schedule.on_busy,
        origin=Origin.schedule,
        metadata={
            **schedule.metadata,
            "schedule_id": schedule.schedule_id,
            "scheduled_at": at,
        },
    )
