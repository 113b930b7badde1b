"""The sweeper: acts when time, and nothing else, has made something due.

It expires claims whose lease or interrupt deadline is past, promotes what has become due, submits
what schedules name, and deletes what nobody needs any more; in slices, and with no rules of its
own.
"""

from __future__ import annotations

import logging

import anyio

from awaken.domain.care import Kept
from awaken.domain.dispatch import Claimed, Dispatch, Effect
from awaken.domain.ticket import Decision
from awaken.errors import StoreFault, UndecodableRecord
from awaken.mailbox.bury import bury
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.decide import Verdict, expire_ticket
from awaken.mailbox.erase import carry_out_all
from awaken.mailbox.schedules import Schedules
from awaken.mailbox.settle import expire
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.clock import Clock, Ids
from awaken.ports.store import Store, Transaction, operation

log = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.01
"""Seconds between passes, so that a row nobody can move does not keep a processor busy."""
GARBAGE_SLICE = 500
"""Rows that are deleted at a time."""


async def promote(tx: Transaction, limit: int) -> int:
    """Let queued dispatches whose time has come stand in line; returns how many there were."""
    due = await tx.undue(limit)
    for dispatch in due:
        unit = await ThreadUnit.open(tx, dispatch.tenant, dispatch.thread_id)
        if unit is None:  # no rule leaves one, but it must not stop the others
            log.error("set aside: a dispatch without a thread", extra=_ids(dispatch))
            tx.bury_dispatch(dispatch.tenant, dispatch.dispatch_id)
            continue
        unit.change(dispatch)
        await unit.save()
    return len(due)


class Sweeper:
    """One per process; several are harmless."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        config: MailboxConfig,
        schedules: Schedules | None = None,
    ) -> None:
        self._store = store
        self._schedules = schedules
        self._ids = ids
        self._clock = clock
        self._config = config
        self._wake = anyio.Event()
        self._next_at: int | None = None
        self._was_due_at: int | None = None
        self._next_pass = 0.0

    def due_at(self, at: int) -> None:
        """Something will be due at `at` (store's clock, ms)."""
        if self._next_at is None or at < self._next_at:
            self._next_at = at
            self._wake.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._collect_for_ever)
            while True:
                self._next_at = None
                self._next_pass = self._clock.monotonic() + self._config.sweep_ms / 1000
                await self._pass()
                await self._wait()

    async def _wait(self) -> None:
        """Until the next pass or due time; a hint that names a nearer one shortens the wait."""
        while True:
            self._wake = anyio.Event()
            with anyio.move_on_after(self._pause()) as timer:
                await self._wake.wait()
            if timer.cancelled_caught:
                return

    def _pause(self) -> float:
        pause = self._next_pass - self._clock.monotonic()
        if self._next_at is not None:
            pause = min(pause, (self._next_at - self._clock.now()) / 1000)
        return max(SHORTEST_PAUSE, pause)

    async def _pass(self) -> None:
        try:
            await self.sweep()
            due_at = await self._store.next_due_at()
            # What was due before this pass, and is still, nobody could move: a row that cannot be
            # read. It waits for the next pass, or it would keep a processor busy.
            stuck = due_at == self._was_due_at and due_at is not None and due_at < self._clock.now()
            if due_at is not None and not stuck:
                self.due_at(due_at + 1)
            self._was_due_at = due_at
        except StoreFault as fault:
            log.warning("sweep failed: %s", fault.code)

    async def sweep(self) -> None:
        """Do everything that is due now."""
        for dispatch in await self._store.claims_of_the_dead():
            await self._expire(dispatch, owner_dead=True)
        expired = await self._store.expired(self._config.batch)
        while expired:
            ended = [await self._expire(dispatch, owner_dead=False) for dispatch in expired]
            expired = await self._store.expired(self._config.batch) if any(ended) else []
        await self._expire_tickets()
        while await self._store.transact(operation(promote, self._config.batch)):
            pass
        if self._schedules is not None:
            await self._schedules.fire_due()

    async def _expire(self, dispatch: Dispatch, *, owner_dead: bool) -> bool:
        """Whether the claim ended; a row that cannot be decoded must not stop the others."""
        try:
            op = operation(expire, dispatch, owner_dead=owner_dead)
            answer = await self._store.transact(op)
        except UndecodableRecord:
            return await self._store.transact(
                operation(bury, dispatch.tenant, dispatch.dispatch_id)
            )
        except StoreFault as fault:
            log.warning("a claim could not be expired: %s", fault.code, extra=_ids(dispatch))
            return False
        if isinstance(answer, Effect):
            log.info("a claim expired: %s", answer.value, extra=_ids(dispatch))
        return isinstance(answer, Effect)

    async def _expire_tickets(self) -> None:
        for tenant, ticket in await self._store.expired_tickets(self._config.batch):
            verdict = Verdict(
                ticket_id=ticket.ticket_id,
                decision=Decision(decision_id=self._ids.new(), action="expire"),
                dispatch_id=self._ids.new(),
                max_attempts=self._config.max_attempts,
            )
            try:
                await self._store.transact(operation(expire_ticket, tenant, verdict))
            except StoreFault as fault:
                log.warning("a ticket could not be expired: %s", fault.code)

    async def _collect_for_ever(self) -> None:
        """Beside the sweeps, so that a great heap of old things delays no expiry."""
        while True:
            try:
                await self.collect_garbage()
            except StoreFault as fault:
                log.warning("garbage not collected, trying again later: %s", fault.code)
            await self._clock.sleep(self._config.gc_ms / 1000)

    async def collect_garbage(self) -> None:
        """Go on with deletions that were begun, and delete what was kept long enough."""
        await carry_out_all(self._store, self._config.batch)
        now, limit = self._clock.now(), GARBAGE_SLICE
        while await self._store.purge(Kept.notes, before=now, limit=limit):
            pass
        for kind, kept_ms in self._config.kept.items():
            while kept_ms and await self._store.purge(kind, before=now - kept_ms, limit=limit):
                pass


def _ids(dispatch: Dispatch) -> dict[str, str]:
    ids = {
        "run_id": dispatch.run_id,
        "thread_id": dispatch.thread_id,
        "dispatch_id": dispatch.dispatch_id,
    }
    if isinstance(dispatch.body, Claimed):
        ids["attempt_id"] = dispatch.body.claim_token
    return ids
