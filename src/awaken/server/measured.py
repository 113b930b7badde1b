"""Wrappers that count and time: round the store, the models, the tools and the runners.

Each measures what passes through one port, and changes nothing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from awaken.domain.agent import AgentSpec
from awaken.domain.event import Event, InferenceComplete, ToolCallDone, ToolCallReady
from awaken.domain.ledger import StepPlan, ToolResult
from awaken.domain.message import Message
from awaken.domain.outcome import Outcome, Usage
from awaken.domain.rule import ApprovalRule
from awaken.errors import Fault, StoreFault
from awaken.loop.tool_context import AskUser
from awaken.ports.boundary import CloseCommit, PlanCommit, Steps
from awaken.ports.clock import Clock
from awaken.ports.events import ClaimLost, EventSink
from awaken.ports.model import Finish, Model, ModelEvent, ModelRequest
from awaken.ports.runner import Activation, Capabilities, Runner
from awaken.ports.store import Store
from awaken.ports.tool import Tool, ToolContext
from awaken.server import attempts
from awaken.server.attempts import Attempts
from awaken.server.metrics import Metrics, ModelMetrics, ToolMetrics
from awaken.stores.instrumented import InstrumentedStore

T = TypeVar("T")

BROKEN: Final = "stream_broken"
"""The failure of a stream that ends without `Finish`, as the loop calls it."""
INTERNAL: Final = "internal"

_TOKENS: Final = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "total_tokens": "total",
    "thinking_tokens": "thinking",
    "cache_read_tokens": "cache_read_input",
    "cache_creation_tokens": "cache_creation_input",
}
"""Token counts as events name them."""


class Measuring:
    """Makes the wrappers of one application."""

    def __init__(self, metrics: Metrics, following: Attempts) -> None:
        self._metrics = metrics
        self._following = following

    def store(self, inner: Store) -> Store:
        """`inner`, with its calls counted and timed."""
        return MeasuredStore(inner, self._metrics)

    def model(self, name: str, inner: Model) -> Model:
        """`inner`, known as `name`, with its calls measured."""
        return MeasuredModel(inner, name, self._metrics.models, self._metrics.clock)

    def tries(self, name: str, inner: Model) -> Model:
        """`inner`, asked by a model that retries, with its calls counted."""
        return CountedTries(inner, name, self._metrics.models)

    def tool(self, inner: Tool) -> Tool:
        """`inner`, measured."""
        return MeasuredTool(inner, self._metrics.tools, self._metrics.clock)

    def runner(self, spec: AgentSpec, inner: Runner) -> Runner:
        """`inner`, measured; what it does by itself is learnt from what it tells."""
        return MeasuredRunner(inner, self._metrics, self._following, foreign=not spec.model)


class MeasuredStore(InstrumentedStore):
    """A store whose calls are counted, timed, and its faults counted by code."""

    def __init__(self, inner: Store, metrics: Metrics) -> None:
        super().__init__(inner, self._told, metrics.clock)
        self._metrics = metrics

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await super()._call(name, call)
        except StoreFault as fault:
            self._metrics.runs.failed(fault.code)
            raise

    def _told(self, name: str, result: str, seconds: float) -> None:
        self._metrics.mailbox.operations.labels(name, result).inc()
        self._metrics.mailbox.operation_seconds.labels(name, result).observe(seconds)


# --- models --------------------------------------------------------------------------------------


class MeasuredModel:
    """A model whose calls are measured as their caller sees them: with their retries."""

    def __init__(self, inner: Model, name: str, metrics: ModelMetrics, clock: Clock) -> None:
        self._inner = inner
        self._name = name
        self._metrics = metrics
        self._clock = clock

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        attempt = attempts.current.get()
        if attempt is not None:
            attempt.model_calls += 1
        call = _ModelCall(self._metrics, self._name, self._clock)
        try:
            async with closing(self._inner.stream(request)) as events:
                async for event in events:
                    call.heard(event)
                    yield event
            call.over()
        except Fault as fault:
            call.failed(fault.code)
            raise
        except Exception:
            call.failed(INTERNAL)
            raise
        finally:
            call.end()


class _ModelCall:
    """One call; unless it ends well or with an exception, it was cancelled."""

    def __init__(self, metrics: ModelMetrics, name: str, clock: Clock) -> None:
        self._metrics = metrics
        self._labels = metrics.labels(name)
        self._clock = clock
        self._began = clock.monotonic()
        self._silent = True
        self._status = "cancelled"

    def heard(self, event: ModelEvent) -> None:
        if self._silent:
            self._silent = False
            self._metrics.first.labels(*self._labels).observe(self._clock.monotonic() - self._began)
        if type(event) is Finish:
            self._status = "ok"
            for kind, count in counted(event.usage).items():
                self._metrics.tokens.labels(*self._labels, kind).inc(count)

    def over(self) -> None:
        if self._status != "ok":
            self.failed(BROKEN)

    def failed(self, code: str) -> None:
        self._status = "error"
        code = self._metrics.classes.label(code)
        self._metrics.errors.labels(*self._labels, code).inc()

    def end(self) -> None:
        seconds = self._clock.monotonic() - self._began
        self._metrics.requests.labels(*self._labels, self._status).inc()
        self._metrics.seconds.labels(*self._labels, self._status).observe(seconds)


class CountedTries:
    """The model inside a `RetryingModel`: counts how each try ends."""

    def __init__(self, inner: Model, name: str, metrics: ModelMetrics) -> None:
        self._inner = inner
        self._name = name
        self._metrics = metrics

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        result = "cancelled"
        try:
            async with closing(self._inner.stream(request)) as events:
                async for event in events:
                    if type(event) is Finish:
                        result = "ok"
                    yield event
        except Fault as fault:
            result = self._metrics.classes.label(fault.code)
            raise
        finally:
            self._metrics.tries.labels(*self._metrics.labels(self._name), result).inc()


def counted(usage: Usage) -> dict[str, int]:
    """Tokens by type, as metrics name them; what was not counted is left out."""
    counts = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "total": usage.input_tokens + usage.output_tokens,
        "thinking": usage.reasoning_tokens,
        "cache_read_input": usage.cache_read_tokens,
        "cache_creation_input": usage.cache_write_tokens,
    }
    return {kind: count for kind, count in counts.items() if count}


@asynccontextmanager
async def closing(stream: AsyncIterator[ModelEvent]) -> AsyncIterator[AsyncIterator[ModelEvent]]:
    """End a model's stream with the block: it may hold a connection."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


