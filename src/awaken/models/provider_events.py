"""From the stream events of pydantic-ai to ours. No I/O: events in, events out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from pydantic_ai.messages import (
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import StreamedResponse
from pydantic_ai.usage import RequestUsage

from awaken.domain.outcome import Usage
from awaken.models.provider_errors import Stage, make_fault
from awaken.models.provider_seal import (
    Seal,
    SealedItem,
    encode_seal,
    sealed_calls,
    sealed_text,
    sealed_thoughts,
)
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ReasoningChunk,
    TextChunk,
)

_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_call": "tool_calls",
}


class _Call:
    """A call that is being written.

    Its start is told with its first arguments, for until then its name may still grow.
    """

    def __init__(self, part: ToolCallPart) -> None:
        self.id = part.tool_call_id
        self.name = part.tool_name
        self.text = ""
        self.told = False
        self.over = False

    def start(self) -> Iterator[ModelEvent]:
        if not self.told:
            self.told = True
            yield CallStart(id=self.id, name=self.name)

    def grow(self, arguments: str) -> Iterator[ModelEvent]:
        if arguments:
            yield from self.start()
            self.text += arguments
            yield CallChunk(id=self.id, text=arguments)

    def end(self) -> Iterator[ModelEvent]:
        if not self.over:
            yield from self.start()
            self.over = True
            yield CallEnd(id=self.id)


class Transcript:
    """One answer. `stage` tells how far it has come.

    Args:
        response: the answer as the library gathers it; read where a seal is made, and at the end.
        origin: goes into the seals.
        reason_required: whether an answer without a reason to finish was cut off.
    """

    def __init__(self, response: StreamedResponse, origin: str, *, reason_required: bool) -> None:
        self.stage = Stage.accepted
        self._response = response
        self._origin = origin
        self._reason_required = reason_required
        self._calls: dict[int, _Call] = {}
        self._before = 0  # thoughts of earlier reasoning blocks
        self._thoughts = 0  # all so far
        self._unsealed = False  # something was thought since the last seal
        self._reasoning_last = False  # the block that readers have last is one of reasoning
        self._seal_last = False  # and it is sealed

    def feed(self, event: ModelResponseStreamEvent) -> Iterator[ModelEvent]:
        """What `event` means for readers."""
        self.stage = Stage.answering
        match event:
            case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                yield from self._text(text)
            case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=text)):
                yield from self._thought(text or "")
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta):
                yield from self._call_delta(index, delta)
            case PartStartEvent(part=TextPart() as part):
                yield from self._seal(text=sealed_text(part))
                yield from self._text(part.content)
            case PartStartEvent(part=ThinkingPart() as part):
                self._thoughts += 1
                yield from self._thought(part.content)
            case PartStartEvent(index=index, part=ToolCallPart() as part):
                yield from self._seal()
                yield from self._call_start(index, part)
            case PartEndEvent(index=index, part=ToolCallPart() as part):
                yield from self._call_end(index, part)
            case _:
                pass  # parts of tools that run at the provider: we offer none

    def finish(self) -> Iterator[ModelEvent]:
        """The end of the answer.

        Raises:
            Fault: `stream_interrupted` when no end was told; `provider_error` when it failed.
        """
        response = self._response
        reason = response.finish_reason
        told = (response.provider_details or {}).get("finish_reason") is not None
        if self._reason_required and not told and reason in (None, "stop"):
            raise make_fault("stream_interrupted")
        if reason == "error":
            raise make_fault("provider_error")
        for call in self._calls.values():
            if reason != "length" or _whole(call.text):
                yield from call.end()
        yield from self._last_seal()
        yield Finish(
            reason=self._reason(reason),
            usage=usage_of(response.usage),
            model=response.model_name,
        )

    def _reason(self, reason: str | None) -> str:
        known = _REASONS.get(reason or "stop", "stop")
        return "tool_calls" if self._calls and known == "stop" else known

    # --- text and reasoning --------------------------------------------------------------------

    def _text(self, text: str) -> Iterator[ModelEvent]:
        if text:
            self._before = self._thoughts
            self._reasoning_last = self._seal_last = False
            yield TextChunk(text=text)

    def _thought(self, text: str) -> Iterator[ModelEvent]:
        self._unsealed = True
        if text:
            self._reasoning_last, self._seal_last = True, False
            yield ReasoningChunk(text=text)

    def _seal(self, *, text: SealedItem | None = None) -> Iterator[ModelEvent]:
        """Seal the reasoning before what comes now, if there is any that is not sealed."""
        if self._unsealed:
            yield from self._sealed(text=text)

    def _last_seal(self) -> Iterator[ModelEvent]:
        """Seal what is left, and the calls.

        That takes a block of its own when text or a seal was last. Behind text, ids of calls are
        not worth it: providers can do without. Details are, they refuse calls that have lost them.
        """
        calls = sealed_calls(self._parts(ToolCallPart))
        needed = any(call.details for call in calls)
        if self._unsealed or needed or (calls and self._reasoning_last):
            yield from self._sealed(calls=calls)

    def _sealed(
        self, *, text: SealedItem | None = None, calls: tuple[SealedItem, ...] = ()
    ) -> Iterator[ModelEvent]:
        self._unsealed = False
        thoughts = sealed_thoughts(self._parts(ThinkingPart)[self._before :])
        seal = Seal(origin=self._origin, thoughts=thoughts, text=text, calls=calls)
        if not seal.worthless or (calls and self._seal_last):
            # A signature ends its block: what follows has another, and is sealed for itself. A
            # thought that two seals told of would go back twice, which its provider refuses.
            self._before = self._thoughts
            self._reasoning_last = self._seal_last = True
            yield ReasoningChunk(signature=encode_seal(seal))

    def _parts(self, kind: type[Any]) -> list[Any]:
        return [part for part in self._response.get().parts if isinstance(part, kind)]

    # --- calls ---------------------------------------------------------------------------------

    def _call_start(self, index: int, part: ToolCallPart) -> Iterator[ModelEvent]:
        known = self._calls.get(index)
        if known is None:
            known = self._calls[index] = _Call(part)
        if isinstance(part.args, str):
            yield from known.grow(part.args.removeprefix(known.text))

    def _call_delta(self, index: int, delta: ToolCallPartDelta) -> Iterator[ModelEvent]:
        call = self._calls.get(index)
        if call is None or call.over:
            return
        if not call.told:
            call.name += delta.tool_name_delta or ""
            call.id = delta.tool_call_id or call.id
        if isinstance(delta.args_delta, str):
            yield from call.grow(delta.args_delta)

    def _call_end(self, index: int, part: ToolCallPart) -> Iterator[ModelEvent]:
        """A part ends where the next one begins, yet providers may still go on with it.

        So a call is over when its arguments are whole, else with the answer.
        """
        call = self._calls.get(index)
        if call is None or call.over:
            return
        if isinstance(part.args, dict) and not call.text:
            yield from call.grow(msgspec.json.encode(part.args).decode())
        if _whole(call.text):
            yield from call.end()


def _whole(text: str) -> bool:
    """Whether `text` is an object, so that nothing more can belong to it."""
    if not text.endswith("}"):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


def usage_of(counted: RequestUsage) -> Usage:
    """`counted` under our names; input includes what was read from and written to a cache."""
    details = counted.details
    reasoning = details.get("reasoning_tokens") or details.get("thoughts_tokens")
    return Usage(
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cache_read_tokens=counted.cache_read_tokens,
        cache_write_tokens=counted.cache_write_tokens,
        reasoning_tokens=reasoning or counted.output_reasoning_tokens,
    )
