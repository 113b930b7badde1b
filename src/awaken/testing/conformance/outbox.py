"""What messages to others need of a store."""

from __future__ import annotations

from typing import Any

from awaken.domain.outgoing import Outgoing
from awaken.ports.store import Store, Transaction
from awaken.testing.conformance._records import A, B, PassTime, now_of, save


def _outgoing_of(message_id: str = "m", tenant: str = A, **fields: Any) -> Outgoing:
    given = {"type": "run.finished", "at": 1, "due_at": 1, "data": {"run_id": "r"}, **fields}
    return Outgoing(tenant=tenant, message_id=message_id, **given)


async def _read(store: Store, message_id: str = "m", tenant: str = A) -> Outgoing | None:
    async def read(tx: Transaction) -> Outgoing | None:
        return await tx.outgoing(tenant, message_id)

    return await store.transact(read)


async def an_outgoing_message_is_kept_by_tenant_and_id(store: Store, _: PassTime) -> None:
    """It is read as it was written; putting it again replaces it, deleting it again is harmless."""
    mine, theirs = _outgoing_of(), _outgoing_of(tenant=B, type="ticket.opened")
    await save(store, lambda tx: tx.put_outgoing(mine), lambda tx: tx.put_outgoing(theirs))
    assert await _read(store) == mine
    again = _outgoing_of(attempts=2, due_at=9, last_error="status_500")
    await save(store, lambda tx: tx.put_outgoing(again))
    assert await _read(store) == again
    for _round in range(2):
        await save(store, lambda tx: tx.delete_outgoing(A, "m"))
        assert await _read(store) is None
    assert await _read(store, tenant=B) == theirs


async def outgoing_messages_are_due_by_their_time(store: Store, pass_time: PassTime) -> None:
    """Of all tenants, earliest first, no more than asked for."""
    now = await now_of(store)
    given = [
        _outgoing_of("late", due_at=now - 10),
        _outgoing_of("later", B, due_at=now - 20),
        _outgoing_of("soon", due_at=now + 200),
    ]
    assert await store.next_outgoing_at() is None
    await save(store, *(lambda tx, o=o: tx.put_outgoing(o) for o in given))
    assert await store.due_outgoing(10) == [(B, "later"), (A, "late")]
    assert await store.due_outgoing(1) == [(B, "later")]
    assert await store.next_outgoing_at() == now - 20
    await pass_time(300)
    assert await store.due_outgoing(10) == [(B, "later"), (A, "late"), (A, "soon")]


async def outgoing_messages_are_counted_to_a_limit(store: Store, _: PassTime) -> None:
    """Those that wait, and those that were given up."""
    waiting = [_outgoing_of(f"w{n}") for n in range(4)]
    given_up = [_outgoing_of(f"g{n}", given_up=True) for n in range(2)]
    await save(store, *(lambda tx, o=o: tx.put_outgoing(o) for o in (*waiting, *given_up)))
    assert await store.outgoing_counts(100) == (4, 2)
    assert await store.outgoing_counts(3) == (3, 2)
    await save(store, lambda tx: tx.put_outgoing(_outgoing_of("w0", given_up=True)))
    assert await store.outgoing_counts(100) == (3, 3)


CASES = (
    an_outgoing_message_is_kept_by_tenant_and_id,
    outgoing_messages_are_due_by_their_time,
    outgoing_messages_are_counted_to_a_limit,
)
