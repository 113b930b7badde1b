"""The gate: what is to be done with each call of a plan, before anything is done.

Pure. It sees the call, the tool's policies, the ticket the call waited for, and who asks; and says
one of: keep the result, run, answer without running, ask, or wait.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.agent import Approval, ToolSpec
from awaken.domain.event import ActivitySnapshot
from awaken.domain.ledger import CallStatus, PlannedCall, ToolResult, arguments_hash, failed
from awaken.domain.record import Record
from awaken.domain.rule import ApprovalRule
from awaken.domain.ticket import OnExpiry, ResumeMode, Ticket, TicketStatus, WaitingReason

DEFAULT_EXPIRY_MS = 7 * 24 * 3_600_000
"""How long a question stays open, so that nothing is locked for ever."""

_HAPPENED = {
    "type": "object",
    "properties": {"happened": {"type": "boolean"}, "result": {}},
    "required": ["happened"],
    "additionalProperties": False,
}


class Keep(Record, tag="keep"):
    """It has its result."""


class Run(Record, tag="run"):
    """Run it with `arguments`; `answers` are what the user said to its questions so far."""

    arguments: Any
    answers: tuple[Any, ...] = ()


class Answer(Record, tag="answer"):
    """Do not run it: this is its result."""

    result: ToolResult


class Ask(Record, tag="ask"):
    """Open a ticket and wait; only `approvers` may answer, if there are any."""

    reason: WaitingReason
    resume_mode: ResumeMode
    message: str
    response_schema: dict[str, Any] | None = None
    approvers: tuple[str, ...] = ()
    policy: Approval = Approval()

    @property
    def may_be_ruled(self) -> bool:
        """Whether it asks for leave to call, which a rule may give or refuse."""
        permission = self.reason is WaitingReason.tool_permission
        return permission and self.resume_mode is ResumeMode.replay_tool_call


class Wait(Record, tag="wait"):
    """Its ticket is still open."""


Verdict = Keep | Run | Answer | Ask | Wait


def verdict(
    call: PlannedCall, spec: ToolSpec | None, ticket: Ticket | None, attempt_id: str
) -> Verdict:
    """What to do with `call`.

    Args:
        call: the ledger's entry.
        spec: the pinned specification of its tool; None when the agent has no such tool.
        ticket: the ticket it waits for, or waited for.
        attempt_id: the attempt that asks; a call started by another one was cut off by a crash.
    """
    if call.result is not None:
        return Keep()
    if spec is None:
        return Answer(result=failed("unknown_tool", f"there is no tool named {call.name!r}"))
    if call.status is CallStatus.suspended:
        return _answered(call, ticket)
    if call.status is CallStatus.started and call.started_by != attempt_id:
        return _after_crash(call, spec)
    return _fresh(call, spec)


def _fresh(call: PlannedCall, spec: ToolSpec) -> Verdict:
    if spec.frontend:
        return Ask(
            reason=WaitingReason.external_event,
            resume_mode=ResumeMode.use_decision_as_tool_result,
            message=f"the client executes {call.name}",
            response_schema=spec.response_schema,
        )
    if spec.approval:
        return Ask(
            reason=WaitingReason.tool_permission,
            resume_mode=ResumeMode.replay_tool_call,
            message=f"allow {call.name}?",
            approvers=spec.approvers,
            policy=spec.approval_policy,
        )
    return Run(arguments=call.effective)


def _after_crash(call: PlannedCall, spec: ToolSpec) -> Verdict:
    if spec.on_crash == "retry":
        return Run(arguments=call.effective)
    if spec.on_crash == "ask":
        return Ask(
            reason=WaitingReason.tool_permission,
            resume_mode=ResumeMode.use_decision_as_tool_result,
            message=f"{call.name} was cut off by a crash; did it happen?",
            response_schema=_HAPPENED,
            approvers=spec.approvers,
            policy=replace(spec.approval_policy, quorum=1),  # what happened is no vote
        )
    return Answer(
        result=failed(
            "interrupted",
            "the server died while this call ran; whether it happened is not known",
        )
    )


def _answered(call: PlannedCall, ticket: Ticket | None) -> Verdict:
    if ticket is None or ticket.status is TicketStatus.open:
        return Wait()
    if ticket.status is not TicketStatus.answered or ticket.decision is None:
        return Answer(result=_denied(ticket))
    payload = ticket.decision.payload
    match ticket.resume_mode:
        case ResumeMode.use_decision_as_tool_result:
            return _as_result(call, ticket, payload)
        case ResumeMode.pass_decision_to_tool:
            return Run(arguments=call.effective, answers=(*ticket.earlier_answers, payload))
        case ResumeMode.replay_tool_call:
            edited = payload.get("arguments") if isinstance(payload, dict) else None
            return Run(arguments=call.effective if edited is None else edited)


def _as_result(call: PlannedCall, ticket: Ticket, payload: Any) -> Verdict:
    if ticket.response_schema != _HAPPENED:
        return Answer(result=ToolResult(succeeded=True, content=payload))
    if not payload["happened"]:
        return Run(arguments=call.effective)
    return Answer(result=ToolResult(succeeded=True, content=payload.get("result", {"done": True})))


def _denied(ticket: Ticket) -> ToolResult:
    match ticket.status:
        case TicketStatus.expired:
            return failed("expired", "nobody decided in time")
        case TicketStatus.denied:
            reason = _reason(ticket)
            return failed("denied", f"the user denied this call{f': {reason}' if reason else ''}")
        case _:
            return failed(ticket.status.value, f"the question was {ticket.status.value}")


def _reason(ticket: Ticket) -> str | None:
    payload = ticket.decision.payload if ticket.decision else None
    if isinstance(payload, dict) and isinstance(payload.get("reason"), str):
        return str(payload["reason"])
    return payload if isinstance(payload, str) else None


def ruled(rule: ApprovalRule, call: PlannedCall) -> ActivitySnapshot:
    """Tells why nobody was asked about a call."""
    return ActivitySnapshot(
        message_id=f"{call.message_id}:rule",
        activity_type="approval_rule",
        content={
            "rule_id": rule.rule_id,
            "effect": rule.effect.value,
            "created_by": rule.created_by,
            "tool_call_id": call.id,
            "tool_name": call.name,
        },
    )


def open_ticket(
    ask: Ask,
    call: PlannedCall,
    *,
    ticket_id: str,
    thread_id: str,
    run_id: str,
    now: int,
    earlier_answers: tuple[Any, ...] = (),
) -> Ticket:
    """The ticket of a question, bound to the exact arguments it is asked for."""
    return Ticket(
        ticket_id=ticket_id,
        thread_id=thread_id,
        run_id=run_id,
        tool_call_id=call.id,
        tool_name=call.name,
        arguments=call.effective,
        arguments_hash=arguments_hash(call.name, call.effective),
        reason=ask.reason,
        resume_mode=ask.resume_mode,
        message=ask.message,
        response_schema=ask.response_schema,
        allowed_approvers=ask.approvers,
        earlier_answers=earlier_answers,
        opened_at=now,
        expires_at=_expires_at(ask.policy, now),
        on_expiry=OnExpiry(ask.policy.on_expiry),
        quorum=ask.policy.quorum,
    )


def _expires_at(policy: Approval, now: int) -> int | None:
    if policy.on_expiry == OnExpiry.leave:
        return None
    seconds = policy.expires_seconds
    return now + (DEFAULT_EXPIRY_MS if seconds is None else round(seconds * 1000))
