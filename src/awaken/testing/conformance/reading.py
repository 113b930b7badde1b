"""Cases: reads outside operations: checkpoints, logs, lists and their pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import anyio
from msgspec.structs import replace

from awaken.domain.event import MessageCommitted, RunFinish, RunStart, TextDelta, ToolCallReady
from awaken.domain.message import MessageVisibility
from awaken.domain.run import RunStatus
from awaken.domain.termination import NaturalEnd
from awaken.domain.ticket import TicketStatus
from awaken.errors import RequestError
from awaken.ports.store import MessageFilter, Page, RunFilter, Store, TicketFilter, Transaction
from awaken.testing.conformance._records import (
    RUN,
    SPEC,
    THREAD,
    A,
    B,
    PassTime,
    claim_of,
    dispatch_of,
    grow,
    message_of,
    queued,
    raised_by,
    run_of,
    save,
    save_dispatches,
    stored_of,
    thread_of,
    ticket_of,
)

ALL = RunFilter()
List = Callable[[str | None], Awaitable[Page]]


async def a_checkpoint_holds_what_an_attempt_starts_from(store: Store, _: PassTime) -> None:
    """The run, its dispatch and specification, the visible messages, and the tail of its log."""
    assert await store.checkpoint(A, RUN) is None
    run = run_of(checkpoint_seq=2, dispatch_id="d-1")
    dispatch = dispatch_of("d-1", claim_of(1))
    other = ticket_of("of another run", run_id="run-2")
    kinds = (MessageVisibility.all, MessageVisibility.replaced, MessageVisibility.internal)
    messages = [stored_of(n, kind) for n, kind in enumerate(kinds, start=1)]
    await save(
        store,
        lambda tx: tx.put_run(run),
        lambda tx: tx.put_dispatch(dispatch),
        lambda tx: tx.put_resolution(A, "pinned-1", SPEC),
        *(lambda tx, m=m: tx.put_message(A, m) for m in messages),
    )
    tickets = (ticket_of("t-2"), ticket_of("t-1", opened_at=2, status=TicketStatus.denied))
    await save(
        store,
        *(lambda tx, t=t: tx.put_ticket(A, t) for t in (*tickets[::-1], other)),
        lambda tx: tx.put_thread(thread_of(state={"counter": 1})),
    )
    segments = [await grow(store, run_id=r) for r in (RUN, RUN, RUN, "run-2", None, RUN)]
    checkpoint = await store.checkpoint(A, RUN)
    assert checkpoint is not None
    assert (checkpoint.run, checkpoint.dispatch, checkpoint.spec) == (run, dispatch, SPEC)
    assert checkpoint.messages == (messages[0], messages[2])
    assert checkpoint.tail == (segments[2], segments[5])
    assert checkpoint.tickets == tickets
    assert checkpoint.thread_state == {"counter": 1}


async def a_checkpoint_of_a_bare_run_is_possible(store: Store, _: PassTime) -> None:
    """What is missing beside the run is None or empty, and for the caller to judge."""
    await save(store, lambda tx: tx.put_run(run_of()))
    checkpoint = await store.checkpoint(A, RUN)
    assert checkpoint is not None
    assert (checkpoint.dispatch, checkpoint.spec) == (None, None)
    assert (checkpoint.messages, checkpoint.tail, checkpoint.tickets) == ((), (), ())
    assert checkpoint.thread_state == {}


async def a_checkpoint_is_of_one_moment(store: Store, _: PassTime) -> None:
    """Its parts belong together, whatever is committed while it is read."""
    await save(store, lambda tx: tx.put_run(run_of()))

    async def step(tx: Transaction) -> None:
        run = await tx.run(A, RUN)
        assert run is not None
        tx.put_message(A, stored_of(run.steps + 1))
        tx.put_run(replace(run, steps=run.steps + 1))

    async def write() -> None:
        for _step in range(60):
            await grow(store)
            await store.transact(step)

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        for _look in range(60):
            checkpoint = await store.checkpoint(A, RUN)
            assert checkpoint is not None
            assert len(checkpoint.messages) == checkpoint.run.steps
            assert len(checkpoint.tail) - checkpoint.run.steps in (0, 1)


async def segments_are_read_by_thread_and_by_run(store: Store, _: PassTime) -> None:
    """In order, strictly behind a number, at most so many; a run's own can be had alone."""
    runs = (RUN, "run-2", None, RUN, "run-2")
    segments = [await grow(store, run_id=run_id) for run_id in runs]
    assert await store.segments(A, THREAD, 0, 10) == segments
    assert await store.segments(A, THREAD, 2, 2) == segments[2:4]
    assert await store.segments(A, THREAD, 5, 10) == []
    assert await store.segments(A, THREAD, 0, 10, RUN) == [segments[0], segments[3]]
    assert await store.segments(A, THREAD, 1, 10, RUN) == [segments[3]]
    assert await store.segments(A, THREAD, 0, 1, "run-2") == [segments[1]]
    assert await store.segments(A, THREAD, 0, 10, "run-3") == []


