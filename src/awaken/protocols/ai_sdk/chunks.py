"""Chunks of the UI message stream as bytes, and values that several of them share.

Only fields that every supported client knows are written: `ai` 6.0.0 refuses unknown ones.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from awaken.domain.outcome import Usage
from awaken.domain.ticket import ResumeMode, Ticket, WaitingReason

encode: Final = msgspec.json.Encoder().encode

DONE: Final = b"[DONE]"

_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "content-filter": "content-filter",
    "tool_calls": "tool-calls",
}


def chunk(kind: str, **fields: Any) -> bytes:
    """A chunk; fields that are None are left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    return encode({"type": kind, **told})


def finish_reason(of_model: str | None) -> str:
    """The reason of a run that ended by itself, from that of its last inference."""
    if of_model is None:
        return "stop"
    return _FINISH_REASONS.get(of_model, "other")


def usage_metadata(usage: Usage) -> dict[str, int]:
    """Usage under the SDK's names."""
    counted = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
    }
    details = {
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cache_read_tokens,
    }
    return counted | {name: count for name, count in details.items() if count}


def usage_of(told: dict[str, int] | None) -> Usage:
    """The usage that an `inference_complete` tells of."""
    told = told or {}
    return Usage(
        input_tokens=told.get("prompt_tokens", 0),
        output_tokens=told.get("completion_tokens", 0),
        cache_read_tokens=told.get("cache_read_tokens", 0),
        cache_write_tokens=told.get("cache_creation_tokens", 0),
        reasoning_tokens=told.get("thinking_tokens", 0),
    )


def asks_permission(ticket: Ticket) -> bool:
    """Whether yes or no is an answer: then it is an approval of the SDK."""
    return ticket.resume_mode is ResumeMode.replay_tool_call


def is_client_call(ticket: Ticket) -> bool:
    """Whether the client executes the call, and its output is the answer."""
    return (
        ticket.resume_mode is ResumeMode.use_decision_as_tool_result
        and ticket.reason is WaitingReason.external_event
    )


def question(ticket: Ticket) -> dict[str, Any]:
    """What the data part of a question holds; it is answered by its ticket or the next message."""
    told = {
        "ticketId": ticket.ticket_id,
        "toolCallId": ticket.tool_call_id,
        "message": ticket.message,
        "schema": ticket.response_schema,
        "expiresAt": ticket.expires_at,
    }
    return {name: value for name, value in told.items() if value is not None}


def error_text(result: Any) -> str:
    """What a client is told of a failed call: the message that the model sees too."""
    if isinstance(result, str):
        return result
    if isinstance(result, dict) and isinstance(result.get("error"), dict):
        message = result["error"].get("message")
        if isinstance(message, str):
            return message
    return encode(result).decode()


def error_code(result: Any) -> str | None:
    """The code of a failed call, if it has one."""
    if isinstance(result, dict) and isinstance(result.get("error"), dict):
        code = result["error"].get("code")
        return code if isinstance(code, str) else None
    return None
