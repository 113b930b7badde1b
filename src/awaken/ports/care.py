"""What a store does for data that is given up, deleted or old; a part of `ports/store.py`.

A thread is deleted in two stages. `drop_thread` takes it away from everybody in one commit and
leaves a `Deletion`; `erase` then deletes its rows, some in each commit, and `end_deletion` says
that nothing is left. So a long deletion holds up nobody, and one that was cut off is found again.

A row whose record cannot be read raises `UndecodableRecord` where its record is needed. What is
said about it here is read from the store's own columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from awaken.domain.care import Deletion, Delivery, Erased, Kept, LetterFilter

if TYPE_CHECKING:
    from awaken.ports.store import Page


class CareOfRows(Protocol):
    """The part of a transaction."""

    # deleting

    async def children(self, tenant: str, thread_id: str, limit: int) -> list[str]:
        """The ids of at most `limit` threads whose parent is the thread."""
        ...

    async def threads_of(self, tenant: str, resource_id: str, limit: int) -> list[str]:
        """The ids of at most `limit` threads with that resource id."""
        ...

    async def deletion(self, tenant: str, thread_id: str) -> Deletion | None:
        """The deletion of the thread that was begun and has not ended."""
        ...

    def drop_thread(self, deletion: Deletion) -> None:
        """Delete the thread's head, metadata and place in line, and keep `deletion`.

        All runs of the thread are done. Hints `ThreadDeleted`.
        """
        ...

    async def erase(self, tenant: str, thread_id: str, limit: int) -> Erased:
        """Delete at most `limit` rows of a thread that was dropped, its runs first.

        With a run goes the specification that it was pinned to, unless another run of the tenant
        needs it; specifications do not count for `limit`. Fewer than `limit` rows: nothing is left.
        """
        ...

    def end_deletion(self, tenant: str, thread_id: str) -> None:
        """Forget the deletion."""
        ...

    # giving up

    async def delivery(self, tenant: str, dispatch_id: str) -> Delivery | None:
        """The dispatch, without reading its record."""
        ...

    def bury_dispatch(self, tenant: str, dispatch_id: str) -> None:
        """Make a dispatch whose record cannot be read a dead letter, as it is."""
        ...

    def bury_run(self, tenant: str, run_id: str) -> None:
        """Make a run whose record cannot be read a done one, as it is."""
        ...

    async def discard(self, tenant: str, dispatch_id: str) -> bool:
        """Take a dead letter out of the list, and out of the count.

        Whether it is one, or was discarded before: then nothing changes.
        """
        ...


class CareOfStore(Protocol):
    """The part of a store."""

    async def dead_letters(
        self, tenant: str, where: LetterFilter, limit: int, key: str | None
    ) -> Page:
        """Dead letters (`DeadLetter`) that were not discarded, newest first.

        By finished_at, then id. One whose record cannot be read is in the list like any other.
        """
        ...

    async def known_runs(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        """Those of `run_ids` that exist, in one statement."""
        ...

    async def expired_seq(self, tenant: str, thread_id: str) -> int:
        """The highest number of the thread's log that `purge` deleted; 0 if there is none.

        What is above it is complete.
        """
        ...

    async def deletions(self, limit: int) -> list[Deletion]:
        """Deletions that have not ended, of all tenants, oldest first."""
        ...

    async def purge(self, kind: Kept, *, before: int, limit: int) -> int:
        """Delete what is older than `before` (by its end, exclusive), oldest first.

        Returns how many rows were deleted, each run whose log went counting as one more: at most
        `limit`, and less only when nothing is left. In slices, so that others do not wait long.
        With a run go its events and tickets, and the specification no other run of the tenant
        needs; its messages stay. With a log `expired_seq` of its thread rises.
        """
        ...
