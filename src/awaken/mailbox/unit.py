"""One thread's rows during one operation: what every rule of the mailbox works on.

A `ThreadUnit` holds the thread's head (taken exclusively), carries commands to
`domain.dispatch.apply`, collects the events in emission order, and writes all of it in `save`:
segments, place in line, head, hints. An operation opens its unit first and saves it last; nothing
else writes these rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain import dispatch as rules
from awaken.domain.dispatch import Applied, Claimed, Command, Dispatch, Queued, Refused
from awaken.domain.event import Event, MessageCommitted
from awaken.domain.line import LineRow, line_row
from awaken.domain.log import extend
from awaken.domain.message import Message, StoredMessage
from awaken.domain.thread import ThreadHead
from awaken.errors import Refusal
from awaken.ports.hints import StopAsked, WorkReady
from awaken.ports.store import Transaction


class ThreadUnit:
    """The thread `head.thread_id`, held by the operation behind `tx`."""

    def __init__(self, tx: Transaction, head: ThreadHead, *, new: bool = False) -> None:
        self.tx = tx
        self.head = head
        self.new = new
        self._groups: list[tuple[str | None, list[Event]]] = []
        self._boundary = False
        self._moved: dict[str, Dispatch] = {}
        self._freed = False
        self._was_claimed = head.claimed_dispatch is not None

    @classmethod
    async def open(cls, tx: Transaction, tenant: str, thread_id: str) -> ThreadUnit | None:
        """Take the thread; None when there is none."""
        head = await tx.head(tenant, thread_id)
        return None if head is None else cls(tx, head)

    @classmethod
    async def open_or_make(cls, tx: Transaction, tenant: str, thread_id: str) -> ThreadUnit:
        """Take the thread, or begin a new one.

        Raises:
            Refusal: `thread_being_deleted`: what was there before must be gone first.
        """
        unit = await cls.open(tx, tenant, thread_id)
        if unit is None and await tx.deletion(tenant, thread_id) is not None:
            raise Refusal(
                "thread_being_deleted",
                f"thread {thread_id!r} is being deleted; try again in a moment",
                details={"thread_id": thread_id},
                retry_after_seconds=1,
            )
        return unit or cls(tx, ThreadHead(tenant=tenant, thread_id=thread_id), new=True)

    @property
    def now(self) -> int:
        """The store's clock during this operation."""
        return self.tx.now

    @property
    def last_seq(self) -> int:
        """The number the last event emitted so far will have."""
        return self.head.seq + sum(len(events) for _, events in self._groups)

    def emit(self, run_id: str | None, *events: Event) -> None:
        """Add events of one run, in order."""
        if self._groups and self._groups[-1][0] == run_id:
            self._groups[-1][1].extend(events)
        elif events:
            self._groups.append((run_id, list(events)))

    def emitted(self, run_id: str) -> list[Event]:
        """The run's events that this unit has collected."""
        return [event for group, events in self._groups if group == run_id for event in events]

    def mark_boundary(self) -> None:
        """After what was emitted so far, nothing is open."""
        self._boundary = True

    def commit_message(self, run_id: str, message: Message) -> int:
        """Make `message` part of the thread (I4) and tell so; returns its number."""
        self.head = replace(self.head, message_seq=self.head.message_seq + 1)
        number = self.head.message_seq
        stored = StoredMessage(
            thread_id=self.head.thread_id,
            message_seq=number,
            run_id=run_id,
            created_at=self.now,
            message=message,
        )
        self.tx.put_message(self.head.tenant, stored)
        self.emit(run_id, MessageCommitted(message_seq=number, message=message))
        return number

    def enqueue(self, dispatch: Dispatch, *, in_front: bool = False) -> None:
        """Add a new queued dispatch; `in_front` puts it before all others of the thread."""
        count = self.head.queued_count + 1
        front = dispatch.dispatch_id if in_front else self.head.front
        self.head = replace(self.head, queued_count=count, front=front)
        self._keep(dispatch)

    def reorder(self, queued: Sequence[Dispatch]) -> None:
        """Let queued dispatches be served in this order, on the places in line that they have."""
        ranks = sorted(dispatch.rank for dispatch in queued)
        for dispatch, rank in zip(queued, ranks, strict=True):
            self._keep(replace(dispatch, rank=rank, updated_at=self.now))
        if queued and self.head.front in {dispatch.dispatch_id for dispatch in queued}:
            self.head = replace(self.head, front=queued[0].dispatch_id)

    def apply(self, dispatch: Dispatch, command: Command) -> Applied | Refused:
        """Carry `command` to the dispatch; what it changes is saved with the unit."""
        answer = rules.apply(dispatch, self.head, command, self.now)
        if isinstance(answer, Applied):
            self.head = answer.head
            self._keep(answer.dispatch)
            if answer.effect is rules.Effect.ask_owner:
                self._ask_owner(answer.dispatch)
        return answer

    def change(self, dispatch: Dispatch) -> None:
        """Save a change that is no transition (a counter, a batch number)."""
        self._keep(dispatch)

    def raise_epoch(self) -> None:
        """A newer turn takes the thread: what was claimed before is stale from here on."""
        self.head = replace(self.head, epoch=self.head.epoch + 1)

    def stop_waiting(self, run_id: str) -> None:
        """The run waits no more: what queued behind it may go on."""
        if self.head.waiting_run == run_id:
            self.head = replace(self.head, waiting_run=None)
            self._freed = True

    def lose(self, dispatch_id: str, run_id: str, *, queued: bool) -> None:
        """The thread goes on without a live dispatch and its run, whose records cannot be read."""
        head = self.head
        self.head = replace(
            head,
            claimed_dispatch=None
            if head.claimed_dispatch == dispatch_id
            else head.claimed_dispatch,
            active_run=None if head.active_run == run_id else head.active_run,
            front=None if head.front == dispatch_id else head.front,
            queued_count=head.queued_count - queued,
        )
        self._freed = True

    def pending_changed(self) -> int:
        """Count a change of the pending messages; returns the queue's new revision."""
        self.head = replace(self.head, pending_revision=self.head.pending_revision + 1)
        return self.head.pending_revision

    async def goes_next(self, dispatch: Dispatch) -> bool:
        """Whether no other queued dispatch of the thread goes before this one."""
        if self.head.queued_count == 1:
            return True
        row = await self._line_row()
        return row is not None and row.dispatch_id == dispatch.dispatch_id

    async def save(self) -> None:
        """Write everything the unit holds."""
        for index, (run_id, events) in enumerate(self._groups):
            closed = self._boundary and index == len(self._groups) - 1
            self.head, segment = extend(self.head, run_id, events, self.now, boundary=closed)
            self.tx.append(segment)
        self._groups = []
        still_claimed = self._was_claimed and self.head.claimed_dispatch is not None
        if (self._moved or self._freed) and not still_claimed:
            await self._stand_in_line()
        for dispatch in self._moved.values():
            if isinstance(dispatch.body, Queued) and dispatch.body.available_at > self.now:
                self.tx.hint(WorkReady(due_at=dispatch.body.available_at))
        self.tx.put_head(self.head)

    # --- how

    def _keep(self, dispatch: Dispatch) -> None:
        self._moved[dispatch.dispatch_id] = dispatch
        self.tx.put_dispatch(dispatch)

    def _ask_owner(self, dispatch: Dispatch) -> None:
        body = dispatch.body
        assert isinstance(body, Claimed)
        deadline = body.interrupt_deadline
        self.tx.hint(
            StopAsked(claim_token=body.claim_token, superseded=body.superseded_by is not None)
        )
        if deadline is not None:
            self.tx.hint(WorkReady(due_at=deadline + 1))

    async def _stand_in_line(self) -> None:
        row = await self._line_row()
        if row is not None or not self.new:
            self.tx.set_line(self.head.tenant, self.head.thread_id, row)
        if row is not None:
            self.tx.hint(WorkReady())

    async def _line_row(self) -> LineRow | None:
        if self.head.claimed_dispatch is not None or self.head.queued_count == 0:
            return None
        first = await self._first()
        due = None
        if first is not None and self._early(first):
            self._keep(first)
        elif first is None and self.head.active_run is None:
            due = await self._first_due()
        return line_row(self.head, first, due, self.now)

    async def _first_due(self) -> Dispatch | None:
        """What was due when it was written may be early now, if the clock was set back.

        It is written again, so that its time is waited for.
        """
        while True:
            due = await self.tx.first_due(self.head.tenant, self.head.thread_id)
            if due is None or not self._early(due):
                return due
            self._keep(due)

    def _early(self, dispatch: Dispatch) -> bool:
        return isinstance(dispatch.body, Queued) and dispatch.body.available_at > self.now

    async def _first(self) -> Dispatch | None:
        """The dispatch nothing of the thread may overtake: the active run's, else the front one."""
        tenant = self.head.tenant
        if self.head.active_run is not None:
            run = await self.tx.run(tenant, self.head.active_run)
            assert run is not None, "the active run exists"
            assert run.dispatch_id is not None, "a run has a dispatch"
            return self._moved.get(run.dispatch_id) or await self.tx.dispatch(
                tenant, run.dispatch_id
            )
        if self.head.front is None:
            return None
        return self._moved.get(self.head.front) or await self.tx.dispatch(tenant, self.head.front)
