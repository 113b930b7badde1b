"""What the routes about schedules take and answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from awaken.protocols.native.wire import (
    MAX_MESSAGES,
    AnswerModel,
    ClientId,
    InputMessage,
    OnBusy,
    Page,
    RequestModel,
)

Missed = Literal["skip", "once", "all"]

_CRON = "Five fields: minute, hour, day of month, month, day of week."
_ZONE = "A name of the IANA tables, such as `Europe/Berlin`."
_THREAD = "A thread that there is. Without one each tick has a new thread."
_MISSED = (
    "What becomes of ticks that come while no server runs: nothing (`skip`), one run for all of "
    "them (`once`), or a run for each of the latest 100 (`all`)."
)


class ScheduleRequest(RequestModel):
    """A schedule to make."""

    cron: str = Field(min_length=1, max_length=200, description=_CRON)
    timezone: str = Field(default="UTC", min_length=1, max_length=100, description=_ZONE)
    agent_id: ClientId
    thread_id: ClientId | None = Field(default=None, description=_THREAD)
    messages: list[InputMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    on_busy: OnBusy = Field(default="enqueue", description="As for a run in the background.")
    missed: Missed = Field(default="once", description=_MISSED)
    enabled: bool = True
    metadata: dict[str, Any] = Field(default={}, description="Kept with each run.")


class ScheduleChanges(RequestModel):
    """Changes of a schedule: what is absent stays; `thread_id` null means new threads."""

    cron: str = Field(default="", min_length=1, max_length=200, description=_CRON)
    timezone: str = Field(default="", min_length=1, max_length=100, description=_ZONE)
    agent_id: ClientId = ""
    thread_id: ClientId | None = Field(default=None, description=_THREAD)
    messages: list[InputMessage] = Field(default=[], min_length=1, max_length=MAX_MESSAGES)
    on_busy: OnBusy = "enqueue"
    missed: Missed = Field(default="once", description=_MISSED)
    enabled: bool = True
    metadata: dict[str, Any] = Field(default={}, description="In place of what there was.")


class ScheduledMessage(AnswerModel):
    role: str
    content: list[dict[str, Any]]


class Schedule(AnswerModel):
    """A schedule.

    `next_at` is when it comes next, null when it is not enabled. `last_at` is the tick that was
    submitted last, and `last_run_id` the run that got its messages. `last_error` is the code of
    what kept the latest tick from being submitted.
    """

    schedule_id: str
    cron: str
    timezone: str
    agent_id: str
    thread_id: str | None
    messages: list[ScheduledMessage]
    on_busy: str
    missed: str
    enabled: bool
    next_at: int | None
    last_at: int | None
    last_run_id: str | None
    last_error: str | None
    metadata: dict[str, Any]
    created_by: str
    created_at: int
    updated_at: int


class SchedulePage(Page):
    items: list[Schedule]
