"""Cases: what may be claimed, when, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain.dispatch import Claimed, Dispatch, Finished, How, Mode, Queued
from awaken.domain.line import LineRow
from awaken.domain.ticket import TicketStatus
from awaken.ports.store import DispatchCounts, Store, Transaction, operation
from awaken.testing.conformance._records import (
    THREAD,
    A,
    B,
    PassTime,
    claim_of,
    dispatch_of,
    line_of,
    now_of,
    queued,
    save,
    save_dispatches,
    ticket_of,
)


async def the_smallest_rank_is_next_in_line(store: Store, _: PassTime) -> None:
    """The line has one row for each thread, over all tenants, and the smallest rank comes first."""
    rows = [
        line_of(queued(f"d-{rank}", rank=rank, thread_id=f"t-{rank}", tenant=tenant))
        for rank, tenant in ((3, A), (1, B), (2, A))
    ]
    await save(store, *(lambda tx, r=r: tx.set_line(r.tenant, r.thread_id, r) for r in rows))
    assert await _drain(store) == [rows[1], rows[2], rows[0]]
    assert (await store.counts()).in_line == 0


async def equal_ranks_are_served_by_id(store: Store, _: PassTime) -> None:
    """Of equal ranks the smaller dispatch id is first: in line, in its thread, and in position."""
    dispatches = [queued(f"d-{n}", thread_id=f"t-{n}") for n in (2, 0, 1)]
    rows = [line_of(d) for d in dispatches]
    await save(store, *(lambda tx, r=r: tx.set_line(r.tenant, r.thread_id, r) for r in rows))
    assert [row.dispatch_id for row in await _drain(store)] == ["d-0", "d-1", "d-2"]
    same_thread = [replace(d, thread_id=THREAD) for d in dispatches]
    await save_dispatches(store, *same_thread)
    first = await _first_due(store)
    assert first is not None
    assert first.dispatch_id == "d-0"
    assert [await store.position(d) for d in same_thread] == [3, 1, 2]


async def the_line_can_be_asked_for_foreground_only(store: Store, _: PassTime) -> None:
    """`foreground_only` passes over background rows, however early they are."""
    modes = (Mode.background, Mode.wake, Mode.resume, Mode.foreground)
    rows = [
        line_of(queued(f"d-{rank}", rank=rank, thread_id=f"t-{rank}", mode=mode))
        for rank, mode in enumerate(modes)
    ]
    await save(store, *(lambda tx, r=r: tx.set_line(A, r.thread_id, r) for r in rows))
    assert await _drain(store, foreground_only=True) == rows[2:]
    assert await _drain(store) == rows[:2]


async def a_thread_has_one_place_in_line(store: Store, _: PassTime) -> None:
    """`set_line` replaces the thread's row; taking out one that is not in line is no error."""
    old, new = line_of(queued("d-1", rank=1)), line_of(queued("d-2", rank=2))
    await save(store, lambda tx: tx.set_line(A, THREAD, old))
    await save(store, lambda tx: tx.set_line(A, THREAD, new))
    await save(store, lambda tx: tx.set_line(A, "another", None))
    assert await _drain(store) == [new]


async def what_is_first_due_has_the_smallest_rank(store: Store, _: PassTime) -> None:
    """`first_due` is the due queued dispatch of the thread with the smallest rank, or None."""
    later = await now_of(store) + 60_000
    finished = Finished(how=How.acked, finished_at=1)
    await save_dispatches(
        store,
        queued("undue", rank=1, available_at=later),
        queued("second", rank=3),
        queued("first", rank=2),
        queued("elsewhere", rank=0, thread_id="another"),
        dispatch_of("claimed", claim_of(later), rank=0),
        dispatch_of("finished", finished, rank=0),
    )
    first = await _first_due(store)
    assert first is not None
    assert first.dispatch_id == "first"
    await save_dispatches(store, *(dispatch_of(i, finished) for i in ("first", "second")))
    assert await _first_due(store) is None


