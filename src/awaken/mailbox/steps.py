"""The commits of a step with tools, each fenced by the claim: plan, start, result, close.

An attempt that does not know whether its commit happened repeats it: a plan that is stored is
returned, a mark that stands is left, a result that is there is final, a step that is closed is not
closed again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate

from msgspec.structs import replace

from awaken.domain import ledger
from awaken.domain.claim import Claim, holds
from awaken.domain.delivery import Boundary
from awaken.domain.dispatch import Claimed, Dispatch, Refusal
from awaken.domain.event import StepEnd, ToolCallDone, ToolCallReady
from awaken.domain.ledger import StepPlan, ToolResult
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.rule import MAX_RULES, ApprovalRule
from awaken.domain.run import Run
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import consume
from awaken.ports.boundary import CloseCommit, PlanCommit
from awaken.ports.events import ClaimLost, EventWriter, Unwritten
from awaken.ports.store import P, Transaction, operation


class StepCommits:
    """`ports.boundary.Steps` for one claim.

    Its commits go through the attempt's writer, in order.
    """

    def __init__(self, claim: Claim, writer: EventWriter, checkpoint_seq: int) -> None:
        self.checkpoint_seq = checkpoint_seq
        self._claim = claim
        self._writer = writer

    async def plan(self, commit: PlanCommit) -> StepPlan:
        run = await self._commit(plan_step, commit)
        assert run.plan is not None, "a step that was planned has a plan"
        return run.plan

    async def rules(self) -> Sequence[ApprovalRule]:
        return await self._writer.commit(
            lambda unwritten: operation(read_rules, self._claim, unwritten)
        )

    async def start(self, step: int, call_ids: Sequence[str]) -> None:
        await self._commit(start_calls, step, tuple(call_ids))

    async def result(self, step: int, call_id: str, result: ToolResult) -> None:
        await self._commit(store_result, step, call_id, result)

    async def close(self, commit: CloseCommit) -> tuple[Message, ...]:
        closed = await self._writer.commit(
            lambda unwritten: operation(close_step, self._claim, unwritten, commit)
        )
        self.checkpoint_seq = closed.run.checkpoint_seq
        return closed.inputs

    async def _commit(
        self,
        rule: Callable[Concatenate[Transaction, Claim, Unwritten, P], Awaitable[Run]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Run:
        run = await self._writer.commit(
            lambda unwritten: operation(rule, self._claim, unwritten, *args, **kwargs)
        )
        self.checkpoint_seq = run.checkpoint_seq
        return run


class Fenced:
    """A unit, dispatch and run whose claim was checked; `unwritten` is already among its events."""

    def __init__(self, unit: ThreadUnit, dispatch: Dispatch, run: Run) -> None:
        self.unit = unit
        self.dispatch = dispatch
        self.run = run

    @classmethod
    async def open(cls, tx: Transaction, claim: Claim, unwritten: Unwritten) -> Fenced:
        """Take the thread for the owner of `claim`; raises ClaimLost for anyone else."""
        unit = await ThreadUnit.open(tx, claim.tenant, claim.thread_id)
        dispatch = await tx.dispatch(claim.tenant, claim.dispatch_id)
        run = await tx.run(claim.tenant, claim.run_id)
        if unit is None or dispatch is None or run is None:
            raise ClaimLost(Refusal.gone.value)
        refused = holds(dispatch, unit.head, claim.claim_token)
        if refused is not None:
            raise ClaimLost(refused.value)
        body = dispatch.body
        assert isinstance(body, Claimed), "a claim that holds is claimed"
        if unwritten.events and unwritten.batch_no > body.batch_no:
            unit.emit(run.run_id, *unwritten.events)
            dispatch = replace(dispatch, body=replace(body, batch_no=unwritten.batch_no))
            unit.change(dispatch)
        return cls(unit, dispatch, run)

    async def save(self, run: Run) -> Run:
        """Write everything; returns the run as it is now."""
        run = replace(run, updated_at=self.unit.now)
        self.unit.tx.put_run(run)
        await self.unit.save()
        return run


async def read_rules(tx: Transaction, claim: Claim, unwritten: Unwritten) -> Sequence[ApprovalRule]:
    """The tenant's approval rules; nobody decides by them who has lost the claim."""
    fenced = await Fenced.open(tx, claim, unwritten)
    await fenced.save(fenced.run)
    return await tx.approval_rules(claim.tenant, MAX_RULES)