# --- tools ---------------------------------------------------------------------------------------


class MeasuredTool:
    """A tool whose executions are measured."""

    def __init__(self, inner: Tool, metrics: ToolMetrics, clock: Clock) -> None:
        self.spec = inner.spec
        self._inner = inner
        self._metrics = metrics
        self._clock = clock

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        began = self._clock.monotonic()
        status = "cancelled"
        try:
            answer = await self._inner.call(arguments, context)
            status = "ok"
        except AskUser:
            status = "suspended"
            raise
        except ClaimLost:
            raise
        except Exception:
            status = "error"
            raise
        finally:
            self._count(status, self._clock.monotonic() - began)
        return answer

    def _count(self, status: str, seconds: float) -> None:
        tool = self._metrics.names.label(self.spec.name)
        self._metrics.calls.labels(tool, status).inc()
        self._metrics.seconds.labels(tool, status).observe(seconds)


# --- runners -------------------------------------------------------------------------------------


class MeasuredRunner:
    """A runner; of a `foreign` one, models and tools are known by what it tells."""

    def __init__(
        self, inner: Runner, metrics: Metrics, following: Attempts, *, foreign: bool
    ) -> None:
        self._inner = inner
        self._metrics = metrics
        self._following = following
        self._foreign = foreign

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Outcome:
        self._following.started(activation)
        steps = MeasuredSteps(steps, activation, self._metrics.tools)
        if not self._foreign:
            return await self._inner.run(activation, sink, steps)
        told = MeasuredSink(sink, self._metrics)
        outcome = await self._inner.run(activation, told, steps)
        for event in told_at_the_end(outcome):
            told.take(event)
        return outcome


def told_at_the_end(outcome: Outcome) -> Sequence[Event]:
    """What a runner leaves for the last commit to tell."""
    close = getattr(outcome, "close", None)
    return () if close is None else close.events


class MeasuredSteps:
    """The effect ledger; counts results that are errors."""

    def __init__(self, inner: Steps, activation: Activation, metrics: ToolMetrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._names: dict[str, str] = {}
        if activation.run.plan is not None:
            self._learn(activation.run.plan)

    @property
    def checkpoint_seq(self) -> int:
        return self._inner.checkpoint_seq

    async def plan(self, commit: PlanCommit) -> StepPlan:
        plan = await self._inner.plan(commit)
        self._learn(plan)
        return plan

    async def rules(self) -> Sequence[ApprovalRule]:
        return await self._inner.rules()

    async def start(self, step: int, call_ids: Sequence[str]) -> None:
        await self._inner.start(step, call_ids)

    async def result(self, step: int, call_id: str, result: ToolResult) -> None:
        await self._inner.result(step, call_id, result)
        if not result.succeeded:
            tool = self._metrics.names.label(self._names.get(call_id, ""))
            code = self._metrics.classes.label(error_code(result.content))
            self._metrics.errors.labels(tool, code).inc()

    async def close(self, commit: CloseCommit) -> tuple[Message, ...]:
        return await self._inner.close(commit)

    def _learn(self, plan: StepPlan) -> None:
        self._names = {call.id: call.name for call in plan.calls}


def error_code(content: Any) -> str:
    """The code in the result of a call that failed."""
    error = content.get("error") if isinstance(content, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, str) else "unknown"


class MeasuredSink:
    """The log as a foreign agent sees it; measures what the agent tells of models and tools."""

    def __init__(self, inner: EventSink, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._running: dict[str, tuple[str, float]] = {}

    async def emit(self, event: Event) -> None:
        await self._inner.emit(event)
        self.take(event)

    def take(self, event: Event) -> None:
        """Count what `event` tells."""
        match event:
            case InferenceComplete():
                self._inferred(event)
            case ToolCallReady(id=call_id, name=name):
                self._running[call_id] = (name, self._metrics.clock.monotonic())
            case ToolCallDone():
                self._done(event)
            case _:
                pass

    def _inferred(self, event: InferenceComplete) -> None:
        attempt = attempts.current.get()
        if attempt is not None and attempt.model_calls:
            return  # it uses our models, which are measured
        models = self._metrics.models
        labels = models.labels(event.model)
        models.requests.labels(*labels, "ok").inc()
        models.seconds.labels(*labels, "ok").observe(event.duration_ms / 1000)
        for name, count in (event.usage or {}).items():
            if name in _TOKENS and count > 0:
                models.tokens.labels(*labels, _TOKENS[name]).inc(count)

    def _done(self, event: ToolCallDone) -> None:
        name, began = self._running.pop(event.id, ("", self._metrics.clock.monotonic()))
        tools = self._metrics.tools
        tool = tools.names.label(name)
        status = "ok" if event.outcome == "succeeded" else "error"
        tools.calls.labels(tool, status).inc()
        tools.seconds.labels(tool, status).observe(self._metrics.clock.monotonic() - began)
        if status == "error":
            tools.errors.labels(tool, tools.classes.label(error_code(event.result))).inc()
