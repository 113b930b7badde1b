"""The spans of an attempt: `invoke_agent`, and below it `step`, `chat` and `execute_tool`.

A step is open from its first model call, or from the beginning of an attempt that goes on with an
earlier one's plan, to its close. A cancelled span has no error: a stop is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from awaken.domain.event import Event, InferenceComplete, ToolCallDone, ToolCallReady
from awaken.domain.ledger import StepPlan, ToolResult
from awaken.domain.message import Message
from awaken.domain.outcome import Failed, Outcome, Retry, Usage
from awaken.domain.rule import ApprovalRule
from awaken.domain.run import Run
from awaken.errors import Fault
from awaken.loop.tool_context import AskUser
from awaken.ports.boundary import CloseCommit, PlanCommit, Steps
from awaken.ports.clock import Clock
from awaken.ports.events import ClaimLost, EventSink
from awaken.ports.model import Finish, Model, ModelEvent, ModelRequest
from awaken.ports.runner import Activation, Capabilities, Runner
from awaken.ports.tool import Tool, ToolContext
from awaken.server import logs
from awaken.server import tracing_names as names
from awaken.server.measured import BROKEN, error_code, told_at_the_end
from awaken.server.tracing_http import trace_id_of

ParentOf = Callable[[Run], Context]


def fail(span: Span, kind: str) -> None:
    """`span` ended in an error of that kind. Its text is not kept: it may quote what was said."""
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR))


class Within:
    """What happens in the block, happens below the span of `context`."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, *_: object) -> None:
        detach(self._token)


# --- attempts ------------------------------------------------------------------------------------


class AttemptSpans:
    """The spans of an attempt that are open; they are made current in the attempt's own task."""

    def __init__(self, tracer: Tracer, activation: Activation, context: Context) -> None:
        self.agent_id = activation.run.agent_id
        self.thread_id = activation.run.thread_id
        self.run_id = activation.run.run_id
        self.model_calls = 0
        self.usage = Usage()
        self._tracer = tracer
        self._context = context
        self._number = activation.run.steps
        self._step: Span | None = None

    def open_step(self) -> None:
        """What comes next belongs to a step."""
        if self._step is None:
            self._number += 1
            attributes = {names.STEP_NUMBER: self._number}
            self._step = self._tracer.start_span(names.STEP, self._context, attributes=attributes)
            attach(set_span_in_context(self._step, self._context))

    def close_step(self) -> None:
        """The step is over, if one is open."""
        if self._step is not None:
            self._step.end()
            self._step = None
            attach(self._context)


current: ContextVar[AttemptSpans | None] = ContextVar("awaken.attempt_spans", default=None)


class TracedRunner:
    """A runner, with a span for what it does in one attempt."""

    def __init__(self, inner: Runner, tracer: Tracer, parent_of: ParentOf) -> None:
        self._inner = inner
        self._tracer = tracer
        self._parent_of = parent_of

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Outcome:
        parent = self._parent_of(activation.run)
        name = f"{names.INVOKE_AGENT} {activation.run.agent_id}"
        attributes = _attempt_attributes(activation)
        span = self._tracer.start_span(name, parent, SpanKind.INTERNAL, attributes)
        context = set_span_in_context(span, parent)
        spans = AttemptSpans(self._tracer, activation, context)
        logs.note(trace_id=trace_id_of(span))
        token = current.set(spans)
        try:
            # Whatever is attached meanwhile goes with this block: it is the attempt's own task.
            with Within(context):
                outcome = await self._run(activation, sink, steps, spans)
            _tell_outcome(span, outcome)
            return outcome
        except Fault as fault:
            span.set_attribute(names.OUTCOME, "retry" if fault.retryable else "failed")
            fail(span, fault.code)
            raise
        except ClaimLost:
            span.set_attribute(names.OUTCOME, "lost")
            raise
        except Exception as error:
            span.set_attribute(names.OUTCOME, "failed")
            fail(span, type(error).__name__)
            raise
        finally:
            current.reset(token)
            span.set_attributes(names.total_attributes(spans.usage))
            span.end()

    async def _run(
        self, activation: Activation, sink: EventSink, steps: Steps, spans: AttemptSpans
    ) -> Outcome:
        foreign = not activation.spec.model
        if foreign or activation.run.plan is not None:
            spans.open_step()
        steps = TracedSteps(steps, spans)
        try:
            if not foreign:
                return await self._inner.run(activation, sink, steps)
            return await self._run_foreign(activation, sink, steps, spans)
        finally:
            spans.close_step()

    async def _run_foreign(
        self, activation: Activation, sink: EventSink, steps: Steps, spans: AttemptSpans
    ) -> Outcome:
        told = TracedSink(sink, self._tracer, spans)
        try:
            outcome = await self._inner.run(activation, told, steps)
        finally:
            told.end()
        for event in told_at_the_end(outcome):
            told.take(event)
        return outcome


