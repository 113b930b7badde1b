"""One step of a run, up to its answer.

Open it, ask the model, continue what hit the output limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain.agent import AgentSpec
from awaken.domain.event import InferenceComplete, StepStart
from awaken.domain.fold import Partial
from awaken.domain.message import Message, Role
from awaken.domain.outcome import Usage
from awaken.domain.record import Record
from awaken.loop.infer import Answer, infer
from awaken.loop.truncate import Window
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import EventSink
from awaken.ports.model import Model, ModelRequest


class Step(Record):
    """An answered step: its message is not committed, and `complete` not emitted yet."""

    message: Message
    finish_reason: str
    usage: Usage
    complete: InferenceComplete


class Stepper:
    """Takes steps of one attempt."""

    def __init__(
        self, model: Model, spec: AgentSpec, sink: EventSink, clock: Clock, ids: Ids
    ) -> None:
        self._model = model
        self._spec = spec
        self._window = Window(spec.limits.max_context_tokens)
        self._sink = sink
        self._clock = clock
        self._ids = ids

    async def take(
        self, messages: Sequence[Message], partial: Partial, attempt: int, reset_from: int
    ) -> Step:
        """Carry out the step that is open, else a new one.

        A step that an earlier attempt opened keeps its message id, and what was published of its
        text is continued, not repeated.

        Raises:
            Fault, ClaimLost: of `infer`. Everything emitted until then counts as published.
        """
        message_id = partial.message_id
        if message_id is None:
            message_id = self._ids.new()
            await self._sink.emit(StepStart(message_id=message_id))
        request = self._request(messages, partial, attempt)
        answer = await infer(self._model, request, self._sink, self._clock, reset_from)
        answer = await self._continued(answer, request, reset_from)
        message = Message(
            message_id=message_id,
            role=Role.assistant,
            content=answer.blocks,
            tool_calls=answer.calls,
        )
        return Step(
            message=message,
            finish_reason=answer.finish.reason,
            usage=answer.finish.usage,
            complete=_complete(answer, request.model),
        )

    async def _continued(self, answer: Answer, request: ModelRequest, reset_from: int) -> Answer:
        """An answer that hit the model's output limit goes on behind its own text."""
        for _ in range(self._spec.limits.max_continuations):
            if answer.finish.reason != "length" or answer.calls:
                break
            request = replace(request, partial=Partial(blocks=answer.blocks))
            more = await infer(self._model, request, self._sink, self._clock, reset_from)
            usage = answer.finish.usage + more.finish.usage
            answer = replace(
                more,
                finish=replace(more.finish, usage=usage),
                duration_ms=answer.duration_ms + more.duration_ms,
            )
        return answer

    def _request(self, messages: Sequence[Message], partial: Partial, attempt: int) -> ModelRequest:
        spec = self._spec
        return ModelRequest(
            model=spec.model,
            instructions=spec.instructions,
            messages=self._window.cut(messages),
            tools=spec.tools,
            # Reasoning alone is thought again, since half of it has no signature; the claim of this
            # attempt has voided it for readers.
            partial=partial if partial.text else replace(partial, blocks=()),
            attempt=attempt,
            settings=spec.settings,
        )


def _complete(answer: Answer, model: str) -> InferenceComplete:
    return InferenceComplete(
        model=answer.finish.model or model,
        duration_ms=answer.duration_ms,
        usage=_usage(answer.finish.usage),
        finish_reason=answer.finish.reason,
    )


def _usage(usage: Usage) -> dict[str, int] | None:
    """Usage under its wire names (server reference, section 2.2); None when nothing was counted."""
    if usage == Usage():
        return None
    counted = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    details = {
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_creation_tokens": usage.cache_write_tokens,
        "thinking_tokens": usage.reasoning_tokens,
    }
    return counted | {name: count for name, count in details.items() if count}