async def a_segment_is_read_back_as_it_was_written(store: Store, _: PassTime) -> None:
    """Events of every shape survive being stored, with numbers, boundary and time."""
    events = (
        RunStart(thread_id=THREAD, run_id=RUN, activation=1, resumed=False, agent_id="a"),
        TextDelta(delta='"quoted", line\nbreak, \u00e9\u4e2d\U0001f600'),
        ToolCallReady(id="c", name="n", arguments={"deep": [1, 2.5, None, {"x": True}]}),
        MessageCommitted(message_seq=1, message=message_of("m-1")),
        RunFinish(thread_id=THREAD, run_id=RUN, termination=NaturalEnd(), result={"response": ""}),
    )
    segment = await grow(store, events=events)
    assert [item.seq for item in segment.items] == [1, 2, 3, 4, 5]
    boundary = replace(segment, first_seq=6, last_seq=6, items=segment.items[:1], boundary=True)
    await save(store, lambda tx: tx.append(boundary))
    assert await store.segments(A, THREAD, 0, 10) == [segment, boundary]


async def the_heads_of_many_threads_are_read_at_once(store: Store, _: PassTime) -> None:
    """`heads` has the last number of each thread that exists, whatever its tenant."""
    await grow(store)
    await grow(store, tenant=B)
    await grow(store, tenant=B)
    asked = [(A, THREAD), (B, THREAD), (A, "none"), *((A, f"none-{n}") for n in range(500))]
    assert await store.heads(asked) == {(A, THREAD): 1, (B, THREAD): 2}
    assert await store.heads([(A, THREAD)]) == {(A, THREAD): 1}
    assert await store.heads([]) == {}