def _attempt_attributes(activation: Activation) -> dict[str, Any]:
    run = activation.run
    attributes: dict[str, Any] = {
        names.OPERATION: names.INVOKE_AGENT,
        names.AGENT: run.agent_id,
        names.CONVERSATION: run.thread_id,
        names.RUN: run.run_id,
        names.DISPATCH: activation.dispatch_id,
        names.ATTEMPT: activation.attempt_id,
        names.FAILURES: activation.attempt,
        names.ACTIVATION: run.activation,
        names.OUTCOME: names.CUT_OFF,
    }
    if activation.spec.model:
        attributes[names.REQUEST_MODEL] = names.split_model(activation.spec.model)[1]
    if run.transport_request_id is not None:
        attributes[names.REQUEST] = run.transport_request_id
    return attributes


def _tell_outcome(span: Span, outcome: Outcome) -> None:
    span.set_attribute(names.OUTCOME, str(outcome.__struct_config__.tag))
    if isinstance(outcome, Failed | Retry):
        fail(span, outcome.failure.code)


class TracedSteps:
    """The effect ledger; the close of a step ends its span."""

    def __init__(self, inner: Steps, spans: AttemptSpans) -> None:
        self._inner = inner
        self._spans = spans

    @property
    def checkpoint_seq(self) -> int:
        return self._inner.checkpoint_seq

    async def plan(self, commit: PlanCommit) -> StepPlan:
        return await self._inner.plan(commit)

    async def rules(self) -> Sequence[ApprovalRule]:
        return await self._inner.rules()

    async def start(self, step: int, call_ids: Sequence[str]) -> None:
        await self._inner.start(step, call_ids)

    async def result(self, step: int, call_id: str, result: ToolResult) -> None:
        await self._inner.result(step, call_id, result)

    async def close(self, commit: CloseCommit) -> tuple[Message, ...]:
        inputs = await self._inner.close(commit)
        self._spans.close_step()
        return inputs


class TracedSink:
    """The log as a foreign agent sees it: tools it tells of have spans, and its tokens count."""

    def __init__(self, inner: EventSink, tracer: Tracer, spans: AttemptSpans) -> None:
        self._inner = inner
        self._tracer = tracer
        self._spans = spans
        self._below = get_current()
        self._running: dict[str, Span] = {}

    async def emit(self, event: Event) -> None:
        await self._inner.emit(event)
        self.take(event)

    def take(self, event: Event) -> None:
        """Trace what `event` tells."""
        match event:
            case ToolCallReady(id=call_id, name=name):
                attributes = _tool_attributes(name, call_id, self._spans)
                self._running[call_id] = self._tracer.start_span(
                    f"{names.EXECUTE_TOOL} {name}", self._below, attributes=attributes
                )
            case ToolCallDone(id=call_id, outcome=outcome, result=result):
                span = self._running.pop(call_id, None)
                if span is not None:
                    _end_told(span, error_code(result) if outcome != "succeeded" else None)
            case InferenceComplete() if not self._spans.model_calls:
                self._spans.usage += _told_usage(event)
            case _:
                pass

    def end(self) -> None:
        """The attempt is over: what still runs was cut off."""
        for span in self._running.values():
            span.end()
        self._running.clear()


def _end_told(span: Span, code: str | None) -> None:
    span.set_attribute(names.OUTCOME, "completed" if code is None else "failed")
    if code is not None:
        fail(span, code)
    span.end()


def _told_usage(event: InferenceComplete) -> Usage:
    told = event.usage or {}
    return Usage(
        input_tokens=told.get("prompt_tokens", 0), output_tokens=told.get("completion_tokens", 0)
    )


# --- models --------------------------------------------------------------------------------------


