"""A `pydantic_ai.Agent` as an agent of this server, as it is.

It runs its own loop: model, tools, retries and output are its own business, and all of it is one
step for us. So an attempt that follows another begins anew, and its tools run at least once. What
readers are told comes from its event stream; what it needs of earlier turns is kept with them.

Imported only where there is such an agent: the library takes a second or two to load.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import ReinjectSystemPrompt
from pydantic_ai.messages import BinaryContent, ModelResponse, TextPart
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import RunUsage
from pydantic_core import PydanticSerializationError, to_json

from awaken.domain.event import InferenceComplete
from awaken.domain.outcome import Outcome, Usage
from awaken.domain.termination import Blocked, NaturalEnd, Stopped
from awaken.errors import Fault
from awaken.foreign.answer import Answer, told_usage
from awaken.foreign.conversation import Conversation, conversation_of, visible_messages
from awaken.foreign.pydantic_errors import TROUBLE, deferred, fault_of
from awaken.foreign.pydantic_events import Listener
from awaken.foreign.pydantic_history import Given, given, kept
from awaken.ports.boundary import Steps
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import EventSink
from awaken.ports.runner import Activation, Capabilities

log = logging.getLogger(__name__)

_CAPABILITIES: Final = Capabilities()


class PydanticRunner:
    """Runs `agent`. `deps` makes what its tools depend on, for one attempt; without it, None."""

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        clock: Clock,
        ids: Ids,
        *,
        deps: Callable[[Conversation], object] | None = None,
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._ids = ids
        self._deps = deps

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Outcome:
        answer = Answer(activation, sink, steps, self._ids)
        await answer.begin()
        listener = Listener(answer)
        start = given(activation.messages, visible_messages(activation))
        began = self._clock.monotonic()
        result = await self._ask(activation, start, listener)
        text = _text(result.output)
        if _unsaid(result, text, by_tool=listener.output_tool):
            await listener.text.begin(text)
        message = kept(result.new_messages(), start.prompt, answer.message_id, self._ids.new())
        return await answer.end(
            _termination(result.response),
            text=text,
            behind=() if message is None else (message,),
            complete=_complete(result, round((self._clock.monotonic() - began) * 1000)),
        )

    async def _ask(
        self, activation: Activation, start: Given, listener: Listener
    ) -> AgentRunResult[Any]:
        run = activation.run
        deps = None if self._deps is None else self._deps(conversation_of(activation))
        try:
            return await self._agent.run(
                start.prompt,
                message_history=start.history,
                instructions=start.instructions,
                conversation_id=run.thread_id,
                run_id=run.run_id,
                metadata=dict(run.metadata) or None,
                deps=deps,
                infer_name=False,
                event_stream_handler=listener,
                # The history holds no system prompts: they are this agent's, not the thread's.
                capabilities=[ReinjectSystemPrompt()],
            )
        except TROUBLE as error:
            fault = fault_of(error, listener.waiting_tools)
            log.warning("%s: %s: %s", run.agent_id, fault.code, type(error).__name__)
            raise fault from error


def _text(output: object) -> str:
    """The output as text: what is no text, as JSON.

    Raises:
        Fault: it is a request to wait, or a file, or JSON cannot hold it.
    """
    if isinstance(output, str):
        return output
    if isinstance(output, DeferredToolRequests):
        raise deferred(call.tool_name for call in (*output.approvals, *output.calls))
    if isinstance(output, BinaryContent):
        raise _unusable(f"a file ({output.media_type})")
    try:
        return to_json(output).decode()
    except PydanticSerializationError:
        raise _unusable(type(output).__name__) from None


def _unusable(what: str) -> Fault:
    return Fault(
        "unsupported_output",
        f"the agent's output is {what}, which is neither text nor JSON",
        retryable=False,
        public=True,
    )


def _unsaid(result: AgentRunResult[Any], text: str, *, by_tool: bool) -> bool:
    """Whether readers have not seen the output: it came by a tool, or its text was changed."""
    if by_tool or not isinstance(result.output, str):
        return by_tool
    parts = result.response.parts
    said = "".join(part.content for part in parts if isinstance(part, TextPart))
    return not said.endswith(text)


def _termination(last: ModelResponse) -> NaturalEnd | Stopped | Blocked:
    match last.finish_reason:
        case "length":
            return Stopped(code="max_tokens")
        case "content_filter":
            return Blocked(reason="content_filter")
        case _:
            return NaturalEnd()


def _complete(result: AgentRunResult[Any], duration_ms: int) -> InferenceComplete:
    """All inferences of the run in one event: its loop does not tell where each one ends."""
    return InferenceComplete(
        model=result.response.model_name or "",
        duration_ms=duration_ms,
        usage=told_usage(_usage(result.usage)),
        finish_reason=result.response.finish_reason,
    )


def _usage(counted: RunUsage) -> Usage:
    details = counted.details
    reasoning = details.get("reasoning_tokens") or details.get("thoughts_tokens")
    return Usage(
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cache_read_tokens=counted.cache_read_tokens,
        cache_write_tokens=counted.cache_write_tokens,
        reasoning_tokens=reasoning or counted.output_reasoning_tokens,
    )
