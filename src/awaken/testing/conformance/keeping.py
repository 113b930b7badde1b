"""Cases: what is given up, deleted on request, and deleted because it is old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from awaken.domain.care import DeadLetter, Deletion, Erased, Kept, LetterFilter
from awaken.domain.dispatch import Dispatch, Finished, How
from awaken.domain.event import TextDelta
from awaken.domain.run import Run, RunStatus
from awaken.domain.ticket import TicketStatus
from awaken.ports.hints import Hint, ThreadDeleted
from awaken.ports.store import MessageFilter, RunFilter, Store, TicketFilter, Transaction
from awaken.testing.conformance._records import (
    RUN,
    SPEC,
    THREAD,
    A,
    B,
    PassTime,
    dispatch_of,
    grow,
    head_of,
    line_of,
    pending_of,
    queued,
    run_of,
    save,
    save_dispatches,
    stored_of,
    thread_of,
    ticket_of,
)

DELETION = Deletion(tenant=A, thread_id=THREAD, begun_at=5)
EVERYTHING = MessageFilter(visibility="everything")


def letter(dispatch_id: str, at: int, **fields: Any) -> Dispatch:
    """A dispatch that was given up at that time."""
    body = Finished(how=How.dead_letter, finished_at=at, reason="poison")
    return dispatch_of(dispatch_id, body, **fields)


def done(run_id: str, at: int, **fields: Any) -> Run:
    """A run that ended at that time."""
    return run_of(run_id, status=RunStatus.done, finished_at=at, **fields)


async def listed(store: Store, where: LetterFilter, limit: int = 100) -> list[str]:
    """The ids of all dead letters, page by page."""
    ids: list[str] = []
    key: str | None = None
    while True:
        page = await store.dead_letters(A, where, limit, key)
        ids += [item.dispatch_id for item in page.items]
        key = page.next_key
        if key is None:
            return ids


# --- dead letters --------------------------------------------------------------------------------


async def dead_letters_are_listed_newest_first(store: Store, _: PassTime) -> None:
    """Only dead letters of the tenant, by their end and then their id, filtered and in pages."""
    await save(store, lambda tx: tx.put_run(run_of("run-2", agent_id="other")))
    await save(store, lambda tx: tx.put_run(run_of()))
    await save_dispatches(
        store,
        letter("d-1", 3),
        letter("d-2", 3, run_id="run-2"),
        letter("d-3", 9, thread_id="thread-2"),
        letter("d-4", 1, run_id="gone"),
        letter("d-5", 5, tenant=B),
        dispatch_of("d-6", Finished(how=How.acked, finished_at=4)),
        queued("d-7"),
    )
    for limit in (1, 2, 100):
        assert await listed(store, LetterFilter(), limit) == ["d-3", "d-2", "d-1", "d-4"]
    assert await listed(store, LetterFilter(thread_id="thread-2")) == ["d-3"]
    assert await listed(store, LetterFilter(agent_id="other"), 1) == ["d-2"]
    both = LetterFilter(agent_id=SPEC.agent_id, thread_id=THREAD)
    assert await listed(store, both) == ["d-1"]
    page = await store.dead_letters(A, LetterFilter(agent_id="other"), 1, None)
    assert page.items == (
        DeadLetter(
            dispatch_id="d-2",
            run_id="run-2",
            thread_id=THREAD,
            created_at=1,
            finished_at=3,
            agent_id="other",
            dispatch=letter("d-2", 3, run_id="run-2"),
        ),
    )


async def a_discarded_dead_letter_is_in_no_list(store: Store, _: PassTime) -> None:
    """It leaves the list and the count, once for all, and goes when dead letters are purged."""
    await save_dispatches(store, letter("d-1", 1), letter("d-2", 1), queued("d-3"))

    async def discard(tx: Transaction, *ids: str) -> list[bool]:
        return [await tx.discard(A, dispatch_id) for dispatch_id in ids]

    answers = await store.transact(lambda tx: discard(tx, "d-1", "d-1", "d-3", "none"))
    assert answers == [True, True, False, False]
    assert await store.transact(lambda tx: discard(tx, "d-1")) == [True]
    assert await listed(store, LetterFilter()) == ["d-2"]
    counts = await store.counts(A)
    assert (counts.dead_letter, counts.queued) == (1, 1)
    assert await store.dispatch(A, "d-1") == letter("d-1", 1)
    assert await store.purge(Kept.dead_letters, before=2, limit=9) == 2
    assert await store.transact(lambda tx: discard(tx, "d-1")) == [False]


async def known_runs_are_those_that_exist(store: Store, _: PassTime) -> None:
    """Asked about many ids, of which some are another tenant's."""
    await save(store, lambda tx: tx.put_run(run_of("run-1")))
    await save(store, lambda tx: tx.put_run(run_of("run-2", tenant=B)))
    assert await store.known_runs(A, ["run-1", "run-2", "run-3"]) == {"run-1"}
    assert await store.known_runs(A, []) == set()


