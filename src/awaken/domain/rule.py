"""Approval rules: a call that was decided about once and for all, so that nobody is asked again.

A rule is for one tool, for one agent or all, and for arguments that fit its patterns. A rule that
denies goes before all that allow. Rules are looked up when a call would ask, and not before: one
that is deleted counts no more from then on.

A rule never gives more than its maker could have decided: where a tool names its approvers, it
counts only if one of them made it, and a quorum is never replaced by one that allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import msgspec

from awaken.domain.agent import ToolSpec
from awaken.domain.record import Record

MAX_RULES: Final = 1_000
"""How many a tenant may have; all of them are looked at for a call."""


class Effect(StrEnum):
    """What becomes of a call that fits."""

    allow = "allow"
    deny = "deny"


class Equals(Record, tag="equals"):
    """The argument is this JSON value."""

    value: Any


class Prefix(Record, tag="prefix"):
    """The argument is a text that begins so."""

    text: str


class Glob(Record, tag="glob"):
    """The argument is a text of this form: `*` is any text, `?` one character."""

    text: str


Pattern = Equals | Prefix | Glob


class ApprovalRule(Record):
    """A standing decision.

    `arguments` are patterns by the name of the argument; each must be there and fit. With `others`
    the call may have further arguments, of any value. `expires_at` in ms; None is never.
    """

    tenant: str
    rule_id: str
    tool: str
    effect: Effect
    created_by: str
    created_at: int
    agent_id: str | None = None
    arguments: dict[str, Pattern] = {}
    others: bool = True
    expires_at: int | None = None


def deciding(
    rules: Iterable[ApprovalRule], agent_id: str, tool: ToolSpec, arguments: Any, now: int
) -> ApprovalRule | None:
    """The rule that decides about a call of `tool`; None when somebody has to be asked."""
    fitting = [
        rule for rule in rules if _concerns(rule, agent_id, tool, now) and fits(rule, arguments)
    ]
    denying = (rule for rule in fitting if rule.effect is Effect.deny)
    return next(denying, None) or next(iter(fitting), None)


def _concerns(rule: ApprovalRule, agent_id: str, tool: ToolSpec, now: int) -> bool:
    if rule.tool != tool.name or rule.agent_id not in (None, agent_id):
        return False
    if rule.expires_at is not None and rule.expires_at <= now:
        return False
    if tool.approvers and rule.created_by not in tool.approvers:
        return False
    return rule.effect is Effect.deny or tool.approval_policy.quorum == 1


def fits(rule: ApprovalRule, arguments: Any) -> bool:
    """Whether a call's arguments are those that the rule is about."""
    if not isinstance(arguments, dict):
        return False
    if not rule.others and not set(arguments) <= set(rule.arguments):
        return False
    return all(
        name in arguments and _matches(pattern, arguments[name])
        for name, pattern in rule.arguments.items()
    )


def _matches(pattern: Pattern, value: Any) -> bool:
    match pattern:
        case Equals(value=wanted):
            return _canonical(wanted) == _canonical(value)
        case Prefix(text=text):
            return isinstance(value, str) and value.startswith(text)
        case Glob(text=text):
            return isinstance(value, str) and glob(text, value)


def _canonical(value: Any) -> bytes:
    """JSON tells true from 1, which Python's `==` does not."""
    return msgspec.json.encode(value, order="sorted")


def glob(pattern: str, text: str) -> bool:
    """Whether `text` is of the form `pattern`, whole. Linear in memory, at most |p|·|t| steps."""
    at, star, kept = 0, -1, 0
    index = 0
    while index < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, kept, at = at, index, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[index]):
            at, index = at + 1, index + 1
        elif star >= 0:
            kept += 1
            at, index = star + 1, kept
        else:
            return False
    return set(pattern[at:]) <= {"*"}