class TracedModel:
    """A model, with a span for each call."""

    def __init__(self, inner: Model, name: str, tracer: Tracer, clock: Clock) -> None:
        self._inner = inner
        self._name = name
        self._tracer = tracer
        self._clock = clock

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        spans = current.get()
        if spans is not None:
            spans.model_calls += 1
            spans.open_step()
        call = _ModelCall(self._begin(request, spans), self._clock, spans)
        # Only while the model is asked, up to its first event, is its span the current one: between
        # two events the caller has its turn, in the same task.
        context = set_span_in_context(call.span)
        events = self._inner.stream(request)
        try:
            with Within(context):
                event = await anext(events, None)
            while event is not None:
                call.heard(event)
                yield event
                event = await anext(events, None)
            call.over()
        except Fault as fault:
            fail(call.span, fault.code)
            raise
        except Exception as error:
            fail(call.span, type(error).__name__)
            raise
        finally:
            call.span.end()
            close = getattr(events, "aclose", None)
            if close is not None:
                with Within(context):
                    await close()

    def _begin(self, request: ModelRequest, spans: AttemptSpans | None) -> Span:
        provider, model = names.split_model(self._name)
        attributes: dict[str, Any] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: provider or "_OTHER",
            names.REQUEST_MODEL: model,
            names.STREAM: True,
            **names.settings_attributes(request.settings),
        }
        if spans is not None:
            attributes[names.CONVERSATION] = spans.thread_id
            attributes[names.AGENT] = spans.agent_id
            attributes[names.RUN] = spans.run_id
        name = f"{names.CHAT} {model}"
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


class _ModelCall:
    """One call, and what is known of it."""

    def __init__(self, span: Span, clock: Clock, spans: AttemptSpans | None) -> None:
        self.span = span
        self._clock = clock
        self._spans = spans
        self._began = clock.monotonic()
        self._silent = True
        self._finished = False

    def heard(self, event: ModelEvent) -> None:
        if self._silent:
            self._silent = False
            self.span.set_attribute(names.FIRST_CHUNK, self._clock.monotonic() - self._began)
        if type(event) is Finish:
            self._finish(event)

    def _finish(self, event: Finish) -> None:
        self._finished = True
        self.span.set_attribute(names.FINISH_REASONS, [event.reason])
        if event.model:
            self.span.set_attribute(names.RESPONSE_MODEL, names.split_model(event.model)[1])
        self.span.set_attributes(names.usage_attributes(event.usage))
        if self._spans is not None:
            self._spans.usage += event.usage

    def over(self) -> None:
        """The stream has ended."""
        if not self._finished:
            fail(self.span, BROKEN)


class TracedTries:
    """The model inside one that retries: a try that fails is an event of the call's span."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        events = self._inner.stream(request)
        silent = True
        try:
            async for event in events:
                silent = False
                yield event
        except Fault as fault:
            if silent:  # else it is not tried again: the call fails
                attributes: Mapping[str, str] = {names.ERROR_TYPE: fault.code}
                get_current_span().add_event("try failed", attributes)
            raise
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()


# --- tools ---------------------------------------------------------------------------------------


class TracedTool:
    """A tool, with a span for each execution."""

    def __init__(self, inner: Tool, tracer: Tracer) -> None:
        self.spec = inner.spec
        self._inner = inner
        self._tracer = tracer

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        attributes = _tool_attributes(self.spec.name, context.call_id, current.get())
        attributes[names.BEGUN] = context.attempt
        with self._tracer.start_as_current_span(
            f"{names.EXECUTE_TOOL} {self.spec.name}",
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                answer = await self._inner.call(arguments, context)
            except AskUser:
                span.set_attribute(names.OUTCOME, "suspended")
                raise
            except ClaimLost:
                raise
            except Exception as error:
                span.set_attribute(names.OUTCOME, "failed")
                fail(span, type(error).__name__)
                raise
            span.set_attribute(names.OUTCOME, "completed")
            return answer


def _tool_attributes(name: str, call_id: str, spans: AttemptSpans | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.OPERATION: names.EXECUTE_TOOL,
        names.TOOL: name,
        names.TOOL_TYPE: "function",
        names.TOOL_CALL: call_id,
        names.OUTCOME: names.CUT_OFF,
    }
    if spans is not None:
        attributes |= {names.AGENT: spans.agent_id, names.RUN: spans.run_id}
    return attributes
