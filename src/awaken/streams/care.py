"""Keeping old logs small: run now and then by whoever takes care of the store."""

from __future__ import annotations

import logging
from typing import Final

import anyio.to_thread

from awaken.domain.event import Segment
from awaken.domain.run import Run
from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.store import Store
from awaken.streams.compact import compact_run

log = logging.getLogger(__name__)

PAGE: Final = 500
RUNS: Final = 50


async def compact_done_runs(store: Store, *, done_before: int, limit: int) -> int:
    """Compact the log of at most `limit` runs finished before `done_before`; returns how many.

    Raises:
        StoreFault: as the store does; what was compacted until then stays.
    """
    count = 0
    for run in await store.compactable(done_before=done_before, limit=limit):
        segments = await _log_of(store, run)
        if not segments:  # deleted meanwhile
            continue
        # In a thread: the log of a long run takes longer than the event loop may be held.
        compacted = await anyio.to_thread.run_sync(compact_run, segments)
        await store.compact(run.tenant, run.run_id, compacted)
        count += 1
    return count


async def keep_logs_small(
    store: Store, clock: Clock, *, every_seconds: float, retention_ms: int
) -> None:
    """Compact what has become old enough, now and then, until cancelled."""
    while True:
        try:
            done_before = clock.now() - retention_ms
            while await compact_done_runs(store, done_before=done_before, limit=RUNS):
                pass
        except StoreFault as fault:
            log.warning("compaction failed, trying again later: %s", fault.code)
        await clock.sleep(every_seconds)


async def _log_of(store: Store, run: Run) -> list[Segment]:
    """All segments of the run: nothing is added to them, since it is done."""
    log: list[Segment] = []
    while True:
        after = log[-1].last_seq if log else 0
        page = await store.segments(run.tenant, run.thread_id, after, PAGE, run.run_id)
        log += page
        if len(page) < PAGE:
            return log