async def what_is_buried_is_over(store: Store, _: PassTime) -> None:
    """By its columns: nothing is claimed of it, and its run is among the done ones."""

    async def bury(tx: Transaction) -> None:
        tx.put_run(run_of())
        tx.put_dispatch(queued("d-1"))
        tx.put_dispatch(queued("d-2", rank=2))
        found = await tx.delivery(A, "d-1")
        assert found is not None
        assert (found.thread_id, found.run_id, found.state) == (THREAD, RUN, "queued")
        assert await tx.delivery(B, "d-1") is None
        tx.bury_dispatch(A, "d-1")
        tx.bury_run(A, RUN)
        first = await tx.first_due(A, THREAD)
        assert first is not None
        assert first.dispatch_id == "d-2"

    await store.transact(bury)
    counts = await store.counts()
    assert (counts.queued, counts.dead_letter) == (1, 1)
    assert await listed(store, LetterFilter()) == ["d-1"]
    finished = await store.runs(A, RunFilter(status=RunStatus.done), 9, None)
    assert [run.run_id for run in finished.items] == [RUN]


# --- deleting a thread ---------------------------------------------------------------------------


async def fill(store: Store, thread_id: str = THREAD, tenant: str = A, spec: str = "s-1") -> None:
    """One thread with two rows of everything that belongs to one."""
    await grow(store, tenant=tenant, thread_id=thread_id)
    await grow(store, tenant=tenant, thread_id=thread_id, run_id=None)

    async def put(tx: Transaction) -> None:
        tx.put_thread(thread_of(thread_id, tenant))
        tx.put_resolution(tenant, spec, SPEC)
        for n in (1, 2):
            run_id = f"{thread_id}-{n}"
            waits = queued(run_id, tenant=tenant, thread_id=thread_id)
            tx.put_run(run_of(run_id, tenant, thread_id=thread_id, resolution_id=spec))
            tx.put_dispatch(waits)
            tx.set_line(tenant, thread_id, line_of(waits))
            tx.put_ticket(tenant, ticket_of(run_id, thread_id=thread_id))
            tx.put_message(tenant, stored_of(n, thread_id=thread_id))
            tx.put_pending(replace(pending_of(run_id, n, tenant), thread_id=thread_id))

    await store.transact(put)


async def put_runs(store: Store, *runs: Run) -> None:
    """Save runs in one operation."""
    await save(store, *(lambda tx, r=r: tx.put_run(r) for r in runs))


async def held(store: Store, tenant: str, thread_id: str) -> list[int]:
    """How many rows of each kind the store tells of."""
    runs = await store.runs(tenant, RunFilter(thread_id=thread_id), 99, None)
    tickets = await store.tickets(tenant, TicketFilter(thread_id=thread_id), 99, None)
    messages = await store.messages(tenant, thread_id, EVERYTHING, 99, None)
    dispatches = await store.dispatches(tenant, thread_id, 99, None)
    segments = await store.segments(tenant, thread_id, 0, 99)
    pending = await store.pending_entries(tenant, thread_id)
    found: Sequence[Sequence[object]] = (
        runs.items,
        tickets.items,
        messages.items,
        dispatches.items,
        segments,
        pending,
    )
    return [len(each) for each in found]


async def spec_of(store: Store, spec: str, tenant: str = A) -> bool:
    """Whether a specification is stored: a run that is pinned to it tells."""
    asking = run_of("asking", tenant, thread_id="asking", resolution_id=spec)
    await save(store, lambda tx: tx.put_run(asking))
    found = await store.checkpoint(tenant, "asking")
    assert found is not None
    return found.spec is not None


async def a_dropped_thread_is_gone_at_once(store: Store, _: PassTime) -> None:
    """Head, metadata and place in line go in one commit, which leaves a deletion and a hint."""
    await fill(store)
    await fill(store, "thread-2")
    hints: list[Hint] = []
    store.listen(hints.extend)

    async def drop(tx: Transaction) -> None:
        tx.put_head(head_of(seq=9))  # what was put before does not come back
        tx.drop_thread(DELETION)
        assert await tx.head(A, THREAD) is None
        assert await tx.thread(A, THREAD) is None
        assert await tx.deletion(A, THREAD) == DELETION

    await store.transact(drop)
    assert hints == [ThreadDeleted(tenant=A, thread_id=THREAD)]
    assert await store.head(A, THREAD) is None
    assert await store.thread(A, THREAD) is None
    assert (await store.counts()).in_line == 1
    assert await store.deletions(9) == [DELETION]
    await save(store, lambda tx: tx.end_deletion(A, THREAD))
    assert await store.deletions(9) == []


