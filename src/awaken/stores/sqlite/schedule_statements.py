"""The SQL of schedules; the rules are those of `statements`."""

from __future__ import annotations

from typing import Final

# A schedule.
SCHEDULE: Final = "select data from schedules where tenant = ? and schedule_id = ?"

PUT_SCHEDULE: Final = """
insert into schedules (tenant, schedule_id, created_at, next_at, data) values (?, ?, ?, ?, ?)
on conflict (tenant, schedule_id) do update set
    next_at = excluded.next_at, data = excluded.data"""

DELETE_SCHEDULE: Final = "delete from schedules where tenant = ? and schedule_id = ?"

BURY_SCHEDULE: Final = """
update schedules set next_at = null where tenant = ? and schedule_id = ?"""

# Schedules whose next tick has come, earliest first.
DUE_SCHEDULES: Final = """
select tenant, schedule_id from schedules
where next_at is not null and next_at <= ? order by next_at limit ?"""

# Schedules, newest first.
SCHEDULES: Final = """
select schedule_id, created_at, data from schedules
where tenant = :tenant and (created_at, schedule_id) < (:created_at, :schedule_id)
order by created_at desc, schedule_id desc limit :limit"""
