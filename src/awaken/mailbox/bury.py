"""Setting aside what cannot be read, so that it stops nothing else.

Invariant: a queued or claimed dispatch whose record, or whose run's record, cannot be read becomes
a dead letter; its run is done and says so in the log, so that its streams end (I6); and its thread
goes on with what comes next. The rows stay as they are, to be looked at.
"""

from __future__ import annotations

import logging
from typing import Final

from msgspec.structs import replace

from awaken.domain.care import UNDECODABLE, Delivery
from awaken.domain.delivery import Boundary
from awaken.domain.dispatch import Dispatch, Finished, How
from awaken.domain.event import RunFinish
from awaken.domain.run import Run, RunStatus
from awaken.domain.termination import Errored
from awaken.errors import UndecodableRecord
from awaken.mailbox.finish import finish
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import consume
from awaken.ports.store import Transaction

log = logging.getLogger(__name__)

LIVE: Final = frozenset({"queued", "claimed"})

TERMINATION: Final = Errored(code=UNDECODABLE, message="a stored record of the run cannot be read")


async def bury(tx: Transaction, tenant: str, dispatch_id: str) -> bool:
    """Make the dispatch a dead letter; whether it was live until now."""
    found = await tx.delivery(tenant, dispatch_id)
    unit = found and await ThreadUnit.open(tx, tenant, found.thread_id)
    if not found or not unit or found.state not in LIVE:
        return False
    await bury_in(unit, found)
    await unit.save()
    return True


async def bury_in(unit: ThreadUnit, found: Delivery) -> None:
    """The same inside a unit, which the caller saves."""
    log.error("set aside: a record of dispatch %s cannot be read", found.dispatch_id)
    dispatch = await _dispatch(unit, found)
    if dispatch is None:
        unit.tx.bury_dispatch(found.tenant, found.dispatch_id)
    else:
        body = Finished(how=How.dead_letter, finished_at=unit.now, reason=UNDECODABLE)
        unit.change(replace(dispatch, body=body, updated_at=unit.now))
    unit.lose(found.dispatch_id, found.run_id, queued=found.state == "queued")
    run = await readable_run(unit.tx, found.tenant, found.run_id)
    if run is None:
        _end_unread(unit, found)
    elif run.status is not RunStatus.done:
        await _end(unit, run)


async def _end(unit: ThreadUnit, run: Run) -> None:
    if run.status is RunStatus.created:
        # What was said stays said: another run can answer it.
        run, _ = await consume(unit, run, Boundary.new_run)
    await finish(unit, run, TERMINATION)


def _end_unread(unit: ThreadUnit, found: Delivery) -> None:
    """End a run whose record cannot be read: all that can be told is that it is over."""
    unit.tx.bury_run(found.tenant, found.run_id)
    unit.stop_waiting(found.run_id)
    ended = RunFinish(thread_id=found.thread_id, run_id=found.run_id, termination=TERMINATION)
    unit.emit(found.run_id, ended)
    unit.mark_boundary()


async def _dispatch(unit: ThreadUnit, found: Delivery) -> Dispatch | None:
    try:
        return await unit.tx.dispatch(found.tenant, found.dispatch_id)
    except UndecodableRecord:
        return None


async def readable_run(tx: Transaction, tenant: str, run_id: str) -> Run | None:
    """The run, or None when its record cannot be read."""
    try:
        return await tx.run(tenant, run_id)
    except UndecodableRecord:
        return None
