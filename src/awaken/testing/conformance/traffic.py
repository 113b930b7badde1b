"""What the traffic on busy threads needs of a store: notes, a run's messages, what waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from awaken.domain.care import Kept
from awaken.domain.message import MessageVisibility, StoredMessage
from awaken.domain.note import Note, NoteKind
from awaken.ports.store import Store, Transaction
from awaken.testing.conformance._records import (
    THREAD,
    A,
    B,
    PassTime,
    head_of,
    now_of,
    pending_of,
    queued,
    save,
    save_dispatches,
    stored_of,
)


def _note_of(key: str = "k", tenant: str = A, **fields: Any) -> Note:
    given = {"kind": NoteKind.early_stop, "expires_at": 10, **fields}
    return Note(tenant=tenant, key=key, **given)


async def _read_note(
    store: Store, key: str = "k", tenant: str = A, kind: NoteKind = NoteKind.early_stop
) -> Note | None:
    async def read(tx: Transaction) -> Note | None:
        return await tx.note(tenant, kind, key)

    return await store.transact(read)


async def a_note_is_kept_by_tenant_kind_and_key(store: Store, _: PassTime) -> None:
    """It is read as it was written; the same key again replaces it, in its tenant and kind only."""
    other = _note_of(kind=NoteKind.idempotency, data={"n": 2})
    await save(
        store,
        lambda tx: tx.put_note(_note_of(data={"n": 1})),
        lambda tx: tx.put_note(other),
        lambda tx: tx.put_note(_note_of(tenant=B, data={"n": 3})),
    )
    assert await _read_note(store) == _note_of(data={"n": 1})
    assert await _read_note(store, kind=NoteKind.idempotency) == other
    assert await _read_note(store, "other") is None
    await save(store, lambda tx: tx.put_note(_note_of(data={"n": 4}, expires_at=20)))
    assert await _read_note(store) == _note_of(data={"n": 4}, expires_at=20)
    assert await _read_note(store, tenant=B) == _note_of(tenant=B, data={"n": 3})


async def a_note_is_there_for_the_operation_that_wrote_it(store: Store, _: PassTime) -> None:
    """Reads see the operation's own writes."""

    async def write_and_read(tx: Transaction) -> Note | None:
        tx.put_note(_note_of())
        return await tx.note(A, NoteKind.early_stop, "k")

    assert await store.transact(write_and_read) == _note_of()


async def notes_are_purged_when_their_time_is_over(store: Store, _: PassTime) -> None:
    """By `expires_at`, exclusive, and no more than asked for."""
    notes = [_note_of(f"k{n}", expires_at=n) for n in range(6)]
    await save(store, *(lambda tx, n=n: tx.put_note(n) for n in notes))
    assert await store.purge(Kept.notes, before=5, limit=3) == 3
    assert await store.purge(Kept.notes, before=5, limit=3) == 2
    assert await store.purge(Kept.notes, before=5, limit=3) == 0
    assert await _read_note(store, "k5") == notes[5]


async def pending_entries_are_found_by_message_id(store: Store, _: PassTime) -> None:
    """In order of position; ids that are not there are no error."""
    entries = [pending_of(f"m-{n}", 10 - n) for n in range(4)]
    await save(store, *(lambda tx, e=e: tx.put_pending(e) for e in entries))

    async def find(tx: Transaction) -> Sequence[Sequence[object]]:
        return (
            await tx.pending_with(A, THREAD, ["m-1", "none", "m-3", "m-1"]),
            await tx.pending_with(A, THREAD, []),
            await tx.pending_with(B, THREAD, ["m-1"]),
        )

    found, none, foreign = await store.transact(find)
    assert list(found) == [entries[3], entries[1]]
    assert list(none) == list(foreign) == []


async def the_messages_of_a_run_come_by_number(store: Store, _: PassTime) -> None:
    """Those of the run alone, behind a number, the hidden ones too, and this operation's own."""
    mine = [stored_of(n) for n in (1, 2, 4)]
    hidden = replace(stored_of(2, MessageVisibility.replaced), replaced_by="run-2")
    foreign = replace(stored_of(3), run_id="run-2")
    await save(store, *(lambda tx, m=m: tx.put_message(A, m) for m in (*mine, foreign, hidden)))

    async def read(tx: Transaction) -> Sequence[Sequence[StoredMessage]]:
        run_id = mine[0].run_id or ""
        tx.put_message(A, stored_of(5))
        return (
            await tx.messages_of_run(A, THREAD, run_id),
            await tx.messages_of_run(A, THREAD, run_id, 2),
            await tx.messages_of_run(B, THREAD, run_id),
        )

    whole, rest, none = await store.transact(read)
    assert list(whole) == [mine[0], hidden, mine[2], stored_of(5)]
    assert list(rest) == [mine[2], stored_of(5)]
    assert list(none) == []


async def the_messages_behind_a_number_come_in_order(store: Store, _: PassTime) -> None:
    """Those of all runs of the thread, the hidden ones too, and no more than asked for."""
    mine = [stored_of(n) for n in (1, 2, 4)]
    hidden = replace(stored_of(2, MessageVisibility.replaced), replaced_by="run-2")
    foreign = replace(stored_of(3), run_id="run-2")
    await save(store, *(lambda tx, m=m: tx.put_message(A, m) for m in (*mine, foreign, hidden)))

    async def read(tx: Transaction) -> Sequence[Sequence[StoredMessage]]:
        tx.put_message(A, stored_of(5))
        return (
            await tx.messages_after(A, THREAD, 1, 10),
            await tx.messages_after(A, THREAD, 1, 2),
            await tx.messages_after(A, THREAD, 5, 10),
            await tx.messages_after(B, THREAD, 0, 10),
        )

    rest, some, *none = await store.transact(read)
    assert list(rest) == [hidden, foreign, mine[2], stored_of(5)]
    assert list(some) == [hidden, foreign]
    assert [list(each) for each in none] == [[], []]


async def what_is_due_is_counted_to_a_limit(store: Store, _: PassTime) -> None:
    """Queued dispatches that are due: of all tenants, and of one thread."""
    later = await now_of(store) + 1_000_000
    due = [queued(f"d-{n}", rank=n) for n in range(4)]
    undue = queued("d-9", available_at=later)
    foreign = queued("d-1", tenant=B)
    await save_dispatches(store, *due, undue, foreign)
    assert await store.count_due(100) == 5
    assert await store.count_due(2) == 2

    async def count(tx: Transaction) -> tuple[int, int, int]:
        return (
            await tx.count_due(A, THREAD, 100),
            await tx.count_due(A, THREAD, 3),
            await tx.count_due(A, "other", 100),
        )

    assert await store.transact(count) == (4, 3, 0)


async def a_head_remembers_when_its_thread_was_served(store: Store, _: PassTime) -> None:
    """All fields of a head are read back."""
    head = head_of(seq=3, epoch=2, queued_count=4, pending_revision=5, served_at=1_234)
    await save(store, lambda tx: tx.put_head(head))
    assert await store.head(A, THREAD) == head


CASES = (
    a_note_is_kept_by_tenant_kind_and_key,
    a_note_is_there_for_the_operation_that_wrote_it,
    notes_are_purged_when_their_time_is_over,
    pending_entries_are_found_by_message_id,
    the_messages_of_a_run_come_by_number,
    the_messages_behind_a_number_come_in_order,
    what_is_due_is_counted_to_a_limit,
    a_head_remembers_when_its_thread_was_served,
)
