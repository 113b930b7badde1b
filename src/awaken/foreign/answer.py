"""The one step of a foreign attempt: told to readers as it grows, and the messages it becomes.

Rules of this file
1. What is stored is the fold of what was published (I7), so text is remembered as it is told.
2. An attempt that follows another begins anew, in the same message: what is open of the earlier one
   is taken back first, its tool calls one by one, its text and reasoning by one `stream_reset`.
3. A tool call is told in order: start, arguments, ready, done. One that was not ready at the end is
   cancelled, one without a result gets one that says so: providers refuse a call without a result.
"""

from __future__ import annotations

from typing import Any, Final, assert_never, get_args

from msgspec.structs import replace

from awaken.domain import ledger
from awaken.domain.event import (
    ActivityDelta,
    ActivitySnapshot,
    ErrorEvent,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StateDelta,
    StateSnapshot,
    StepStart,
    StreamReset,
    TextDelta,
    ToolCallCancel,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
    ToolCallStreamDelta,
    event_type,
)
from awaken.domain.fold import fold
from awaken.domain.ledger import ToolResult
from awaken.domain.message import Message, Role, TextBlock, ToolCall
from awaken.domain.outcome import Completed, StepClose, Usage
from awaken.domain.termination import Blocked, NaturalEnd, Stopped
from awaken.ports.boundary import Steps
from awaken.ports.clock import Ids
from awaken.ports.events import EventSink
from awaken.ports.runner import Activation

Content = TextDelta | ReasoningDelta | ReasoningEncryptedValue
CallEvent = ToolCallStart | ToolCallDelta | ToolCallReady | ToolCallStreamDelta | ToolCallDone
Aside = (
    ActivitySnapshot | ActivityDelta | StateSnapshot | StateDelta | ErrorEvent | InferenceComplete
)

Telling = Content | CallEvent | Aside
"""What a foreign agent may tell: all else in the log is written by the server."""

TELLING: Final[tuple[type[Telling], ...]] = get_args(Telling)

RESTARTED: Final = "restarted"
"""The reason of what is taken back."""

_COUNTED: Final = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "thinking_tokens": "reasoning_tokens",
}
"""The names of token counts in events, and in the record of a run."""


