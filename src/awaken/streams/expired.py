"""Logs that were deleted because they are old, and who is told so.

A run's log begins with its `run_queued`; when it does not any more, it was deleted or is being
deleted, and whoever asks for it is refused. A thread's log has holes where such runs were: a reader
that begins at its start is given what is there, but one that goes on from a cursor below the last
hole might miss how a run ended, and is refused. The messages of all of them are still there.
"""

from __future__ import annotations

from awaken.domain.event import RunQueued
from awaken.domain.run import Run, RunStatus
from awaken.errors import Refusal
from awaken.ports.store import Store


async def check_run_log(store: Store, run: Run) -> None:
    """Refuse to read the log of a run that is not there any more.

    Raises:
        Refusal: `events_expired` (410).
    """
    if run.status is not RunStatus.done:
        return
    first = await store.segments(run.tenant, run.thread_id, 0, 1, run.run_id)
    if not (first and first[0].items and isinstance(first[0].items[0].event, RunQueued)):
        raise Refusal(
            "events_expired",
            f"the events of run {run.run_id} are not kept any more; its messages are",
            status=410,
            details={"run_id": run.run_id},
        )


async def check_thread_cursor(store: Store, tenant: str, thread_id: str, cursor: int) -> None:
    """Refuse to go on behind `cursor` where something behind it was deleted.

    Raises:
        Refusal: `events_expired` (410); `details.expired_seq` is the last number that is gone.
    """
    gone = await store.expired_seq(tenant, thread_id) if cursor else 0
    if cursor < gone:
        raise Refusal(
            "events_expired",
            f"not all entries behind {cursor} are kept any more; begin anew, from the messages",
            status=410,
            details={"thread_id": thread_id, "cursor": cursor, "expired_seq": gone},
        )
