"""What is given up, deleted or old: the parts of the transaction and of the store that care for it.

Nothing here needs the record of a row that is deleted or set aside, so that one that cannot be read
is in nobody's way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from awaken.domain.care import DeadLetter, Deletion, Delivery, Erased, Kept, LetterFilter
from awaken.domain.dispatch import Dispatch
from awaken.errors import UndecodableRecord
from awaken.ports.hints import Hint, ThreadDeleted
from awaken.ports.store import Operation, Page
from awaken.stores import codec, pages
from awaken.stores.sqlite import care_statements as sql
from awaken.stores.sqlite import queries, rows
from awaken.stores.sqlite.reader import Read

T = TypeVar("T")

PURGE_SLICE: Final = 500
"""Rows that one operation deletes at most, so that others do not wait long behind a purge."""

COMPACTED: Final = 1
BEING_DELETED: Final = 2
GONE: Final = 3
"""What became of a run's log, as `runs.compacted` tells it; 0 is as it was written."""


class CareOfRows:
    """`ports.care.CareOfRows`, over what `SqliteTransaction` has."""

    __slots__ = ()

    now: int
    hints: list[Hint]
    _cursor: sqlite3.Cursor
    _write: Callable[[str, tuple[object, ...]], None]
    _flush: Callable[[], None]
    _forget_thread: Callable[[str, str], None]
    _forget_dispatch: Callable[[str, str], None]
    _forget_run: Callable[[str, str], None]

    # --- deleting a thread -------------------------------------------------------------------

    async def children(self, tenant: str, thread_id: str, limit: int) -> list[str]:
        self._flush()
        self._cursor.execute(sql.CHILDREN, (tenant, thread_id, limit))
        return [child for (child,) in self._cursor.fetchall()]

    async def threads_of(self, tenant: str, resource_id: str, limit: int) -> list[str]:
        self._flush()
        self._cursor.execute(sql.THREADS_OF, (tenant, resource_id, limit))
        return [thread_id for (thread_id,) in self._cursor.fetchall()]

    async def deletion(self, tenant: str, thread_id: str) -> Deletion | None:
        row = self._cursor.execute(sql.DELETION, (tenant, thread_id)).fetchone()
        return codec.DELETION.decode(row[0], thread_id, tenant) if row else None

    def drop_thread(self, deletion: Deletion) -> None:
        key = (deletion.tenant, deletion.thread_id)
        self._forget_thread(*key)
        self._write(sql.DROP_HEAD, key)
        self._write(sql.DROP_THREAD, key)
        self._write(sql.PUT_DELETION, (*key, deletion.begun_at, codec.encode(deletion)))
        self.hints.append(ThreadDeleted(tenant=deletion.tenant, thread_id=deletion.thread_id))

    async def erase(self, tenant: str, thread_id: str, limit: int) -> Erased:
        self._flush()
        self._write(sql.ERASE_RUNS, (tenant, thread_id, limit))
        pinned = self._cursor.fetchall()
        counts = {"runs": len(pinned), "specs": self._delete_specs(pinned)}
        left = limit - len(pinned)
        for table, statement in sql.ERASE.items():
            self._write(statement, (tenant, thread_id, left))
            counts[table] = self._cursor.rowcount
            left -= counts[table]
        return Erased(**counts)

    def end_deletion(self, tenant: str, thread_id: str) -> None:
        self._write(sql.END_DELETION, (tenant, thread_id))

    def _delete_specs(self, pinned: Iterable[tuple[str, str | None]]) -> int:
        count = 0
        for key in sorted({(tenant, spec) for tenant, spec in pinned if spec is not None}):
            self._write(sql.DELETE_SPEC, key)
            count += self._cursor.rowcount
        return count

    # --- giving up ---------------------------------------------------------------------------

    async def delivery(self, tenant: str, dispatch_id: str) -> Delivery | None:
        self._flush()
        row = self._cursor.execute(sql.DELIVERY, (tenant, dispatch_id)).fetchone()
        if row is None:
            return None
        return Delivery(
            tenant=tenant,
            dispatch_id=dispatch_id,
            thread_id=row[0],
            run_id=row[1],
            state=row[2],
        )

    def bury_dispatch(self, tenant: str, dispatch_id: str) -> None:
        self._forget_dispatch(tenant, dispatch_id)
        self._write(sql.BURY_DISPATCH, (self.now, tenant, dispatch_id))

    def bury_run(self, tenant: str, run_id: str) -> None:
        self._forget_run(tenant, run_id)
        self._write(sql.BURY_RUN, (self.now, tenant, run_id))

    async def discard(self, tenant: str, dispatch_id: str) -> bool:
        self._flush()
        self._write(sql.DISCARD, (tenant, dispatch_id))
        return self._cursor.rowcount > 0

    # --- what is old: operations of the store itself -------------------------------------------

    def purge_rows(self, statement: str, before: int, limit: int) -> int:
        """Delete by one of the statements that say all; how many rows went."""
        self._write(statement, (before, limit))
        return self._cursor.rowcount

    def purge_logs(self, before: int, limit: int) -> int:
        """Delete logs, those that were begun first; how many rows and runs that were."""
        count = 0
        for state in (BEING_DELETED, COMPACTED, 0):
            while count < limit:
                found = self._old_runs(state, before, limit - count)
                if not found:
                    break
                count += self._delete_logs(found, limit - count)
        return count

    def _old_runs(self, state: int, before: int, limit: int) -> list[Any]:
        return self._cursor.execute(sql.OLD_RUNS, (state, before, limit)).fetchall()

    def _delete_logs(self, runs: Iterable[tuple[str, str, str]], limit: int) -> int:
        count = 0
        for tenant, run_id, thread_id in runs:
            if count >= limit:
                break
            room = limit - count
            self._write(sql.DELETE_LOG, (tenant, run_id, room))
            seqs = [seq for (seq,) in self._cursor.fetchall()]
            if seqs:
                self._write(sql.RAISE_EXPIRED, (max(seqs), tenant, thread_id))
            whole = len(seqs) < room
            self._write(sql.SET_LOG_STATE, (GONE if whole else BEING_DELETED, tenant, run_id))
            count += len(seqs) + whole
        return count

    def purge_runs(self, before: int, limit: int) -> int:
        """Delete runs whose log is gone; how many rows that were."""
        found = self._old_runs(GONE, before, limit)
        count = 0
        for tenant, run_id, _ in found:
            if count >= limit:
                break
            self._write(sql.DELETE_TICKETS_OF_RUN, (tenant, run_id))
            count += self._cursor.rowcount
            self._write(sql.DELETE_RUN, (tenant, run_id))
            pinned = self._cursor.fetchall()
            count += len(pinned)
            self._delete_specs(pinned)
        return min(count, limit)

    def log_is_as_written(self, tenant: str, run_id: str) -> bool:
        """Whether the log of the run waits to be compacted: it was not deleted meanwhile."""
        row = self._cursor.execute(sql.LOG_STATE, (tenant, run_id)).fetchone()
        return row is not None and row[0] == 0