async def what_was_not_due_is_found_once_its_time_has_come(
    store: Store, pass_time: PassTime
) -> None:
    """`undue` finds what became due since it was written; written again, it counts as due."""
    now = await now_of(store)
    dispatches = [queued(f"d-{n}", rank=1, available_at=now + 40 - n) for n in range(4)]
    far = queued("far", available_at=now + 3_600_000)
    await save_dispatches(store, *dispatches, far, queued("due", rank=9))

    async def undue(tx: Transaction) -> Sequence[Dispatch]:
        return await tx.undue(3)

    assert await store.transact(undue) == []
    await pass_time(50)
    assert await store.transact(undue) == dispatches[:0:-1]
    first = await _first_due(store)
    assert first is not None
    assert first.dispatch_id == "due"
    await save_dispatches(store, *dispatches)
    assert await store.transact(undue) == []
    assert await _first_due(store) == dispatches[0]


async def queued_dispatches_of_a_thread_come_by_rank(store: Store, _: PassTime) -> None:
    """`queued` gives all, due or not; `queued_foreground` those with a client that waits."""
    later = await now_of(store) + 60_000
    modes = (Mode.background, Mode.foreground, Mode.resume, Mode.wake)
    dispatches = [
        queued(f"d-{n}", rank=n, available_at=later if n % 3 else 1, mode=mode)
        for n, mode in enumerate(modes)
    ]
    await save_dispatches(
        store,
        *dispatches[::-1],
        dispatch_of("claimed", claim_of(later), mode=Mode.foreground),
        queued("elsewhere", rank=0, thread_id="another", mode=Mode.foreground),
    )

    async def look(tx: Transaction) -> None:
        assert await tx.queued(A, THREAD, 10) == dispatches
        assert await tx.queued(A, THREAD, 3) == dispatches[:3]
        assert await tx.queued_foreground(A, THREAD, 10) == dispatches[1:3]
        assert await tx.queued_foreground(A, THREAD, 1) == dispatches[1:2]

    await store.transact(look)


async def a_dedupe_key_finds_what_is_queued_or_claimed(store: Store, _: PassTime) -> None:
    """`live_dispatch_with` looks in its thread only, and passes over what is finished."""
    claimed = dispatch_of("claimed", claim_of(1), dedupe_key="claimed")
    finished = Finished(how=How.acked, finished_at=1)
    await save_dispatches(
        store,
        claimed,
        queued("queued", dedupe_key="queued"),
        queued("elsewhere", dedupe_key="elsewhere", thread_id="another"),
        dispatch_of("finished", finished, dedupe_key="finished"),
    )

    async def keys(tx: Transaction) -> list[str]:
        asked = ("queued", "claimed", "elsewhere", "finished", "none")
        return [key for key in asked if await tx.live_dispatch_with(A, THREAD, key)]

    assert await store.transact(keys) == ["queued", "claimed"]


async def the_next_due_time_is_the_earliest_of_four(store: Store, _: PassTime) -> None:
    """`next_due_at` looks at undue work, leases, interrupt deadlines and tickets only."""
    assert await store.next_due_at() is None
    now = await now_of(store)
    await save_dispatches(store, queued("due", available_at=now))
    await save(store, lambda tx: tx.put_ticket(A, ticket_of("open-ended")))
    assert await store.next_due_at() is None
    await save(store, lambda tx: tx.put_ticket(A, ticket_of("t-1", expires_at=now + 9_000)))
    assert await store.next_due_at() == now + 9_000
    await save_dispatches(store, dispatch_of("claimed", claim_of(now + 8_000)))
    assert await store.next_due_at() == now + 8_000
    await save_dispatches(store, queued("undue", available_at=now + 7_000))
    assert await store.next_due_at() == now + 7_000
    interrupted = claim_of(now + 8_000, interrupt_deadline=now + 6_000)
    await save_dispatches(store, dispatch_of("claimed", interrupted))
    assert await store.next_due_at() == now + 6_000
    finished = Finished(how=How.acked, finished_at=now)
    await save_dispatches(store, *(dispatch_of(i, finished) for i in ("claimed", "undue")))
    closed = ticket_of("t-1", expires_at=now + 9_000, status=TicketStatus.answered)
    await save(store, lambda tx: tx.put_ticket(A, closed))
    assert await store.next_due_at() is None


