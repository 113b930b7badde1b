"""Threads.

The conversation's metadata, and the narrow row that every commit of a thread takes first.
"""

from __future__ import annotations

from typing import Any

from awaken.domain.record import Record


class ThreadHead(Record, omit_defaults=False):
    """The head of a thread, apart from its metadata: small, because every append rewrites it.

    seq: number of the last entry of the event log; 0 when there is none.
    message_seq: number of the last committed message.
    epoch: raised by each interrupt; a dispatch with an older one is stale.
    active_run: the run that has the thread, from its first claim until it is done or waiting (I1).
    waiting_run: the run that waits for somebody; until it ends or goes on, nothing else of the
        thread is claimed.
    claimed_dispatch: the dispatch of `active_run` that is claimed now.
    front: the queued dispatch that an interrupt put before all others of the thread.
    queued_count: how many dispatches are queued, due or not.
    pending_revision: raised whenever the pending messages change.
    served_at: when a dispatch of the thread was claimed last (ms); what waits goes behind others.
    """

    tenant: str
    thread_id: str
    seq: int = 0
    message_seq: int = 0
    epoch: int = 0
    active_run: str | None = None
    waiting_run: str | None = None
    claimed_dispatch: str | None = None
    front: str | None = None
    queued_count: int = 0
    pending_revision: int = 0
    served_at: int = 0


class Thread(Record):
    """Metadata of a conversation.

    `agent_id` is the agent of its latest run; `state` holds the agents' state with scope thread.
    """

    tenant: str
    thread_id: str
    created_at: int
    updated_at: int
    title: str | None = None
    resource_id: str | None = None
    parent_thread_id: str | None = None
    agent_id: str | None = None
    latest_run_id: str | None = None
    custom: dict[str, Any] = {}
    state: dict[str, Any] = {}
