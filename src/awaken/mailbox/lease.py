"""Leases: keeping what this process has claimed, and ending attempts that lost it or were stopped.

The owner measures its deadline on the monotonic clock, from the moment it *asked* for the claim or
the renewal, less a sixth of the lease: so it stops before anyone else may start. A renewal that
fails is repeated until then; only then is the attempt cancelled as lost. Renewal goes on until
settle is answered. Only the attempt's scope is ever cancelled, never the settle; and always one
claim's, never a thread's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import anyio

from awaken.domain import dispatch as rules
from awaken.domain.claim import Claim, Renewal
from awaken.domain.dispatch import Applied, Claimed
from awaken.domain.run import Run
from awaken.errors import StoreFault
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.clock import Clock
from awaken.ports.store import Store, Transaction, operation

log = logging.getLogger(__name__)


class Ended(StrEnum):
    """Why an attempt was cancelled from outside."""

    lost = "lost"
    cancelled = "cancelled"
    superseded = "superseded"
    shutdown = "shutdown"


class Held:
    """A claim this process holds. `scope` is the attempt's; `ended` says why it was cancelled.

    `steerable` says whether its runner takes messages that come while it runs.
    """

    def __init__(self, claim: Claim, began: float, deadline: float) -> None:
        self.claim = claim
        self.began = began
        self.deadline = deadline
        self.scope = anyio.CancelScope()
        self.ended: Ended | None = None
        self.run: Run | None = None
        self.steerable = False

    def go_on(self, claim: Claim) -> None:
        """The run goes on under the same claim; a stop that came meanwhile still stops it."""
        self.claim = claim
        self.scope = anyio.CancelScope()
        if self.ended is not None:
            self.scope.cancel()

    def end(self, why: Ended) -> None:
        """Cancel the attempt; the first reason stands, but nothing outweighs a lost claim."""
        if self.ended is None or why is Ended.lost:
            self.ended = why
        self.scope.cancel()


def owner_deadline(asked_at: float, lease_ms: int) -> float:
    """Until when (monotonic seconds) an owner may act on a lease it asked for at `asked_at`."""
    return asked_at + lease_ms * 5 / 6 / 1000


async def renew_all(tx: Transaction, claims: tuple[Claim, ...]) -> list[Renewal]:
    """Renew every claim that still holds. A stale row is never changed."""
    return [await _renew(tx, claim) for claim in claims]


async def _renew(tx: Transaction, claim: Claim) -> Renewal:
    token = claim.claim_token
    unit = await ThreadUnit.open(tx, claim.tenant, claim.thread_id)
    dispatch = await tx.dispatch(claim.tenant, claim.dispatch_id)
    if unit is None or dispatch is None:
        return Renewal(claim_token=token, refused=rules.Refusal.gone.value)
    answer = unit.apply(dispatch, rules.RenewCommand(claim_token=token))
    if not isinstance(answer, Applied):
        return Renewal(claim_token=token, refused=answer.why.value)
    body = answer.dispatch.body
    assert isinstance(body, Claimed)
    await unit.save()
    return Renewal(
        claim_token=token, lease_until=body.lease_until, cancel_request=body.cancel_request
    )


class LeaseKeeper:
    """All claims of this process."""

    def __init__(self, store: Store, clock: Clock, renewal_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._renewal_seconds = renewal_ms / 1000
        self._held: dict[str, Held] = {}
        self._ending: Ended | None = None

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, claim_token: str) -> bool:
        """Whether this process is executing that claim."""
        return claim_token in self._held

    def all(self) -> tuple[Held, ...]:
        """What is held now."""
        return tuple(self._held.values())

    @contextmanager
    def held(self, claim: Claim, asked_at: float) -> Iterator[Held]:
        """Keep `claim` while the context lasts. `asked_at` is when it was asked for (monotonic)."""
        held = Held(claim, self._clock.monotonic(), owner_deadline(asked_at, claim.lease_ms))
        self._held[claim.claim_token] = held
        if self._ending is not None:
            held.end(self._ending)
        try:
            yield held
        finally:
            del self._held[claim.claim_token]

    def stop_asked(self, claim_token: str, *, superseded: bool) -> None:
        """A hint says that this claim has a stop request."""
        held = self._held.get(claim_token)
        if held is not None:
            held.end(Ended.superseded if superseded else Ended.cancelled)

    def end_all(self, why: Ended) -> None:
        """Cancel every attempt, and each that begins from now on."""
        self._ending = why
        for held in self._held.values():
            held.end(why)

    async def run(self) -> None:
        """Renew and watch deadlines until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew_for_ever)
            tasks.start_soon(self._watch_for_ever)

    async def _renew_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._renewal_seconds)
            await self.renew()

    async def renew(self) -> None:
        """Renew all claims once; a store fault is repeated soon, until each deadline."""
        claims = tuple(held.claim for held in self._held.values())
        if not claims:
            return
        pause = 0.1
        while True:
            asked_at = self._clock.monotonic()
            try:
                answers = await self._store.transact(operation(renew_all, claims))
            except StoreFault as fault:
                log.warning("renewal failed, trying again: %s", fault.code)
                await self._clock.sleep(pause)
                pause = min(pause * 2, self._renewal_seconds)
            else:
                for answer in answers:
                    self._heard(answer, asked_at)
                return

    def _heard(self, answer: Renewal, asked_at: float) -> None:
        held = self._held.get(answer.claim_token)
        if held is None:
            return
        if answer.refused == rules.Refusal.superseded.value:
            held.end(Ended.superseded)
        elif answer.refused is not None:
            log.info("claim lost: %s", answer.refused, extra=held.claim.log_ids)
            held.end(Ended.lost)
        else:
            held.deadline = owner_deadline(asked_at, held.claim.lease_ms)
            if answer.cancel_request is not None:
                held.end(Ended.cancelled)

    async def _watch_for_ever(self) -> None:
        while True:
            now = self._clock.monotonic()
            for held in self.all():
                if held.deadline <= now and held.ended is not Ended.lost:
                    log.warning("lease ran out before it was renewed", extra=held.claim.log_ids)
                    held.end(Ended.lost)
            nearest = min((held.deadline for held in self._held.values()), default=math.inf)
            await self._clock.sleep(max(0.01, min(1.0, nearest - now)))
