"""What should not be in the rows is found, by rows made by hand; and a healthy store has none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.domain.dispatch import Dispatch, Finished, How
from awaken.domain.run import Run, RunStatus, Waiting
from awaken.domain.ticket import Ticket, TicketStatus, WaitingReason
from awaken.ports.store import Transaction
from awaken.ports.symptoms import Row, Symptoms
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import START_MS, FakeClock
from awaken.testing.conformance._records import (
    RUN,
    A,
    B,
    claim_of,
    dispatch_of,
    line_of,
    run_of,
    ticket_of,
)
from awaken.testing.conformance._records import queued as queued_of

NOW = START_MS
Change = Callable[[Transaction], None]


async def examined(store: SqliteStore, *changes: Change, limit: int = 100) -> Symptoms:
    """What is found after the changes."""

    async def change(tx: Transaction) -> None:
        for each in changes:
            each(tx)

    await store.transact(change)
    return await store.symptoms(late_before=NOW - 10_000, limit=limit)


def run(run_id: str = RUN, dispatch_id: str | None = "d", **fields: Any) -> Change:
    record: Run = run_of(run_id, dispatch_id=dispatch_id, **fields)
    return lambda tx: tx.put_run(record)


def put(dispatch: Dispatch) -> Change:
    return lambda tx: tx.put_dispatch(dispatch)


def claimed(lease_until: int = NOW + 5_000, **fields: Any) -> Dispatch:
    return dispatch_of("d", claim_of(lease_until), **fields)


def ids(rows: tuple[Row, ...]) -> list[str]:
    return [row.id for row in rows]


WAITING = Waiting(reason=WaitingReason.tool_permission, since=1, ticket_ids=("ticket-1",))


async def test_an_empty_store_has_no_symptoms(store: SqliteStore) -> None:
    assert await examined(store) == Symptoms()


async def test_work_as_it_should_be_has_no_symptoms(store: SqliteStore) -> None:
    standing = queued_of("q", run_id="run-2", thread_id="thread-2")
    ticket: Ticket = ticket_of("ticket-1", run_id="run-3")
    found = await examined(
        store,
        run(status=RunStatus.running),
        put(claimed()),
        run("run-2", "q"),
        put(standing),
        lambda tx: tx.set_line(A, "thread-2", line_of(standing)),
        run("run-3", None, status=RunStatus.waiting, waiting=WAITING),
        lambda tx: tx.put_ticket(A, ticket),
        run("run-4", None, status=RunStatus.done, finished_at=2),
    )
    first = Row(tenant=A, kind="dispatch", id="q", run_id="run-2", at=1)
    assert found == Symptoms(front=first, latest_lease=NOW + 5_000)


@pytest.mark.parametrize(("ended", "late"), [(10_001, True), (9_999, False)])
async def test_a_claim_past_its_lease_is_found_once_it_is_late(
    store: SqliteStore, ended: int, late: bool
) -> None:
    found = await examined(store, run(status=RunStatus.running), put(claimed(NOW - ended)))
    assert ids(found.expired) == (["d"] if late else [])


async def test_a_claim_past_its_grace_is_found(store: SqliteStore) -> None:
    body = claim_of(NOW + 5_000, interrupt_deadline=NOW - 20_000, superseded_by="run-9")
    found = await examined(store, run(status=RunStatus.running), put(dispatch_of("d", body)))
    assert ids(found.expired) == ["d"]


async def test_a_due_dispatch_that_nobody_put_in_line_is_found(
    store: SqliteStore, clock: FakeClock
) -> None:
    await examined(store, run(), put(queued_of("d", available_at=NOW + 5_000)))
    assert (await store.symptoms(late_before=NOW + 5_000, limit=9)).overdue == ()
    clock.advance(60)
    assert ids((await store.symptoms(late_before=NOW + 5_001, limit=9)).overdue) == ["d"]


@pytest.mark.parametrize(
    "dispatch",
    [None, dispatch_of("d", Finished(how=How.acked, finished_at=2))],
    ids=["none", "finished"],
)
@pytest.mark.parametrize(
    "fields",
    [
        {"status": RunStatus.created},
        {"status": RunStatus.running},
        {
            "status": RunStatus.waiting,
            "waiting": replace(WAITING, reason=WaitingReason.resuming),
        },
    ],
    ids=["created", "running", "resuming"],
)
async def test_an_unfinished_run_that_nothing_moves_is_found(
    store: SqliteStore, dispatch: Dispatch | None, fields: dict[str, Any]
) -> None:
    found = await examined(store, run(**fields), *([put(dispatch)] if dispatch else []))
    assert ids(found.lost_runs) == [RUN]


async def test_a_run_without_any_dispatch_is_found(store: SqliteStore) -> None:
    assert ids((await examined(store, run(dispatch_id=None))).lost_runs) == [RUN]


@pytest.mark.parametrize(
    "record", [None, run_of(status=RunStatus.done, finished_at=2)], ids=["missing", "done"]
)
@pytest.mark.parametrize(
    "dispatch",
    [claimed(), queued_of("d"), queued_of("d", available_at=NOW + 99_000)],
    ids=["claimed", "due", "undue"],
)
async def test_a_live_dispatch_of_no_run_or_a_done_one_is_found(
    store: SqliteStore, dispatch: Dispatch, record: Run | None
) -> None:
    changes = [] if record is None else [lambda tx: tx.put_run(record)]
    found = await examined(store, put(dispatch), *changes)
    assert ids(found.stray) == ["d"]


async def test_a_place_in_line_of_no_queued_dispatch_is_found(store: SqliteStore) -> None:
    gone = queued_of("gone")
    found = await examined(store, lambda tx: tx.set_line(A, "thread-1", line_of(gone)))
    assert found.front is None
    assert [(row.kind, row.id) for row in found.stray] == [("line", "gone")]


async def test_the_smallest_rank_is_the_first_in_line(store: SqliteStore) -> None:
    late, early = (
        queued_of(name, rank=rank, run_id=f"run-{name}", thread_id=f"thread-{name}")
        for name, rank in (("late", 9), ("early", -9))
    )
    found = await examined(
        store,
        *[
            change
            for each in (late, early)
            for change in (
                run(each.run_id, each.dispatch_id, thread_id=each.thread_id),
                put(each),
                lambda tx, each=each: tx.set_line(A, each.thread_id, line_of(each)),
            )
        ],
    )
    assert found.front is not None
    assert found.front.id == "early"


async def test_a_run_that_waits_for_a_closed_ticket_is_found(store: SqliteStore) -> None:
    closed = ticket_of("ticket-1", run_id=RUN, status=TicketStatus.answered)
    found = await examined(
        store,
        run(dispatch_id=None, status=RunStatus.waiting, waiting=WAITING),
        lambda tx: tx.put_ticket(A, closed),
    )
    assert ids(found.unasked_runs) == [RUN]
    assert found.lost_runs == ()


async def test_dead_letters_are_counted_and_poison_told_apart(store: SqliteStore) -> None:
    def dead(name: str, tenant: str, reason: str) -> Change:
        body = Finished(how=How.dead_letter, finished_at=9, reason=reason)
        return put(dispatch_of(name, body, tenant=tenant))

    found = await examined(
        store, dead("1", A, "poison"), dead("2", A, "boom"), dead("3", B, "poison")
    )
    assert (found.dead_letters, found.poison) == (3, 2)


async def test_records_that_cannot_be_read_are_found_and_hide_nothing(
    file_store: SqliteStore, path: Path
) -> None:
    ticket: Ticket = ticket_of("ticket-1", run_id="run-2")
    await examined(
        file_store,
        run(status=RunStatus.running),
        put(claimed()),
        run("run-2", None, status=RunStatus.waiting, waiting=WAITING),
        lambda tx: tx.put_ticket(A, ticket),
        run("run-3", None),
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update runs set data = 'x' where run_id = ?", (RUN,))
        connection.execute("update dispatches set data = '{}'")
        connection.execute("update tickets set data = x'ff'")
    found = await file_store.symptoms(late_before=NOW, limit=100)
    assert {(row.kind, row.id) for row in found.undecodable} == {
        ("run", RUN),
        ("dispatch", "d"),
        ("ticket", "ticket-1"),
    }
    assert ids(found.lost_runs) == ["run-3"]


async def test_a_limit_that_was_reached_is_told(store: SqliteStore) -> None:
    changes = [run(f"run-{n}", None) for n in range(5)]
    found = await examined(store, *changes, limit=3)
    assert len(found.lost_runs) == 3
    assert not found.complete
    assert (await store.symptoms(late_before=NOW, limit=6)).complete
