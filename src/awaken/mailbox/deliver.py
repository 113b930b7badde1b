"""What every new delivery of a run has in common, whoever makes it: submit, resume, retry."""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.dispatch import Dispatch, Mode, Queued
from awaken.domain.line import rank
from awaken.domain.run import Run
from awaken.mailbox.unit import ThreadUnit


def delivery(
    unit: ThreadUnit,
    run: Run,
    dispatch_id: str,
    *,
    mode: Mode,
    priority: int,
    max_attempts: int,
    available_at: int | None = None,
    tenant_lead: int = 0,
) -> Dispatch:
    """A queued dispatch of `run`, made now; not before `available_at` (ms), if that is later."""
    due = max(unit.now, available_at or 0)
    return Dispatch(
        tenant=run.tenant,
        dispatch_id=dispatch_id,
        thread_id=run.thread_id,
        run_id=run.run_id,
        mode=mode,
        epoch=unit.head.epoch,
        rank=rank(due, priority, tenant_lead),
        eligible_at=due,
        created_at=unit.now,
        updated_at=unit.now,
        body=Queued(available_at=due),
        priority=priority,
        max_attempts=max_attempts,
    )


async def put_latest(unit: ThreadUnit, run: Run) -> None:
    """Let the thread, which there is, know that this is its latest run."""
    thread = await unit.tx.thread(run.tenant, run.thread_id)
    assert thread is not None, "a run has a thread"
    changed = replace(thread, agent_id=run.agent_id, latest_run_id=run.run_id, updated_at=unit.now)
    unit.tx.put_thread(changed)
