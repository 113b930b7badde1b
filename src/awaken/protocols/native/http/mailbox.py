"""The queue as a whole."""

from __future__ import annotations

from fastapi import APIRouter

from awaken.protocols.native import wire
from awaken.protocols.native.http.params import ERRORS
from awaken.protocols.native.http.services import Asking, Served, Services

router = APIRouter(prefix="/v1/mailbox", tags=["mailbox"], responses=ERRORS)


@router.get("/stats")
async def read_stats(services: Served, caller: Asking) -> wire.MailboxStats:
    """Dispatches by state, and what this process executes."""
    counts = await services.store.counts(caller.tenant)
    return wire.MailboxStats(
        queued=counts.queued,
        claimed=counts.claimed,
        acked=counts.acked,
        cancelled=counts.cancelled,
        superseded=counts.superseded,
        dead_letter=counts.dead_letter,
        in_line=counts.in_line,
        oldest_due_ms=counts.oldest_due_ms,
        worker=_worker(services),
    )


def _worker(services: Services) -> wire.Worker:
    now = services.mailbox.statistics()
    return wire.Worker(
        worker_id=now.worker_id,
        executing=now.executing,
        slots=now.slots,
        draining=now.draining,
    )
