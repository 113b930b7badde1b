"""Trying again: a failed run's messages answered by a new run.

Invariants
R1. A run has at most one retry, since the retry's id follows from its own (`retry_id`). Whoever
    asks again, or at the same time, gets that one.
R2. A retry adds no message: what it answers is the input of the run that it repeats, is in the
    thread once, and stays that run's (`Run.answers` points at it).
R3. What the failed run left in the thread stays: the partial text (marked interrupted) and the
    steps that were finished, so no finished call is made again.

The retry is pinned to the specification that its agent has now: what made the run fail may have
been mended there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from awaken.domain.agent import AgentSpec
from awaken.domain.care import UNDECODABLE, retry_id
from awaken.domain.dispatch import Mode
from awaken.domain.event import RunQueued
from awaken.domain.ids import derived_id
from awaken.domain.message import Role, StoredMessage
from awaken.domain.record import Record
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Accepted
from awaken.domain.termination import Blocked, Errored, Stopped
from awaken.errors import Refusal, RequestError, not_found
from awaken.mailbox.deliver import delivery, put_latest
from awaken.mailbox.repeat import describe
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.store import Transaction

PRIORITY: Final = 128
EXPECTED: Final = "expected a run that is done and ended with error, stopped or blocked"


class RetryOrder(Record):
    """A retry made ready: which run, and what its agent is now."""

    tenant: str
    run_id: str
    resolution_id: str
    spec: AgentSpec
    max_attempts: int
    transport_request_id: str | None = None
    correlation_id: str | None = None
    actor: str | None = None


async def retry(tx: Transaction, order: RetryOrder) -> Accepted:
    """Accept a new run for the messages of a failed one; repeating it is answered from the record.

    It stands behind what is queued in its thread.

    Raises:
        RequestError: `run_not_found`.
        Refusal: `not_retryable`.
    """
    failed = await tx.run(order.tenant, order.run_id)
    if failed is None:
        raise not_found("run", order.run_id)
    unit = await ThreadUnit.open(tx, order.tenant, failed.thread_id)
    if unit is None:  # it is being deleted with its thread
        raise not_found("run", order.run_id)
    known = await tx.run(order.tenant, retry_id(order.run_id))
    if known is not None:
        return await describe(tx, known, known.dispatch_id or "")
    check_retryable(failed)
    run = _new_run(unit, order, failed)
    assert run.dispatch_id is not None, "a new run has a dispatch"
    dispatch = delivery(
        unit,
        run,
        run.dispatch_id,
        mode=Mode.background,
        priority=PRIORITY,
        max_attempts=order.max_attempts,
    )
    cursor = unit.head.seq
    unit.enqueue(dispatch)
    unit.emit(run.run_id, RunQueued(dispatch_id=dispatch.dispatch_id, reason="retry"))
    await put_latest(unit, run)
    tx.put_resolution(order.tenant, order.resolution_id, order.spec)
    tx.put_run(run)
    await unit.save()
    return Accepted(
        run_id=run.run_id,
        dispatch_id=dispatch.dispatch_id,
        thread_id=run.thread_id,
        cursor=cursor,
        status=run.status,
    )


async def run_of_letter(tx: Transaction, tenant: str, dispatch_id: str) -> str:
    """The id of the run that a dead letter was to deliver.

    Raises:
        RequestError: `dead_letter_not_found`; one that was discarded is not found either.
    """
    found = await tx.delivery(tenant, dispatch_id)
    if found is None or found.state != "dead_letter":
        raise letter_not_found(dispatch_id)
    return found.run_id


async def discard(tx: Transaction, tenant: str, dispatch_id: str) -> None:
    """Take a dead letter out of the list; doing it again changes nothing.

    Raises:
        RequestError: `dead_letter_not_found`.
    """
    if not await tx.discard(tenant, dispatch_id):
        raise letter_not_found(dispatch_id)


def letter_not_found(dispatch_id: str) -> RequestError:
    """The 404 of dead letters."""
    return RequestError(
        "dead_letter_not_found",
        f"no dead letter with the id {dispatch_id!r}",
        status=404,
        details={"dispatch_id": dispatch_id},
    )


def check_retryable(run: Run) -> None:
    """Refuse a run that goes on, did not fail, or never had a message to answer.

    Raises:
        Refusal: `not_retryable`, which says what was expected.
    """
    if run.status is not RunStatus.done or run.outcome is None:
        raise not_retryable(run.run_id, f"it is {run.status.value}")
    termination = run.outcome.termination
    if not isinstance(termination, Errored | Stopped | Blocked):
        raise not_retryable(run.run_id, f"it ended {termination.__struct_config__.tag}")
    if not (run.input.ranges or run.answers.ranges):
        raise not_retryable(run.run_id, "it has no message to answer")


def not_retryable(run_id: str, why: str) -> Refusal:
    """The refusal of a run that cannot be tried again."""
    return Refusal(
        "not_retryable",
        f"run {run_id} cannot be tried again: {EXPECTED}, but {why}",
        details={"run_id": run_id, "expected": ["error", "stopped", "blocked"]},
    )


def unreadable(run_id: str) -> Refusal:
    """The refusal of a run whose record is lost: what it was to answer is not known."""
    return not_retryable(run_id, f"its record cannot be read ({UNDECODABLE})")


# --- what the agent is shown ---------------------------------------------------------------------


def with_answers(run: Run, messages: Sequence[StoredMessage]) -> tuple[StoredMessage, ...]:
    """The history that a retry answers.

    A model answers what stands last. Where something stands behind the messages that are to be
    answered, and is not work of the failed run that a model goes on from (results of its calls),
    they are shown once more at the end, before what the retry itself has said. The log has them
    once (R2).
    """
    if not run.answers.ranges:
        return tuple(messages)
    own = [stored for stored in messages if stored.run_id == run.run_id]
    before = [stored for stored in messages if stored.run_id != run.run_id]
    wanted = set(run.answers.seqs)
    asked = [stored for stored in before if stored.message_seq in wanted]
    if not asked or _goes_on(run, before, asked):
        return tuple(messages)
    return (*before, *asked, *own)


def _goes_on(run: Run, before: Sequence[StoredMessage], asked: Sequence[StoredMessage]) -> bool:
    """Whether the history ends where a model would answer these messages by itself."""
    last = before[-1]
    if last.message_seq == asked[-1].message_seq:
        return True
    return last.message.role is Role.tool and last.run_id in (run.retry_of, asked[-1].run_id)


# --- what is new ---------------------------------------------------------------------------------


def _new_run(unit: ThreadUnit, order: RetryOrder, failed: Run) -> Run:
    run_id = retry_id(failed.run_id)
    return Run(
        tenant=order.tenant,
        run_id=run_id,
        thread_id=failed.thread_id,
        agent_id=order.spec.agent_id,
        resolution_id=order.resolution_id,
        origin=failed.origin,
        adapter=failed.adapter,
        parent_run_id=failed.parent_run_id,
        retry_of=failed.run_id,
        answers=failed.input if failed.input.ranges else failed.answers,
        dispatch_id=derived_id(run_id, "dispatch"),
        transport_request_id=order.transport_request_id,
        correlation_id=order.correlation_id,
        started_by=order.actor,
        metadata=failed.metadata,
        created_at=unit.now,
        updated_at=unit.now,
    )
