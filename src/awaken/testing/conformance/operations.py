"""Cases: operations, their writes, and the hints of their commits."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from awaken.domain.agent import AgentSpec
from awaken.domain.event import Segment
from awaken.domain.message import MessageVisibility
from awaken.domain.run import RunStatus
from awaken.domain.ticket import TicketStatus
from awaken.errors import Refusal
from awaken.ports.hints import Hint, LogGrew, StopAsked, WorkReady
from awaken.ports.store import Store, Transaction
from awaken.testing.conformance._records import (
    RUN,
    SPEC,
    THREAD,
    A,
    B,
    PassTime,
    grow,
    head_of,
    line_of,
    pending_of,
    queued,
    raised_by,
    run_of,
    save,
    stored_of,
    thread_of,
    ticket_of,
)

CALLERS = 64


async def an_operation_is_answered_with_what_it_returns(store: Store, _: PassTime) -> None:
    """`transact` returns the operation's own answer."""

    async def answer(tx: Transaction) -> tuple[str, bool]:
        return "answer", tx.now == tx.now

    assert await store.transact(answer) == ("answer", True)


async def an_operation_sees_rows_that_it_wrote(store: Store, _: PassTime) -> None:
    """Reads by key inside an operation see its own writes."""

    async def write_and_read(tx: Transaction) -> None:
        written = (head_of(seq=3), thread_of(title="t"), run_of(), queued("d-1"))
        head, thread, run, dispatch = written
        tx.put_head(head)
        tx.put_thread(thread)
        tx.put_run(run)
        tx.put_dispatch(dispatch)
        assert await tx.head(A, THREAD) == head
        assert await tx.thread(A, THREAD) == thread
        assert await tx.run(A, RUN) == run
        assert await tx.dispatch(A, "d-1") == dispatch
        tx.put_head(replace(head, seq=4))
        assert await tx.head(A, THREAD) == head_of(seq=4)

    await store.transact(write_and_read)
    assert await store.head(A, THREAD) == head_of(seq=4)


async def an_operation_finds_rows_that_it_wrote(store: Store, _: PassTime) -> None:
    """Queries inside an operation see its own writes, and no longer what it changed."""

    async def write_and_find(tx: Transaction) -> None:
        waiting = run_of(status=RunStatus.waiting)
        tx.put_run(waiting)
        assert await tx.waiting_run(A, THREAD) == waiting
        tx.put_run(replace(waiting, status=RunStatus.running))
        assert await tx.waiting_run(A, THREAD) is None
        dispatch = queued("d-1", dedupe_key="once")
        tx.put_dispatch(dispatch)
        tx.set_line(A, THREAD, line_of(dispatch))
        assert await tx.first_due(A, THREAD) == dispatch
        assert await tx.live_dispatch_with(A, THREAD, "once") == dispatch
        assert await tx.next_in_line(foreground_only=False) == line_of(dispatch)
        tx.set_line(A, THREAD, None)
        assert await tx.next_in_line(foreground_only=False) is None
        tx.put_ticket(A, ticket_of("t-1"))
        tx.put_ticket(A, ticket_of("t-2", status=TicketStatus.answered))
        assert await tx.open_tickets(A, RUN) == [ticket_of("t-1")]
        assert await tx.ticket(A, "t-2") == ticket_of("t-2", status=TicketStatus.answered)
        assert await tx.ticket(A, "none") is None

    await store.transact(write_and_find)


async def an_operation_finds_messages_that_it_wrote(store: Store, _: PassTime) -> None:
    """Pending entries, messages and segments of an operation are seen by it too."""
    segment = await grow(store)

    async def write_and_find(tx: Transaction) -> None:
        entry = pending_of("m-1", 1)
        tx.put_pending(entry)
        assert await tx.pending(A, THREAD) == [entry]
        tx.delete_pending(A, THREAD, ["m-1"])
        assert await tx.pending(A, THREAD) == []
        tx.put_message(A, stored_of(1))
        assert await tx.messages_with(A, THREAD, ["message-1", "none"]) == [stored_of(1)]
        following = replace(segment, first_seq=2, last_seq=2)
        tx.append(following)
        assert await tx.segments_of(A, RUN, 1) == [following]

    await store.transact(write_and_find)


async def nothing_of_an_operation_that_raises_is_kept(store: Store, _: PassTime) -> None:
    """It is undone, its caller gets its exception, and none of its hints is delivered."""
    hints: list[Hint] = []
    store.listen(hints.extend)
    refusal = Refusal("thread_busy", "no")

    async def write_and_raise(tx: Transaction) -> None:
        tx.put_head(head_of(seq=1))
        tx.put_dispatch(queued("d-1"))
        await tx.first_due(A, THREAD)  # whatever a store collects, it has written now
        tx.put_message(A, stored_of(1))
        tx.hint(WorkReady())
        raise refusal

    assert await raised_by(store.transact(write_and_raise)) is refusal
    assert await store.head(A, THREAD) is None
    assert await store.dispatch(A, "d-1") is None
    assert not (await store.counts()).queued
    assert not hints