async def plan_step(tx: Transaction, claim: Claim, unwritten: Unwritten, commit: PlanCommit) -> Run:
    """Store the plan; a step whose plan is stored already answers with that one."""
    fenced = await Fenced.open(tx, claim, unwritten)
    unit, run = fenced.unit, fenced.run
    if run.plan is not None and run.plan.step == commit.step:
        return run
    for call in commit.calls:
        ready = ToolCallReady(id=call.id, name=call.name, arguments=call.arguments)
        unit.emit(run.run_id, ready)
    unit.emit(run.run_id, *commit.events)
    number = unit.commit_message(run.run_id, commit.message)
    unit.mark_boundary()
    plan = StepPlan(step=commit.step, calls=commit.calls)
    plan = ledger.started(plan, commit.begin, claim.claim_token)
    return await fenced.save(
        replace(
            run,
            plan=plan,
            usage=run.usage + commit.usage,
            output=run.output.with_seqs(number),
            checkpoint_seq=unit.last_seq,
        )
    )


async def start_calls(
    tx: Transaction, claim: Claim, unwritten: Unwritten, step: int, call_ids: tuple[str, ...]
) -> Run:
    """Mark calls as begun by this attempt."""
    fenced = await Fenced.open(tx, claim, unwritten)
    plan = _plan_of(fenced.run, step)
    return await fenced.save(
        replace(fenced.run, plan=ledger.started(plan, call_ids, claim.claim_token))
    )


async def store_result(
    tx: Transaction,
    claim: Claim,
    unwritten: Unwritten,
    step: int,
    call_id: str,
    result: ToolResult,
) -> Run:
    """Store a call's result; the first one stands."""
    fenced = await Fenced.open(tx, claim, unwritten)
    run = fenced.run
    changed = ledger.finished(_plan_of(run, step), call_id, result)
    if changed is not None:
        call = changed.call(call_id)
        assert call is not None
        done = ToolCallDone(
            id=call_id,
            message_id=call.message_id,
            outcome="succeeded" if result.succeeded else "failed",
            result=result.content,
        )
        fenced.unit.emit(run.run_id, done)
        run = replace(run, plan=changed)
    return await fenced.save(run)


class Closed(Record):
    """A closed step: the run as it is now, and the messages that came for it meanwhile."""

    run: Run
    inputs: tuple[Message, ...] = ()


async def close_step(
    tx: Transaction, claim: Claim, unwritten: Unwritten, commit: CloseCommit
) -> Closed:
    """End the step, and read what was sent to steer the run.

    A completed step is progress, so failures before it do not count any more.
    """
    fenced = await Fenced.open(tx, claim, unwritten)
    unit, run = fenced.unit, fenced.run
    if run.plan is None or run.plan.step != commit.step:
        return Closed(run=run, inputs=await _read_before(unit, run, commit))
    numbers = tuple(unit.commit_message(run.run_id, message) for message in commit.messages)
    unit.emit(run.run_id, *commit.events, StepEnd())
    run, inputs = await consume(unit, run, Boundary.next_step)
    unit.mark_boundary()
    unit.change(replace(fenced.dispatch, attempt=0, expiries=0))
    await _keep_thread_state(unit, commit)
    run = await fenced.save(
        replace(
            run,
            plan=None,
            steps=run.steps + 1,
            state=run.state if commit.run_state is None else commit.run_state,
            output=run.output.with_seqs(*numbers),
            checkpoint_seq=unit.last_seq,
        )
    )
    return Closed(run=run, inputs=inputs)


async def _read_before(unit: ThreadUnit, run: Run, commit: CloseCommit) -> tuple[Message, ...]:
    """What the commit of this close has read, if it happened and its caller never heard of it."""
    ids = [message.message_id for message in commit.messages]
    closed = await unit.tx.messages_with(run.tenant, run.thread_id, ids)
    last = max((stored.message_seq for stored in closed), default=0)
    behind = await unit.tx.messages_of_run(run.tenant, run.thread_id, run.run_id, last)
    return tuple(stored.message for stored in behind)


async def _keep_thread_state(unit: ThreadUnit, commit: CloseCommit) -> None:
    if commit.thread_state is None:
        return
    thread = await unit.tx.thread(unit.head.tenant, unit.head.thread_id)
    assert thread is not None, "a run has a thread"
    unit.tx.put_thread(replace(thread, state=commit.thread_state, updated_at=unit.now))


def _plan_of(run: Run, step: int) -> StepPlan:
    assert run.plan is not None, "only the calls of an open plan start and end"
    assert run.plan.step == step, "only the calls of the open step start and end"
    return run.plan
