"""From a claim to its settle: four steps, one exit.

1. *claim* is what we get. 2. *prepare* and 3. *attempt* run inside the lease's cancel scope and
   come to exactly one `Outcome`, whatever happens. 4. *settle* is called once, always, outside that
   scope: cancelling an attempt never cancels its settle. A lost claim writes nothing.

No code of a user holds the settle up: a runner that ignores its cancellation is left behind after a
grace, with a writer that refuses (`fence.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from awaken.domain.claim import Claim
from awaken.domain.dispatch import Refusal
from awaken.domain.outcome import (
    CancelledOutcome,
    Failed,
    Failure,
    Interrupted,
    Lost,
    Outcome,
    Retry,
    SupersededOutcome,
)
from awaken.errors import Fault, StoreFault
from awaken.leftovers import CANCEL_GRACE_SECONDS, attend
from awaken.mailbox.certain import insist, repeat
from awaken.mailbox.fence import Fence
from awaken.mailbox.lease import Ended, Held, LeaseKeeper
from awaken.mailbox.prepare import Prepared, prepare
from awaken.mailbox.settle import Settled, settle
from awaken.mailbox.steps import StepCommits
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import ClaimLost, EventWriter, OpenWriter, Unwritten
from awaken.ports.resolver import Resolver
from awaken.ports.runner import Activation, Runner
from awaken.ports.store import Store, operation
from awaken.redaction import clean

log = logging.getLogger(__name__)

UNWIND_SECONDS = 0.5
"""How much longer than its tools a runner may take: it ends when the last of them was left."""

_ENDED: dict[Ended, Callable[[], Outcome]] = {
    Ended.lost: Lost,
    Ended.cancelled: CancelledOutcome,
    Ended.superseded: SupersededOutcome,
    Ended.shutdown: Interrupted,
}


class Executor:
    """Executes claims; everything it needs is given to it."""

    def __init__(
        self,
        *,
        store: Store,
        resolver: Resolver,
        open_writer: OpenWriter,
        leases: LeaseKeeper,
        clock: Clock,
        ids: Ids,
        cancel_grace_seconds: float = CANCEL_GRACE_SECONDS,
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._grace_seconds = cancel_grace_seconds
        self._open_writer = open_writer
        self._leases = leases
        self._clock = clock
        self._ids = ids

    async def execute(self, claim: Claim, asked_at: float) -> tuple[Outcome, Settled | None]:
        """Execute `claim`, asked for at `asked_at` (monotonic seconds), to its settle."""
        with self._leases.held(claim, asked_at) as held:
            outcome, settled = await self._turn(held)
            while settled is not None and settled.goes_on is not None:
                held.go_on(settled.goes_on)
                outcome, settled = await self._turn(held)
        return outcome, settled

    async def _turn(self, held: Held) -> tuple[Outcome, Settled | None]:
        """From prepare to settle; there is another turn when a message came at the run's end."""
        async with self._open_writer(held.claim, lambda: held.deadline) as writer:
            outcome = await self._attempt(held, writer)
            outcome, unwritten = await self._hand_over(writer, outcome)
        if isinstance(outcome, Lost):
            return outcome, None
        settled: Settled | None = None
        with anyio.CancelScope(shield=True):
            settled = await self._settle(held, outcome, unwritten)
        return outcome, settled

    async def _attempt(self, held: Held, writer: EventWriter) -> Outcome:
        """Prepare and run inside the attempt's scope; every way out is an outcome."""
        outcome: Outcome | None = None
        with held.scope:
            outcome = await self._caught(held, writer)
        if held.ended is not None and (outcome is None or held.ended is Ended.lost):
            return _ENDED[held.ended]()
        return Interrupted() if outcome is None else outcome

    async def _caught(self, held: Held, writer: EventWriter) -> Outcome:
        try:
            return await self._run(held, writer)
        except ClaimLost as lost:
            return _lost(lost)
        except Fault as fault:
            return _faulted(fault)
        except Exception as error:
            log.exception("attempt failed", extra={"run_id": held.claim.run_id})
            message = clean(f"{type(error).__name__}: {error}")
            return Failed(failure=Failure(code="internal", message=message))

    async def _run(self, held: Held, writer: EventWriter) -> Outcome:
        prepared = await self._prepare(held)
        activation = replace(prepared.activation, cancel_grace_seconds=self._grace_seconds)
        held.run = activation.run
        if prepared.ended is not None:
            # Asked to stop between our claim and now, when no hint could reach us yet.
            held.end(prepared.ended)
            await anyio.lowlevel.checkpoint()
        runner = self._resolver.bind(activation.spec)
        held.steerable = runner.capabilities.steerable
        fence = Fence(writer)
        steps = StepCommits(held.claim, fence, activation.run.checkpoint_seq)
        return await attend(
            partial(_to_its_end, runner, activation, fence, steps),
            f"agent {activation.spec.agent_id}",
            self._grace_seconds + UNWIND_SECONDS,
            fence.close,
        )

    async def _prepare(self, held: Held) -> Prepared:
        """Repeated while the lease lasts: trouble of the store is no failure of the run."""
        once = partial(prepare, self._store, held.claim)
        try:
            return await repeat(once, self._clock, held.deadline)
        except StoreFault as fault:
            if fault.retryable:
                raise ClaimLost(Refusal.lease_lost.value) from fault
            raise

    async def _hand_over(
        self, writer: EventWriter, outcome: Outcome
    ) -> tuple[Outcome, Unwritten | None]:
        """The writer's last batch rides in settle.

        A writer that lost the claim overrules the outcome.
        """
        if isinstance(outcome, Lost):
            return outcome, None
        unwritten: Unwritten | None = None
        try:
            with anyio.CancelScope(shield=True):
                unwritten = await writer.hand_over()
        except ClaimLost as lost:
            outcome = _lost(lost)
        return outcome, unwritten

    async def _settle(
        self, held: Held, outcome: Outcome, unwritten: Unwritten | None
    ) -> Settled | None:
        jitter = self._ids.jitter()
        op = operation(settle, held.claim, outcome, unwritten, jitter, steerable=held.steerable)
        try:
            settled = await insist(self._store, self._clock, op, held.deadline)
        except StoreFault as fault:
            # At-least-once by design: the lease runs out, and the next attempt goes on from the
            # log.
            ids = held.claim.log_ids
            log.error("settle failed, leaving it to expiry: %s", fault.code, extra=ids)
            return None
        if settled.refused is not None:
            log.info("settle refused: %s", settled.refused, extra=held.claim.log_ids)
        return settled


async def _to_its_end(
    runner: Runner, activation: Activation, fence: Fence, steps: StepCommits
) -> Outcome:
    """Run; at the end what is not written yet waits for the settle, which is one commit less."""
    try:
        return await runner.run(activation, fence, steps)
    finally:
        fence.hold()


def _lost(lost: ClaimLost) -> Outcome:
    """A superseded claim may still settle; any other lost one may write nothing."""
    return SupersededOutcome() if lost.why == Refusal.superseded.value else Lost()


def _faulted(fault: Fault) -> Outcome:
    message = clean(fault.message)
    failure = Failure(
        code=fault.code, message=message, public_message=message if fault.public else None
    )
    if fault.retryable:
        return Retry(failure=failure, retry_after_ms=fault.retry_after_ms)
    return Failed(failure=failure)
