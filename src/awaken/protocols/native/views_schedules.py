"""From schedules to the answers of the native API."""

from __future__ import annotations

import msgspec

from awaken.domain.schedule import Schedule
from awaken.protocols.native import wire_schedules as wire


def schedule(record: Schedule) -> wire.Schedule:
    return wire.Schedule(
        schedule_id=record.schedule_id,
        cron=record.cron,
        timezone=record.timezone,
        agent_id=record.agent_id,
        thread_id=record.thread_id,
        messages=[
            wire.ScheduledMessage(
                role=message.role.value,
                content=[msgspec.to_builtins(block) for block in message.content],
            )
            for message in record.messages
        ],
        on_busy=record.on_busy.value,
        missed=record.missed.value,
        enabled=record.enabled,
        next_at=record.next_at,
        last_at=record.last_at,
        last_run_id=record.last_run_id,
        last_error=record.last_error,
        metadata=record.metadata,
        created_by=record.created_by,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )
