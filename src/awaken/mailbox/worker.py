"""The worker: waits for a slot, claims, executes; and looks again before it sleeps.

A hint is only ever a reason to look. The worker wakes on one, when an attempt ends, and at every
poll; a hint that comes while it looks makes it look once more, so no wake-up is ever lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup, TaskStatus

from awaken.domain.claim import Claim
from awaken.domain.outcome import Outcome
from awaken.errors import StoreFault
from awaken.mailbox.claim import Claimer, claim_next, claim_of
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.execute import Executor
from awaken.mailbox.settle import Settled
from awaken.ports.clock import Clock, Ids
from awaken.ports.store import Store, operation

log = logging.getLogger(__name__)

CLAIMS_AT_ONCE = 16
UNHEARD_PAUSE = 0.1
"""Seconds until a claim of unknown fate is asked about."""

Observer = Callable[[Claim, Outcome, Settled | None], None]
"""Told once about every attempt that ended; must not block or raise."""


class Slots:
    """How many runs may execute; some are kept for runs a client waits for."""

    def __init__(self, total: int, kept_for_foreground: int) -> None:
        self.total = total
        self.kept = min(kept_for_foreground, total)
        self.used = 0

    def free(self, *, foreground: bool) -> int:
        """How many more may start."""
        return max(0, self.total - self.used - (0 if foreground else self.kept))

    def take_nowait(self, *, foreground: bool) -> bool:
        """Take one, if there is one."""
        if not self.free(foreground=foreground):
            return False
        self.used += 1
        return True


class Worker:
    """One per process."""

    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        config: MailboxConfig,
        worker_id: str,
        observer: Observer,
    ) -> None:
        self.worker_id = worker_id
        self.slots = Slots(config.max_concurrent_runs, config.foreground_slots)
        self.claiming = True
        self._store = store
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._config = config
        self._observer = observer
        self._tasks: TaskGroup | None = None
        self._unheard: dict[str, float] = {}  # tokens of unknown fate, and when they were asked for
        self._wake = anyio.Event()
        self._idle = anyio.Event()

    def claimer(self) -> Claimer:
        """A fresh claim in this worker's name."""
        return Claimer(
            claim_token=self._ids.new(),
            worker_id=self.worker_id,
            lease_ms=self._config.lease_ms,
        )

    def reserve(self, *, foreground: bool) -> Claimer | None:
        """Take a slot for a claim that a submit will make; None when there is none to take."""
        if self._tasks is None or not self.claiming:
            return None
        return self.claimer() if self.slots.take_nowait(foreground=foreground) else None

    def cancel_reservation(self) -> None:
        """The reserved slot is not needed."""
        self._give_back(1)

    def start(self, claim: Claim, asked_at: float) -> None:
        """Execute `claim` in a slot that was taken for it.

        A worker that has ended meanwhile leaves it to its lease: what was accepted stays so.
        """
        if self._tasks is None:
            log.info("claimed while the worker ended; left to its lease", extra=claim.log_ids)
            self._give_back(1)
            return
        self._tasks.start_soon(self._execute, claim, asked_at, name=f"run {claim.run_id}")

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Claim and execute until cancelled."""
        try:
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                await self._work()
        finally:
            self._tasks = None

    async def _work(self) -> None:
        while True:
            self._wake = anyio.Event()
            await self._look()
            pause = UNHEARD_PAUSE if self._unheard else self._config.poll_ms / 1000
            with anyio.move_on_after(pause):
                await self._wake.wait()

    async def wait_idle(self) -> None:
        """Until no attempt is being executed."""
        while self.slots.used:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def _look(self) -> None:
        """Claim as long as there is something to claim and a slot for it."""
        try:
            await self._adopt()
            while self.claiming and await self._claim_some():
                pass
        except StoreFault as fault:
            log.warning("claim failed: %s", fault.code)
            if not fault.retryable:
                self._unheard.clear()  # what cannot be asked about is left to its lease

    async def _claim_some(self) -> bool:
        foreground_only = not self.slots.free(foreground=False)
        count = min(CLAIMS_AT_ONCE, self.slots.free(foreground=foreground_only))
        if not count:
            return False
        claimers = tuple(self.claimer() for _ in range(count))
        self.slots.used += count
        asked_at = self._clock.monotonic()
        claims: list[Claim] = []
        try:
            op = operation(claim_next, claimers, foreground_only=foreground_only)
            claims = await self._store.transact(op)
        except StoreFault as fault:
            if fault.unknown:
                tokens = [claimer.claim_token for claimer in claimers]
                self._unheard.update(dict.fromkeys(tokens, asked_at))
            raise
        finally:
            self.slots.used -= count - len(claims)
            self._idle.set()
        for claim in claims:
            self.start(claim, asked_at)
        return len(claims) == count

    async def _adopt(self) -> None:
        """Execute claims of ours whose commit we had not heard of, and no others.

        Claims that a submit makes are its own to start.
        """
        if not self._unheard:
            return
        for dispatch in await self._store.claims_of(self.worker_id):
            claim = claim_of(dispatch)
            asked_at = self._unheard.get(claim.claim_token)
            if asked_at is not None:
                self.slots.used += 1
                self.start(claim, asked_at)
        self._unheard.clear()

    async def _execute(self, claim: Claim, asked_at: float) -> None:
        try:
            outcome, settled = await self._executor.execute(claim, asked_at)
            self._observer(claim, outcome, settled)
        except Exception:
            # The top of an attempt: a fault of ours ends this claim by its lease, not the server.
            log.exception("execution broke off", extra={"run_id": claim.run_id})
        finally:
            self._give_back(1)

    def _give_back(self, slots: int) -> None:
        self.slots.used -= slots
        self._idle.set()
        self.wake()
