"""What in a store's rows should not be: a port of its own, for whoever examines a server.

A healthy store has none of it for longer than a moment. Each list is found by an index and has at
most `limit` rows, so that to look costs the same however much is stored.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from awaken.domain.record import Record


class Row(Record):
    """One row; `kind` is run, dispatch, ticket, pending entry or line."""

    tenant: str
    kind: str
    id: str
    run_id: str | None = None
    at: int | None = None


class Symptoms(Record):
    """What was found, from one snapshot.

    expired: claims whose lease or grace ended before the time that was asked about.
    overdue: queued dispatches that were to stand in line before that time.
    front: the first in line, if there is one.
    lost_runs: unfinished runs that nothing will move: no live dispatch, and they wait for nobody.
    unasked_runs: runs that wait for tickets, none of which is open.
    stray: live dispatches whose run is missing or done, and rows of the line without a dispatch.
    undecodable: rows that cannot be read.
    dead_letters, poison: how many dead letters there are, and how many of the latest `limit` are
        poison.
    latest_lease: when the last lease ends; None when there is no claim.
    complete: whether no list was cut at the limit.
    """

    expired: tuple[Row, ...] = ()
    overdue: tuple[Row, ...] = ()
    front: Row | None = None
    lost_runs: tuple[Row, ...] = ()
    unasked_runs: tuple[Row, ...] = ()
    stray: tuple[Row, ...] = ()
    undecodable: tuple[Row, ...] = ()
    dead_letters: int = 0
    poison: int = 0
    latest_lease: int | None = None
    complete: bool = True


@runtime_checkable
class Examinable(Protocol):
    """A store that can be examined."""

    async def symptoms(self, *, late_before: int, limit: int) -> Symptoms:
        """What should not be; `late_before` is a time of the store's clock (ms).

        Nothing is changed. A row that cannot be read is told, and keeps nothing else from being.

        Raises:
            StoreFault: the store cannot be read.
        """
        ...