async def a_dropped_thread_is_erased_in_slices(store: Store, _: PassTime) -> None:
    """Never more rows than asked for, until nothing is left; other threads keep all of theirs."""
    for thread_id, tenant in ((THREAD, A), ("thread-2", A), (THREAD, B)):
        await fill(store, thread_id, tenant)
    await save(store, lambda tx: tx.drop_thread(DELETION))
    erased, slices = Erased(), 0
    while True:
        gone = await store.transact(lambda tx: tx.erase(A, THREAD, 5))
        assert gone.total <= 5
        erased, slices = erased + gone, slices + 1
        if gone.total < 5:
            break
    assert slices == 3
    assert erased == Erased(runs=2, dispatches=2, messages=2, pending=2, tickets=2, events=2)
    assert await held(store, A, THREAD) == [0] * 6
    assert await held(store, A, "thread-2") == [2] * 6
    assert await held(store, B, THREAD) == [2] * 6
    assert await store.transact(lambda tx: tx.erase(A, THREAD, 5)) == Erased()


async def a_specification_goes_with_its_last_run(store: Store, _: PassTime) -> None:
    """Not while a run needs it, and only of that tenant."""
    await fill(store)
    await fill(store, "thread-2")
    await fill(store, THREAD, B)
    await store.transact(lambda tx: tx.erase(A, THREAD, 99))
    assert await spec_of(store, "s-1")
    await store.transact(lambda tx: tx.erase(A, "asking", 99))
    assert (await store.transact(lambda tx: tx.erase(A, "thread-2", 99))).specs == 1
    assert not await spec_of(store, "s-1")
    assert await spec_of(store, "s-1", B)


async def threads_are_found_by_parent_and_resource(store: Store, _: PassTime) -> None:
    """Those of the tenant, also what the operation itself has put or changed."""

    async def find(tx: Transaction) -> None:
        for n in (1, 2, 3):
            tx.put_thread(thread_of(f"child-{n}", parent_thread_id=THREAD))
        tx.put_thread(thread_of("child-4", B, parent_thread_id=THREAD))
        assert sorted(await tx.children(A, THREAD, 9)) == ["child-1", "child-2", "child-3"]
        assert len(await tx.children(A, THREAD, 2)) == 2
        tx.put_thread(thread_of("child-1"))
        assert sorted(await tx.children(A, THREAD, 9)) == ["child-2", "child-3"]
        assert await tx.children(A, "other", 9) == []
        tx.put_thread(thread_of("child-2", resource_id="ada"))
        tx.put_thread(thread_of("child-3", resource_id="bob"))
        tx.put_thread(thread_of("child-4", B, resource_id="ada"))
        assert await tx.threads_of(A, "ada", 9) == ["child-2"]

    await store.transact(find)


# --- what is old ---------------------------------------------------------------------------------


async def closed_tickets_are_purged_when_their_run_is_done(store: Store, _: PassTime) -> None:
    """By when they were closed; a run that goes on keeps what it was answered."""
    await save(store, lambda tx: tx.put_run(done(RUN, 1)))
    await save(store, lambda tx: tx.put_run(run_of("run-2", status=RunStatus.waiting)))
    tickets = (
        ticket_of("old", status=TicketStatus.answered, closed_at=4),
        ticket_of("older", status=TicketStatus.denied, closed_at=3),
        ticket_of("young", status=TicketStatus.answered, closed_at=5),
        ticket_of("open"),
        ticket_of("needed", run_id="run-2", status=TicketStatus.answered, closed_at=1),
        ticket_of("orphan", run_id="run-3", status=TicketStatus.answered, closed_at=1),
    )
    await save(
        store, *(lambda tx, t=t: tx.put_ticket(A, replace(t, closed_at=None)) for t in tickets)
    )
    await save(store, *(lambda tx, t=t: tx.put_ticket(A, t) for t in tickets))
    assert await store.purge(Kept.closed_tickets, before=5, limit=2) == 2
    assert await store.purge(Kept.closed_tickets, before=5, limit=2) == 1
    left = await store.tickets(A, TicketFilter(), 99, None)
    assert {ticket.ticket_id for ticket in left.items} == {"young", "open", "needed"}


