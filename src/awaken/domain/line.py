"""The line: which dispatch of a thread may be claimed now, and in which order threads are served.

The line holds at most one row per thread. A pure function gives that row from the thread's head and
two candidates, so no store ever scans a thread's queue; every store saves it in the commit that
changed the thread. Dispatches that are not due are outside the line until a promote step finds them
by an index on `available_at`.
"""

from __future__ import annotations

from typing import Final

from awaken.domain.dispatch import Dispatch, Queued
from awaken.domain.record import Record
from awaken.domain.thread import ThreadHead

MS_PER_PRIORITY: Final = 250
"""How much earlier one step of priority is served: ageing that needs no recalculation."""


class LineRow(Record):
    """A thread that can be claimed now; the smallest rank is served first."""

    tenant: str
    thread_id: str
    dispatch_id: str
    rank: int
    foreground: bool


def rank(enqueued_at: int, priority: int, tenant_lead: int = 0) -> int:
    """The place in line, stamped once at enqueue.

    `tenant_lead` (ms) is how far the tenant's own recent submissions run ahead of its share.
    """
    return enqueued_at + (priority - 128) * MS_PER_PRIORITY + tenant_lead


def line_row(
    head: ThreadHead, first: Dispatch | None, first_due: Dispatch | None, now: int
) -> LineRow | None:
    """The thread's row, or None when nothing of it can be claimed.

    Args:
        head: the thread's head.
        first: the queued dispatch of `head.active_run` if the thread has one (nothing
            overtakes it), else the dispatch `head.front` if that is queued.
        first_due: the queued dispatch with the smallest rank among those with `available_at ≤ now`.
        now: the store's clock, ms.
    """
    if head.claimed_dispatch is not None:
        return None
    chosen = first if head.active_run is not None else first or first_due
    if chosen is None or not isinstance(chosen.body, Queued) or chosen.body.available_at > now:
        return None
    if head.waiting_run not in (None, chosen.run_id):
        return None
    return LineRow(
        tenant=chosen.tenant,
        thread_id=chosen.thread_id,
        dispatch_id=chosen.dispatch_id,
        # Threads are served in turn: what waited while another of its thread was served goes behind
        # those that waited longer than that.
        rank=max(chosen.rank, rank(head.served_at, chosen.priority)),
        foreground=chosen.foreground,
    )
