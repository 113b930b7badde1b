"""Following each attempt from its claim to its settle: its metrics, what its log lines are about.

The mailbox opens a writer where an attempt begins and tells its observer where it ends, both in the
attempt's own task. So the writer's port is wrapped to bind what belongs to the attempt, and nothing
is unbound: it goes with the task.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from awaken.domain.claim import Claim
from awaken.domain.dispatch import Effect
from awaken.domain.ledger import CallStatus
from awaken.domain.outcome import (
    CancelledOutcome,
    Completed,
    Failed,
    Interrupted,
    Lost,
    Outcome,
    Retry,
    SupersededOutcome,
    Suspended,
)
from awaken.domain.run import Run
from awaken.domain.ticket import TicketStatus
from awaken.mailbox.settle import Settled
from awaken.ports.events import EventWriter, OpenWriter
from awaken.ports.runner import Activation
from awaken.server import logs
from awaken.server.metrics import Metrics

log = logging.getLogger("awaken.attempts")

_BY_EFFECT: Final = {
    Effect.complete_run: "completed",
    Effect.complete_run_cancel_too_late: "completed",
    Effect.suspend_run: "suspended",
    Effect.cancel_run: "cancelled",
    Effect.supersede_run: "superseded",
}
_BY_OUTCOME: Final[dict[type[Outcome], str]] = {
    Completed: "completed",
    Suspended: "suspended",
    Retry: "transient_error",
    Failed: "permanent_error",
    CancelledOutcome: "cancelled",
    SupersededOutcome: "superseded",
    Interrupted: "handed_over",
    Lost: "lost",
}
_GOES_ON: Final = frozenset({"transient_error", "handed_over", "lost"})
"""Outcomes that do not end the dispatch."""
_TROUBLE: Final = frozenset({"transient_error", "permanent_error", "dead_letter", "lost"})


@dataclass(slots=True)
class Attempt:
    """One attempt; `run` is known from its activation on."""

    claim: Claim
    run: Run | None = None
    model_calls: int = 0


current: ContextVar[Attempt | None] = ContextVar("awaken.attempt", default=None)
"""The attempt that this task, or the one that started it, executes."""


class Attempts:
    """Follows the attempts of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._clock = metrics.clock

    def following(self, open_writer: OpenWriter) -> OpenWriter:
        """`open_writer`, with each attempt bound to its task first."""

        @asynccontextmanager
        async def open_and_follow(
            claim: Claim, deadline: Callable[[], float]
        ) -> AsyncIterator[EventWriter]:
            self._claimed(claim)
            async with open_writer(claim, deadline) as writer:
                yield writer

        return open_and_follow

    def _claimed(self, claim: Claim) -> None:
        current.set(Attempt(claim))
        logs.bind(
            run_id=claim.run_id,
            thread_id=claim.thread_id,
            dispatch_id=claim.dispatch_id,
            attempt_id=claim.claim_token,
        )
        mailbox = self._metrics.mailbox
        mailbox.eligible.observe(_seconds(claim.eligible_at, claim.claimed_at))
        if claim.retry_reason is None:
            mailbox.enqueued.observe(_seconds(claim.enqueued_at, claim.claimed_at))

    def started(self, activation: Activation) -> None:
        """The agent begins."""
        run = activation.run
        logs.note(agent_id=run.agent_id, request_id=run.transport_request_id)
        log.debug("attempt started", extra={"activation": run.activation})
        attempt = current.get()
        if attempt is None:
            return
        attempt.run = run
        claimed_at = attempt.claim.claimed_at
        self._metrics.mailbox.prepared.observe(_seconds(claimed_at, self._clock.now()))
        if run.activation > 1 and attempt.claim.retry_reason is None:
            for mode in _resumed(activation):
                self._metrics.runs.suspensions.labels("resumed", mode).inc()

    def ended(self, claim: Claim, outcome: Outcome, settled: Settled | None) -> None:
        """The mailbox's observer."""
        label = outcome_label(outcome, settled)
        now = self._clock.now()
        self._count(claim, label, now)
        if isinstance(outcome, Suspended) and label == "suspended":
            for ticket in outcome.tickets:
                self._metrics.runs.suspensions.labels("suspended", ticket.resume_mode.value).inc()
        code = outcome.failure.code if isinstance(outcome, Failed | Retry) else None
        if code is not None:
            self._metrics.runs.failed(code)
        told: dict[str, object] = {
            "runtime_ms": max(0, now - claim.claimed_at),
            "waited_ms": max(0, claim.claimed_at - claim.eligible_at),
        }
        level = logging.WARNING if label in _TROUBLE else logging.INFO
        log.log(
            level,
            "attempt ended: %s",
            label,
            extra=told if code is None else {**told, "code": code},
        )

    def _count(self, claim: Claim, label: str, now: int) -> None:
        runs, mailbox = self._metrics.runs, self._metrics.mailbox
        runs.ended.labels(label).inc()
        runtime = _seconds(claim.claimed_at, now)
        mailbox.runtime.labels(label).observe(runtime)
        if label in _GOES_ON:
            return
        mailbox.completed.labels(label).observe(_seconds(claim.enqueued_at, now))
        attempt = current.get()
        run = None if attempt is None else attempt.run
        before = 0 if run is None else run.active_ms / 1000
        runs.seconds.labels(label).observe(before + runtime)


def outcome_label(outcome: Outcome, settled: Settled | None) -> str:
    """What became of an attempt: what its settle carried out, which may differ from its outcome."""
    if settled is None or settled.refused is not None:
        return "lost"
    if settled.effect in _BY_EFFECT:
        return _BY_EFFECT[settled.effect]
    if settled.effect is Effect.fail_run and isinstance(outcome, Retry):
        return "dead_letter"
    return _BY_OUTCOME[type(outcome)]


def _resumed(activation: Activation) -> list[str]:
    """How each call goes on that waited for a decision and has it."""
    plan = activation.run.plan
    calls = () if plan is None else plan.calls
    waiting = {call.ticket_id for call in calls if call.status is CallStatus.suspended}
    return [
        ticket.resume_mode.value
        for ticket in activation.tickets
        if ticket.ticket_id in waiting and ticket.status is not TicketStatus.open
    ]


def _seconds(since: int, until: int) -> float:
    return max(0, until - since) / 1000
