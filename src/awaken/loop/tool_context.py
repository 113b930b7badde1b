"""What a tool is given while it runs: `ports.tool.ToolContext`, for one call of one attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic
import pydantic_core

from awaken.domain.event import ActivitySnapshot, ToolCallStreamDelta
from awaken.domain.ledger import PlannedCall, StateWrite
from awaken.domain.state import StateKey, States, apply_writes
from awaken.ports.events import EventSink
from awaken.ports.runner import Activation


class AskUser(BaseException):
    """A tool asked the user.

    Its call is suspended. Not an `Exception`, so that tools let it pass.
    """

    def __init__(self, question: str, schema: dict[str, Any] | None, answers: tuple[Any, ...]):
        super().__init__(question)
        self.question = question
        self.schema = schema
        self.answers = answers


class CallState:
    """The state as a call sees it: what it was when the step began, and the call's own writes."""

    def __init__(self, states: States, keys: Mapping[str, StateKey]) -> None:
        self._states = states
        self._keys = keys
        self.writes: list[StateWrite] = []

    def get(self, key: str | StateKey, default: Any = None) -> Any:
        """The value of a key, else its default."""
        name, declared = self._named(key)
        seen = apply_writes(self._states, self.writes, self._keys).merged
        return seen.get(name, declared.default if declared.default is not None else default)

    def set(self, key: str | StateKey, value: Any) -> None:
        """Write a value (JSON encodable); it becomes part of the state when the step closes."""
        name, _ = self._named(key)
        self.writes.append(StateWrite(key=name, value=pydantic_core.to_jsonable_python(value)))

    def _named(self, key: str | StateKey) -> tuple[str, StateKey]:
        name = key if isinstance(key, str) else key.name
        return name, self._keys.get(name) or StateKey(name=name)


class CallContext:
    """The context of one call; closed when the call is over, whatever still holds it then."""

    def __init__(
        self,
        call: PlannedCall,
        activation: Activation,
        sink: EventSink,
        state: CallState,
        answers: tuple[Any, ...],
    ) -> None:
        self.call_id = call.id
        self.tool_name = call.name
        self.run_id = activation.run.run_id
        self.thread_id = activation.run.thread_id
        self.agent_id = activation.run.agent_id
        self.attempt = call.begun
        self.state = state
        self._sink = sink
        self._answers = answers
        self._asked = 0
        self._closed = False

    def close(self) -> None:
        """The call is over: nothing it does from now on is told to anyone."""
        self._closed = True

    @property
    def idempotency_key(self) -> str:
        """Stable over crashes and retries: the run and the call, nothing of the attempt."""
        return f"{self.run_id}:{self.call_id}"

    async def progress(self, message: str | None = None, *, fraction: float | None = None) -> None:
        content = {
            "schema": "tool-call-progress.v1",
            "call_id": self.call_id,
            "tool_name": self.tool_name,
            "status": "running",
            "message": message,
            "progress": fraction,
        }
        event = ActivitySnapshot(
            message_id=f"tool_call:{self.call_id}",
            activity_type="tool-call-progress",
            content={name: value for name, value in content.items() if value is not None},
        )
        await self._emit(event)

    async def output(self, text: str) -> None:
        await self._emit(ToolCallStreamDelta(id=self.call_id, name=self.tool_name, delta=text))

    async def ask(self, question: str, *, schema: Any = None) -> Any:
        self._check_open()
        self._asked += 1
        if self._asked <= len(self._answers):
            return _as_type(schema, self._answers[self._asked - 1])
        raise AskUser(question, _json_schema(schema), self._answers)

    async def _emit(self, event: ActivitySnapshot | ToolCallStreamDelta) -> None:
        self._check_open()
        await self._sink.emit(event)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"the call {self.call_id!r} of {self.tool_name!r} is over")


def _json_schema(schema: Any) -> dict[str, Any] | None:
    if schema is None or isinstance(schema, dict):
        return schema
    return pydantic.TypeAdapter(schema).json_schema()


def _as_type(schema: Any, answer: Any) -> Any:
    if schema is None or isinstance(schema, dict):
        return answer
    return pydantic.TypeAdapter(schema).validate_python(answer)
