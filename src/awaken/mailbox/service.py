"""The mailbox as the rest of the server sees it. It only delegates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
from anyio.abc import TaskStatus
from msgspec.structs import replace

from awaken.domain.agent import resolution_id as resolution_id_of
from awaken.domain.agent import with_client_tools
from awaken.domain.claim import Claim
from awaken.domain.delivery import PendingQueue, Placed
from awaken.domain.dispatch import Queued
from awaken.domain.message import Block
from awaken.domain.outcome import Outcome
from awaken.domain.record import Record
from awaken.domain.rule import ApprovalRule, Effect
from awaken.domain.run import OnDisconnect, RunStatus
from awaken.domain.schedule import Schedule
from awaken.domain.submission import Accepted, Explanation, Stop, Submission
from awaken.domain.thread import Thread
from awaken.domain.ticket import Decision, Ticket
from awaken.errors import Refusal, StoreFault, not_found
from awaken.mailbox.admission import Admission
from awaken.mailbox.certain import ascertain
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.control import (
    ThreadStop,
    cancel_message,
    cancel_run,
    cancel_thread,
)
from awaken.mailbox.decide import Decided, Verdict, decide
from awaken.mailbox.early import Stopper
from awaken.mailbox.execute import Executor
from awaken.mailbox.explain import explain
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.lease import Ended, Held, LeaseKeeper
from awaken.mailbox.pending import edit, reorder, retract
from awaken.mailbox.repeat import Submitted
from awaken.mailbox.rules import check_remember, delete_rule, make_rule, remembered
from awaken.mailbox.schedules import Schedules
from awaken.mailbox.schema import check_decision
from awaken.mailbox.settle import Settled
from awaken.mailbox.shares import Shares
from awaken.mailbox.submit import Order, submit
from awaken.mailbox.sweep import Sweeper
from awaken.mailbox.threads import ThreadFields, create_thread, update_thread
from awaken.mailbox.worker import Observer, Worker
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import OpenWriter
from awaken.ports.hints import Hint, StopAsked, WorkReady
from awaken.ports.resolver import Resolver
from awaken.ports.store import Operation, Store, T, operation

log = logging.getLogger(__name__)

DEFAULT_AGENT = "default"

ASCERTAIN_SECONDS = 5.0
"""How long a caller waits to learn whether its commit happened."""

Unattended = Callable[[str, str], float]
"""How long (seconds) nobody has been reading a run: (tenant, run id) → 0 while someone is."""


class MailboxStatistics(Record):
    """What this process is doing."""

    worker_id: str
    executing: int
    slots: int
    draining: bool


def _nobody_told(claim: Claim, outcome: Outcome, settled: Settled | None) -> None:
    """The observer of a mailbox that is not observed."""


class Mailbox:
    """Accepts, executes, stops and explains runs, against one store."""

    def __init__(
        self,
        *,
        store: Store,
        resolver: Resolver,
        open_writer: OpenWriter,
        clock: Clock,
        ids: Ids,
        worker_id: str,
        config: MailboxConfig | None = None,
        observer: Observer = _nobody_told,
        unattended: Unattended | None = None,
    ) -> None:
        self.config = config or MailboxConfig()
        self.draining = False
        self._store = store
        self._resolver = resolver
        self._clock = clock
        self._ids = ids
        self._unattended = unattended
        self._admission = Admission(store, clock, self.config.max_queued)
        self._shares = Shares()
        self._leases = LeaseKeeper(store, clock, self.config.renewal_ms)
        executor = Executor(
            store=store,
            resolver=resolver,
            open_writer=open_writer,
            leases=self._leases,
            clock=clock,
            ids=ids,
            cancel_grace_seconds=self.config.cancel_grace_seconds,
        )
        self._worker = Worker(
            store=store,
            executor=executor,
            clock=clock,
            ids=ids,
            config=self.config,
            worker_id=worker_id,
            observer=observer,
        )
        self.keeper = Keeper(store, resolver, self._certainly, self.config, self._with_position)
        self._schedules = Schedules(store, resolver, clock, ids, self.config, self._shares)
        self._sweeper = Sweeper(store, clock, ids, self.config, self._schedules)
        store.listen(self._hear)

    # --- accepting

    async def submit(self, submission: Submission) -> Accepted:
        """Accept a run in one commit.

        Raises:
            RequestError: `agent_not_found`, `idempotency_key_reused`.
            Refusal: `draining`, `thread_busy`, `message_conflict`, `duplicate_dedupe_key`,
                `too_much_queued`, `thread_queue_full`, `run_not_active`.
            StoreFault: nothing was accepted.
        """
        if self.draining:
            raise draining()
        await self._admission.check(submission)
        agent_id = submission.agent_id or await self._previous_agent(submission)
        resolution_id, spec = self._resolver.resolve(submission.tenant, agent_id)
        if submission.tools:
            spec = with_client_tools(spec, submission.tools)
            resolution_id = resolution_id_of(spec)
        order = Order(
            submission=submission,
            thread_id=submission.thread_id or self._ids.new(),
            dispatch_id=self._ids.new(),
            resolution_id=resolution_id,
            spec=spec,
            max_attempts=self.config.max_attempts,
            grace_ms=self.config.interrupt_grace_ms,
            thread_limit=self.config.max_queued_per_thread,
        )
        now = self._clock.now()
        lead = self._shares.lead(submission.tenant, order.priority, now)
        submitted = await self._submit(replace(order, tenant_lead=lead))
        if submitted.accepted.status is not RunStatus.created:
            return submitted.accepted
        if submission.run_id == submitted.accepted.run_id and not submission.available_at:
            self._shares.waits(submission.tenant, order.priority, now)
            self._admission.waits()
        return await self._with_position(submitted.accepted, submission.tenant)

    async def _previous_agent(self, submission: Submission) -> str:
        if submission.thread_id is None:
            return DEFAULT_AGENT
        thread = await self._store.thread(submission.tenant, submission.thread_id)
        return (thread.agent_id if thread else None) or DEFAULT_AGENT

    async def _submit(self, order: Order) -> Submitted:
        """Submit with a slot reserved; the claim that comes back starts in it."""
        foreground = order.submission.mode.value == "foreground"
        claimer = self._worker.reserve(foreground=foreground)
        asked_at = self._clock.monotonic()
        claim: Claim | None = None
        try:
            submitted = await self._certainly(
                operation(submit, replace(order, claimer=claimer)), shielded=True
            )
            claim = submitted.claim
        finally:
            if claimer is not None and claim is None:
                self._worker.cancel_reservation()
        if claim is not None:
            self._worker.start(claim, asked_at)
        return submitted

    async def _with_position(self, accepted: Accepted, tenant: str) -> Accepted:
        """With its place, if that can be read: what was accepted is never answered by a fault."""
        try:
            dispatch = await self._store.dispatch(tenant, accepted.dispatch_id)
            waits = dispatch is not None and isinstance(dispatch.body, Queued)
            position = await self._store.position(dispatch) if dispatch and waits else None
        except StoreFault as fault:
            log.warning("position of an accepted run not read: %s", fault.code)
            return accepted
        return replace(accepted, position=position)

    # --- stopping

    async def cancel_run(
        self, tenant: str, run_id: str, *, by: str, reason: str | None = None
    ) -> Stop:
        """Stop a run wherever it is (I9)."""
        stopper = Stopper(by=by, reason=reason)
        op = operation(cancel_run, tenant, run_id, stopper)
        again = operation(cancel_run, tenant, run_id, stopper, repeated=True)
        return await self._certainly(op, again=again)

    async def cancel_thread(
        self, tenant: str, thread_id: str, *, by: str, reason: str | None = None
    ) -> tuple[Stop, int]:
        """Stop the running, waiting and queued runs of a thread; how many there were."""
        return await self._stop_thread(tenant, thread_id, Stopper(by=by, reason=reason), False)

    async def cancel_message(
        self, tenant: str, thread_id: str, message_id: str, *, by: str, reason: str | None = None
    ) -> Stop:
        """Stop what a message started; one that has not come is stopped if it comes in a minute."""
        stopper = Stopper(by=by, reason=reason)
        op = operation(cancel_message, tenant, thread_id, message_id, stopper)
        return await self._certainly(op)

    async def interrupt_thread(
        self, tenant: str, thread_id: str, *, by: str, reason: str | None = None
    ) -> tuple[Stop, int]:
        """As `cancel_thread`, and fence whatever still runs by a new epoch."""
        grace_ms = self.config.interrupt_grace_ms
        stopper = Stopper(by=by, reason=reason, grace_ms=grace_ms)
        return await self._stop_thread(tenant, thread_id, stopper, True)

    async def _stop_thread(
        self, tenant: str, thread_id: str, stopper: Stopper, new_epoch: bool
    ) -> tuple[Stop, int]:
        total, more = 0, True
        while more:
            op = operation(
                cancel_thread, tenant, thread_id, stopper, new_epoch=new_epoch, before=total
            )
            done: ThreadStop = await self._certainly(op)
            total, more = total + done.stopped, done.more
        return (Stop.requested if total else Stop.nothing_to_stop), total

    # --- what waits to be read

    async def pending(self, tenant: str, thread_id: str) -> PendingQueue:
        """What waits on the thread. Raises RequestError `thread_not_found`."""
        head = await self._store.head(tenant, thread_id)
        if head is None:
            raise not_found("thread", thread_id)
        entries = await self._store.pending_entries(tenant, thread_id)
        return PendingQueue(
            thread_id=thread_id, revision=head.pending_revision, entries=tuple(entries)
        )

    async def edit_pending(
        self,
        tenant: str,
        thread_id: str,
        message_id: str,
        content: tuple[Block, ...],
        revision: int,
    ) -> Placed:
        """Give a message that was not read yet other content; raises as `pending.edit`."""
        op = operation(edit, tenant, thread_id, message_id, content, revision)
        return await self._store.transact(op)

    async def retract_pending(
        self, tenant: str, thread_id: str, message_id: str, revision: int
    ) -> None:
        """Take back a message that was not read yet; raises as `pending.retract`."""
        op = operation(retract, tenant, thread_id, message_id, revision)
        await self._store.transact(op)

    async def reorder_pending(
        self, tenant: str, thread_id: str, message_ids: Sequence[str], revision: int
    ) -> PendingQueue:
        """Put what waits into another order; raises as `pending.reorder`."""
        op = operation(reorder, tenant, thread_id, message_ids, revision)
        return await self._store.transact(op)

    # --- deciding

    def check_decision(self, ticket: Ticket, action: str, payload: Any) -> None:
        """Refuse what `decide` would: RequestError `invalid_decision` (422)."""
        check_decision(ticket, action, payload)

    async def decide(
        self,
        tenant: str,
        ticket_id: str,
        *,
        action: str,
        by: str,
        payload: Any = None,
        decision_id: str | None = None,
        arguments_hash: str | None = None,
        message_id: str | None = None,
        remember: Effect | None = None,
    ) -> Decided:
        """Answer a ticket: `action` is resume or cancel; `remember` makes a rule of it.

        `message_id` is the client's id for its answer: the tool message gets it, if it is free.

        Raises:
            RequestError: `ticket_not_found`, `invalid_decision`.
            Refusal: `not_an_approver`, `ticket_closed`, `ticket_expired`, `ticket_changed`,
                `already_approved`, `too_many_rules`.
        """
        ticket = await self._store.ticket(tenant, ticket_id)
        if ticket is None:
            raise not_found("ticket", ticket_id)
        check_decision(ticket, action, payload)
        rule = None
        if remember is not None:
            check_remember(ticket, action, payload, remember)
            run = await self._store.run(tenant, ticket.run_id)
            rule = remembered(ticket, tenant, run.agent_id if run else "", by, remember)
        decision = Decision(
            decision_id=decision_id or self._ids.new(),
            action=action,
            payload=payload,
            by=by,
            message_id=message_id,
        )
        verdict = Verdict(
            ticket_id=ticket_id,
            decision=decision,
            dispatch_id=self._ids.new(),
            max_attempts=self.config.max_attempts,
            arguments_hash=arguments_hash,
            remember=rule,
        )
        return await self._certainly(operation(decide, tenant, verdict))

    async def make_rule(self, rule: ApprovalRule) -> ApprovalRule:
        """Keep an approval rule under a new id; Refusal `too_many_rules`."""
        named = replace(rule, rule_id=self._ids.new())
        return await self._certainly(operation(make_rule, named))

    async def delete_rule(self, tenant: str, rule_id: str) -> None:
        """Forget an approval rule; RequestError `approval_rule_not_found`."""
        await self._store.transact(operation(delete_rule, tenant, rule_id))

    # --- schedules

    async def create_schedule(self, schedule: Schedule) -> Schedule:
        """Keep a new schedule; raises as `Schedules.create`."""
        return await self._schedules.create(self._certainly, schedule)

    async def change_schedule(
        self, tenant: str, schedule_id: str, changes: dict[str, Any]
    ) -> Schedule:
        """Change fields of a schedule; raises as `Schedules.change`."""
        return await self._schedules.change(self._certainly, tenant, schedule_id, changes)

    async def delete_schedule(self, tenant: str, schedule_id: str) -> None:
        """Forget a schedule; its runs go on. RequestError `schedule_not_found`."""
        await self._schedules.delete(self._store.transact, tenant, schedule_id)

    async def triggered(self, tenant: str, schedule_id: str) -> Submission:
        """What a schedule submits, for now; raises as `Schedules.trigger`."""
        return await self._schedules.trigger(tenant, schedule_id)

    # --- threads, and looking

    async def create_thread(
        self, tenant: str, *, thread_id: str | None = None, **fields: Any
    ) -> Thread:
        """Make a thread; `fields` are those of `ThreadFields`."""
        given = ThreadFields(**{key: value for key, value in fields.items() if value is not None})
        op = operation(create_thread, tenant, thread_id or self._ids.new(), given)
        return await self._store.transact(op)

    async def update_thread(self, tenant: str, thread_id: str, changes: dict[str, Any]) -> Thread:
        """Change a thread's metadata."""
        op = operation(update_thread, tenant, thread_id, changes)
        return await self._certainly(op)

    async def explain(self, tenant: str, run_id: str) -> Explanation:
        """Why a run is where it is."""
        return await explain(self._store, tenant, run_id, self._clock.now())

    def statistics(self) -> MailboxStatistics:
        """What this process is doing."""
        return MailboxStatistics(
            worker_id=self._worker.worker_id,
            executing=len(self._leases),
            slots=self._worker.slots.total,
            draining=self.draining,
        )

    # --- running

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; what is being executed then is left to its lease.

        `task_status` is told when submits may claim.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._leases.run)
            tasks.start_soon(self._sweeper.run)
            await tasks.start(self._worker.run)
            task_status.started()
            if self._unattended is not None:
                tasks.start_soon(self._watch_readers, self._unattended)

    async def drain(self, seconds: float) -> None:
        """Take no new work, let attempts end for `seconds`, then hand the rest over."""
        self.draining = True
        self._worker.claiming = False
        with anyio.move_on_after(seconds):
            await self._worker.wait_idle()
        self._leases.end_all(Ended.shutdown)
        with anyio.move_on_after(self.config.cancel_grace_seconds + self.config.release_seconds):
            await self._worker.wait_idle()

    def _hear(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            match hint:
                case WorkReady(due_at=None):
                    self._worker.wake()
                case WorkReady(due_at=int(due_at)):
                    self._sweeper.due_at(due_at)
                case StopAsked(claim_token=token, superseded=superseded):
                    self._leases.stop_asked(token, superseded=superseded)
                case _:
                    pass

    async def _watch_readers(self, unattended: Unattended) -> None:
        """Stop runs that asked to be stopped when nobody reads them (I8)."""
        while True:
            await self._clock.sleep(1)
            for held in self._leases.all():
                if self._abandoned(held, unattended):
                    await self._stop_abandoned(held.claim)

    async def _stop_abandoned(self, claim: Claim) -> None:
        try:
            await self.cancel_run(
                claim.tenant, claim.run_id, by="system", reason="client_disconnected"
            )
        except StoreFault as fault:
            log.warning("a run without readers not stopped: %s", fault.code, extra=claim.log_ids)

    def _abandoned(self, held: Held, unattended: Unattended) -> bool:
        run = held.run
        if run is None or run.on_disconnect is not OnDisconnect.cancel or held.ended is not None:
            return False
        executing = self._clock.monotonic() - held.began
        alone = min(executing, unattended(run.tenant, run.run_id))
        return alone >= self.config.unattended_seconds

    async def _certainly(
        self, op: Operation[T], *, shielded: bool = False, again: Operation[T] | None = None
    ) -> T:
        """Run a named operation.

        A commit of unknown fate is asked about for a while, by `again` if that is given.
        """
        until = self._clock.monotonic() + ASCERTAIN_SECONDS
        certain = ascertain(self._store, self._clock, op, until, again)
        return await (_shielded(certain) if shielded else certain)


def draining() -> Refusal:
    """The server is shutting down."""
    return Refusal(
        "draining",
        "the server is shutting down; try again",
        status=503,
        retry_after_seconds=2,
    )


async def _shielded(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even if the caller is cancelled (a client that went away)."""
    answer: list[T] = []
    with anyio.CancelScope(shield=True):
        answer.append(await work)
    return answer[0]
