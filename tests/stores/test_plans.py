"""Every statement has its index, and claiming costs the same however much is queued."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Final

import pytest
from msgspec.structs import replace

from awaken.domain.dispatch import Applied, ClaimCommand, Dispatch, Mode, Queued, apply
from awaken.domain.line import line_row
from awaken.domain.thread import ThreadHead
from awaken.ports.store import Transaction
from awaken.stores.sqlite import (
    care_statements,
    outbox_statements,
    queries,
    rows,
    rule_statements,
    schedule_statements,
    statements,
    symptom_statements,
    wal,
)
from awaken.stores.sqlite.migrate import migrate
from awaken.stores.sqlite.transaction import SqliteTransaction
from awaken.stores.sqlite.writer import drive

NOW: Final = 1_000_000
TENANT: Final = "tenant"
FEW: Final = 10

# No selections: one adds up a few rows for each tenant, the other counts the threads in line. The
# last three are walks along an index in its order, which end at the first row or a limit.
MAY_SCAN: Final = {"COUNTS", "IN_LINE", "NEXT_IN_LINE", "NEXT_FOREGROUND_IN_LINE", "DELETIONS"}
MAY_SCAN.add("DEAD_COUNT")  # adds up as COUNTS does
# One sorts the states of each tenant, the other the messages that its caller named.
MAY_SORT: Final = {"COUNTS", "MESSAGES_WITH", "PENDING_WITH"}


def named_statements() -> Iterator[tuple[str, str]]:
    places = (
        statements,
        care_statements,
        symptom_statements,
        schedule_statements,
        outbox_statements,
        rule_statements,
    )
    for name, value in chain.from_iterable(vars(place).items() for place in places):
        if name.startswith("_"):
            continue
        if isinstance(value, str) and value.strip().startswith(("select", "update", "delete")):
            yield name, value
        elif isinstance(value, dict):
            yield from ((f"{name} {key}", text) for key, text in value.items())


STATEMENTS: Final = dict(named_statements())


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(wal.connect(":memory:")) as connection:
        migrate(connection)
        yield connection


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    literal = re.sub(r"\?\d*|:\w+", "1", statement)
    return [row[3] for row in connection.execute(f"explain query plan {literal}")]


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_searches_by_an_index(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, STATEMENTS[name])
    scans = [step for step in steps if step.startswith("SCAN")]
    tables = [step for step in scans if not re.match(r"SCAN (wanted|CONSTANT|\(sub)", step)]
    assert name in MAY_SCAN or not tables, steps
    assert name in MAY_SORT or not any("TEMP B-TREE" in step for step in steps), steps


def test_rows_are_found_by_their_whole_key_or_rank(connection: sqlite3.Connection) -> None:
    """The statements of a claim, with the index that each is meant to have."""
    expected = {
        "HEAD": "thread_heads USING PRIMARY KEY (tenant=? AND thread_id=?)",
        "DISPATCH": "sqlite_autoindex_dispatches_1 (tenant=? AND dispatch_id=?)",
        "QUEUED": "dispatches_queued (tenant=? AND thread_id=? AND due=?)",
        "QUEUED_FOREGROUND": "dispatches_foreground (tenant=? AND thread_id=?)",
        "UNDUE": "dispatches_time (due=? AND available_at<?)",
        "AHEAD": "dispatches_rank (",
        "PENDING_WITH": "autoindex_pending_1 (tenant=? AND thread_id=? AND message_id=?)",
        "MESSAGES_OF_RUN": "messages_run (tenant=? AND thread_id=? AND run_id=? AND message_seq>?)",
        "MESSAGES_AFTER": "autoindex_messages_1 (tenant=? AND thread_id=? AND message_seq>?)",
        "COUNT_DUE_OF": "dispatches_queued (tenant=? AND thread_id=? AND due=?)",
        "NOTE": "PRIMARY KEY (tenant=? AND kind=? AND key=?)",
        "PURGE_NOTES": "notes_expiry (expires_at<?)",
        "PENDING_OF_RUN": "pending_run (tenant=? AND thread_id=? AND run_id=?)",
        "SEGMENTS": "sqlite_autoindex_events_1 (tenant=? AND thread_id=? AND last_seq>?)",
        "SEGMENTS_OF_RUN": "events_run (tenant=? AND run_id=? AND last_seq>?)",
        "WAITING_RUN": "runs_waiting (tenant=? AND thread_id=?)",
        "DEAD_LETTERS (False, False)": "dispatches_letters (tenant=? AND (finished_at,",
        "OLD_RUNS": "runs_done (compacted=? AND finished_at<?)",
        "PURGE_TICKETS": "tickets_closed (closed_at<?)",
        "PURGE_DEAD": "dispatches_dead (finished_at<?)",
        "DELETE_SPEC": "runs_resolution (tenant=? AND resolution_id=?)",
        "CHILDREN": "threads_parent (tenant=? AND parent_thread_id=?)",
        "LIVE_WITH_KEY": "dispatches_dedupe (tenant=? AND thread_id=? AND dedupe_key=?)",
    }
    for name, index in expected.items():
        assert any(index in step for step in plan(connection, STATEMENTS[name])), name


@pytest.mark.parametrize("name", ["NEXT_IN_LINE", "NEXT_FOREGROUND_IN_LINE"])
def test_the_line_is_walked_along_its_ranks(connection: sqlite3.Connection, name: str) -> None:
    (step,) = plan(connection, STATEMENTS[name])
    assert re.match(r"SCAN line USING INDEX line_(rank|foreground)", step), step


# --- cost in steps of SQLite's machine, which no clock and no neighbour changes ----------------


def dispatch(number: int, thread_id: str) -> Dispatch:
    return Dispatch(
        tenant=TENANT,
        dispatch_id=f"dispatch-{number:07}",
        thread_id=thread_id,
        run_id=f"run-{number:07}",
        mode=Mode.foreground,
        epoch=0,
        rank=number,
        eligible_at=1,
        created_at=number,
        updated_at=1,
        body=Queued(available_at=1),
        dedupe_key=f"key-{number}",
    )


def fill(connection: sqlite3.Connection, number: int, *, threads: int) -> None:
    """Queue `number` dispatches on so many threads, and put each thread in line by its first."""
    queued = [dispatch(n, f"thread-{n % threads:07}") for n in range(number)]
    heads = [
        ThreadHead(tenant=TENANT, thread_id=d.thread_id, queued_count=number // threads)
        for d in queued[:threads]
    ]
    lines = [line_row(h, None, d, NOW) for h, d in zip(heads, queued, strict=False)]
    connection.execute("begin")
    connection.executemany(statements.PUT_DISPATCH, (rows.of_dispatch(d, NOW) for d in queued))
    connection.executemany(statements.PUT_HEAD, map(rows.of_head, heads))
    connection.executemany(statements.PUT_LINE, (rows.of_line(r) for r in lines if r))
    connection.executemany(
        statements.PUT_PENDING,
        ((TENANT, d.thread_id, d.run_id, d.rank, d.run_id, b"{}") for d in queued),
    )
    connection.execute("commit")


async def claim(tx: Transaction) -> None:
    """Take the first thread in line, claim its dispatch, and put the thread in its new place."""
    row = await tx.next_in_line(foreground_only=True)
    assert row is not None
    head = await tx.head(row.tenant, row.thread_id)
    found = await tx.dispatch(row.tenant, row.dispatch_id)
    assert head is not None
    assert found is not None
    command = ClaimCommand(claim_token="attempt", worker_id="worker", lease_ms=30_000)
    answer = apply(found, head, command, tx.now)
    assert isinstance(answer, Applied)
    tx.put_dispatch(answer.dispatch)
    tx.put_head(answer.head)
    first_due = await tx.first_due(row.tenant, row.thread_id)
    place = line_row(answer.head, None, first_due, tx.now)
    tx.set_line(row.tenant, row.thread_id, place)


async def enqueue(tx: Transaction) -> None:
    """Add a dispatch to a thread, as a submission does."""
    thread_id = f"thread-{0:07}"
    head = await tx.head(TENANT, thread_id)
    assert head is not None
    assert await tx.live_dispatch_with(TENANT, thread_id, "new") is None
    assert await tx.waiting_run(TENANT, thread_id) is None
    tx.put_dispatch(replace(dispatch(9_999_999, thread_id), dedupe_key="new"))
    tx.put_head(replace(head, queued_count=head.queued_count + 1))
    assert await tx.first_due(TENANT, thread_id) is not None
    assert len(await tx.queued(TENANT, thread_id, 3)) == 3
    assert len(await tx.queued_foreground(TENANT, thread_id, 3)) == 3


async def look(tx: Transaction) -> None:
    """What a worker asks before it sleeps."""
    assert await tx.undue(10) == []
    assert await tx.next_in_line(foreground_only=False) is not None


OPERATIONS: Final = (claim, enqueue, look)


class Steps:
    """Counts what SQLite's virtual machine does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.count = 0
        connection.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self.count += 1
        return 0


