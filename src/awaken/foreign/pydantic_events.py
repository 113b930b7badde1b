"""What an agent of pydantic-ai does, told to readers as it happens.

A call of a tool is told from its first piece to its result; one of an output tool is not, since it
is how the model gives its answer. Ids of calls are the model's, and models use one twice: within
an answer each call gets an id of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import msgspec
from pydantic_ai.messages import (
    AgentStreamEvent,
    BaseToolCallPart,
    BaseToolReturnPart,
    DeferredToolRequestsEvent,
    DeferredToolResultsEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelResponsePart,
    ModelResponsePartDelta,
    NativeToolCallPart,
    NativeToolReturnPart,
    OutputToolResultEvent,
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
from pydantic_ai.tools import RunContext

from awaken.domain import ledger
from awaken.domain.event import ToolCallDelta, ToolCallReady, ToolCallStart
from awaken.domain.ledger import ToolResult
from awaken.foreign.answer import Answer, done_event
from awaken.redaction import clean

APART = "\n\n"
"""Stands between texts that the model wrote at different times, and so for reasoning."""


class _Voice:
    """Text or reasoning; what was written at different times is kept apart."""

    def __init__(self, tell: Callable[[str], Awaitable[None]]) -> None:
        self._tell = tell
        self._begun = False
        self._apart = False

    async def begin(self, text: str) -> None:
        self._apart = self._begun
        await self.go_on(text)

    async def go_on(self, text: str) -> None:
        if not text:
            return
        if self._apart:
            await self._tell(APART)
        self._begun, self._apart = True, False
        await self._tell(text)


class Listener:
    """The `event_stream_handler` of one attempt.

    `output_tool` says that the output came by a tool, `waiting_tools` which calls were left to
    somebody else.
    """

    def __init__(self, answer: Answer) -> None:
        self.output_tool = False
        self.waiting_tools: tuple[str, ...] = ()
        self._answer = answer
        self.text = _Voice(answer.say)
        self._reasoning = _Voice(answer.think)
        self._writing: dict[int, str] = {}  # the calls of the response, by the place of their part
        self._ids: dict[str, str] = {}  # what a call of the model is called here
        self._used: set[str] = set()
        self._known: set[str] = set()  # the calls that were told to be ready

    async def __call__(
        self, context: RunContext[Any], events: AsyncIterable[AgentStreamEvent]
    ) -> None:
        self._writing.clear()
        async for event in events:
            await self._hear(context, event)

    async def _hear(self, context: RunContext[Any], event: AgentStreamEvent) -> None:
        match event:
            case PartStartEvent(index=index, part=part):
                await self._start(context, index, part)
            case PartDeltaEvent(index=index, delta=delta):
                await self._grow(index, delta)
            case PartEndEvent(part=NativeToolCallPart() as part):
                await self._ready(part)
            case FunctionToolCallEvent(part=part):
                await self._ready(part)
            case FunctionToolResultEvent(part=part):
                await self._done(part)
            case OutputToolResultEvent(part=part):
                self.output_tool |= part.outcome == "success"
            case DeferredToolRequestsEvent(requests=requests):
                calls = (*requests.approvals, *requests.calls)
                self.waiting_tools = tuple(call.tool_name for call in calls)
            case DeferredToolResultsEvent():
                self.waiting_tools = ()
            case _:
                pass

    # --- what the model writes

    async def _start(self, context: RunContext[Any], index: int, part: ModelResponsePart) -> None:
        match part:
            case TextPart(content=text):
                await self.text.begin(text)
            case ThinkingPart(content=text):
                await self._reasoning.begin(text)
            case ToolCallPart() if _is_output(context, part.tool_name):
                pass
            case ToolCallPart() | NativeToolCallPart():
                await self._start_call(index, part)
            case NativeToolReturnPart():
                await self._done(part)
            case _:
                pass

    async def _grow(self, index: int, delta: ModelResponsePartDelta) -> None:
        match delta:
            case TextPartDelta(content_delta=text):
                await self.text.go_on(text)
            case ThinkingPartDelta(content_delta=str(text)):
                await self._reasoning.go_on(text)
            case ToolCallPartDelta(args_delta=str(text)) if text and index in self._writing:
                await self._answer.tell(ToolCallDelta(id=self._writing[index], args_delta=text))
            case _:
                pass

    # --- tool calls

    async def _start_call(self, index: int, part: BaseToolCallPart) -> None:
        call_id = self._ids[part.tool_call_id] = self._new_id(part.tool_call_id)
        self._writing[index] = call_id
        await self._answer.tell(ToolCallStart(id=call_id, name=part.tool_name))
        if isinstance(part.args, str) and part.args:
            await self._answer.tell(ToolCallDelta(id=call_id, args_delta=part.args))

    def _new_id(self, wanted: str) -> str:
        call_id, count = wanted, 1
        while call_id in self._used:
            count += 1
            call_id = f"{wanted}.{count}"
        self._used.add(call_id)
        return call_id

    async def _ready(self, part: BaseToolCallPart) -> None:
        call_id = self._ids.get(part.tool_call_id)
        if call_id is None:  # its id changed while it was written, or it was not streamed
            call_id = self._ids[part.tool_call_id] = self._new_id(part.tool_call_id)
        await self._tell_ready(call_id, part.tool_name, _arguments(part.args))

    async def _tell_ready(self, call_id: str, name: str, arguments: Any) -> None:
        if call_id not in self._known:
            self._known.add(call_id)
            await self._answer.tell(ToolCallReady(id=call_id, name=name, arguments=arguments))

    async def _done(self, part: BaseToolReturnPart) -> None:
        call_id = self._ids.pop(part.tool_call_id, None)
        if call_id is not None:
            await self._tell_ready(call_id, part.tool_name, {})
            await self._answer.tell(done_event(call_id, _result(part)))


def _is_output(context: RunContext[Any], name: str) -> bool:
    manager = context.tool_manager
    tool = None if manager is None or manager.tools is None else manager.get_tool_def(name)
    return tool is not None and tool.kind == "output"


def _arguments(args: str | dict[str, Any] | None) -> Any:
    """What is no JSON stays text: the agent tells its model so."""
    if not isinstance(args, str):
        return args or {}
    return _json(args) if args.strip() else {}


def _result(part: BaseToolReturnPart) -> ToolResult:
    """A tool's result without its files, which only the agent's own history keeps."""
    text = part.model_response_str(wrap_if_error=False)
    if part.outcome != "success":
        return ledger.failed(part.outcome, clean(text))
    return ToolResult(
        succeeded=True, content=text if isinstance(part.content, str) else _json(text)
    )


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