async def an_operation_that_raises_takes_no_other_along(store: Store, _: PassTime) -> None:
    """Of operations that may share a commit, only those that raise are undone."""
    raised = []

    async def caller(number: int) -> None:
        async def write(tx: Transaction) -> None:
            tx.put_run(run_of(f"run-{number:02}"))
            await tx.waiting_run(A, THREAD)
            if number % 3 == 0:
                raise Refusal("every_third", "no")

        try:
            await store.transact(write)
        except Refusal:
            raised.append(number)

    await _at_once(CALLERS, caller)
    kept = [n for n in range(CALLERS) if await store.run(A, f"run-{n:02}") is not None]
    assert sorted(raised) == [n for n in range(CALLERS) if n % 3 == 0]
    assert kept == [n for n in range(CALLERS) if n % 3]


async def no_operation_is_lost_or_done_twice(store: Store, _: PassTime) -> None:
    """Concurrent operations on one thread are carried out one after the other, each once."""
    segments: list[Segment] = []

    async def caller(_number: int) -> None:
        segments.extend([await grow(store) for _round in range(5)])

    await _at_once(CALLERS, caller)
    numbers = sorted(segment.last_seq for segment in segments)
    assert numbers == list(range(1, CALLERS * 5 + 1))
    stored = await store.segments(A, THREAD, 0, CALLERS * 5 + 1)
    assert [s.last_seq for s in stored] == numbers


async def hints_are_delivered_before_the_answer(store: Store, _: PassTime) -> None:
    """Who has an answer knows that listeners have the hints of its commit, in order."""
    hints: list[Hint] = []
    store.listen(hints.extend)
    asked = StopAsked(claim_token="attempt-1")
    await save(
        store,
        lambda tx: tx.hint(WorkReady()),
        lambda tx: tx.put_head(head_of()),
        lambda tx: tx.hint(asked),
    )
    assert hints == [WorkReady(), asked]


async def every_listener_is_told(store: Store, _: PassTime) -> None:
    """Each listener gets each hint of the commits after it began to listen."""
    told: list[list[Hint]] = [[], []]
    store.listen(told[0].extend)
    await grow(store)
    store.listen(told[1].extend)
    await grow(store)
    assert [len(hints) for hints in told] == [2, 1]


async def segments_are_hinted_in_the_order_of_their_commits(store: Store, _: PassTime) -> None:
    """`append` hints `LogGrew`, for one thread in the order of the segments' numbers."""
    hints: list[Hint] = []
    store.listen(hints.extend)

    async def caller(number: int) -> None:
        for _round in range(3):
            await grow(store, thread_id=f"thread-{number % 4}")

    await _at_once(32, caller)
    for number in range(4):
        thread_id = f"thread-{number}"
        grown = [h.segment for h in hints if isinstance(h, LogGrew)]
        seen = [s.last_seq for s in grown if s.thread_id == thread_id]
        assert seen == list(range(1, 25))
        stored = await store.segments(A, thread_id, 0, 100)
        assert stored == [s for s in grown if s.thread_id == thread_id]


async def a_caller_that_gives_up_stops_nobody_else(store: Store, _: PassTime) -> None:
    """Cancelling a call leaves the store usable; the operation may or may not be carried out."""

    async def caller(number: int) -> None:
        with anyio.move_on_after(0 if number % 2 else None):
            await save(store, lambda tx: tx.put_run(run_of(f"run-{number:02}")))

    await _at_once(16, caller)
    for number in range(0, 16, 2):
        assert await store.run(A, f"run-{number:02}") is not None


async def writing_a_row_again_replaces_it(store: Store, _: PassTime) -> None:
    """Every `put_…` inserts or replaces by the record's key."""
    await save(
        store,
        lambda tx: tx.put_thread(thread_of(title="old")),
        lambda tx: tx.put_run(run_of(steps=1)),
        lambda tx: tx.put_dispatch(queued("d-1", rank=5)),
        lambda tx: tx.put_pending(pending_of("m-1", 1)),
        lambda tx: tx.put_ticket(A, ticket_of("t-1")),
    )
    await save(
        store,
        lambda tx: tx.put_thread(thread_of(title="new")),
        lambda tx: tx.put_run(run_of(steps=2)),
        lambda tx: tx.put_dispatch(queued("d-1", rank=6)),
        lambda tx: tx.put_pending(pending_of("m-1", 2)),
        lambda tx: tx.put_ticket(A, ticket_of("t-1", message="why")),
    )

    assert await store.thread(A, THREAD) == thread_of(title="new")
    assert await store.run(A, RUN) == run_of(steps=2)
    assert await store.dispatch(A, "d-1") == queued("d-1", rank=6)
    assert await store.pending_entries(A, THREAD) == [pending_of("m-1", 2)]
    assert await store.ticket(A, "t-1") == ticket_of("t-1", message="why")
    assert (await store.counts(A)).queued == 1


