"""What a store does for schedules; a part of `ports/store.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from awaken.domain.schedule import Schedule

if TYPE_CHECKING:
    from awaken.ports.store import Page


class ScheduleRows(Protocol):
    """The part of a transaction. A schedule is taken before the head of any thread."""

    async def schedule(self, tenant: str, schedule_id: str) -> Schedule | None:
        """The schedule, taken exclusively until the operation ends."""
        ...

    def put_schedule(self, schedule: Schedule) -> None:
        """Insert or replace."""
        ...

    async def delete_schedule(self, tenant: str, schedule_id: str) -> bool:
        """Delete the schedule; whether there was one."""
        ...

    def bury_schedule(self, tenant: str, schedule_id: str) -> None:
        """Let a schedule whose record cannot be read be due no more; it stays as it is."""
        ...


class SchedulesOfStore(Protocol):
    """The part of a store."""

    async def schedule(self, tenant: str, schedule_id: str) -> Schedule | None:
        """The schedule."""
        ...

    async def schedules(self, tenant: str, limit: int, key: str | None) -> Page:
        """Schedules, newest first (by created_at, then id)."""
        ...

    async def due_schedules(self, limit: int) -> list[tuple[str, str]]:
        """(tenant, id) of schedules with `next_at ≤ now`, of all tenants, earliest first."""
        ...
