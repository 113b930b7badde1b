"""Schedules: kept, changed, and submitted when their time has come.

Invariants
S1. A tick makes one run. Its submission and the step of `next_at` are one commit, which happens
    only if the schedule is still as it was read; and the run's id follows from the tick.
S2. A tick runs in its schedule's tenant, whoever looks after it.
S3. A tick that is refused is passed over and leaves the reason in `last_error`; the next one is
    not affected. A schedule whose thread is gone, or whose times cannot be told any more, stops.

Any number of schedulers may look after one store: each one's sweeper calls `fire_due`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import anyio.to_thread
from msgspec.structs import replace

from awaken.domain.ids import derived_id
from awaken.domain.record import Record
from awaken.domain.schedule import Due, Schedule, due, submission, tick_run_id
from awaken.domain.submission import Accepted, Submission
from awaken.errors import Refusal, RequestError, UndecodableRecord, not_found
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.cron import CronTicks, parse
from awaken.mailbox.shares import Shares
from awaken.mailbox.submit import Order, submit
from awaken.ports.clock import Clock, Ids
from awaken.ports.hints import WorkReady
from awaken.ports.resolver import Resolver
from awaken.ports.store import Operation, Store, Transaction, operation

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_SCHEDULES: Final = 1_000
"""How many a tenant may have."""
CHANGES_TRIED: Final = 20
"""How often a change is made anew because a tick came in between."""
LASTING: Final = frozenset({"thread_not_found", "invalid_field"})
"""Refusals after which no later tick can do better."""

Transact = Callable[[Operation[Any]], Awaitable[Any]]


class Firing(Record):
    """A step of a schedule: from the record that was read to the next, with what it submits."""

    before: Schedule
    after: Schedule
    order: Order | None = None


async def fire(tx: Transaction, firing: Firing) -> Accepted | None:
    """Take the step, if the schedule is still as it was read (S1); what was submitted.

    Raises:
        RequestError: `thread_not_found`: a schedule does not bring back a deleted thread.
        Refusal: as `submit`; nothing was changed.
    """
    before, accepted, run_id = firing.before, None, firing.after.last_run_id
    if await tx.schedule(before.tenant, before.schedule_id) != before:
        return None
    if firing.order is not None:
        if before.thread_id and await tx.head(before.tenant, before.thread_id) is None:
            raise not_found("thread", before.thread_id)
        accepted = (await submit(tx, firing.order)).accepted
        run_id = accepted.run_id
    _put(tx, replace(firing.after, last_run_id=run_id))
    return accepted


async def create(tx: Transaction, schedule: Schedule) -> Schedule:
    """Keep a new schedule; repeating it is answered from the record."""
    known = await tx.schedule(schedule.tenant, schedule.schedule_id)
    if known is not None:
        return known
    await _check_thread(tx, schedule)
    _put(tx, schedule)
    return schedule


async def change(tx: Transaction, before: Schedule, after: Schedule) -> Schedule | None:
    """Put `after` in the place of `before`; None when that is not the record any more."""
    stored = await tx.schedule(before.tenant, before.schedule_id)
    if stored not in (before, after):
        return None
    if before.thread_id != after.thread_id:
        await _check_thread(tx, after)
    _put(tx, after)
    return after


async def delete(tx: Transaction, tenant: str, schedule_id: str) -> None:
    """Forget a schedule; 404 when there is none. Runs that it submitted go on."""
    if not await tx.delete_schedule(tenant, schedule_id):
        raise not_found("schedule", schedule_id)


async def bury(tx: Transaction, tenant: str, schedule_id: str) -> None:
    """Let one that cannot be read be due no more: it must not hold up the others."""
    tx.bury_schedule(tenant, schedule_id)


def _put(tx: Transaction, schedule: Schedule) -> None:
    tx.put_schedule(schedule)
    if schedule.next_at is not None:
        tx.hint(WorkReady(due_at=schedule.next_at))


async def _check_thread(tx: Transaction, schedule: Schedule) -> None:
    if schedule.thread_id and await tx.thread(schedule.tenant, schedule.thread_id) is None:
        raise not_found("thread", schedule.thread_id)


class Schedules:
    """All that can be done with schedules, against one store."""

    def __init__(
        self,
        store: Store,
        resolver: Resolver,
        clock: Clock,
        ids: Ids,
        config: MailboxConfig,
        shares: Shares,
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._clock = clock
        self._ids = ids
        self._config = config
        self._shares = shares

    # --- keeping them ------------------------------------------------------------------------

    async def create(self, transact: Transact, schedule: Schedule) -> Schedule:
        """Keep a new schedule; its `schedule_id`, times and `next_at` are made here.

        Raises:
            RequestError: `invalid_field`, `agent_not_found`, `thread_not_found`.
            Refusal: `too_many_schedules`.
        """
        self._resolver.resolve(schedule.tenant, schedule.agent_id)
        await self._check_room(schedule.tenant)
        now = self._clock.now()
        made = replace(schedule, schedule_id=self._ids.new(), created_at=now, updated_at=now)
        made = await _off_loop(_started, made, now)
        kept: Schedule = await transact(operation(create, made))
        return kept

    async def change(
        self, transact: Transact, tenant: str, schedule_id: str, changes: dict[str, Any]
    ) -> Schedule:
        """Change fields of a schedule.

        Other times, and enabling it, begin from now: no tick before that is missed.

        Raises:
            RequestError: `schedule_not_found`, or as `create`.
            Refusal: `schedule_busy`.
        """
        for _ in range(CHANGES_TRIED):
            before = await self._existing(tenant, schedule_id)
            now = self._clock.now()
            after = replace(before, **changes, updated_at=now)
            if after.agent_id != before.agent_id:
                self._resolver.resolve(tenant, after.agent_id)
            if not _same_times(before, after):
                after = await _off_loop(_started, after, now)
            elif not after.enabled:  # whatever else is wrong with it, it can be stopped
                after = replace(after, next_at=None)
            elif not before.enabled:
                after = await _off_loop(_started, after, now)
            changed: Schedule | None = await transact(operation(change, before, after))
            if changed is not None:
                return changed
        raise Refusal("schedule_busy", "the schedule changes all the time; try again")

    async def delete(self, transact: Transact, tenant: str, schedule_id: str) -> None:
        """Forget a schedule; RequestError `schedule_not_found`."""
        await transact(operation(delete, tenant, schedule_id))

    async def trigger(self, tenant: str, schedule_id: str) -> Submission:
        """The schedule's submission, for now: a run beside the ticks, which changes none of them.

        Raises:
            RequestError: `schedule_not_found`, `thread_not_found`.
        """
        schedule = await self._existing(tenant, schedule_id)
        if schedule.thread_id and await self._store.thread(tenant, schedule.thread_id) is None:
            raise not_found("thread", schedule.thread_id)
        return submission(schedule, self._ids.new(), self._clock.now())

    async def _existing(self, tenant: str, schedule_id: str) -> Schedule:
        schedule = await self._store.schedule(tenant, schedule_id)
        if schedule is None:
            raise not_found("schedule", schedule_id)
        return schedule

    async def _check_room(self, tenant: str) -> None:
        page = await self._store.schedules(tenant, MAX_SCHEDULES, None)
        if len(page.items) >= MAX_SCHEDULES:
            raise Refusal(
                "too_many_schedules", f"there are {MAX_SCHEDULES} schedules already", status=429
            )

    # --- submitting what is due --------------------------------------------------------------

    async def fire_due(self) -> None:
        """Submit every tick whose time has come, of all tenants.

        Raises:
            StoreFault: the rest waits for the next call.
        """
        while found := await self._store.due_schedules(self._config.batch):
            now = await self._store.transact(operation(_store_now))
            if not any([await self._look_after(*key, now) for key in found]):
                break

    async def _look_after(self, tenant: str, schedule_id: str, now: int) -> bool:
        """Take one step of one schedule; whether it was due."""
        try:
            schedule = await self._store.schedule(tenant, schedule_id)
        except UndecodableRecord as error:
            log.error("a schedule stops: %s", error.message)
            await self._store.transact(operation(bury, tenant, schedule_id))
            return True
        return schedule is not None and await self._step(schedule, now)

    async def _step(self, schedule: Schedule, now: int) -> bool:
        try:
            step = await _off_loop(_due, schedule, now)
        except RequestError as error:  # a time zone may leave the tables
            step = Due(fire_at=None, next_at=None)
            await self._pass_over(schedule, step, error.code)
            return True
        if step is None:
            return False
        try:
            await self._fire(schedule, step, now)
        except (RequestError, Refusal, UndecodableRecord) as error:
            await self._pass_over(schedule, step, error.code)
        return True

    async def _fire(self, schedule: Schedule, step: Due, now: int) -> None:
        after = replace(schedule, next_at=step.next_at)
        order = None
        if step.fire_at is not None:
            order = self._order(schedule, step.fire_at, now)
            after = replace(after, last_at=step.fire_at, last_error=None)
        firing = Firing(before=schedule, after=after, order=order)
        accepted = await self._store.transact(operation(fire, firing))
        if accepted is not None and order is not None:
            self._shares.waits(schedule.tenant, order.priority, now)
            ids = {**_ids(schedule), "run_id": accepted.run_id}
            log.info("a schedule submitted a run", extra=ids)
        elif order is None:
            log.warning("a schedule skips what it missed", extra=_ids(schedule))

    def _order(self, schedule: Schedule, at: int, now: int) -> Order:
        run_id = tick_run_id(schedule.schedule_id, at)
        wanted = submission(schedule, run_id, at)
        assert wanted.thread_id is not None
        resolution_id, spec = self._resolver.resolve(schedule.tenant, schedule.agent_id)
        order = Order(
            submission=wanted,
            thread_id=wanted.thread_id,
            dispatch_id=derived_id(run_id, "dispatch"),
            resolution_id=resolution_id,
            spec=spec,
            max_attempts=self._config.max_attempts,
            grace_ms=self._config.interrupt_grace_ms,
            thread_limit=self._config.max_queued_per_thread,
        )
        lead = self._shares.lead(schedule.tenant, order.priority, now)
        return replace(order, tenant_lead=lead)

    async def _pass_over(self, schedule: Schedule, step: Due, code: str) -> None:
        """Go on to the next tick without this one (S3)."""
        log.warning("a schedule's tick was refused: %s", code, extra=_ids(schedule))
        after = replace(schedule, last_error=code, next_at=step.next_at)
        if code in LASTING:
            after = replace(after, enabled=False, next_at=None)
        await self._store.transact(operation(fire, Firing(before=schedule, after=after)))


async def _store_now(tx: Transaction) -> int:
    """What is due goes by the store's clock."""
    return tx.now


def _ids(schedule: Schedule) -> dict[str, str]:
    return {"schedule_id": schedule.schedule_id, "tenant": schedule.tenant}


def _same_times(before: Schedule, after: Schedule) -> bool:
    return (before.cron, before.timezone) == (after.cron, after.timezone)


def _started(schedule: Schedule, now: int) -> Schedule:
    """With the next tick after `now`."""
    ticks = parse(schedule.cron, schedule.timezone, now)
    return replace(schedule, next_at=ticks.after(now) if schedule.enabled else None)


def _due(schedule: Schedule, now: int) -> Due | None:
    return due(schedule, CronTicks(schedule.cron, schedule.timezone), now)


async def _off_loop(rule: Callable[[Schedule, int], T], schedule: Schedule, now: int) -> T:
    """A rule about times: it reads zone files, and may look through years."""
    return await anyio.to_thread.run_sync(partial(rule, schedule, now))
