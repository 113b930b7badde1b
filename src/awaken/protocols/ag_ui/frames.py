"""Events of AG-UI as bytes, and values that several of them share.

https://ag-ui.com/spec/1.0/schema.json
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, assert_never

import msgspec

from awaken.domain.termination import (
    BehaviorRequested,
    Blocked,
    Cancelled,
    Errored,
    NaturalEnd,
    Stopped,
    Superseded,
    SuspendedEnd,
    Termination,
)
from awaken.domain.ticket import ResumeMode, Ticket, WaitingReason

VERSION: Final = "1.0"
"""The version of the protocol that is spoken here."""

encode: Final = msgspec.json.Encoder().encode

_APPROVAL: Final = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "reason": {"type": "string"},
        "editedArgs": {"type": "object"},
    },
    "required": ["approved"],
}
_VOTE: Final = {
    **_APPROVAL,
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
}


def frame(kind: str, at: int, **fields: Any) -> bytes:
    """An event at `at` (ms); fields that are None are left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    return encode({"type": kind, **told, "timestamp": at})


def text_of(value: Any) -> str:
    """A result as the content of its tool message."""
    return value if isinstance(value, str) else encode(value).decode()


def as_object(content: Any) -> dict[str, Any]:
    """The content of an activity, which must be an object."""
    return content if isinstance(content, dict) else {"value": content}


def is_client_call(ticket: Ticket) -> bool:
    """Whether the client executes the call, and its result is the answer."""
    by_client = ticket.reason is WaitingReason.external_event
    return by_client and ticket.resume_mode is ResumeMode.use_decision_as_tool_result


def asks_permission(ticket: Ticket) -> bool:
    """Whether yes or no is an answer."""
    return ticket.resume_mode is ResumeMode.replay_tool_call


def interrupts(tickets: Iterable[Ticket]) -> list[dict[str, Any]]:
    """The interrupts of open tickets."""
    return [_interrupt(ticket) for ticket in tickets]


def _interrupt(ticket: Ticket) -> dict[str, Any]:
    asked = {
        "id": ticket.ticket_id,
        "reason": _reason(ticket),
        "message": ticket.message,
        "toolCallId": ticket.tool_call_id,
        "responseSchema": _schema(ticket),
        "expiresAt": None if ticket.expires_at is None else _iso(ticket.expires_at),
        "metadata": {
            "toolName": ticket.tool_name,
            "arguments": ticket.arguments,
            "quorum": ticket.quorum,
        },
    }
    return {name: value for name, value in asked.items() if value is not None}


def _reason(ticket: Ticket) -> str:
    if asks_permission(ticket) or is_client_call(ticket):
        return "tool_call"
    if ticket.resume_mode is ResumeMode.pass_decision_to_tool:
        return "input_required"
    return "confirmation"


def _schema(ticket: Ticket) -> dict[str, Any] | None:
    """What an answer must fit; `editedArgs` in it says that arguments may be replaced."""
    if asks_permission(ticket):
        return _APPROVAL if ticket.quorum == 1 else _VOTE
    return ticket.response_schema


def _iso(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class UsageCount:
    """Tokens by model, in the order the models were first used."""

    def __init__(self) -> None:
        self._by_model: dict[str, dict[str, int]] = {}

    def add(self, model: str, counted: dict[str, int] | None) -> None:
        """Count an inference; `counted` has the names of the log."""
        if not counted:
            return
        total = self._by_model.setdefault(model, {})
        for name, wire_name in _TOKENS.items():
            if name in counted:
                total[wire_name] = total.get(wire_name, 0) + counted[name]

    def told(self) -> list[dict[str, Any]] | None:
        """The `usage` of an event; None when nothing was counted."""
        return [{"model": model, **total} for model, total in self._by_model.items()] or None


_TOKENS: Final = {
    "prompt_tokens": "inputTokens",
    "completion_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "thinking_tokens": "reasoningTokens",
    "cache_read_tokens": "cachedInputTokens",
    "cache_creation_tokens": "cacheWriteInputTokens",
}


def how_it_ended(termination: Termination) -> dict[str, Any]:
    """How the run ended, told apart by `type`: in `metadata.awaken.termination`."""
    told: dict[str, Any] = {"type": termination.__struct_config__.tag}
    match termination:
        case Stopped(code=code) | Errored(code=code):
            told["code"] = code
        case Cancelled(reason=reason) | Blocked(reason=reason):
            told["reason"] = reason
        case Superseded(by_run_id=by_run_id):
            told["byRunId"] = by_run_id
        case NaturalEnd() | BehaviorRequested() | SuspendedEnd():
            pass
        case _ as never:
            assert_never(never)
    return {name: value for name, value in told.items() if value is not None}