async def a_pinned_specification_never_changes(store: Store, _: PassTime) -> None:
    """`put_resolution` leaves an existing row alone."""
    other = AgentSpec(agent_id="agent-1", instructions="be long")
    await save(
        store,
        lambda tx: tx.put_run(run_of()),
        lambda tx: tx.put_resolution(A, "pinned-1", SPEC),
        lambda tx: tx.put_resolution(A, "pinned-1", other),
    )
    await save(store, lambda tx: tx.put_resolution(A, "pinned-1", other))
    checkpoint = await store.checkpoint(A, RUN)
    assert checkpoint is not None
    assert checkpoint.spec == SPEC


async def a_message_is_hidden_by_a_tombstone(store: Store, _: PassTime) -> None:
    """A message that is put again with its number is replaced, and stays known by its id."""
    hidden = replace(stored_of(1, MessageVisibility.replaced), replaced_by="message-2")
    await save(store, lambda tx: tx.put_message(A, stored_of(1)))
    await save(store, lambda tx: tx.put_message(A, hidden))

    async def known(tx: Transaction) -> Sequence[object]:
        return await tx.messages_with(A, THREAD, ["message-1"])

    assert await store.transact(known) == [hidden]


async def pending_entries_are_ordered_and_removed_by_id(store: Store, _: PassTime) -> None:
    """Pending entries come by position; a run's own can be had alone; absent ids are no error."""
    entries = [pending_of(f"m-{n}", 10 - n, run_id=RUN if n % 2 else None) for n in range(4)]
    await save(store, *(lambda tx, e=e: tx.put_pending(e) for e in entries))

    async def of_run(tx: Transaction) -> Sequence[object]:
        return await tx.pending(A, THREAD, RUN)

    assert await store.pending_entries(A, THREAD) == entries[::-1]
    assert await store.transact(of_run) == [entries[3], entries[1]]
    await save(store, lambda tx: tx.delete_pending(A, THREAD, ["m-1", "m-2", "none"]))
    assert await store.pending_entries(A, THREAD) == [entries[3], entries[0]]


async def tenants_share_no_ids(store: Store, _: PassTime) -> None:
    """The same ids in two tenants are different rows, and each sees its own (I10)."""
    for tenant in (A, B):
        await _write_everything(store, tenant)
    for tenant in (A, B):
        await _sees_its_own(store, tenant)
    assert await store.run("tenant-c", RUN) is None
    assert await store.segments("tenant-c", THREAD, 0, 10) == []


async def _write_everything(store: Store, tenant: str) -> None:
    dispatch = queued("d-1", tenant=tenant, dedupe_key="once", last_error=tenant)
    await save(
        store,
        lambda tx: tx.put_thread(thread_of(tenant=tenant, title=tenant)),
        lambda tx: tx.put_run(run_of(tenant=tenant, status=RunStatus.waiting)),
        lambda tx: tx.put_dispatch(dispatch),
        lambda tx: tx.set_line(tenant, THREAD, line_of(dispatch)),
        lambda tx: tx.put_pending(pending_of("m-1", 1, tenant)),
        lambda tx: tx.put_message(tenant, stored_of(1)),
        lambda tx: tx.put_ticket(tenant, ticket_of("t-1", message=tenant)),
    )
    await grow(store, tenant=tenant)


async def _sees_its_own(store: Store, tenant: str) -> None:
    async def look(tx: Transaction) -> None:
        dispatch = await tx.first_due(tenant, THREAD)
        keyed = await tx.live_dispatch_with(tenant, THREAD, "once")
        run = await tx.waiting_run(tenant, THREAD)
        assert dispatch is not None
        assert run is not None
        assert dispatch == keyed == await tx.dispatch(tenant, "d-1")
        assert (dispatch.tenant, dispatch.last_error, run.tenant) == (tenant,) * 3
        assert [t.message for t in await tx.open_tickets(tenant, RUN)] == [tenant]
        assert [s.tenant for s in await tx.segments_of(tenant, RUN, 0)] == [tenant]
        assert len(await tx.messages_with(tenant, THREAD, ["message-1"])) == 1

    await store.transact(look)
    thread = await store.thread(tenant, THREAD)
    assert thread is not None
    assert thread.title == tenant
    assert [e.tenant for e in await store.pending_entries(tenant, THREAD)] == [tenant]
    assert [s.last_seq for s in await store.segments(tenant, THREAD, 0, 10)] == [1]


async def _at_once(callers: int, caller: object) -> None:
    assert callable(caller)
    async with anyio.create_task_group() as group:
        for number in range(callers):
            group.start_soon(caller, number)


CASES = (
    an_operation_is_answered_with_what_it_returns,
    an_operation_sees_rows_that_it_wrote,
    an_operation_finds_rows_that_it_wrote,
    an_operation_finds_messages_that_it_wrote,
    nothing_of_an_operation_that_raises_is_kept,
    an_operation_that_raises_takes_no_other_along,
    no_operation_is_lost_or_done_twice,
    hints_are_delivered_before_the_answer,
    every_listener_is_told,
    segments_are_hinted_in_the_order_of_their_commits,
    a_caller_that_gives_up_stops_nobody_else,
    writing_a_row_again_replaces_it,
    a_pinned_specification_never_changes,
    a_message_is_hidden_by_a_tombstone,
    pending_entries_are_ordered_and_removed_by_id,
    tenants_share_no_ids,
)