async def runs_are_listed_newest_first(store: Store, _: PassTime) -> None:
    """By `created_at`, then by id, page by page, each run once."""
    runs = [run_of(f"run-{n:02}", created_at=n // 3) for n in range(10)]
    await save(store, *(lambda tx, r=r: tx.put_run(r) for r in runs))

    async def list_(key: str | None) -> Page:
        return await store.runs(A, ALL, 3, key)

    assert await _all_pages(list_, pages=4) == runs[::-1]
    assert (await store.runs(A, ALL, 10, None)).next_key is None


async def a_list_goes_on_where_it_stopped(store: Store, _: PassTime) -> None:
    """What is added or changed between two pages neither repeats an item nor skips one."""
    runs = [run_of(f"run-{n}", created_at=n) for n in range(6)]
    await save(store, *(lambda tx, r=r: tx.put_run(r) for r in runs))
    first = await store.runs(A, ALL, 3, None)
    newer, changed = run_of("run-9", created_at=9), replace(runs[2], steps=5)
    await save(store, lambda tx: tx.put_run(newer), lambda tx: tx.put_run(changed))
    second = await store.runs(A, ALL, 3, first.next_key)
    assert first.items == tuple(runs[:2:-1])
    assert second.items == (changed, runs[1], runs[0])
    assert second.next_key is None


async def runs_are_filtered_by_any_combination(store: Store, _: PassTime) -> None:
    """Thread, agent and status, alone and together."""
    kinds = product(RunStatus, ("t-1", "t-2"), ("a-1", "a-2"))
    runs = [
        run_of(f"run-{n:02}", created_at=n // 4, status=status, thread_id=thread, agent_id=agent)
        for n, (status, thread, agent) in enumerate(kinds)
    ]
    await save(store, *(lambda tx, r=r: tx.put_run(r) for r in runs))
    for thread_id, agent_id, status in product((None, "t-1"), (None, "a-2"), (None, *RunStatus)):
        where = RunFilter(thread_id=thread_id, agent_id=agent_id, status=status)
        page = await store.runs(A, where, 100, None)
        assert page.items == tuple(
            run
            for run in reversed(runs)
            if thread_id in (None, run.thread_id)
            and agent_id in (None, run.agent_id)
            and status in (None, run.status)
        ), where


async def a_page_key_is_bound_to_its_list_and_filters(store: Store, _: PassTime) -> None:
    """Another list, another filter, another tenant, and anything made up: `invalid_page_key`."""
    runs = [run_of(f"run-{n}", created_at=n) for n in range(3)]
    await save(store, *(lambda tx, r=r: tx.put_run(r) for r in runs))
    key = (await store.runs(A, ALL, 1, None)).next_key
    assert key is not None
    wrong: list[Awaitable[Page]] = [
        store.runs(B, ALL, 1, key),
        store.runs(A, RunFilter(thread_id=THREAD), 1, key),
        store.threads(A, 1, key),
        store.dispatches(A, THREAD, 1, key),
        store.messages(A, THREAD, MessageFilter(), 1, key),
        *(store.runs(A, ALL, 1, made_up) for made_up in ("x", "{}", "W10=", key[:-2], "\u00e9")),
    ]
    for page in wrong:
        error = await raised_by(page)
        assert isinstance(error, RequestError)
        assert error.code == "invalid_page_key"


async def threads_are_listed_latest_updated_first(store: Store, _: PassTime) -> None:
    """By `updated_at`, then by id, page by page; resource and parent filter, alone and together."""
    threads = [
        thread_of(
            f"t-{n}",
            updated_at=n // 2,
            resource_id="r" if n % 2 else None,
            parent_thread_id="p" if n % 3 == 0 else None,
        )
        for n in range(8)
    ]
    await save(store, *(lambda tx, t=t: tx.put_thread(t) for t in threads))

    async def list_(key: str | None) -> Page:
        return await store.threads(A, 3, key)

    assert await _all_pages(list_, pages=3) == threads[::-1]
    for resource_id in (None, "r"):
        for parent in (None, "p"):
            page = await store.threads(
                A, 10, None, resource_id=resource_id, parent_thread_id=parent
            )
            assert page.items == tuple(
                thread
                for thread in reversed(threads)
                if resource_id in (None, thread.resource_id)
                and parent in (None, thread.parent_thread_id)
            )


async def messages_are_listed_by_number(store: Store, _: PassTime) -> None:
    """Upwards or downwards, between two numbers, page by page, of one run or of all."""
    messages = [stored_of(n, run_id=RUN if n % 2 else None) for n in range(1, 10)]
    await save(store, *(lambda tx, m=m: tx.put_message(A, m) for m in messages))
    between = ((None, None), (2, 8), (8, 2))
    for run_id, (after, before), down in product((None, RUN), between, (False, True)):
        where = MessageFilter(after=after, before=before, run_id=run_id, descending=down)

        async def list_(key: str | None, where: MessageFilter = where) -> Page:
            return await store.messages(A, THREAD, where, 2, key)

        expected = [
            m
            for m in messages
            if (after or 0) < m.message_seq < (before or 99) and run_id in (None, m.run_id)
        ]
        assert await _all_pages(list_) == (expected[::-1] if down else expected)


async def hidden_messages_are_not_listed(store: Store, _: PassTime) -> None:
    """`external` is what all may see, `internal` what the model alone sees, `all` is both."""
    kinds = (MessageVisibility.all, MessageVisibility.internal, MessageVisibility.replaced)
    messages = [stored_of(n, kind) for n, kind in enumerate(kinds, start=1)]
    await save(store, *(lambda tx, m=m: tx.put_message(A, m) for m in messages))
    seen = {
        visibility: (
            await store.messages(A, THREAD, MessageFilter(visibility=visibility), 9, None)
        ).items
        for visibility in ("external", "internal", "all")
    }
    assert seen == {
        "external": (messages[0],),
        "internal": (messages[1],),
        "all": (messages[0], messages[1]),
    }


async def dispatches_of_a_thread_are_listed_newest_first(store: Store, _: PassTime) -> None:
    """By `created_at`, then by id, in every state, page by page."""
    dispatches = [queued(f"d-{n}", created_at=n // 2) for n in range(6)]
    dispatches.append(dispatch_of("d-7", claim_of(1), created_at=9))
    await save_dispatches(store, *dispatches, queued("elsewhere", thread_id="another"))

    async def list_(key: str | None) -> Page:
        return await store.dispatches(A, THREAD, 2, key)

    assert await _all_pages(list_, pages=4) == dispatches[::-1]


async def tickets_are_listed_newest_first(store: Store, _: PassTime) -> None:
    """By `opened_at`, then by id, page by page; filtered by thread, run and status in any mix."""
    kinds = product(("t-1", "t-2"), ("r-1", "r-2"), TicketStatus)
    tickets = [
        ticket_of(f"i-{n:02}", opened_at=n // 5, thread_id=thread, run_id=run, status=status)
        for n, (thread, run, status) in enumerate(kinds)
    ]
    await save(store, *(lambda tx, t=t: tx.put_ticket(A, t) for t in tickets))

    async def list_(key: str | None) -> Page:
        return await store.tickets(A, TicketFilter(), 10, key)

    assert await _all_pages(list_, pages=3) == tickets[::-1]
    for thread_id, run_id, status in product((None, "t-1"), (None, "r-2"), (None, *TicketStatus)):
        where = TicketFilter(thread_id=thread_id, run_id=run_id, status=status)
        page = await store.tickets(A, where, 100, None)
        assert page.items == tuple(
            ticket
            for ticket in reversed(tickets)
            if thread_id in (None, ticket.thread_id)
            and run_id in (None, ticket.run_id)
            and status in (None, ticket.status)
        ), where


async def what_does_not_exist_is_none_or_empty(store: Store, _: PassTime) -> None:
    """No read of an unknown id is an error."""
    assert await store.run(A, RUN) is None
    assert await store.thread(A, THREAD) is None
    assert await store.head(A, THREAD) is None
    assert await store.dispatch(A, "none") is None
    assert await store.ticket(A, "none") is None
    assert await store.tickets(A, TicketFilter(), 9, None) == Page(items=())
    assert await store.pending_entries(A, THREAD) == []
    assert await store.runs(A, ALL, 9, None) == Page(items=())
    assert await store.threads(A, 9, None) == Page(items=())
    assert await store.dispatches(A, THREAD, 9, None) == Page(items=())
    assert await store.messages(A, THREAD, MessageFilter(), 9, None) == Page(items=())


async def _all_pages(list_: List, pages: int | None = None) -> list[Any]:
    """The items of all pages, in order; with `pages`, there are that many of them."""
    items: list[Any] = []
    seen = 0
    key: str | None = None
    while seen == 0 or key is not None:
        page = await list_(key)
        items += page.items
        key = page.next_key
        seen += 1
        assert page.items or key is None
    assert pages in (None, seen)
    return items


CASES = (
    a_checkpoint_holds_what_an_attempt_starts_from,
    a_checkpoint_of_a_bare_run_is_possible,
    a_checkpoint_is_of_one_moment,
    segments_are_read_by_thread_and_by_run,
    a_segment_is_read_back_as_it_was_written,
    the_heads_of_many_threads_are_read_at_once,
    runs_are_listed_newest_first,
    a_list_goes_on_where_it_stopped,
    runs_are_filtered_by_any_combination,
    a_page_key_is_bound_to_its_list_and_filters,
    threads_are_listed_latest_updated_first,
    messages_are_listed_by_number,
    hidden_messages_are_not_listed,
    dispatches_of_a_thread_are_listed_newest_first,
    tickets_are_listed_newest_first,
    what_does_not_exist_is_none_or_empty,
)
