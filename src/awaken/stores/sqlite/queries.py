"""The reads of the store, as functions of a cursor. Each sees one snapshot."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Segment
from awaken.domain.run import RunStatus
from awaken.domain.thread import ThreadHead
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.errors import UndecodableRecord
from awaken.ports.store import (
    Checkpoint,
    DispatchCounts,
    MessageFilter,
    Page,
    RunFilter,
    TicketFilter,
)
from awaken.stores import codec, pages
from awaken.stores.sqlite import rows
from awaken.stores.sqlite import statements as sql
from awaken.stores.sqlite.reader import Read, snapshot

log = logging.getLogger(__name__)

T = TypeVar("T")
Parameters = tuple[object, ...] | dict[str, object]

# Behind everything: larger than any time, and greater than any id.
_LAST: Final = (2**63 - 1, "\U0010ffff")
_EVERYTHING: Final = -1
_VISIBLE: Final = {
    "external": ("all", "all", "all"),
    "internal": ("internal", "internal", "internal"),
    "everything": ("all", "internal", "replaced"),
}
_ALL_VISIBLE: Final = ("all", "internal", "internal")


# --- one row -----------------------------------------------------------------------------------


def one(statement: str, kind: codec.Codec[T], tenant: str, identifier: str) -> Read[T | None]:
    def read(cursor: sqlite3.Cursor) -> T | None:
        row = cursor.execute(statement, (tenant, identifier)).fetchone()
        return kind.decode(row[0], identifier, tenant) if row else None

    return read


def head(tenant: str, thread_id: str) -> Read[ThreadHead | None]:
    def read(cursor: sqlite3.Cursor) -> ThreadHead | None:
        row = cursor.execute(sql.HEAD, (tenant, thread_id)).fetchone()
        return rows.head((tenant, thread_id), row) if row else None

    return read


# --- several rows ------------------------------------------------------------------------------


def several(statement: str, kind: codec.Codec[T], *parameters: object) -> Read[list[T]]:
    """The records of a statement that selects (id, data), or (tenant, id, data)."""

    def read(cursor: sqlite3.Cursor) -> list[T]:
        return _select(cursor, statement, kind, parameters)

    return read


def _select(
    cursor: sqlite3.Cursor, statement: str, kind: codec.Codec[T], parameters: Parameters
) -> list[T]:
    found = cursor.execute(statement, parameters).fetchall()
    return [kind.decode(row[-1], row[-2], row[0] if len(row) > 2 else None) for row in found]


def readable(statement: str, kind: codec.Codec[T], *parameters: object) -> Read[list[T]]:
    """As `several`, without the records that cannot be read."""

    def read(cursor: sqlite3.Cursor) -> list[T]:
        return list(_readable(kind, cursor.execute(statement, parameters).fetchall()))

    return read


def segments(
    tenant: str, thread_id: str, after: int, limit: int, run_id: str | None
) -> Read[list[Segment]]:
    statement = sql.SEGMENTS if run_id is None else sql.SEGMENTS_OF_RUN
    of = thread_id if run_id is None else run_id

    def read(cursor: sqlite3.Cursor) -> list[Segment]:
        found = cursor.execute(statement, (tenant, of, after, limit)).fetchall()
        return [rows.segment(tenant, row) for row in found]

    return read


def heads(keys: Sequence[tuple[str, str]]) -> Read[dict[tuple[str, str], int]]:
    wanted = codec.encode(keys).decode()

    def read(cursor: sqlite3.Cursor) -> dict[tuple[str, str], int]:
        found = cursor.execute(sql.HEADS, (wanted,)).fetchall()
        return {(tenant, thread_id): seq for tenant, thread_id, seq in found}

    return read


def checkpoint(tenant: str, run_id: str) -> Read[Checkpoint | None]:
    def read(cursor: sqlite3.Cursor) -> Checkpoint | None:
        with snapshot(cursor):
            run = one(sql.RUN, codec.RUN, tenant, run_id)(cursor)
            if run is None:
                return None
            dispatch = run.dispatch_id and one(
                sql.DISPATCH, codec.DISPATCH, tenant, run.dispatch_id
            )(cursor)
            spec = one(sql.RESOLUTION, codec.SPEC, tenant, run.resolution_id)(cursor)
            messages = _select(cursor, sql.CONVERSATION, codec.MESSAGE, (tenant, run.thread_id))
            tickets = _select(cursor, sql.TICKETS_OF_RUN, codec.TICKET, (tenant, run_id))
            thread = one(sql.THREAD, codec.THREAD, tenant, run.thread_id)(cursor)
            tail = segments(tenant, run.thread_id, run.checkpoint_seq, _EVERYTHING, run_id)(cursor)
        return Checkpoint(
            run=run,
            dispatch=dispatch or None,
            spec=spec,
            messages=tuple(messages),
            tail=tuple(tail),
            tickets=tuple(tickets),
            thread_state=thread.state if thread is not None else {},
        )

    return read


# --- the worker's questions --------------------------------------------------------------------


def next_due_at(cursor: sqlite3.Cursor) -> int | None:
    times = cursor.execute(sql.NEXT_TIMES).fetchone()
    return min((time for time in times if time is not None), default=None)


def expired(now: int, limit: int) -> Read[list[Dispatch]]:
    """Two walks along two indexes; a claim may be on both."""

    def read(cursor: sqlite3.Cursor) -> list[Dispatch]:
        with snapshot(cursor):
            lapsed = _select(cursor, sql.LEASE_EXPIRED, codec.DISPATCH, (now, limit))
            late = _select(cursor, sql.DEADLINE_PASSED, codec.DISPATCH, (now, limit))
        found = {(d.tenant, d.dispatch_id): d for d in (*late, *lapsed)}
        return list(found.values())[:limit]

    return read


def expired_tickets(now: int, limit: int) -> Read[list[tuple[str, Ticket]]]:
    def read(cursor: sqlite3.Cursor) -> list[tuple[str, Ticket]]:
        found = cursor.execute(sql.EXPIRED_TICKETS, (now, limit)).fetchall()
        return [
            (tenant, ticket)
            for tenant, *row in found
            for ticket in _readable(codec.TICKET, [tuple(row)])
        ]

    return read


def position(dispatch: Dispatch, limit: int) -> Read[int]:
    def read(cursor: sqlite3.Cursor) -> int:
        (ahead,) = cursor.execute(
            sql.AHEAD, (dispatch.rank, dispatch.dispatch_id, limit - 1)
        ).fetchone()
        return int(ahead) + 1

    return read


def count_due(limit: int) -> Read[int]:
    def read(cursor: sqlite3.Cursor) -> int:
        return int(cursor.execute(sql.COUNT_DUE, (limit,)).fetchone()[0])

    return read


def counts(tenant: str | None, now: int) -> Read[DispatchCounts]:
    def read(cursor: sqlite3.Cursor) -> DispatchCounts:
        with snapshot(cursor):
            if tenant is None:
                states = cursor.execute(sql.COUNTS).fetchall()
                (in_line,) = cursor.execute(sql.IN_LINE).fetchone()
                times = [cursor.execute(sql.OLDEST, (due,)).fetchone()[0] for due in (0, 1)]
            else:
                states = cursor.execute(sql.COUNTS_OF, (tenant,)).fetchall()
                (in_line,) = cursor.execute(sql.IN_LINE_OF, (tenant,)).fetchone()
                times = [cursor.execute(sql.OLDEST_OF, (tenant,)).fetchone()[0]]
        oldest = min((time for time in times if time is not None and time <= now), default=None)
        return DispatchCounts(
            **{state: n for state, n in states if state != "discarded"},
            in_line=in_line,
            oldest_due_ms=None if oldest is None else now - oldest,
        )

    return read


# --- pages -------------------------------------------------------------------------------------


def page(
    statement: str, kind: codec.Codec[Any], parameters: dict[str, object], limit: int, scope: str
) -> Read[Page]:
    """A page of a statement that selects the position in the list and, last, the record."""

    def read(cursor: sqlite3.Cursor) -> Page:
        found = cursor.execute(statement, {**parameters, "limit": limit + 1}).fetchall()
        items = tuple(_readable(kind, found[:limit]))
        more = len(found) > limit
        next_key = pages.encode(scope, found[limit - 1][:-1]) if more else None
        return Page(items=items, next_key=next_key)

    return read


def _readable(kind: codec.Codec[T], found: Sequence[rows.Row]) -> Iterator[T]:
    """The records of a page. One that cannot be read is left out: it must not hide the others."""
    for row in found:
        try:
            yield kind.decode(row[-1], row[0])
        except UndecodableRecord as error:
            log.error("left out of a list: %s", error.message)


def start(scope: str, key: str | None) -> tuple[str, int]:
    """(id, time) of the last item that was shown."""
    return pages.decode(scope, key, tuple[str, int]) if key else (_LAST[1], _LAST[0])


def runs(tenant: str, where: RunFilter, limit: int, key: str | None) -> Read[Page]:
    scope = pages.scope("runs", tenant, where)
    run_id, created_at = start(scope, key)
    kind = {None: "any", RunStatus.done: "done"}.get(where.status, "unfinished")
    statement = sql.RUNS[where.thread_id is not None, where.agent_id is not None, kind]
    parameters: dict[str, object] = {
        "tenant": tenant,
        "run_id": run_id,
        "created_at": created_at,
        "thread_id": where.thread_id,
        "agent_id": where.agent_id,
        "status": where.status and where.status.value,
    }
    return page(statement, codec.RUN, parameters, limit, scope)


def tickets(tenant: str, where: TicketFilter, limit: int, key: str | None) -> Read[Page]:
    scope = pages.scope("tickets", tenant, where)
    ticket_id, opened_at = start(scope, key)
    kind = {None: "any", TicketStatus.open: "open"}.get(where.status, "closed")
    statement = sql.TICKETS[where.thread_id is not None, where.run_id is not None, kind]
    parameters: dict[str, object] = {
        "tenant": tenant,
        "ticket_id": ticket_id,
        "opened_at": opened_at,
        "thread_id": where.thread_id,
        "run_id": where.run_id,
        "status": where.status and where.status.value,
    }
    return page(statement, codec.TICKET, parameters, limit, scope)


def threads(
    tenant: str, limit: int, key: str | None, resource_id: str | None, parent_id: str | None
) -> Read[Page]:
    scope = pages.scope("threads", tenant, resource_id, parent_id)
    thread_id, updated_at = start(scope, key)
    statement = sql.THREADS[resource_id is not None, parent_id is not None]
    parameters: dict[str, object] = {
        "tenant": tenant,
        "thread_id": thread_id,
        "updated_at": updated_at,
        "resource_id": resource_id,
        "parent_thread_id": parent_id,
    }
    return page(statement, codec.THREAD, parameters, limit, scope)


def messages(
    tenant: str, thread_id: str, where: MessageFilter, limit: int, key: str | None
) -> Read[Page]:
    scope = pages.scope("messages", tenant, thread_id, where)
    after = where.after if where.after is not None else 0
    before = where.before if where.before is not None else _LAST[0]
    if key:
        (shown,) = pages.decode(scope, key, tuple[int])
        after, before = (after, shown) if where.descending else (shown, before)
    one_visibility, other, third = _VISIBLE.get(where.visibility, _ALL_VISIBLE)
    parameters: dict[str, object] = {
        "tenant": tenant,
        "thread_id": thread_id,
        "run_id": where.run_id,
        "after": after,
        "before": before,
        "one": one_visibility,
        "other": other,
        "third": third,
    }
    statement = sql.MESSAGES[where.run_id is not None, where.descending]
    return page(statement, codec.MESSAGE, parameters, limit, scope)


def dispatches(tenant: str, thread_id: str, limit: int, key: str | None) -> Read[Page]:
    scope = pages.scope("dispatches", tenant, thread_id)
    dispatch_id, created_at = start(scope, key)
    parameters: dict[str, object] = {
        "tenant": tenant,
        "thread_id": thread_id,
        "dispatch_id": dispatch_id,
        "created_at": created_at,
    }
    return page(sql.DISPATCHES, codec.DISPATCH, parameters, limit, scope)