class CareOfStore:
    """`ports.care.CareOfStore`, over what `SqliteStore` has."""

    async def _read(self, read: Read[T]) -> T:
        raise AssertionError("the store reads")

    async def transact(self, operation: Operation[T]) -> T:
        raise AssertionError("the store writes")

    async def dead_letters(
        self, tenant: str, where: LetterFilter, limit: int, key: str | None
    ) -> Page:
        return await self._read(dead_letters(tenant, where, limit, key))

    async def known_runs(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        wanted = codec.encode(run_ids).decode()

        def read(cursor: sqlite3.Cursor) -> set[str]:
            found = cursor.execute(sql.KNOWN_RUNS, (tenant, wanted)).fetchall()
            return {run_id for (run_id,) in found}

        return await self._read(read)

    async def expired_seq(self, tenant: str, thread_id: str) -> int:
        def read(cursor: sqlite3.Cursor) -> int:
            row = cursor.execute(sql.EXPIRED_SEQ, (tenant, thread_id)).fetchone()
            return int(row[0]) if row else 0

        return await self._read(read)

    async def deletions(self, limit: int) -> list[Deletion]:
        return await self._read(queries.several(sql.DELETIONS, codec.DELETION, limit))

    async def purge(self, kind: Kept, *, before: int, limit: int) -> int:
        done = 0
        for slice_ in _SLICES[kind]:
            done += await self._purge(slice_, before, limit - done)
        return done

    async def _purge(
        self, slice_: Callable[[CareOfRows, int, int], int], before: int, limit: int
    ) -> int:
        done = 0
        while done < limit:
            size = min(PURGE_SLICE, limit - done)
            gone = await self.transact(partial(_as_operation, slice_, before, size))
            done += gone
            if gone < size:
                break
        return done


def _by(statement: str) -> Callable[[CareOfRows, int, int], int]:
    return lambda tx, before, limit: tx.purge_rows(statement, before, limit)


_SLICES: Final[dict[Kept, tuple[Callable[[CareOfRows, int, int], int], ...]]] = {
    Kept.finished_dispatches: (_by(sql.PURGE_FINISHED),),
    Kept.dead_letters: (_by(sql.PURGE_DEAD),),
    Kept.closed_tickets: (_by(sql.PURGE_TICKETS),),
    Kept.notes: (_by(sql.PURGE_NOTES),),
    Kept.logs: (CareOfRows.purge_logs,),
    Kept.runs: (CareOfRows.purge_logs, CareOfRows.purge_runs),
}


async def _as_operation(
    slice_: Callable[[CareOfRows, int, int], int], before: int, limit: int, tx: Any
) -> int:
    assert isinstance(tx, CareOfRows)
    return slice_(tx, before, limit)


# --- the list of dead letters --------------------------------------------------------------------


def dead_letters(tenant: str, where: LetterFilter, limit: int, key: str | None) -> Read[Page]:
    scope = pages.scope("dead_letters", tenant, where)
    dispatch_id, finished_at = queries.start(scope, key)
    statement = sql.DEAD_LETTERS[where.thread_id is not None, where.agent_id is not None]
    parameters = {
        "tenant": tenant,
        "dispatch_id": dispatch_id,
        "finished_at": finished_at,
        "thread_id": where.thread_id,
        "agent_id": where.agent_id,
        "limit": limit + 1,
    }

    def read(cursor: sqlite3.Cursor) -> Page:
        found = cursor.execute(statement, parameters).fetchall()
        more = len(found) > limit
        next_key = pages.encode(scope, found[limit - 1][:2]) if more else None
        return Page(items=tuple(map(_letter, found[:limit])), next_key=next_key)

    return read


def _letter(row: rows.Row) -> DeadLetter:
    dispatch_id, finished_at, run_id, thread_id, created_at, agent_id, data = row
    return DeadLetter(
        dispatch_id=dispatch_id,
        run_id=run_id,
        thread_id=thread_id,
        created_at=created_at,
        finished_at=finished_at,
        agent_id=agent_id,
        dispatch=_dispatch(data, dispatch_id),
    )


def _dispatch(data: bytes, dispatch_id: str) -> Dispatch | None:
    try:
        return codec.DISPATCH.decode(data, dispatch_id)
    except UndecodableRecord:
        return None