def costs(number: int, *, threads: int) -> dict[str, int]:
    """How many steps each operation takes, with so many dispatches queued on so many threads."""
    found = {}
    with closing(wal.connect(":memory:")) as connection:
        migrate(connection)
        fill(connection, number, threads=threads)
        steps = Steps(connection)
        for operation in OPERATIONS:
            steps.count = 0
            connection.execute("begin immediate")
            tx = SqliteTransaction(connection.cursor(), NOW)
            drive(operation, tx)
            tx.finish()
            connection.execute("rollback")
            found[operation.__name__] = steps.count
        steps.count = 0
        queries.next_due_at(connection.cursor())
        found["next_due_at"] = steps.count
        for ahead, position in ((number - 1, 5), (1, 2)):
            steps.count = 0
            asked = queries.position(dispatch(ahead, "any"), limit=5)
            assert asked(connection.cursor()) == position
            found[f"position {position}"] = steps.count
    return found


def test_claiming_costs_no_more_when_much_is_queued() -> None:
    few = costs(FEW, threads=2)
    assert costs(3_000, threads=600) == few
    assert few["claim"] < 1_000


def test_claiming_costs_no_more_when_all_is_queued_on_one_thread() -> None:
    assert costs(3_000, threads=1) == costs(FEW, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 1_000, 20_000])
def test_claiming_costs_no_more_with_a_hundred_thousand_queued(threads: int) -> None:
    many = costs(100_000, threads=threads)
    print(f"100000 dispatches on {threads} threads, in steps of the machine: {many}")
    assert many == costs(FEW, threads=min(threads, 2))
