"""Approval rules: making and deleting them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.ids import derived_id
from awaken.domain.rule import MAX_RULES, ApprovalRule, Effect, Equals
from awaken.domain.ticket import ResumeMode, Ticket, WaitingReason
from awaken.errors import Refusal, RequestError, not_found
from awaken.ports.store import Transaction


async def make_rule(tx: Transaction, rule: ApprovalRule) -> ApprovalRule:
    """Keep a rule; repeating it is answered from the record.

    Raises:
        Refusal: `too_many_rules`.
    """
    known = await tx.approval_rules(rule.tenant, MAX_RULES)
    same = next((each for each in known if each.rule_id == rule.rule_id), None)
    if same is not None:
        return same
    if len(known) >= MAX_RULES:
        raise Refusal("too_many_rules", f"there are {MAX_RULES} approval rules already", status=429)
    made = replace(rule, created_at=tx.now)
    tx.put_approval_rule(made)
    return made


async def delete_rule(tx: Transaction, tenant: str, rule_id: str) -> None:
    """Forget a rule; 404 when there is none."""
    if not await tx.delete_approval_rule(tenant, rule_id):
        raise not_found("approval_rule", rule_id)


def check_remember(ticket: Ticket, action: str, payload: Any, remember: Effect) -> None:
    """Refuse what cannot become a rule.

    Raises:
        RequestError: `invalid_decision` (422), naming `remember`.
    """
    wrong = None
    asks = ticket.reason is WaitingReason.tool_permission
    if not asks or ticket.resume_mode is not ResumeMode.replay_tool_call:
        wrong = "only a decision about whether a tool may be called can be remembered"
    elif (action == "resume") is not (remember is Effect.allow):
        wrong = "`allow` goes with the action resume, `deny` with cancel"
    elif remember is Effect.allow and payload is not None:
        wrong = "what was edited is not what was asked: it cannot be allowed for ever"
    elif remember is Effect.allow and ticket.quorum > 1:
        wrong = "what several have to allow cannot be allowed for ever by one"
    if wrong is not None:
        raise RequestError(
            "invalid_decision", f"remember: {wrong}", status=422, details={"field": "remember"}
        )


def remembered(ticket: Ticket, tenant: str, agent_id: str, by: str, effect: Effect) -> ApprovalRule:
    """The rule that a decision makes: about these very arguments, of this agent."""
    given = ticket.arguments if isinstance(ticket.arguments, dict) else {}
    return ApprovalRule(
        tenant=tenant,
        rule_id=derived_id(ticket.ticket_id, "rule"),
        tool=ticket.tool_name,
        effect=effect,
        agent_id=agent_id,
        arguments={name: Equals(value=value) for name, value in given.items()},
        others=False,
        created_by=by,
        created_at=0,
    )