async def claims_expire_by_lease_or_by_interrupt(store: Store, pass_time: PassTime) -> None:
    """`expired` finds claims of all tenants whose lease or deadline has passed, each once."""
    now = await now_of(store)
    far = now + 3_600_000
    await save_dispatches(
        store,
        dispatch_of("lease", claim_of(now + 10)),
        dispatch_of("deadline", claim_of(far, interrupt_deadline=now + 10), tenant=B),
        dispatch_of("both", claim_of(now + 10, interrupt_deadline=now + 10)),
        dispatch_of("alive", claim_of(far, interrupt_deadline=far)),
        queued("queued"),
        dispatch_of("finished", Finished(how=How.acked, finished_at=1)),
    )
    assert await store.expired(10) == []
    await pass_time(20)
    expired = [d.dispatch_id for d in await store.expired(10)]
    assert sorted(expired) == ["both", "deadline", "lease"]
    assert len(await store.expired(2)) == 2


async def a_claim_that_changes_is_found_by_what_it_is_now(store: Store, _: PassTime) -> None:
    """A claim that an operation read and put again is selected by its new times and worker."""
    now = await now_of(store)
    changes = (
        claim_of(now + 9_000),
        claim_of(now + 9_000, "worker-2"),
        claim_of(now + 9_000, interrupt_deadline=now + 5_000),
        claim_of(now + 9_000, interrupt_deadline=now + 7_000, batch_no=1),
        claim_of(now + 6_000, "worker-2"),
        claim_of(now - 1, "worker-2"),
    )

    async def change(tx: Transaction, body: Claimed) -> None:
        dispatch = await tx.dispatch(A, "d-1")
        assert dispatch is not None
        tx.put_dispatch(replace(dispatch, body=body))

    await save_dispatches(store, dispatch_of("d-1", claim_of(now + 8_000)))
    seen = []
    for body in changes:
        await store.transact(operation(change, body))
        assert (await store.claims_of(body.worker_id))[0].body == body
        seen.append((await store.next_due_at() or 0) - now)
    assert seen == [9_000, 9_000, 5_000, 7_000, 6_000, -1]
    assert [d.dispatch_id for d in await store.expired(9)] == ["d-1"]


async def tickets_expire_when_they_are_still_open(store: Store, pass_time: PassTime) -> None:
    """`expired_tickets` finds open ones of all tenants, earliest first, and who they belong to."""
    now = await now_of(store)
    early, late = (ticket_of(f"t-{n}", expires_at=now + n) for n in (5, 9))
    closed = ticket_of("closed", expires_at=now + 5, status=TicketStatus.answered)
    far = ticket_of("far", expires_at=now + 3_600_000)
    await save(
        store,
        lambda tx: tx.put_ticket(A, late),
        lambda tx: tx.put_ticket(B, early),
        *(lambda tx, t=t: tx.put_ticket(A, t) for t in (closed, far, ticket_of("endless"))),
    )
    assert await store.expired_tickets(10) == []
    await pass_time(20)
    assert await store.expired_tickets(10) == [(B, early), (A, late)]
    assert await store.expired_tickets(1) == [(B, early)]


async def claims_are_found_by_their_worker(store: Store, _: PassTime) -> None:
    """`claims_of` gives what a worker has claimed, in all tenants, and nothing that is over."""
    await save_dispatches(
        store,
        dispatch_of("mine", claim_of(5, "me")),
        dispatch_of("mine too", claim_of(6, "me"), tenant=B),
        dispatch_of("other", claim_of(7, "you")),
        dispatch_of("over", Finished(how=How.acked, finished_at=1)),
        queued("queued"),
    )
    mine = await store.claims_of("me")
    assert sorted(d.dispatch_id for d in mine) == ["mine", "mine too"]
    assert await store.claims_of("nobody") == []


