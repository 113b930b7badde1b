"""From records to the answers of the native API. Pure; nothing internal passes (I11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from awaken.domain import dispatch as dispatches
from awaken.domain.care import DeadLetter
from awaken.domain.delivery import PendingEntry, PendingQueue
from awaken.domain.dispatch import Dispatch
from awaken.domain.message import StoredMessage
from awaken.domain.run import Run
from awaken.domain.submission import Accepted, Explanation
from awaken.domain.thread import Thread
from awaken.domain.ticket import Decision, Ticket
from awaken.protocols.native import wire, wire_care, wire_pending


def accepted(record: Accepted) -> wire.Accepted:
    return wire.Accepted(
        run_id=record.run_id,
        dispatch_id=record.dispatch_id,
        thread_id=record.thread_id,
        status=record.status.value,
        position=record.position,
        cursor=record.cursor,
        fallback_run_id=record.fallback_run_id,
    )


def pending_queue(queue: PendingQueue) -> wire_pending.PendingQueue:
    return wire_pending.PendingQueue(
        thread_id=queue.thread_id,
        revision=queue.revision,
        items=[pending_message(entry, place) for place, entry in enumerate(queue.entries, 1)],
    )


def pending_message(entry: PendingEntry, place: int) -> wire_pending.PendingMessage:
    follow_up = entry.follow_up
    return wire_pending.PendingMessage(
        message_id=entry.message.message_id,
        position=place,
        revision=entry.revision,
        role=entry.message.role.value,
        content=[msgspec.to_builtins(block) for block in entry.message.content],
        run_id=entry.run_id,
        fallback_run_id=None if follow_up is None else follow_up.run.run_id,
        boundary=entry.mode.boundary.value,
        granularity=entry.mode.granularity.value,
        barrier=entry.mode.barrier,
        created_at=entry.created_at,
    )


def run(record: Run, open_tickets: Sequence[Ticket]) -> wire.Run:
    outcome = record.outcome
    return wire.Run(
        run_id=record.run_id,
        thread_id=record.thread_id,
        agent_id=record.agent_id,
        status=record.status.value,
        waiting=_waiting(record, open_tickets),
        termination=None if outcome is None else msgspec.to_builtins(outcome.termination),
        result=None if outcome is None or outcome.text is None else _result(outcome.text),
        parent_run_id=record.parent_run_id,
        retry_of=record.retry_of,
        started_by=record.started_by,
        client_run_id=record.client_run_id,
        dispatch_id=record.dispatch_id,
        resolution_id=record.resolution_id,
        origin=record.origin.value,
        adapter=record.adapter,
        on_disconnect=record.on_disconnect.value,
        activation=record.activation,
        steps=record.steps,
        usage=_usage(record),
        active_ms=record.active_ms,
        input_message_seqs=list((record.input if record.input.ranges else record.answers).seqs),
        output_message_seqs=list(record.output.seqs),
        metadata=record.metadata,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        updated_at=record.updated_at,
    )


def _result(text: str) -> wire.Result:
    return wire.Result(response=text)


def _waiting(record: Run, open_tickets: Sequence[Ticket]) -> wire.Waiting | None:
    waiting = record.waiting
    if waiting is None:
        return None
    return wire.Waiting(
        reason=waiting.reason.value,
        since=waiting.since,
        ticket_ids=list(waiting.ticket_ids),
        tickets=[ticket(each) for each in open_tickets],
    )


def _usage(record: Run) -> wire.Usage:
    usage = record.usage
    return wire.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def explanation(record: Explanation) -> wire.Explanation:
    return wire.Explanation(
        run_id=record.run_id,
        thread_id=record.thread_id,
        status=record.status.value,
        summary=record.summary,
        next_step=record.next_step,
        next_at=record.next_at,
        waits_for=list(record.waits_for),
        attempts=record.attempts,
        expiries=record.expiries,
        activation=record.activation,
        last_error=record.last_error,
        lease_holder=record.lease_holder,
        lease_until=record.lease_until,
        dispatch_id=record.dispatch_id,
        dispatch_state=record.dispatch_state,
        position=record.position,
        blocked_by_run_id=record.blocked_by_run_id,
        tool_calls=[wire.LedgerCall(**call) for call in record.tool_calls],
    )


def ticket(record: Ticket) -> wire.Ticket:
    """A ticket, without who may answer it: that is not told to everyone who may look."""
    return wire.Ticket(
        ticket_id=record.ticket_id,
        thread_id=record.thread_id,
        run_id=record.run_id,
        tool_call_id=record.tool_call_id,
        tool_name=record.tool_name,
        arguments=record.arguments,
        arguments_hash=record.arguments_hash,
        reason=record.reason.value,
        resume_mode=record.resume_mode.value,
        message=record.message,
        response_schema=record.response_schema,
        status=record.status.value,
        opened_at=record.opened_at,
        expires_at=record.expires_at,
        on_expiry=record.on_expiry.value,
        quorum=record.quorum,
        approved_by=[vote.by or "" for vote in record.votes],
        closed_at=record.closed_at,
        decision=None if record.decision is None else _decision(record.decision),
    )


def _decision(record: Decision) -> wire.Decision:
    return wire.Decision(
        decision_id=record.decision_id,
        action=record.action,
        payload=record.payload,
        by=record.by,
        decided_at=record.decided_at,
    )


def thread(record: Thread) -> wire.Thread:
    return wire.Thread(
        id=record.thread_id,
        thread_id=record.thread_id,
        title=record.title,
        resource_id=record.resource_id,
        parent_thread_id=record.parent_thread_id,
        agent_id=record.agent_id,
        latest_run_id=record.latest_run_id,
        custom=record.custom,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def thread_summary(record: Thread) -> wire.ThreadSummary:
    return wire.ThreadSummary(
        id=record.thread_id,
        thread_id=record.thread_id,
        title=record.title,
        resource_id=record.resource_id,
        parent_thread_id=record.parent_thread_id,
        agent_id=record.agent_id,
        updated_at=record.updated_at,
    )


def message(record: StoredMessage) -> wire.Message:
    body = record.message
    return wire.Message(
        id=body.message_id,
        message_id=body.message_id,
        message_seq=record.message_seq,
        thread_id=record.thread_id,
        run_id=record.run_id,
        role=body.role.value,
        content=[msgspec.to_builtins(block) for block in body.content],
        tool_calls=[msgspec.to_builtins(call) for call in body.tool_calls],
        tool_call_id=body.tool_call_id,
        visibility=body.visibility.value,
        interrupted=body.interrupted,
        client_id=body.client_id,
        metadata=body.metadata,
        created_at=record.created_at,
        replaced_by=record.replaced_by,
    )


def dispatch(record: Dispatch) -> wire.Dispatch:
    """One delivery, without its claim token: that is the fence of what its owner writes (I2)."""
    return wire.Dispatch(
        dispatch_id=record.dispatch_id,
        thread_id=record.thread_id,
        run_id=record.run_id,
        mode=record.mode.value,
        priority=record.priority,
        dedupe_key=record.dedupe_key,
        epoch=record.epoch,
        attempt=record.attempt,
        expiries=record.expiries,
        max_attempts=record.max_attempts,
        last_error=record.last_error,
        created_at=record.created_at,
        updated_at=record.updated_at,
        **_body(record.body),
    )


def dead_letter(record: DeadLetter, retried_by: str | None) -> wire_care.DeadLetter:
    dispatch = record.dispatch
    return wire_care.DeadLetter(
        dispatch_id=record.dispatch_id,
        run_id=record.run_id,
        thread_id=record.thread_id,
        agent_id=record.agent_id,
        reason=record.reason,
        last_error=record.last_error,
        attempt=0 if dispatch is None else dispatch.attempt,
        expiries=0 if dispatch is None else dispatch.expiries,
        mode=None if dispatch is None else dispatch.mode.value,
        created_at=record.created_at,
        finished_at=record.finished_at,
        retried_by=retried_by,
    )


def _body(body: dispatches.Body) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("available_at", "claimed_by", "lease_until", "finished_at", "reason"), None
    )
    told: dict[str, Any]
    match body:
        case dispatches.Queued():
            told = {"status": "queued", "available_at": body.available_at}
        case dispatches.Claimed():
            told = {
                "status": "claimed",
                "claimed_by": body.worker_id,
                "lease_until": body.lease_until,
                "cancel_requested": body.cancel_request is not None,
            }
        case dispatches.Finished():
            told = {
                "status": body.how.value,
                "finished_at": body.finished_at,
                "reason": body.reason,
            }
        case _ as never:
            assert_never(never)
    return {**nothing, "cancel_requested": False, **told}
