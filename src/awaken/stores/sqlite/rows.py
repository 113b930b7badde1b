"""Records as rows, and rows as records. Nothing here decides anything."""

from __future__ import annotations

from typing import Any

from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Claimed, Dispatch, Queued
from awaken.domain.event import Segment
from awaken.domain.line import LineRow
from awaken.domain.message import StoredMessage
from awaken.domain.run import Run
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket
from awaken.stores import codec

Row = tuple[Any, ...]


def head(key: tuple[str, str], row: Row) -> ThreadHead:
    seq, message_seq, epoch, active, waiting, claimed, front, count, revision, served = row
    return ThreadHead(
        tenant=key[0],
        thread_id=key[1],
        seq=seq,
        message_seq=message_seq,
        epoch=epoch,
        active_run=active,
        waiting_run=waiting,
        claimed_dispatch=claimed,
        front=front,
        queued_count=count,
        pending_revision=revision,
        served_at=served,
    )


def line(row: Row) -> LineRow:
    tenant, thread_id, dispatch_id, rank, foreground = row
    return LineRow(
        tenant=tenant,
        thread_id=thread_id,
        dispatch_id=dispatch_id,
        rank=rank,
        foreground=bool(foreground),
    )


def segment(tenant: str, row: Row) -> Segment:
    thread_id, last_seq, first_seq, run_id, at, boundary, data = row
    return Segment(
        tenant=tenant,
        thread_id=thread_id,
        run_id=run_id,
        first_seq=first_seq,
        last_seq=last_seq,
        at=at,
        items=codec.ITEMS.decode(data, f"{thread_id}/{last_seq}"),
        boundary=bool(boundary),
    )


def of_head(head: ThreadHead) -> Row:
    return (
        head.tenant,
        head.thread_id,
        head.seq,
        head.message_seq,
        head.epoch,
        head.active_run,
        head.waiting_run,
        head.claimed_dispatch,
        head.front,
        head.queued_count,
        head.pending_revision,
        head.served_at,
    )


def of_thread(thread: Thread) -> Row:
    return (
        thread.tenant,
        thread.thread_id,
        thread.updated_at,
        thread.resource_id,
        thread.parent_thread_id,
        codec.encode(thread),
    )


def of_run(run: Run) -> Row:
    return (
        run.tenant,
        run.run_id,
        run.thread_id,
        run.agent_id,
        run.status.value,
        run.created_at,
        run.finished_at,
        run.resolution_id,
        codec.encode(run),
    )


def of_dispatch(dispatch: Dispatch, now: int) -> Row:
    body = dispatch.body
    state, available_at, finished_at = "claimed", None, None
    lease_until, deadline, worker_id = None, None, None
    if isinstance(body, Claimed):
        lease_until, worker_id = body.lease_until, body.worker_id
        deadline = body.interrupt_deadline
    elif isinstance(body, Queued):
        state, available_at = "queued", body.available_at
    else:
        state, finished_at = body.how.value, body.finished_at
    return (
        dispatch.tenant,
        dispatch.dispatch_id,
        dispatch.thread_id,
        dispatch.run_id,
        state,
        dispatch.rank,
        dispatch.foreground,
        available_at is not None and available_at <= now,
        available_at,
        lease_until,
        deadline,
        worker_id,
        finished_at,
        dispatch.dedupe_key,
        dispatch.created_at,
        dispatch.updated_at,
        codec.encode(dispatch),
    )


def differ_in_data_only(stored: Dispatch, dispatch: Dispatch) -> bool:
    """Whether `dispatch` has the derived columns of `stored`, but for `updated_at`."""
    old, new = stored.body, dispatch.body
    return (
        isinstance(old, Claimed)
        and isinstance(new, Claimed)
        and (old.lease_until, old.interrupt_deadline, old.worker_id)
        == (new.lease_until, new.interrupt_deadline, new.worker_id)
        and (stored.rank, stored.mode, stored.dedupe_key)
        == (dispatch.rank, dispatch.mode, dispatch.dedupe_key)
    )


def of_line(row: LineRow) -> Row:
    return (row.tenant, row.thread_id, row.dispatch_id, row.rank, row.foreground)


def of_pending(entry: PendingEntry) -> Row:
    return (
        entry.tenant,
        entry.thread_id,
        entry.message.message_id,
        entry.position,
        entry.run_id,
        codec.encode(entry),
    )


def of_message(tenant: str, message: StoredMessage) -> Row:
    return (
        tenant,
        message.thread_id,
        message.message_seq,
        message.message.message_id,
        message.run_id,
        message.message.visibility.value,
        codec.encode(message),
    )


def of_segment(segment: Segment) -> Row:
    return (
        segment.tenant,
        segment.thread_id,
        segment.last_seq,
        segment.first_seq,
        segment.run_id,
        segment.at,
        segment.boundary,
        codec.encode(segment.items),
    )


def of_ticket(tenant: str, ticket: Ticket) -> Row:
    return (
        tenant,
        ticket.ticket_id,
        ticket.thread_id,
        ticket.run_id,
        ticket.status.value,
        ticket.opened_at,
        ticket.expires_at,
        ticket.closed_at,
        codec.encode(ticket),
    )
