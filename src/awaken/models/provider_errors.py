"""From what the client libraries raise to our faults: the one place where they are converted.

A fault's text is fixed by its code, because what a provider says may hold a key, an address or the
conversation. The provider's own words, shortened and without secrets, become a note of the fault
(`__notes__`) and a line in the log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import httpx2
from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelTimeoutError,
    ModelUnavailableError,
    UserError,
)

from awaken.errors import Fault

TROUBLE: Final = (
    *(AgentRunError, UserError, httpx2.HTTPError, httpx2.StreamError),
    *(OSError, ValueError, ImportError),
)
"""What the client libraries raise when something is wrong; all else is a mistake in a program."""

FAULTS: Final[dict[str, tuple[bool, str]]] = {
    "rate_limited": (True, "the model provider limits how often it may be asked"),
    "overloaded": (True, "the model provider is overloaded"),
    "provider_error": (True, "the model provider failed"),
    "timeout": (True, "the model provider did not answer in time"),
    "stream_interrupted": (True, "the model's answer broke off"),
    "unauthorised": (False, "the model provider does not accept our credentials"),
    "model_not_found": (False, "the model provider does not have this model"),
    "context_overflow": (False, "the conversation is too long for the model"),
    "content_filtered": (False, "the model provider refuses this content"),
    "bad_request": (False, "the model provider cannot carry out this request"),
    "quota_exceeded": (False, "the quota at the model provider is used up"),
    "provider_not_installed": (False, "the client library of the model provider is missing"),
}
"""Each code with whether a retry can help, and its text."""

_OVERFLOW: Final = re.compile(
    r"context.?(length|window|size)|maximum context|(prompt|input|request) (is )?too (long|large)"
    r"|too many (input )?tokens|exceed\w* .{0,40}tokens",
    re.IGNORECASE,
)
_FILTERED: Final = re.compile(
    r"content.?(filter|policy|management)|safety|moderation|flagged", re.IGNORECASE
)
_QUOTA: Final = re.compile(r"quota|billing|credit|insufficient.?(balance|funds)", re.IGNORECASE)
_OVERLOAD: Final = re.compile(r"overloaded|over capacity", re.IGNORECASE)
_TIMED_OUT: Final = re.compile(r"timed?.?out", re.IGNORECASE)
_NO_KEY: Final = re.compile(r"api.?key|credentials|_TOKEN\b", re.IGNORECASE)
_VARIABLE: Final = re.compile(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*_(?:KEY|TOKEN)\b")
_SECRET: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key)-[\w*-]{6,}|\bAIza[\w-]{10,}|(?<=Bearer )\S+|(?<=[?&]key=)[^&\s]+"
)
_MAX_NOTE: Final = 500


class Stage(IntEnum):
    """How far a request had come."""

    asked = 0
    accepted = 1
    answering = 2


def fault_for(error: Exception, stage: Stage, secrets: Iterable[str] = ()) -> Fault:
    """The fault that `error` is; the caller raises it `from None`.

    Args:
        error: one of `TROUBLE`.
        stage: when it was raised; a connection that is lost later cuts off an answer.
        secrets: texts that must not be in the note.
    """
    fault = make_fault(_code(error, stage))
    if isinstance(error, UserError) and fault.code == "unauthorised":
        fault = _without_key(str(error))
    if isinstance(error, ModelAPIError):
        fault.retry_after_ms = _milliseconds(error.retry_after)
    fault.add_note(_note(error, secrets))
    return fault


def _without_key(text: str) -> Fault:
    """Nobody was asked: there is no key. The library's text names the variable it looks for."""
    name = _VARIABLE.search(text)
    wanted = f"set {name[0]} where the server runs" if name else "none is configured"
    message = f"the model provider needs a key: {wanted}"
    return Fault("unauthorised", message, retryable=False, public=True)


def make_fault(code: str) -> Fault:
    """The fault with that code of `FAULTS`."""
    retryable, text = FAULTS[code]
    return Fault(code, text, retryable=retryable, public=True)


def _code(error: Exception, stage: Stage) -> str:
    match error:
        case ModelAPIError():
            return _api_code(error, stage)
        case ContentFilterError():
            return "content_filtered"
        case AgentRunError():  # an answer that cannot be understood
            return "provider_error"
        case UserError():
            return "unauthorised" if _NO_KEY.search(str(error)) else "bad_request"
        case ImportError():
            return "provider_not_installed"
        case OSError() | httpx2.HTTPError() | httpx2.StreamError():
            late = isinstance(error, TimeoutError | httpx2.TimeoutException)
            return _connection_code(late, stage)
        case _:  # a ValueError: of our request, as long as nothing has come back
            return "bad_request" if stage is Stage.asked else "provider_error"


def _api_code(error: ModelAPIError, stage: Stage) -> str:
    match error:
        case ModelRateLimitError():
            return "rate_limited"
        case ModelQuotaExceededError():
            return "quota_exceeded"
        case ModelUnavailableError():
            return "overloaded"
        case ModelContextWindowExceededError():
            return "context_overflow"
        case ModelAuthenticationError():
            return _denied(error)
        case ModelNotFoundError():
            return "model_not_found"
        case ModelConnectionError() | ModelRequestTimeout():
            late = isinstance(error, ModelTimeoutError | ModelRequestTimeout)
            return _connection_code(late, stage)
        case ModelHTTPError():
            return _status_code(error)
        case _:
            return _worded(str(error), "provider_error")


def _connection_code(late: bool, stage: Stage) -> str:
    if late and stage is not Stage.answering:
        return "timeout"
    return "provider_error" if stage is Stage.asked else "stream_interrupted"


def _denied(error: ModelAuthenticationError) -> str:
    """401 or 403: some providers also say so that an account is exhausted, or refuse content."""
    forbidden = isinstance(error, ModelHTTPError) and error.status_code == 403
    if forbidden and _QUOTA.search(str(error.body)):
        return "quota_exceeded"
    if forbidden and _FILTERED.search(str(error.body)):
        return "content_filtered"
    return "unauthorised"


def _status_code(error: ModelHTTPError) -> str:
    status = error.status_code
    if status in (408, 504):
        return "timeout"
    if status == 413:
        return "context_overflow"
    if status >= 500 or status in (409, 425):
        return _worded(str(error.body), "provider_error")
    return _rejected(str(error.body))


def _worded(text: str, otherwise: str) -> str:
    """The code of a failure that only its words tell apart."""
    if _OVERLOAD.search(text):
        return "overloaded"
    if _TIMED_OUT.search(text):
        return "timeout"
    return otherwise


def _rejected(text: str) -> str:
    """The code of a request that was refused as it is."""
    if _OVERFLOW.search(text):
        return "context_overflow"
    if _FILTERED.search(text):
        return "content_filtered"
    return "bad_request"


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return math.ceil(seconds * 1000)


def _note(error: Exception, secrets: Iterable[str]) -> str:
    """What the provider said, in at most `_MAX_NOTE` characters."""
    text = f"{type(error).__name__}: {error}"
    for secret in secrets:
        text = text.replace(secret, "***")
    return _SECRET.sub("***", text)[:_MAX_NOTE]