class _Call:
    """A tool call, as far as it was told."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.ready: ToolCallReady | None = None
        self.done: ToolCallDone | None = None


class Answer:
    """What an attempt says. `begin`, then `say` and `tell`, then `end`."""

    def __init__(self, activation: Activation, sink: EventSink, steps: Steps, ids: Ids) -> None:
        self._earlier = activation.partial
        self._sink = sink
        self._steps = steps
        self._ids = ids
        self._message_id = activation.partial.message_id or ids.new()
        self._content: list[Content] = []
        self._kind: type[TextDelta | ReasoningDelta] = TextDelta
        self._pieces: list[str] = []
        self._calls: dict[str, _Call] = {}
        self._usage = Usage()

    async def begin(self) -> None:
        """Open the step, or the one that an earlier attempt had opened once more."""
        if self._earlier.message_id is None:
            await self._sink.emit(StepStart(message_id=self._message_id))
            return
        for call in self._earlier.calls:
            await self._cancel(call.id, call.name, RESTARTED)
        if not self._earlier.empty:
            first = self._steps.checkpoint_seq + 1
            await self._sink.emit(StreamReset(from_seq=first, reason=RESTARTED))

    async def say(self, text: str) -> None:
        """Say more text."""
        await self.tell(TextDelta(delta=text))

    async def think(self, text: str) -> None:
        """Tell more reasoning."""
        await self.tell(ReasoningDelta(delta=text))

    async def tell(self, event: Telling) -> None:
        """Tell readers `event`, and remember what of it will be stored.

        Raises:
            ValueError: an event of a tool call comes out of order.
            ClaimLost: of the sink.
        """
        match event:
            case TextDelta(delta="") | ReasoningDelta(delta=""):
                return
            case TextDelta() | ReasoningDelta():
                self._grow(event)
            case ReasoningEncryptedValue():
                self._join()
                self._content.append(event)
            case InferenceComplete():
                self._usage += usage_of(event)
            case ActivitySnapshot() | ActivityDelta() | StateSnapshot() | StateDelta():
                pass
            case ErrorEvent():
                pass
            case _:
                event = await self._call(event)
        await self._sink.emit(event)

    async def end(
        self,
        termination: NaturalEnd | Stopped | Blocked | None = None,
        *,
        text: str | None = None,
        behind: tuple[Message, ...] = (),
        complete: InferenceComplete | None = None,
    ) -> Completed:
        """The end of the run. Nothing is told after it.

        `text` is the result, without one all that was said; `behind` are messages that follow the
        answer; `complete` tells of the usage, and rides in the same commit.
        """
        await self._end_calls()
        self._join()
        answer = fold(self._content)
        calls = [call for call in self._calls.values() if call.ready is not None]
        message = Message(
            message_id=self._message_id,
            role=Role.assistant,
            content=answer.blocks,
            tool_calls=tuple(_made(call) for call in calls),
        )
        results = tuple(_tool_message(call.done) for call in calls if call.done is not None)
        close = StepClose(
            events=() if complete is None else (complete,),
            messages=(message, *results, *behind),
            usage=self._usage if complete is None else self._usage + usage_of(complete),
        )
        text = answer.text if text is None else text
        return Completed(termination=termination or NaturalEnd(), text=text, close=close)

    @property
    def message_id(self) -> str:
        """The id of the message this becomes."""
        return self._message_id

    # --- text and reasoning, neighbouring deltas joined

    def _grow(self, event: TextDelta | ReasoningDelta) -> None:
        if type(event) is not self._kind:
            self._join()
            self._kind = type(event)
        self._pieces.append(event.delta)

    def _join(self) -> None:
        if self._pieces:
            self._content.append(self._kind(delta="".join(self._pieces)))
            self._pieces = []

    # --- tool calls

    async def _call(self, event: CallEvent) -> CallEvent:
        """Take in an event of a call; returns it as it is to be told."""
        call = self._calls.get(event.id)
        match event:
            case ToolCallStart():
                _expect(call is None, event, "the call was started before")
                self._calls[event.id] = _Call(event.id, event.name)
            case ToolCallReady():
                await self._ready(call, event)
            case ToolCallDelta():
                _expect(call is not None and call.ready is None, event, "no call is being written")
            case ToolCallStreamDelta():
                _expect(_runs(call), event, "the call is not running")
            case ToolCallDone():
                return self._done(call, event)
            case _ as never:
                assert_never(never)
        return event

    async def _ready(self, call: _Call | None, event: ToolCallReady) -> None:
        """A call that was not started is started by this."""
        if call is None:
            await self.tell(ToolCallStart(id=event.id, name=event.name))
            call = self._calls[event.id]
        _expect(call.ready is None, event, "the call was ready before")
        call.ready = event

    def _done(self, call: _Call | None, event: ToolCallDone) -> ToolCallDone:
        """The result with the id of its message, which nobody else can know."""
        _expect(_runs(call), event, "the call is not running")
        _expect(event.outcome in ("succeeded", "failed"), event, "its outcome cannot be kept")
        assert call is not None, "a call that runs is known"
        call.done = replace(event, message_id=self._ids.new())
        return call.done

    async def _end_calls(self) -> None:
        for call in self._calls.values():
            if call.ready is None:
                await self._cancel(call.id, call.name, "incomplete")
            elif call.done is None:
                result = ledger.failed("not_run", "the run ended before this call had a result")
                await self.tell(done_event(call.id, result))

    async def _cancel(self, call_id: str, name: str, reason: str) -> None:
        await self._sink.emit(ToolCallCancel(id=call_id, name=name, reason=reason))


def done_event(call_id: str, result: ToolResult) -> ToolCallDone:
    """The event of a result whose message has no id yet."""
    outcome = "succeeded" if result.succeeded else "failed"
    return ToolCallDone(id=call_id, message_id="", outcome=outcome, result=result.content)


def usage_of(event: InferenceComplete) -> Usage:
    """The tokens an event tells of; what it does not name was not counted."""
    told = event.usage or {}
    return Usage(**{ours: told.get(theirs, 0) for theirs, ours in _COUNTED.items()})


def told_usage(usage: Usage) -> dict[str, int] | None:
    """Usage as events name it; None when nothing was counted."""
    if usage == Usage():
        return None
    counts = {theirs: int(getattr(usage, ours)) for theirs, ours in _COUNTED.items()}
    always = {name: counts.pop(name) for name in ("prompt_tokens", "completion_tokens")}
    details = {name: count for name, count in counts.items() if count}
    return always | {"total_tokens": sum(always.values())} | details


def _runs(call: _Call | None) -> bool:
    return call is not None and call.ready is not None and call.done is None


def _expect(holds: bool, event: CallEvent, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"{event_type(event)} {event.id!r}: {otherwise}")


def _made(call: _Call) -> ToolCall:
    arguments: Any = None if call.ready is None else call.ready.arguments
    return ToolCall(id=call.id, name=call.name, arguments=arguments)


def _tool_message(done: ToolCallDone) -> Message:
    result = ToolResult(succeeded=done.outcome == "succeeded", content=done.result)
    return Message(
        message_id=done.message_id,
        role=Role.tool,
        tool_call_id=done.id,
        content=(TextBlock(text=result.text),),
    )
