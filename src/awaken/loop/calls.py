"""Carrying out a plan: every call comes to a result, or to a question and then the run waits.

Calls run in parallel (at most `PARALLEL` at a time) or one after the other; results are stored as
they come and told to the model in call order. Whatever a tool does wrong is a result the model
sees; it never ends the run. The one `except Exception` of the loop is here, around the tool. One
that ignores a stop or its time limit is left behind, and its context closed (`awaken.leftovers`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import msgspec

from awaken.domain.agent import AgentSpec, ToolSpec
from awaken.domain.ledger import PlannedCall, StepPlan, ToolResult, failed
from awaken.domain.record import Record
from awaken.domain.rule import ApprovalRule, Effect, deciding
from awaken.domain.state import StateKey, States
from awaken.domain.ticket import ResumeMode, Ticket, WaitingReason
from awaken.errors import Fault
from awaken.leftovers import attend
from awaken.loop import gate
from awaken.loop.tool_context import AskUser, CallContext, CallState
from awaken.ports.boundary import Steps
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import ClaimLost, EventSink
from awaken.ports.runner import Activation
from awaken.ports.tool import Tool, ToolArgumentsError, ToolUnavailable
from awaken.redaction import clean

log = logging.getLogger(__name__)

PARALLEL = 8
MAX_RESULT_BYTES = 1024 * 1024


class Carried(Record):
    """What became of a plan: results by call id, and the questions that are open."""

    results: dict[str, ToolResult]
    tickets: tuple[Ticket, ...] = ()
    waiting: bool = False


class CallRunner:
    """Carries out the plans of one attempt."""

    def __init__(
        self,
        *,
        tools: Mapping[str, Tool],
        keys: Mapping[str, StateKey],
        activation: Activation,
        sink: EventSink,
        steps: Steps,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._tools = tools
        self._keys = keys
        self._activation = activation
        self._spec: AgentSpec = activation.spec
        self._sink = sink
        self._steps = steps
        self._clock = clock
        self._ids = ids
        self._tickets = {ticket.tool_call_id: ticket for ticket in activation.tickets}

    def begin(self, calls: tuple[PlannedCall, ...]) -> tuple[str, ...]:
        """Which calls of a fresh plan start at once, so that the plan's commit may mark them."""
        runnable = [call.id for call in calls if isinstance(self._verdict(call), gate.Run)]
        if self._spec.sequential:
            first = calls[0].id
            return (first,) if first in runnable else ()
        return tuple(runnable[:PARALLEL])

    async def carry_out(self, plan: StepPlan, states: States) -> Carried:
        """Bring every call to a result, as far as nobody has to be asked.

        Raises:
            ClaimLost, Fault: of a commit; calls that were running are cancelled.
        """
        work = _Work(plan, states)
        if self._spec.sequential:
            await self._one_by_one(work)
        else:
            await self._in_parallel(work)
        return Carried(results=work.results, tickets=tuple(work.tickets), waiting=work.waiting)

    async def _one_by_one(self, work: _Work) -> None:
        for call in work.plan.calls:
            await self._handle(work, call)
            if work.tickets or work.waiting:
                return

    async def _in_parallel(self, work: _Work) -> None:
        limiter = anyio.CapacityLimiter(PARALLEL)
        trouble: list[ClaimLost | Fault] = []

        async def handle(call: PlannedCall) -> None:
            try:
                async with limiter:
                    await self._handle(work, call)
            except (ClaimLost, Fault) as error:
                trouble.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for call in work.plan.calls:
                tasks.start_soon(handle, call, name=f"tool {call.name}")
        if trouble:
            raise trouble[0]

    async def _handle(self, work: _Work, call: PlannedCall) -> None:
        match self._verdict(call):
            case gate.Keep():
                assert call.result is not None
                work.results[call.id] = call.result
            case gate.Wait():
                work.waiting = True
            case gate.Answer(result=result):
                await self._store(work, call, result)
            case gate.Ask() as ask:
                await self._ask(work, call, ask)
            case gate.Run() as run:
                await self._run(work, call, run)

    async def _ask(self, work: _Work, call: PlannedCall, ask: gate.Ask) -> None:
        """Open a ticket, unless a rule says what the answer is.

        The rule is told in the commit that begins the call, or stores its refusal.
        """
        rule = await self._rule(call) if ask.may_be_ruled else None
        if rule is None:
            work.tickets.append(self._ticket(call, ask))
            return
        await self._sink.emit(gate.ruled(rule, call))
        if rule.effect is Effect.allow:
            await self._run(work, call, gate.Run(arguments=call.effective))
        else:
            await self._store(work, call, failed("denied", "a rule denies this call"))

    async def _rule(self, call: PlannedCall) -> ApprovalRule | None:
        rules = await self._steps.rules()
        spec, agent_id = self._spec_of(call), self._spec.agent_id
        return deciding(rules, agent_id, spec, call.effective, self._clock.now())

    def _verdict(self, call: PlannedCall) -> gate.Verdict:
        spec = self._tool_spec(call.name)
        ticket = self._tickets.get(call.id)
        if ticket is not None and ticket.ticket_id != call.ticket_id:
            ticket = None
        return gate.verdict(call, spec, ticket, self._activation.attempt_id)

    def _tool_spec(self, name: str) -> ToolSpec | None:
        """The pinned specification of a tool.

        None when the agent never had it, or has it no more.
        """
        pinned = next((tool for tool in self._spec.tools if tool.name == name), None)
        known = pinned is not None and (pinned.frontend or name in self._tools)
        return pinned if known else None

    async def _run(self, work: _Work, call: PlannedCall, run: gate.Run) -> None:
        if call.started_by != self._activation.attempt_id:
            await self._steps.start(work.plan.step, (call.id,))
        state = CallState(work.states, self._keys)
        context = CallContext(call, self._activation, self._sink, state, run.answers)
        try:
            result = await self._call(call, run.arguments, context)
        except AskUser as question:
            work.tickets.append(self._ticket(call, _ask_user(question), question.answers))
            return
        await self._store(work, call, msgspec.structs.replace(result, writes=tuple(state.writes)))

    async def _call(self, call: PlannedCall, arguments: Any, context: CallContext) -> ToolResult:
        if not isinstance(arguments, Mapping):
            return failed("bad_arguments", "the arguments must be a JSON object")
        seconds = self._spec_of(call).timeout_seconds
        result = failed("timeout", f"the tool took longer than {seconds} s")
        work = partial(self._caught, call, arguments, context)
        grace_seconds = self._activation.cancel_grace_seconds
        try:
            with anyio.move_on_after(seconds):
                result = await attend(work, f"tool {call.name}", grace_seconds, context.close)
        finally:
            context.close()
        return result

    async def _caught(
        self, call: PlannedCall, arguments: Mapping[str, Any], context: CallContext
    ) -> ToolResult:
        try:
            content = await self._tools[call.name].call(arguments, context)
            return _sized(content)
        except ToolArgumentsError as error:
            return failed("bad_arguments", clean(str(error)))
        except ToolUnavailable as error:
            return failed("tool_unavailable", str(error))
        except ClaimLost:
            raise
        except Exception as error:
            # The top of a tool: whatever it raises is for the model to see, not for the run to end.
            log.info("tool %s failed", call.name, exc_info=True)
            return failed("tool_failed", clean(f"{type(error).__name__}: {error}"))

    async def _store(self, work: _Work, call: PlannedCall, result: ToolResult) -> None:
        await self._steps.result(work.plan.step, call.id, result)
        work.results[call.id] = result

    def _spec_of(self, call: PlannedCall) -> ToolSpec:
        spec = self._tool_spec(call.name)
        assert spec is not None, "only known tools are run"
        return spec

    def _ticket(self, call: PlannedCall, ask: gate.Ask, answers: tuple[Any, ...] = ()) -> Ticket:
        run = self._activation.run
        return gate.open_ticket(
            ask,
            call,
            ticket_id=self._ids.new(),
            thread_id=run.thread_id,
            run_id=run.run_id,
            now=self._clock.now(),
            earlier_answers=answers,
        )


class _Work:
    """A plan being carried out."""

    def __init__(self, plan: StepPlan, states: States) -> None:
        self.plan = plan
        self.states = states
        self.results: dict[str, ToolResult] = {}
        self.tickets: list[Ticket] = []
        self.waiting = False


def _ask_user(question: AskUser) -> gate.Ask:
    return gate.Ask(
        reason=WaitingReason.user_input,
        resume_mode=ResumeMode.pass_decision_to_tool,
        message=question.question,
        response_schema=question.schema,
    )


def _sized(content: Any) -> ToolResult:
    size = len(msgspec.json.encode(content))
    if size > MAX_RESULT_BYTES:
        return failed(
            "result_too_large", f"the result has {size} bytes, at most {MAX_RESULT_BYTES} are kept"
        )
    return ToolResult(succeeded=True, content=content)
