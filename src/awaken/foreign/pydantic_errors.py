"""From what an agent of pydantic-ai raises to our faults.

Only what is about a model, or about the agent as it is written, is known here. What a tool raises
is not: a `Fault` keeps its class, and anything else fails the run as a mistake in a program.

The texts are ours: what a provider says may hold a key, an address or the conversation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    FallbackExceptionGroup,
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
    RunTimedOut,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)

from awaken.errors import Fault

TROUBLE: Final = (AgentRunError, UserError, FallbackExceptionGroup)
"""What is a fault; all else goes on as it is."""

_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ModelRateLimitError, "rate_limited"),
    (ModelQuotaExceededError, "quota_exceeded"),
    (ModelUnavailableError, "overloaded"),
    (ModelTimeoutError, "timeout"),
    (ModelRequestTimeout, "timeout"),
    (ModelConnectionError, "provider_error"),
    (ModelContextWindowExceededError, "context_overflow"),
    (ModelAuthenticationError, "unauthorised"),
    (ModelNotFoundError, "model_not_found"),
    (ContentFilterError, "content_filtered"),
    (UsageLimitExceeded, "usage_limit"),
    (RunTimedOut, "agent_timeout"),
    (UnexpectedModelBehavior, "model_misbehaved"),
)
"""The first that fits counts."""

FAULTS: Final[dict[str, tuple[bool, str]]] = {
    "rate_limited": (True, "the model provider limits how often it may be asked"),
    "overloaded": (True, "the model provider is overloaded"),
    "provider_error": (True, "the model provider failed"),
    "timeout": (True, "the model provider did not answer in time"),
    "unauthorised": (False, "the model provider does not accept our credentials"),
    "model_not_found": (False, "the model provider does not have this model"),
    "context_overflow": (False, "the conversation is too long for the model"),
    "content_filtered": (False, "the model provider refuses this content"),
    "bad_request": (False, "the model provider cannot carry out this request"),
    "quota_exceeded": (False, "the quota at the model provider is used up"),
    "usage_limit": (False, "the agent reached a limit of its own"),
    "agent_timeout": (False, "the agent reached its own time limit"),
    "model_misbehaved": (False, "the model's answers were not what the agent needs"),
    "agent_failed": (False, "the agent gave up"),
}
"""Each code with whether a retry can help, and its text. A sibling, `models/provider_errors.py`,
has some of them too; there they mean the same (a test compares them)."""

_PASSING: Final = frozenset({408, 409, 425, 429})
"""Rejections that another attempt may not meet; so are all failures of the server."""


def fault_of(error: BaseException, waiting_tools: Iterable[str] = ()) -> Fault:
    """The fault that `error`, one of `TROUBLE`, is.

    `waiting_tools` are those whose calls the agent would have had to wait for.
    """
    if isinstance(error, FallbackExceptionGroup):
        return _of_all(error)
    tools = tuple(waiting_tools)
    if isinstance(error, UserError):
        return deferred(tools) if tools else _miswritten(error)
    return _fault(error, _code(error))


def _code(error: BaseException) -> str:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return _status_code(error) if isinstance(error, ModelAPIError) else "agent_failed"


def _status_code(error: ModelAPIError) -> str:
    """A failure without a class of its own: the provider's, unless it says that we are to blame."""
    status = error.status_code if isinstance(error, ModelHTTPError) else None
    passing = status is None or status >= 500 or status in _PASSING
    return "provider_error" if passing else "bad_request"


def deferred(tools: Iterable[str]) -> Fault:
    """The fault of an agent that wants to wait for somebody."""
    names = ", ".join(sorted(set(tools)))
    return Fault(
        "deferred_tools_unsupported",
        f"the agent's tools {names} need an approval or run elsewhere, and an agent of "
        "pydantic-ai that is served as it is cannot wait for that",
        retryable=False,
        public=True,
    )


def _of_all(group: FallbackExceptionGroup) -> Fault:
    """All models failed: one that may work the next time makes another attempt worth while."""
    faults = [fault_of(error) for error in group.exceptions if isinstance(error, TROUBLE)]
    if not faults:
        return _fault(group, "provider_error")
    return next((fault for fault in faults if fault.retryable), faults[0])


def _fault(error: BaseException, code: str) -> Fault:
    retryable, text = FAULTS[code]
    wait = error.retry_after if isinstance(error, ModelAPIError) else None
    return Fault(code, text, retryable=retryable, retry_after_ms=_milliseconds(wait), public=True)


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return math.ceil(seconds * 1000)


def _miswritten(error: UserError) -> Fault:
    """What the author of the agent must mend; the text is for those who see internals."""
    return Fault("agent_miswritten", f"pydantic-ai: {error}", retryable=False)
