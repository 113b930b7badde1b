"""Whether an answer fits the JSON schema its question asked for."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec

from awaken.domain.ticket import ResumeMode, Ticket
from awaken.errors import RequestError


def check_answer(schema: dict[str, Any] | None, answer: Any) -> str | None:
    """None when `answer` fits `schema`, else why not, with the place named."""
    if schema is None:
        return None
    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(answer))
    if error is None:
        return None
    return f"{error.json_path.removeprefix('$') or 'the answer'}: {error.message}"


def fitting_answer(schema: dict[str, Any] | None, text: str) -> tuple[Any] | None:
    """What a user's text means as an answer: itself, or the JSON it is; None when neither fits."""
    if check_answer(schema, text) is None:
        return (text,)
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return (value,) if check_answer(schema, value) is None else None


def check_decision(ticket: Ticket, action: str, payload: Any) -> None:
    """Refuse a decision that does not fit its ticket.

    Raises:
        RequestError: `invalid_decision` (422), naming the field.
    """
    if action not in ("resume", "cancel"):
        raise _invalid("action", f"action is resume or cancel, not {action!r}")
    if action == "cancel":
        return
    wrong = check_answer(ticket.response_schema, payload)
    if wrong is not None:
        raise _invalid("payload", wrong)
    if ticket.quorum > 1 and payload is not None:
        raise _invalid("payload", "what several allow is what was asked for: nothing can be edited")
    edits = ticket.resume_mode is ResumeMode.replay_tool_call and payload is not None
    if edits and not _edits_arguments(payload):
        raise _invalid("payload", 'edited arguments are sent as {"arguments": {…}}')


def _edits_arguments(payload: Any) -> bool:
    if not isinstance(payload, dict):
        return False
    arguments = payload.get("arguments")
    return arguments is None or isinstance(arguments, dict)


def _invalid(field: str, message: str) -> RequestError:
    return RequestError("invalid_decision", message, status=422, details={"field": field})