async def logs_of_done_runs_are_purged_by_age(store: Store, _: PassTime) -> None:
    """Runs and messages stay; `expired_seq` tells how far the thread's log is not whole."""
    await save(store, lambda tx: tx.put_thread(thread_of()))
    for run in (done("old", 3), done("young", 9), run_of("running", status=RunStatus.running)):
        await put_runs(store, run)
        await grow(store, run_id=run.run_id)
        await grow(store, run_id=run.run_id, events=(TextDelta(delta="x"),) * 3)
    await grow(store, run_id="old")
    assert await store.expired_seq(A, THREAD) == 0
    assert await store.purge(Kept.logs, before=9, limit=100) == 4
    left = await store.segments(A, THREAD, 0, 99)
    assert [segment.run_id for segment in left] == ["young", "young", "running", "running"]
    assert await store.expired_seq(A, THREAD) == 13
    assert await store.run(A, "old") == done("old", 3)
    assert await store.purge(Kept.logs, before=9, limit=100) == 0
    assert await store.compactable(done_before=99, limit=9) == [done("young", 9)]
    await save(store, lambda tx: tx.put_thread(thread_of(title="put again")))
    assert await store.expired_seq(A, THREAD) == 13
    assert await store.expired_seq(A, "none") == 0


async def a_long_log_is_purged_in_slices(store: Store, _: PassTime) -> None:
    """Never more than asked for, from the front, and what was begun is ended first."""
    await save(store, lambda tx: tx.put_thread(thread_of()))
    await put_runs(store, done("long", 5), done("other", 1))
    for _n in range(10):
        await grow(store, run_id="long")
    assert await store.purge(Kept.logs, before=9, limit=4) == 4
    begun = await store.segments(A, THREAD, 0, 99)
    assert 0 < len(begun) < 10
    assert begun[-1].last_seq == 10
    left = 12 - 4
    while done_now := await store.purge(Kept.logs, before=9, limit=4):
        left -= done_now
    assert left == 0
    assert await store.segments(A, THREAD, 0, 99) == []


async def compaction_does_not_bring_back_a_purged_log(store: Store, _: PassTime) -> None:
    """Whoever read a log before it was purged may still try to compact it."""
    await save(store, lambda tx: tx.put_run(done(RUN, 1)))
    segment = await grow(store)
    assert await store.purge(Kept.logs, before=9, limit=9) == 2
    await store.compact(A, RUN, [segment])
    assert await store.segments(A, THREAD, 0, 9) == []


async def done_runs_are_purged_with_all_but_their_messages(store: Store, _: PassTime) -> None:
    """Events, tickets and specification go too, also when events were not purged before."""
    await fill(store)
    for run_id, at in ((f"{THREAD}-1", 3), (f"{THREAD}-2", 9)):
        await put_runs(store, done(run_id, at, resolution_id="s-1"))
        await grow(store, run_id=run_id)
    tickets = [
        ticket_of(f"t-{n}", run_id=f"{THREAD}-{n}", status=TicketStatus.denied, closed_at=1)
        for n in (1, 2)
    ]
    await save(store, *(lambda tx, t=t: tx.put_ticket(A, t) for t in tickets))
    await put_runs(store, done("alone", 1, resolution_id="s-2", thread_id="x"))
    await save(store, lambda tx: tx.put_resolution(A, "s-2", SPEC))
    assert await store.purge(Kept.runs, before=9, limit=2) == 2
    assert await store.purge(Kept.runs, before=9, limit=99) > 0
    assert await store.purge(Kept.runs, before=9, limit=99) == 0
    left = await store.runs(A, RunFilter(), 9, None)
    assert [run.run_id for run in left.items] == [f"{THREAD}-2"]
    assert await store.ticket(A, "t-1") is None
    assert await store.ticket(A, "t-2") is not None
    messages = await store.messages(A, THREAD, EVERYTHING, 9, None)
    assert len(messages.items) == 2
    assert not await spec_of(store, "s-2")
    assert await spec_of(store, "s-1")


CASES = (
    dead_letters_are_listed_newest_first,
    a_discarded_dead_letter_is_in_no_list,
    known_runs_are_those_that_exist,
    what_is_buried_is_over,
    a_dropped_thread_is_gone_at_once,
    a_dropped_thread_is_erased_in_slices,
    a_specification_goes_with_its_last_run,
    threads_are_found_by_parent_and_resource,
    closed_tickets_are_purged_when_their_run_is_done,
    logs_of_done_runs_are_purged_by_age,
    a_long_log_is_purged_in_slices,
    compaction_does_not_bring_back_a_purged_log,
    done_runs_are_purged_with_all_but_their_messages,
)
