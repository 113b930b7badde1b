"""The agent loop behind `ports/runner.py`: steps until the agent has nothing more to say.

It decides what comes after a step and nothing else. A step without calls ends the run and rides in
its settle; a step with calls is planned, carried out and closed; a plan that an earlier attempt
left open is continued, never inferred again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from awaken.domain.event import StateDelta
from awaken.domain.fold import Partial
from awaken.domain.ledger import PlannedCall, StepPlan, ToolResult, failed
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.outcome import Completed, Outcome, StepClose, Suspended
from awaken.domain.state import StateKey, States, apply_writes, patch
from awaken.domain.termination import Blocked, NaturalEnd, Stopped
from awaken.domain.ticket import Ticket, WaitingReason
from awaken.loop import stops
from awaken.loop.calls import CallRunner, Carried
from awaken.loop.course import Course
from awaken.loop.step import Step, Stepper
from awaken.ports.boundary import CloseCommit, PlanCommit, Steps
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import EventSink
from awaken.ports.model import Model
from awaken.ports.runner import Activation, Capabilities
from awaken.ports.tool import Tool

_CAPABILITIES: Final = Capabilities(steerable=True, resumable=True, checkpoints=True)


class LoopRunner:
    """Runs agents on `model` with `tools`.

    It keeps nothing between runs: an activation says all.
    """

    def __init__(
        self,
        model: Model,
        clock: Clock,
        ids: Ids,
        *,
        tools: Mapping[str, Tool] | None = None,
        keys: Mapping[str, StateKey] | None = None,
    ) -> None:
        self._model = model
        self._clock = clock
        self._ids = ids
        self._tools = dict(tools or {})
        self._keys = dict(keys or {})

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Outcome:
        calls = CallRunner(
            tools=self._tools,
            keys=self._keys,
            activation=activation,
            sink=sink,
            steps=steps,
            clock=self._clock,
            ids=self._ids,
        )
        stepper = Stepper(self._model, activation.spec, sink, self._clock, self._ids)
        return await _Attempt(self, activation, steps, calls, stepper).run()

    @property
    def clock(self) -> Clock:
        """What measures active time."""
        return self._clock

    @property
    def ids(self) -> Ids:
        """What names messages."""
        return self._ids

    @property
    def keys(self) -> Mapping[str, StateKey]:
        """The state its agents declare."""
        return self._keys


class _Attempt:
    """One attempt's way through the steps."""

    def __init__(
        self,
        runner: LoopRunner,
        activation: Activation,
        steps: Steps,
        calls: CallRunner,
        stepper: Stepper,
    ) -> None:
        self._runner = runner
        self._limits = activation.spec.limits
        self._attempt = activation.attempt
        self._steps = steps
        self._calls = calls
        self._stepper = stepper
        self._plan = activation.run.plan
        self._partial = activation.partial
        self._course = Course(activation, runner.clock)

    async def run(self) -> Outcome:
        while True:
            ending: Outcome | None = None
            if self._plan is None:
                ending = await self._infer()
            if ending is None:
                ending = await self._carry_out()
            if ending is not None:
                return ending

    async def _infer(self) -> Completed | None:
        """Take a step; None when it made a plan, else the end of the run."""
        step = await self._stepper.take(
            self._course.messages, self._partial, self._attempt, self._steps.checkpoint_seq + 1
        )
        self._partial = Partial()
        self._course.used(step.usage)
        if not step.message.tool_calls:
            return self._completed(step, _termination(step.finish_reason))
        stopped = stops.before_calls(self._limits, self._course.progress(), step.message.tool_calls)
        if stopped is not None:
            return self._completed(step, stopped)
        await self._make_plan(step)
        return None

    async def _make_plan(self, step: Step) -> None:
        calls = tuple(
            PlannedCall(
                id=call.id,
                name=call.name,
                message_id=self._runner.ids.new(),
                arguments=call.arguments,
            )
            for call in step.message.tool_calls
        )
        commit = PlanCommit(
            step=self._course.next_step,
            message=step.message,
            calls=calls,
            begin=self._calls.begin(calls),
            events=(step.complete,),
            usage=step.usage,
        )
        self._plan = await self._steps.plan(commit)
        self._attempt = 0
        self._course.messages.append(step.message)

    async def _carry_out(self) -> Outcome | None:
        """Carry the plan out; None when the loop goes on, else the end of this attempt."""
        plan = self._plan
        assert plan is not None, "only a plan is carried out"
        carried = await self._calls.carry_out(plan, self._course.states)
        if carried.tickets or carried.waiting:
            return _suspended(carried)
        await self._close(plan, carried.results)
        self._plan = None
        names = [call.name for call in plan.calls]
        stopped = stops.after_step(self._limits, self._course.progress(), names)
        if stopped is None:
            return None
        return Completed(termination=stopped, text=self._course.last_text)

    async def _close(self, plan: StepPlan, results: Mapping[str, ToolResult]) -> None:
        messages = tuple(_tool_message(call, results[call.id]) for call in plan.calls)
        before = self._course.states
        after = _new_states(before, plan, results, self._runner.keys)
        changes = patch(before.merged, after.merged)
        inputs = await self._steps.close(
            CloseCommit(
                step=plan.step,
                messages=messages,
                events=(StateDelta(delta=changes),) if changes else (),
                run_state=after.run if after.run != before.run else None,
                thread_state=after.thread if after.thread != before.thread else None,
            )
        )
        self._course.closed(plan, messages, results, after)
        self._course.messages.extend(inputs)

    def _completed(self, step: Step, termination: NaturalEnd | Stopped | Blocked) -> Completed:
        """The end of the run; calls that do not run any more get a result that says so."""
        message = step.message
        not_run = tuple(
            Message(
                message_id=self._runner.ids.new(),
                role=Role.tool,
                tool_call_id=call.id,
                content=(TextBlock(text=failed("not_run", "the run was stopped").text),),
            )
            for call in message.tool_calls
        )
        close = StepClose(events=(step.complete,), messages=(message, *not_run), usage=step.usage)
        return Completed(termination=termination, text=message.text, close=close)


def _suspended(carried: Carried) -> Suspended:
    reasons: list[Ticket] = list(carried.tickets)
    reason = reasons[0].reason if reasons else WaitingReason.tool_permission
    return Suspended(reason=reason, tickets=carried.tickets)


def _new_states(
    states: States,
    plan: StepPlan,
    results: Mapping[str, ToolResult],
    keys: Mapping[str, StateKey],
) -> States:
    """The states after the step: the calls' writes, in call order."""
    writes = [write for call in plan.calls for write in results[call.id].writes]
    return apply_writes(states, writes, keys)


def _tool_message(call: PlannedCall, result: ToolResult) -> Message:
    message = Message(
        message_id=call.message_id,
        role=Role.tool,
        tool_call_id=call.id,
        content=(TextBlock(text=result.text),),
    )
    if call.edited is None:
        return message
    return replace(message, metadata={"edited_arguments": call.edited})


def _termination(finish_reason: str) -> NaturalEnd | Stopped | Blocked:
    """What a model's reason to finish means for the run."""
    match finish_reason:
        case "length":
            return Stopped(code="max_tokens")
        case "content_filter":
            return Blocked(reason="content_filter")
        case _:
            return NaturalEnd()
