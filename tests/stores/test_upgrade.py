"""A file that an older version wrote, opened by this one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from awaken.domain.care import Kept, LetterFilter
from awaken.domain.dispatch import Finished, How
from awaken.domain.run import RunStatus
from awaken.domain.ticket import TicketStatus
from awaken.ports.store import MessageFilter
from awaken.stores import codec
from awaken.stores.sqlite import migrate, wal
from awaken.stores.sqlite.store import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.conformance._records import (
    RUN,
    SPEC,
    THREAD,
    A,
    dispatch_of,
    run_of,
    stored_of,
    thread_of,
    ticket_of,
)

RUNS = {
    "old": run_of("old", status=RunStatus.done, finished_at=1, resolution_id="s-1"),
    RUN: run_of(status=RunStatus.running, resolution_id="s-2"),
}
TICKETS = {
    "closed": ticket_of("closed", run_id="old", status=TicketStatus.denied, closed_at=2),
    "open": ticket_of("open"),
}
LETTER = dispatch_of("d-1", Finished(how=How.dead_letter, finished_at=3), run_id="old")


def insert(connection: sqlite3.Connection, table: str, **values: Any) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"insert into {table} ({names}) values ({marks})", [*values.values()])


def fill_first_schema(path: Path) -> None:
    """What a server of the first schema leaves behind."""
    with closing(wal.connect(str(path))) as connection:
        migrate.migrate(connection, migrate.shipped()[:1])
        connection.execute("begin")
        insert(
            connection,
            "threads",
            tenant=A,
            thread_id=THREAD,
            updated_at=1,
            data=codec.encode(thread_of()),
        )
        for run in RUNS.values():
            insert(
                connection, "runs", tenant=A, run_id=run.run_id, thread_id=THREAD, agent_id="a",
                status=run.status.value, created_at=1, finished_at=run.finished_at,
                compacted=int(run.run_id == "old"), data=codec.encode(run),
            )  # fmt: skip
            insert(
                connection,
                "resolutions",
                tenant=A,
                resolution_id=run.resolution_id,
                data=codec.encode(SPEC),
            )
        insert(
            connection, "runs", tenant=A, run_id="rotten", thread_id=THREAD, agent_id="a",
            status="done", created_at=1, finished_at=1, data=b"{",
        )  # fmt: skip
        for ticket in TICKETS.values():
            insert(
                connection, "tickets", tenant=A, ticket_id=ticket.ticket_id, thread_id=THREAD,
                run_id=ticket.run_id, status=ticket.status.value, opened_at=1,
                data=codec.encode(ticket),
            )  # fmt: skip
        insert(
            connection, "dispatches", tenant=A, dispatch_id="d-1", thread_id=THREAD, run_id="old",
            state="dead_letter", rank=1, foreground=0, due=0, finished_at=3, created_at=1,
            updated_at=3, data=codec.encode(LETTER),
        )  # fmt: skip
        insert(
            connection, "messages", tenant=A, thread_id=THREAD, message_seq=1, message_id="m",
            visibility="all", data=codec.encode(stored_of(1)),
        )  # fmt: skip
        insert(
            connection, "events", tenant=A, thread_id=THREAD, last_seq=4, first_seq=1,
            run_id="old", at=1, boundary=1, data=b"[]",
        )  # fmt: skip
        connection.execute("commit")


@pytest.mark.anyio
async def test_a_file_of_the_first_schema_is_cared_for_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "awaken.db"
    await anyio.to_thread.run_sync(fill_first_schema, path)
    store = await SqliteStore.open(path, clock=FakeClock())
    try:
        for run in RUNS.values():
            assert await store.run(A, run.run_id) == run
        letters = await store.dead_letters(A, LetterFilter(), 9, None)
        assert [letter.dispatch_id for letter in letters.items] == ["d-1"]
        assert await store.purge(Kept.closed_tickets, before=3, limit=9) == 1
        assert await store.ticket(A, "closed") is None
        assert await store.ticket(A, "open") == TICKETS["open"]
        assert await store.expired_seq(A, THREAD) == 0
        assert await store.purge(Kept.runs, before=2, limit=99) > 0
        assert await store.known_runs(A, ["old", "rotten", RUN]) == {RUN}
        assert await store.expired_seq(A, THREAD) == 4
        kept = await store.checkpoint(A, RUN)
        assert kept is not None
        assert kept.spec == SPEC, "a run that goes on keeps what it is pinned to"
        messages = await store.messages(A, THREAD, MessageFilter(), 9, None)
        assert len(messages.items) == 1
        assert await anyio.to_thread.run_sync(_specs, path) == [("s-2",)]
    finally:
        await store.aclose()


def _specs(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("select resolution_id from resolutions").fetchall()
