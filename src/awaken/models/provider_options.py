"""How a provider is reached: what differs by installation, and so is in no specification.

Nothing here imports the client libraries: a server must be able to say at start that it cannot
serve a model, and to start without the second that they take.
"""

from __future__ import annotations

import difflib
import re
from importlib.util import find_spec
from typing import Final

from awaken.domain.record import Record

PROVIDERS: Final = (
    *("alibaba", "anthropic", "azure", "azure-responses", "bedrock", "bedrock-mantle", "cerebras"),
    *("cohere", "crusoe", "deepseek", "fireworks", "github", "github-copilot", "google"),
    *("google-cloud", "groq", "heroku", "huggingface", "litellm", "meta", "mistral", "moonshotai"),
    *("nebius", "ollama", "openai", "openai-chat", "openai-chatgpt", "openai-codex"),
    *("openai-responses", "openrouter", "ovhcloud", "sambanova", "snowflake", "together", "vercel"),
    *("vllm", "xai", "zai"),
)
"""What may stand before the colon of a model's name."""

GATEWAY: Final = "gateway/"
"""May stand before a provider: its models are then reached by way of the Pydantic AI gateway."""


_PREFILLED: Final = re.compile(r"claude-(instant|2|3|(opus|sonnet|haiku)-4(-[015])?(-[0-9]{8})?$)")


class ProviderOptions(Record):
    """The options of one model; `ProviderModel` says what they mean."""

    base_url: str | None = None
    api_key: str | None = None
    headers: dict[str, str] = {}
    timeout_seconds: float = 300.0
    prefill: bool | None = None
    finish_reason_required: bool = True

    def __repr__(self) -> str:
        """Without the key and the headers, which are secrets."""
        return f"ProviderOptions(base_url={self.base_url!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in a text."""
        return tuple(text for text in (self.api_key, *self.headers.values()) if text)


def prefill_known(system: str, model: str) -> bool:
    """Whether a model goes on behind the beginning of its answer: Claude did, up to 4.5."""
    return system == "anthropic" and _PREFILLED.match(model) is not None


def check_name(name: str) -> None:
    """Refuse a name that cannot be a provider's model here.

    Raises:
        ValueError: `name` is not of the form `provider:model`, the provider is not known, or the
            client libraries are not installed.
    """
    provider, _, model = name.partition(":")
    kind = provider.removeprefix(GATEWAY)
    if not model or kind not in PROVIDERS:
        close = difflib.get_close_matches(kind, PROVIDERS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name!r} is not the model of a known provider{hint}")
    if find_spec("pydantic_ai") is None:
        raise ValueError(f"the model {name!r} needs: pip install 'awaken-server[models]'")
