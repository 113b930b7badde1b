"""Looks for what should not be in the rows: `ports/symptoms.py` for SQLite, as one read."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from awaken.domain.dispatch import Dispatch, Finished
from awaken.domain.run import Run, RunStatus
from awaken.domain.ticket import WaitingReason
from awaken.errors import StoreFault
from awaken.ports.symptoms import Row, Symptoms
from awaken.stores import codec
from awaken.stores.sqlite import symptom_statements as sql
from awaken.stores.sqlite.reader import Read, snapshot

T = TypeVar("T")

POISON: Final = "poison"
_FIRST: Final = -(2**63)
_LIVE: Final = frozenset({"queued", "claimed"})


def symptoms(late_before: int, limit: int) -> Read[Symptoms]:
    """All of it, from one snapshot."""

    def read(cursor: sqlite3.Cursor) -> Symptoms:
        with snapshot(cursor):
            return Examination(cursor, limit).examine(late_before)

    return read


class Examination:
    """One look at the rows; what cannot be read on the way is remembered."""

    def __init__(self, cursor: sqlite3.Cursor, limit: int) -> None:
        self._cursor = cursor
        self._limit = limit
        self._complete = True
        self._undecodable: list[Row] = []

    def examine(self, late_before: int) -> Symptoms:
        """Look everywhere."""
        line, astray = self._line()
        lost, unasked = self._unfinished()
        stray = [*astray, *self._strays()]
        letters = self._dead_letters()
        self._look_at(sql.ALL_OPEN_TICKETS, codec.TICKET)
        self._look_at(sql.ALL_PENDING, codec.PENDING)
        expired = self._rows(sql.LEASE_ENDED, late_before)
        expired += [row for row in self._rows(sql.GRACE_ENDED, late_before) if row not in expired]
        return Symptoms(
            expired=tuple(expired),
            overdue=tuple(self._rows(sql.NOT_PROMOTED, late_before)),
            front=line,
            lost_runs=tuple(lost),
            unasked_runs=tuple(unasked),
            stray=tuple(stray),
            undecodable=tuple(self._undecodable),
            dead_letters=self._number(sql.DEAD_COUNT) or 0,
            poison=letters,
            latest_lease=self._number(sql.LATEST_LEASE),
            complete=self._complete,
        )

    # --- reading ---------------------------------------------------------------------------------

    def _select(self, statement: str, *parameters: object) -> list[Any]:
        """At most `limit` rows of a statement whose last parameter is the limit."""
        found = self._cursor.execute(statement, (*parameters, self._limit)).fetchall()
        self._complete = self._complete and len(found) < self._limit
        return found

    def _rows(self, statement: str, before: int) -> list[Row]:
        return [
            Row(tenant=tenant, kind="dispatch", id=dispatch_id, run_id=run_id, at=at)
            for tenant, dispatch_id, run_id, at in self._select(statement, before)
        ]

    def _number(self, statement: str) -> int | None:
        number: int | None = self._cursor.execute(statement).fetchone()[0]
        return number

    def _decode(
        self, kind: codec.Codec[T], row: tuple[str, str, str | None], data: bytes
    ) -> T | None:
        tenant, identifier, run_id = row
        try:
            return kind.decode(data, identifier)
        except StoreFault:
            bad = Row(tenant=tenant, kind=kind.kind, id=identifier, run_id=run_id)
            self._undecodable.append(bad)
            return None

    def _look_at(self, statement: str, kind: codec.Codec[Any]) -> None:
        for tenant, identifier, run_id, data in self._select(statement):
            self._decode(kind, (tenant, identifier, run_id), data)

    # --- the line and the dispatches -------------------------------------------------------------

    def _line(self) -> tuple[Row | None, list[Row]]:
        """The first in line, and places of dispatches that are not queued."""
        standing: list[tuple[int, Row]] = []
        astray = []
        for tenant, dispatch_id, rank, run_id, at, state in self._select(sql.LINE, _FIRST):
            row = Row(tenant=tenant, kind="dispatch", id=dispatch_id, run_id=run_id, at=at)
            if state == "queued":
                standing.append((rank, row))
            else:
                astray.append(replace(row, kind="line"))
        return min(standing, key=_rank, default=(0, None))[1], astray

    def _strays(self) -> list[Row]:
        """Live dispatches of runs that are missing or done."""
        strays = []
        for statement in sql.LIVE.values():
            for tenant, dispatch_id, run_id, status, data in self._select(statement):
                self._decode(codec.DISPATCH, (tenant, dispatch_id, run_id), data)
                if status is None or status == RunStatus.done.value:
                    strays.append(
                        Row(tenant=tenant, kind="dispatch", id=dispatch_id, run_id=run_id)
                    )
        return strays

    def _dead_letters(self) -> int:
        """How many of the latest dead letters are poison."""
        count = 0
        for tenant, dispatch_id, run_id, data in self._select(sql.DEAD):
            dispatch = self._decode(codec.DISPATCH, (tenant, dispatch_id, run_id), data)
            count += dispatch is not None and _is_poison(dispatch)
        return count

    # --- the runs --------------------------------------------------------------------------------

    def _unfinished(self) -> tuple[list[Row], list[Row]]:
        """Runs that nothing moves, and runs that ask nothing although they wait for an answer."""
        lost, unasked = [], []
        for tenant, run_id, data in self._select(sql.UNFINISHED):
            run = self._decode(codec.RUN, (tenant, run_id, run_id), data)
            if run is None:
                continue
            row = Row(tenant=tenant, kind="run", id=run_id, run_id=run_id, at=run.updated_at)
            if not _waits(run):
                if not self._is_live(run):
                    lost.append(row)
            elif run.waiting is not None and run.waiting.ticket_ids and not self._asks(run):
                unasked.append(row)
        return lost, unasked

    def _is_live(self, run: Run) -> bool:
        key = (run.tenant, run.dispatch_id or "")
        found = self._cursor.execute(sql.STATE, key).fetchone()
        return found is not None and found[0] in _LIVE

    def _asks(self, run: Run) -> bool:
        key = (run.tenant, run.run_id)
        return self._cursor.execute(sql.OPEN_TICKET, key).fetchone() is not None


def _rank(place: tuple[int, Row]) -> tuple[int, str]:
    rank, row = place
    return rank, row.id


def _waits(run: Run) -> bool:
    """Whether somebody else has to do something; a run that is being resumed has a dispatch."""
    resuming = run.waiting is not None and run.waiting.reason is WaitingReason.resuming
    return run.status is RunStatus.waiting and not resuming


def _is_poison(dispatch: Dispatch) -> bool:
    return isinstance(dispatch.body, Finished) and dispatch.body.reason == POISON
