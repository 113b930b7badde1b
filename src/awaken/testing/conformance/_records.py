"""Small records for the cases: what a test does not name has some value that does not matter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from awaken.domain.agent import AgentSpec
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Body, Claimed, Dispatch, Mode, Queued
from awaken.domain.event import Event, Segment, TextDelta
from awaken.domain.line import LineRow
from awaken.domain.log import extend
from awaken.domain.message import Message, MessageVisibility, Role, StoredMessage, TextBlock
from awaken.domain.run import Run
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket, WaitingReason
from awaken.ports.store import Store, Transaction

PassTime = Callable[[int], Awaitable[None]]
"""Lets that many milliseconds pass on the clock of the store."""

A = "tenant-a"
B = "tenant-b"
THREAD = "thread-1"
RUN = "run-1"
SPEC = AgentSpec(agent_id="agent-1", instructions="be brief")


def thread_of(thread_id: str = THREAD, tenant: str = A, **fields: Any) -> Thread:
    return Thread(
        **{"tenant": tenant, "thread_id": thread_id, "created_at": 1, "updated_at": 1, **fields}
    )


def head_of(thread_id: str = THREAD, tenant: str = A, **fields: Any) -> ThreadHead:
    return ThreadHead(tenant=tenant, thread_id=thread_id, **fields)


def run_of(run_id: str = RUN, tenant: str = A, **fields: Any) -> Run:
    given = {
        "thread_id": THREAD,
        "agent_id": SPEC.agent_id,
        "resolution_id": "pinned-1",
        "created_at": 1,
        "updated_at": 1,
    }
    return Run(tenant=tenant, run_id=run_id, **{**given, **fields})


def dispatch_of(dispatch_id: str, body: Body, tenant: str = A, **fields: Any) -> Dispatch:
    given = {
        "thread_id": THREAD,
        "run_id": RUN,
        "mode": Mode.background,
        "epoch": 0,
        "rank": 1,
        "eligible_at": 1,
        "created_at": 1,
        "updated_at": 1,
    }
    return Dispatch(tenant=tenant, dispatch_id=dispatch_id, body=body, **{**given, **fields})


def queued(dispatch_id: str, rank: int = 1, available_at: int = 1, **fields: Any) -> Dispatch:
    return dispatch_of(dispatch_id, Queued(available_at=available_at), rank=rank, **fields)


def claim_of(lease_until: int, worker_id: str = "worker-1", **fields: Any) -> Claimed:
    return Claimed(
        claim_token="attempt-1",
        worker_id=worker_id,
        lease_until=lease_until,
        lease_ms=30_000,
        claimed_at=1,
        **fields,
    )


def line_of(dispatch: Dispatch) -> LineRow:
    return LineRow(
        tenant=dispatch.tenant,
        thread_id=dispatch.thread_id,
        dispatch_id=dispatch.dispatch_id,
        rank=dispatch.rank,
        foreground=dispatch.foreground,
    )


def message_of(message_id: str, text: str = "hello", **fields: Any) -> Message:
    return Message(message_id=message_id, role=Role.user, content=(TextBlock(text=text),), **fields)


def stored_of(
    message_seq: int,
    visibility: MessageVisibility = MessageVisibility.all,
    thread_id: str = THREAD,
    run_id: str | None = RUN,
) -> StoredMessage:
    return StoredMessage(
        thread_id=thread_id,
        message_seq=message_seq,
        run_id=run_id,
        created_at=1,
        message=message_of(f"message-{message_seq}", visibility=visibility),
    )


def pending_of(
    message_id: str, position: int, tenant: str = A, run_id: str | None = None
) -> PendingEntry:
    return PendingEntry(
        tenant=tenant,
        thread_id=THREAD,
        position=position,
        message=message_of(message_id),
        created_at=1,
        run_id=run_id,
    )


def ticket_of(ticket_id: str, **fields: Any) -> Ticket:
    given = {
        "thread_id": THREAD,
        "run_id": RUN,
        "tool_call_id": "call-1",
        "tool_name": "send",
        "arguments": {"to": "you"},
        "arguments_hash": "hash",
        "reason": WaitingReason.tool_permission,
        "opened_at": 1,
    }
    return Ticket(ticket_id=ticket_id, **{**given, **fields})


async def save(store: Store, *puts: Callable[[Transaction], object]) -> None:
    """Carry out `puts` in one operation."""

    async def put(tx: Transaction) -> None:
        for step in puts:
            step(tx)

    await store.transact(put)


async def save_dispatches(store: Store, *dispatches: Dispatch) -> None:
    await save(store, *(lambda tx, d=d: tx.put_dispatch(d) for d in dispatches))


async def grow(
    store: Store,
    *,
    tenant: str = A,
    thread_id: str = THREAD,
    run_id: str | None = RUN,
    events: Sequence[Event] = (TextDelta(delta="x"),),
) -> Segment:
    """Append `events` to a thread's log, as every writer does."""

    async def append(tx: Transaction) -> Segment:
        head = await tx.head(tenant, thread_id) or head_of(thread_id, tenant)
        head, segment = extend(head, run_id, events, tx.now)
        tx.append(segment)
        tx.put_head(head)
        return segment

    return await store.transact(append)


async def raised_by(call: Awaitable[object]) -> Exception | None:
    """What `call` raises, or None."""
    try:
        await call
    except Exception as error:  # noqa: BLE001 the case looks at what it is
        return error
    return None


async def now_of(store: Store) -> int:
    async def now(tx: Transaction) -> int:
        return tx.now

    return await store.transact(now)
