"""A provider's model in use: its connections, a request, and what becomes of it.

Imported with the first request only (`provider.py`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import InstructionPart, ModelMessage
from pydantic_ai.models import Model, ModelRequestParameters, infer_model
from pydantic_ai.providers import Provider, infer_provider, infer_provider_class
from pydantic_ai.providers.gateway import gateway_provider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from awaken.domain.agent import ToolSpec
from awaken.errors import Fault
from awaken.models.provider_errors import TROUBLE, Stage, fault_for
from awaken.models.provider_events import Transcript
from awaken.models.provider_history import Origin, history
from awaken.models.provider_options import GATEWAY, ProviderOptions, prefill_known
from awaken.models.provider_seal import origin_of
from awaken.ports.model import ModelEvent, ModelRequest

log = logging.getLogger(__name__)

_KNOWN_SETTINGS: Final = frozenset(ModelSettings.__annotations__) - {"max_retries"}
_OWN_SETTINGS: Final = re.compile(
    r"(anthropic|azure|bedrock|cerebras|cohere|google|groq|huggingface|mistral|openai|openrouter"
    r"|snowflake|xai|zai)_\w+"
)


def make_live(name: str, options: ProviderOptions) -> Live:
    """Make the client of a model. Blocks: it loads libraries and certificates.

    Raises:
        Fault: `unauthorised` when there is no key, `provider_not_installed`, `bad_request` when
            the provider does not take an option.
    """
    try:
        model = infer_model(name, provider_factory=lambda kind: _provider(kind, options))
        return Live(name, model, options)
    except TROUBLE as error:
        raise _fault(name, error, Stage.asked, options) from None


def _fault(name: str, error: Exception, stage: Stage, options: ProviderOptions) -> Fault:
    fault = fault_for(error, stage, options.secrets)
    log.warning("%s: %s: %s", name, fault.code, fault.__notes__[0])
    return fault


def _provider(kind: str, options: ProviderOptions) -> Provider[Any]:
    """The provider, with our address and key; without either, as its environment says."""
    given = {"base_url": options.base_url, "api_key": options.api_key}
    given = {option: value for option, value in given.items() if value is not None}
    if not given:
        return infer_provider(kind)
    if "base_url" in given:
        given.setdefault("api_key", "none")
    try:
        if kind.startswith(GATEWAY):
            return gateway_provider(kind.removeprefix(GATEWAY), **given)
        return infer_provider_class(kind)(**given)
    except TypeError:
        raise ValueError(f"{kind} does not take {' and '.join(given)}") from None


class Live:
    """A model and its connections, on one event loop."""

    def __init__(self, name: str, model: Model[Any], options: ProviderOptions) -> None:
        self._name = name
        self._model = model
        self._options = options
        self._origin = Origin(model.system, origin_of(model))

    async def open(self) -> None:
        await self._model.__aenter__()

    async def close(self) -> None:
        await self._model.__aexit__(None, None, None)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask; see `ports/model.py`."""
        transcript: Transcript | None = None
        try:
            parameters = _parameters(request)
            messages = self._messages(request, parameters)
            async with model_request_stream(
                self._model,
                messages,
                model_settings=self._settings(request),
                model_request_parameters=parameters,
            ) as response:
                transcript = Transcript(
                    response,
                    self._origin.seal,
                    reason_required=self._options.finish_reason_required,
                )
                async for event in response:
                    for told in transcript.feed(event):
                        yield told
                for told in transcript.finish():
                    yield told
        except TROUBLE as error:
            stage = Stage.asked if transcript is None else transcript.stage
            raise _fault(self._name, error, stage, self._options) from None

    def _messages(
        self, request: ModelRequest, parameters: ModelRequestParameters
    ) -> list[ModelMessage]:
        partial = request.partial.text
        # Providers refuse blank space at the end of a prefill.
        prefill = partial == partial.rstrip() and self._takes_prefill(request)
        messages = history(request.messages, partial, self._origin, prefill=prefill)
        return self._model.prepare_messages(messages, parameters)

    def _takes_prefill(self, request: ModelRequest) -> bool:
        if self._options.prefill is not None:
            return self._options.prefill
        thinks = any("thinking" in name and on for name, on in request.settings.items())
        return not thinks and prefill_known(self._model.system, self._model.model_name)

    def _settings(self, request: ModelRequest) -> ModelSettings:
        """The settings of a request: ours, then those of its agent that are a model's."""
        ours: dict[str, Any] = {"max_retries": 0, "timeout": self._options.timeout_seconds}
        ignored = self._model.unsupported_settings
        settings = {name: value for name, value in ours.items() if name not in ignored}
        settings |= {name: value for name, value in request.settings.items() if _is_setting(name)}
        if self._options.headers:
            asked = settings.get("extra_headers") or {}
            settings["extra_headers"] = {**asked, **self._options.headers}
        return cast(ModelSettings, settings)


def _is_setting(name: str) -> bool:
    return name in _KNOWN_SETTINGS or _OWN_SETTINGS.fullmatch(name) is not None


def _parameters(request: ModelRequest) -> ModelRequestParameters:
    instructions = [InstructionPart(content=request.instructions)] if request.instructions else []
    return ModelRequestParameters(
        function_tools=[_tool(spec) for spec in request.tools], instruction_parts=instructions
    )


def _tool(spec: ToolSpec) -> ToolDefinition:
    schema = spec.parameters or {"type": "object", "properties": {}}
    return ToolDefinition(
        name=spec.name, description=spec.description or None, parameters_json_schema=schema
    )