async def position_counts_what_is_served_before(store: Store, _: PassTime) -> None:
    """Due dispatches of smaller rank count, of all tenants, up to the limit; undue ones do not."""
    later = await now_of(store) + 60_000
    dispatches = [
        queued(f"d-{n}", rank=n, tenant=A if n % 2 else B, thread_id=f"t-{n % 3}")
        for n in range(10)
    ]
    await save_dispatches(
        store,
        *dispatches,
        queued("undue", rank=-1, available_at=later),
        dispatch_of("claimed", claim_of(later), rank=-1),
    )
    assert [await store.position(d) for d in dispatches] == list(range(1, 11))
    assert await store.position(dispatches[9], limit=5) == 5
    assert await store.position(dispatches[4], limit=5) == 5
    assert await store.position(dispatches[3], limit=5) == 4


async def dispatches_are_counted_by_state(store: Store, pass_time: PassTime) -> None:
    """`counts` follows every change of state, for one tenant and for all."""
    now = await now_of(store)
    finished = [dispatch_of(how.value, Finished(how=how, finished_at=now), tenant=B) for how in How]
    waiting = [queued("d-1", available_at=now), queued("d-2", available_at=now + 60_000)]
    await save_dispatches(store, *waiting, dispatch_of("claimed", claim_of(now)), *finished)
    await save(store, lambda tx: tx.set_line(A, THREAD, line_of(waiting[0])))
    await pass_time(100)
    of_a = await store.counts(A)
    assert of_a.oldest_due_ms is not None
    assert of_a.oldest_due_ms >= 100
    assert replace(of_a, oldest_due_ms=0) == DispatchCounts(
        queued=2, claimed=1, in_line=1, oldest_due_ms=0
    )
    ones = {how.value: 1 for how in How}
    assert await store.counts(B) == DispatchCounts(**ones)
    everything = await store.counts()
    assert replace(everything, oldest_due_ms=0) == DispatchCounts(
        **ones, queued=2, claimed=1, in_line=1, oldest_due_ms=0
    )
    await save_dispatches(store, dispatch_of("d-1", claim_of(now)))
    changed = await store.counts()
    assert (changed.queued, changed.claimed, changed.oldest_due_ms) == (1, 2, None)


async def a_dispatch_is_read_back_as_it_was_written(store: Store, _: PassTime) -> None:
    """All three bodies survive being stored, with everything in the header."""
    bodies = (
        Queued(available_at=7),
        claim_of(8, batch_no=3, interrupt_deadline=9, superseded_by="run-2"),
        Finished(how=How.dead_letter, finished_at=9, reason="poison"),
    )
    for body in bodies:
        dispatch = dispatch_of("d-1", body, dedupe_key="k", attempt=2, last_error="e", priority=0)
        await save_dispatches(store, dispatch)
        assert await store.dispatch(A, "d-1") == dispatch
    assert await store.dispatch(A, "none") is None


async def _first_due(store: Store) -> Dispatch | None:
    async def first_due(tx: Transaction) -> Dispatch | None:
        return await tx.first_due(A, THREAD)

    return await store.transact(first_due)


async def _drain(store: Store, *, foreground_only: bool = False) -> list[LineRow]:
    """Take threads out of the line, one operation each, until it is empty."""

    async def take(tx: Transaction) -> LineRow | None:
        row = await tx.next_in_line(foreground_only=foreground_only)
        if row is not None:
            tx.set_line(row.tenant, row.thread_id, None)
        return row

    taken = []
    while (row := await store.transact(take)) is not None:
        taken.append(row)
    return taken


CASES = (
    the_smallest_rank_is_next_in_line,
    equal_ranks_are_served_by_id,
    the_line_can_be_asked_for_foreground_only,
    a_thread_has_one_place_in_line,
    what_is_first_due_has_the_smallest_rank,
    what_was_not_due_is_found_once_its_time_has_come,
    queued_dispatches_of_a_thread_come_by_rank,
    a_dedupe_key_finds_what_is_queued_or_claimed,
    the_next_due_time_is_the_earliest_of_four,
    claims_expire_by_lease_or_by_interrupt,
    a_claim_that_changes_is_found_by_what_it_is_now,
    tickets_expire_when_they_are_still_open,
    claims_are_found_by_their_worker,
    position_counts_what_is_served_before,
    dispatches_are_counted_by_state,
    a_dispatch_is_read_back_as_it_was_written,
)
