"""What spans and their attributes are called.

The OpenTelemetry semantic conventions for generative AI, version 0.1.0 (their first in a repository
of their own; all of it in status "development"), and for HTTP servers. What has no name there
begins with `awaken`. The names are written out here: the Python package with the conventions has
marked its GenAI part as moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from awaken.domain.outcome import Usage

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
STREAM: Final = "gen_ai.request.stream"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
CONVERSATION: Final = "gen_ai.conversation.id"
AGENT: Final = "gen_ai.agent.name"
TOOL: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL: Final = "gen_ai.tool.call.id"
ERROR_TYPE: Final = "error.type"

INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
SUBMIT: Final = "submit"
STEP: Final = "step"

RUN: Final = "awaken.run.id"
THREAD: Final = "awaken.thread.id"
DISPATCH: Final = "awaken.dispatch.id"
ATTEMPT: Final = "awaken.attempt.id"
FAILURES: Final = "awaken.attempt.failures"
ACTIVATION: Final = "awaken.activation"
OUTCOME: Final = "awaken.outcome"
STEP_NUMBER: Final = "awaken.step"
BEGUN: Final = "awaken.tool.begun_before"
REQUEST: Final = "awaken.request.id"

CUT_OFF: Final = "cut_off"
"""The outcome of what neither ended nor failed: a stop, a time limit, a lost lease, a shutdown."""

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure-responses": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock-mantle": "aws.bedrock",
    "google": "gcp.gemini",
    "google-cloud": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "openai-chat": "openai",
    "openai-chatgpt": "openai",
    "openai-codex": "openai",
    "openai-responses": "openai",
    "xai": "x_ai",
}
"""Providers that the conventions call otherwise than the names of our models do."""

_SETTINGS: Final[Mapping[str, str]] = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
}


def split_model(name: str) -> tuple[str, str]:
    """(provider, model) of a model's full name, as the conventions have them."""
    provider, colon, model = name.partition(":")
    if not colon:
        return "", name
    provider = provider.rpartition("/")[2]
    return _PROVIDERS.get(provider, provider), model


def settings_attributes(settings: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among a request's settings."""
    return {
        _SETTINGS[name]: value
        for name, value in settings.items()
        if name in _SETTINGS and isinstance(value, int | float)
    }


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Tokens of a model call; what was not counted is left out."""
    counts = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_write.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count}


def total_attributes(usage: Usage) -> dict[str, int]:
    """Tokens of a whole attempt, as agent spans have them."""
    counts = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
    return {name: count for name, count in counts.items() if count}
