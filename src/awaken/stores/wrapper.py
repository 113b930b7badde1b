"""A store round another one: the base of what times calls, or lets them fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from awaken.domain.care import Deletion, Kept, LetterFilter
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Segment
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket
from awaken.ports.hints import HintListener
from awaken.ports.store import (
    Checkpoint,
    DispatchCounts,
    MessageFilter,
    Operation,
    Page,
    RunFilter,
    Store,
    TicketFilter,
)

T = TypeVar("T")


class StoreWrapper:
    """A `ports.store.Store` that hands everything on to `inner`, through one of two doors."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    async def _write(self, operation: Operation[T]) -> T:
        """The door of `transact`."""
        return await self.inner.transact(operation)

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """The door of every other method that reaches the database; `name` is the method's."""
        return await call()

    @property
    def shared(self) -> bool:
        return self.inner.shared

    def listen(self, listener: HintListener) -> None:
        self.inner.listen(listener)

    async def transact(self, operation: Operation[T]) -> T:
        return await self._write(operation)

    async def next_due_at(self) -> int | None:
        return await self._call("next_due_at", self.inner.next_due_at)

    async def expired(self, limit: int) -> list[Dispatch]:
        return await self._call("expired", partial(self.inner.expired, limit))

    async def claims_of_the_dead(self) -> list[Dispatch]:
        return await self._call("claims_of_the_dead", self.inner.claims_of_the_dead)

    async def claims_of(self, worker_id: str) -> list[Dispatch]:
        return await self._call("claims_of", partial(self.inner.claims_of, worker_id))

    async def checkpoint(self, tenant: str, run_id: str) -> Checkpoint | None:
        return await self._call("checkpoint", partial(self.inner.checkpoint, tenant, run_id))

    async def run(self, tenant: str, run_id: str) -> Run | None:
        return await self._call("run", partial(self.inner.run, tenant, run_id))

    async def runs(self, tenant: str, where: RunFilter, limit: int, key: str | None) -> Page:
        return await self._call("runs", partial(self.inner.runs, tenant, where, limit, key))

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        return await self._call("thread", partial(self.inner.thread, tenant, thread_id))

    async def threads(
        self,
        tenant: str,
        limit: int,
        key: str | None,
        *,
        resource_id: str | None = None,
        parent_thread_id: str | None = None,
    ) -> Page:
        call = partial(
            self.inner.threads,
            tenant,
            limit,
            key,
            resource_id=resource_id,
            parent_thread_id=parent_thread_id,
        )
        return await self._call("threads", call)

    async def messages(
        self, tenant: str, thread_id: str, where: MessageFilter, limit: int, key: str | None
    ) -> Page:
        call = partial(self.inner.messages, tenant, thread_id, where, limit, key)
        return await self._call("messages", call)

    async def pending_entries(self, tenant: str, thread_id: str) -> list[PendingEntry]:
        call = partial(self.inner.pending_entries, tenant, thread_id)
        return await self._call("pending_entries", call)

    async def head(self, tenant: str, thread_id: str) -> ThreadHead | None:
        return await self._call("head", partial(self.inner.head, tenant, thread_id))

    async def heads(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return await self._call("heads", partial(self.inner.heads, keys))

    async def segments(
        self, tenant: str, thread_id: str, after: int, limit: int, run_id: str | None = None
    ) -> list[Segment]:
        call = partial(self.inner.segments, tenant, thread_id, after, limit, run_id)
        return await self._call("segments", call)

    async def dispatch(self, tenant: str, dispatch_id: str) -> Dispatch | None:
        return await self._call("dispatch", partial(self.inner.dispatch, tenant, dispatch_id))

    async def dispatches(self, tenant: str, thread_id: str, limit: int, key: str | None) -> Page:
        call = partial(self.inner.dispatches, tenant, thread_id, limit, key)
        return await self._call("dispatches", call)

    async def ticket(self, tenant: str, ticket_id: str) -> Ticket | None:
        return await self._call("ticket", partial(self.inner.ticket, tenant, ticket_id))

    async def tickets(self, tenant: str, where: TicketFilter, limit: int, key: str | None) -> Page:
        call = partial(self.inner.tickets, tenant, where, limit, key)
        return await self._call("tickets", call)

    async def expired_tickets(self, limit: int) -> list[tuple[str, Ticket]]:
        return await self._call("expired_tickets", partial(self.inner.expired_tickets, limit))

    async def position(self, dispatch: Dispatch, limit: int = 1000) -> int:
        return await self._call("position", partial(self.inner.position, dispatch, limit))

    async def count_due(self, limit: int) -> int:
        return await self._call("count_due", partial(self.inner.count_due, limit))

    async def counts(self, tenant: str | None = None) -> DispatchCounts:
        return await self._call("counts", partial(self.inner.counts, tenant))

    async def dead_letters(
        self, tenant: str, where: LetterFilter, limit: int, key: str | None
    ) -> Page:
        call = partial(self.inner.dead_letters, tenant, where, limit, key)
        return await self._call("dead_letters", call)

    async def known_runs(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        return await self._call("known_runs", partial(self.inner.known_runs, tenant, run_ids))

    async def expired_seq(self, tenant: str, thread_id: str) -> int:
        return await self._call("expired_seq", partial(self.inner.expired_seq, tenant, thread_id))

    async def deletions(self, limit: int) -> list[Deletion]:
        return await self._call("deletions", partial(self.inner.deletions, limit))

    async def purge(self, kind: Kept, *, before: int, limit: int) -> int:
        call = partial(self.inner.purge, kind, before=before, limit=limit)
        return await self._call("purge", call)

    async def schedule(self, tenant: str, schedule_id: str) -> Schedule | None:
        return await self._call("schedule", partial(self.inner.schedule, tenant, schedule_id))

    async def schedules(self, tenant: str, limit: int, key: str | None) -> Page:
        return await self._call("schedules", partial(self.inner.schedules, tenant, limit, key))

    async def due_schedules(self, limit: int) -> list[tuple[str, str]]:
        return await self._call("due_schedules", partial(self.inner.due_schedules, limit))

    async def due_outgoing(self, limit: int) -> list[tuple[str, str]]:
        return await self._call("due_outgoing", partial(self.inner.due_outgoing, limit))

    async def next_outgoing_at(self) -> int | None:
        return await self._call("next_outgoing_at", self.inner.next_outgoing_at)

    async def outgoing_counts(self, limit: int) -> tuple[int, int]:
        return await self._call("outgoing_counts", partial(self.inner.outgoing_counts, limit))

    async def approval_rule_page(self, tenant: str, limit: int, key: str | None) -> Page:
        call = partial(self.inner.approval_rule_page, tenant, limit, key)
        return await self._call("approval_rule_page", call)

    async def compactable(self, *, done_before: int, limit: int) -> list[Run]:
        call = partial(self.inner.compactable, done_before=done_before, limit=limit)
        return await self._call("compactable", call)

    async def compact(self, tenant: str, run_id: str, segments: Sequence[Segment]) -> None:
        await self._call("compact", partial(self.inner.compact, tenant, run_id, segments))

    async def check(self) -> None:
        await self._call("check", self.inner.check)

    async def aclose(self) -> None:
        await self.inner.aclose()
