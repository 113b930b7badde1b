"""The store: one database, one transaction.

Writing is done by *operations*: coroutines over a `Transaction` that contain the rules and no SQL.
The store runs an operation under its own exclusion, commits, delivers the hints, and answers. An
operation may be run again from its start (a lost batch, a serialisation failure), so it has no
effects but those on its transaction. On SQLite operations never suspend; on PostgreSQL each `await`
is a round trip, so operations read first and write last, and writes are not awaited.

Lock order inside an operation: thread head, dispatches, tickets, run. An operation touches one
thread's rows after it has taken that thread's head.

Every key begins with the tenant (I10). All times are epoch milliseconds of the store's clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from awaken.domain.agent import AgentSpec
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Segment
from awaken.domain.line import LineRow
from awaken.domain.message import StoredMessage
from awaken.domain.note import Note, NoteKind
from awaken.domain.record import Record
from awaken.domain.run import Run, RunStatus
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.ports.care import CareOfRows, CareOfStore
from awaken.ports.hints import Hint, HintListener
from awaken.ports.outbox import OutboxOfStore, OutboxRows
from awaken.ports.rules import RuleRows, RulesOfStore
from awaken.ports.schedules import ScheduleRows, SchedulesOfStore

T = TypeVar("T")
P = ParamSpec("P")


class Transaction(CareOfRows, ScheduleRows, OutboxRows, RuleRows, Protocol):
    """The rows an operation may see and change. Reads see the operation's own writes.

    Nothing is visible to others, and no hint is delivered, before COMMIT. Where dispatches come by
    rank, equal ranks come by dispatch id.
    """

    @property
    def now(self) -> int:
        """The store's clock, the same during the whole operation."""
        ...

    # reads

    async def head(self, tenant: str, thread_id: str) -> ThreadHead | None:
        """The thread's head, taken exclusively until the operation ends."""
        ...

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        """The thread's metadata."""
        ...

    async def run(self, tenant: str, run_id: str) -> Run | None:
        """The run."""
        ...

    async def waiting_run(self, tenant: str, thread_id: str) -> Run | None:
        """The thread's run with status waiting; there is at most one."""
        ...

    async def dispatch(self, tenant: str, dispatch_id: str) -> Dispatch | None:
        """The dispatch."""
        ...

    async def live_dispatch_with(
        self, tenant: str, thread_id: str, dedupe_key: str
    ) -> Dispatch | None:
        """The queued or claimed dispatch of the thread that has `dedupe_key`."""
        ...

    async def queued_foreground(self, tenant: str, thread_id: str, limit: int) -> list[Dispatch]:
        """Queued foreground dispatches of the thread, smallest rank first."""
        ...

    async def queued(self, tenant: str, thread_id: str, limit: int) -> list[Dispatch]:
        """All queued dispatches of the thread, due or not, smallest rank first."""
        ...

    async def count_due(self, tenant: str, thread_id: str, limit: int) -> int:
        """How many queued dispatches of the thread are due, counted to `limit`."""
        ...

    async def first_due(self, tenant: str, thread_id: str) -> Dispatch | None:
        """The queued dispatch of the thread with the smallest rank among those that are due.

        Due means `available_at ≤ now` when the row was last written (see `undue`).
        """
        ...

    async def next_in_line(self, *, foreground_only: bool) -> LineRow | None:
        """The line's row with the smallest rank that no other operation holds, or None.

        By index: the cost does not depend on how much is queued.
        """
        ...

    async def undue(self, limit: int) -> list[Dispatch]:
        """Queued dispatches whose time has come since they were written, earliest first."""
        ...

    async def pending(
        self, tenant: str, thread_id: str, run_id: str | None = None
    ) -> list[PendingEntry]:
        """Pending entries of the thread by position; only those of `run_id` if it is given."""
        ...

    async def pending_with(
        self, tenant: str, thread_id: str, message_ids: Sequence[str]
    ) -> list[PendingEntry]:
        """Pending entries of the thread with these message ids, by position."""
        ...

    async def messages_with(
        self, tenant: str, thread_id: str, message_ids: Sequence[str]
    ) -> list[StoredMessage]:
        """Committed messages of the thread with these ids."""
        ...

    async def messages_of_run(
        self, tenant: str, thread_id: str, run_id: str, after: int = 0
    ) -> list[StoredMessage]:
        """The run's committed messages with a number above `after`, replaced ones too, in order."""
        ...

    async def messages_after(
        self, tenant: str, thread_id: str, after: int, limit: int
    ) -> list[StoredMessage]:
        """At most `limit` messages of the thread with a number above `after`, in order.

        Replaced ones too.
        """
        ...

    async def segments_of(self, tenant: str, run_id: str, after: int) -> list[Segment]:
        """The run's segments with `last_seq > after`, in order."""
        ...

    async def open_tickets(self, tenant: str, run_id: str) -> list[Ticket]:
        """The run's open tickets, by id."""
        ...

    async def ticket(self, tenant: str, ticket_id: str) -> Ticket | None:
        """The ticket."""
        ...

    async def note(self, tenant: str, kind: NoteKind, key: str) -> Note | None:
        """The note, which may be out of date."""
        ...

    # writes: not awaited; a store may collect them until the operation ends

    def put_head(self, head: ThreadHead) -> None:
        """Insert or replace."""
        ...

    def put_thread(self, thread: Thread) -> None:
        """Insert or replace."""
        ...

    def put_run(self, run: Run) -> None:
        """Insert or replace."""
        ...

    def put_dispatch(self, dispatch: Dispatch) -> None:
        """Insert or replace; the columns that selection needs are derived from the record."""
        ...

    def set_line(self, tenant: str, thread_id: str, row: LineRow | None) -> None:
        """Make `row` the thread's place in line, or take the thread out of it."""
        ...

    def put_pending(self, entry: PendingEntry) -> None:
        """Insert or replace, by (tenant, thread, message id)."""
        ...

    def delete_pending(self, tenant: str, thread_id: str, message_ids: Sequence[str]) -> None:
        """Remove the entries."""
        ...

    def put_message(self, tenant: str, message: StoredMessage) -> None:
        """Append a message, or replace one by a tombstone of itself."""
        ...

    def append(self, segment: Segment) -> None:
        """Append a segment and hint `LogGrew`.

        Its numbers were taken from the head in this operation.
        """
        ...

    def put_ticket(self, tenant: str, ticket: Ticket) -> None:
        """Insert or replace."""
        ...

    def put_note(self, note: Note) -> None:
        """Insert or replace."""
        ...

    def put_resolution(self, tenant: str, resolution_id: str, spec: AgentSpec) -> None:
        """Store a pinned specification once; an existing row is left alone."""
        ...

    def hint(self, hint: Hint) -> None:
        """Deliver `hint` after COMMIT."""
        ...


Operation = Callable[[Transaction], Awaitable[T]]


def operation(
    rule: Callable[Concatenate[Transaction, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> Operation[T]:
    """`rule` with its arguments as an operation; its name is what metrics and logs call it."""

    def run(tx: Transaction) -> Awaitable[T]:
        return rule(tx, *args, **kwargs)

    run.__name__ = rule.__name__
    return run


class Page(Record):
    """One page of a list: `items`, and the key to ask for the rest with (None: that was all).

    A key is good for the list and the filters it came from; with any other, lists raise
    RequestError `invalid_page_key`.
    """

    items: tuple[Any, ...]
    next_key: str | None = None


class RunFilter(Record):
    """Which runs a list shows; None means any."""

    thread_id: str | None = None
    agent_id: str | None = None
    status: RunStatus | None = None


class MessageFilter(Record):
    """Which messages a list shows. `after` and `before` are message numbers, exclusive.

    `visibility` is `external` (what all may see), `internal` (what the model alone sees), `all`
    (both), or `everything`: only there replaced messages are shown.
    """

    after: int | None = None
    before: int | None = None
    run_id: str | None = None
    visibility: str = "external"
    descending: bool = False


class Checkpoint(Record):
    """All that an attempt needs from the records, from one consistent read.

    `messages` are those the agent may see (not `replaced`), in order. `tail` are the run's segments
    after its `checkpoint_seq`. `dispatch` is the run's latest one.
    `tickets` are all of the run, closed ones too; `thread_state` is the state of its thread.
    """

    run: Run
    dispatch: Dispatch | None
    spec: AgentSpec | None
    messages: tuple[StoredMessage, ...]
    tail: tuple[Segment, ...]
    tickets: tuple[Ticket, ...] = ()
    thread_state: dict[str, Any] = {}


class TicketFilter(Record):
    """Which tickets a list shows; None means any."""

    status: TicketStatus | None = None
    run_id: str | None = None
    thread_id: str | None = None


class DispatchCounts(Record):
    """How many dispatches are in each state, and how old the oldest due one is (ms; None: none)."""

    queued: int = 0
    claimed: int = 0
    acked: int = 0
    cancelled: int = 0
    superseded: int = 0
    dead_letter: int = 0
    in_line: int = 0
    oldest_due_ms: int | None = None


class Store(CareOfStore, SchedulesOfStore, OutboxOfStore, RulesOfStore, Protocol):
    """A database. Reads outside operations see committed rows only, each from one snapshot."""

    @property
    def shared(self) -> bool:
        """Whether other processes may write to it: readers then also poll for missed hints."""
        ...

    def listen(self, listener: HintListener) -> None:
        """Deliver the hints of all later commits to `listener` too."""
        ...

    async def transact(self, operation: Operation[T]) -> T:
        """Run `operation`, commit, deliver its hints, and return its answer.

        Concurrent operations may share a commit; one that raises is rolled back alone, and its
        exception is raised here. Nothing is answered before COMMIT has returned.

        Raises:
            StoreFault: the store failed. With `unknown`, whether the commit happened is not known;
                the caller repeats the same call, which is answered from the record.
        """
        ...

    # the worker's questions

    async def next_due_at(self) -> int | None:
        """The earliest time at which something is to be done without a hint (ms), or None.

        The smallest of: `available_at` of what is queued and not due, `lease_until` and
        `interrupt_deadline` of what is claimed, `expires_at` of open tickets, `next_at` of
        schedules.
        """
        ...

    async def expired(self, limit: int) -> list[Dispatch]:
        """Claimed dispatches with `lease_until < now` or `interrupt_deadline < now`."""
        ...

    async def claims_of_the_dead(self) -> list[Dispatch]:
        """Claimed dispatches whose worker is known to be dead; empty where that cannot be known."""
        ...

    async def claims_of(self, worker_id: str) -> list[Dispatch]:
        """Claimed dispatches of that worker.

        How it finds a claim whose commit it never heard of.
        """
        ...

    async def checkpoint(self, tenant: str, run_id: str) -> Checkpoint | None:
        """What an attempt at the run starts from; None when the run is gone."""
        ...

    # readers' questions

    async def run(self, tenant: str, run_id: str) -> Run | None:
        """The run."""
        ...

    async def runs(self, tenant: str, where: RunFilter, limit: int, key: str | None) -> Page:
        """Runs, newest first (by created_at, then id)."""
        ...

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        """The thread's metadata."""
        ...

    async def threads(
        self,
        tenant: str,
        limit: int,
        key: str | None,
        *,
        resource_id: str | None = None,
        parent_thread_id: str | None = None,
    ) -> Page:
        """Threads, latest updated first (by updated_at, then id)."""
        ...

    async def messages(
        self, tenant: str, thread_id: str, where: MessageFilter, limit: int, key: str | None
    ) -> Page:
        """Committed messages (`StoredMessage`) by number."""
        ...

    async def pending_entries(self, tenant: str, thread_id: str) -> list[PendingEntry]:
        """Pending entries by position."""
        ...

    async def head(self, tenant: str, thread_id: str) -> ThreadHead | None:
        """The thread's head, not taken."""
        ...

    async def heads(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The last seq of each of these (tenant, thread) that exists, in one statement."""
        ...

    async def segments(
        self, tenant: str, thread_id: str, after: int, limit: int, run_id: str | None = None
    ) -> list[Segment]:
        """At most `limit` segments with `last_seq > after`, in order.

        Only those of `run_id` if given.
        """
        ...

    async def dispatch(self, tenant: str, dispatch_id: str) -> Dispatch | None:
        """The dispatch."""
        ...

    async def dispatches(self, tenant: str, thread_id: str, limit: int, key: str | None) -> Page:
        """Dispatches of the thread, newest first."""
        ...

    async def ticket(self, tenant: str, ticket_id: str) -> Ticket | None:
        """The ticket."""
        ...

    async def tickets(self, tenant: str, where: TicketFilter, limit: int, key: str | None) -> Page:
        """Tickets, newest first (by opened_at, then id)."""
        ...

    async def expired_tickets(self, limit: int) -> list[tuple[str, Ticket]]:
        """Open tickets with `expires_at < now`, with their tenants, earliest first."""
        ...

    async def position(self, dispatch: Dispatch, limit: int = 1000) -> int:
        """How many dispatches would be served before this queued one, plus 1.

        Counted to `limit`.
        """
        ...

    async def count_due(self, limit: int) -> int:
        """How many queued dispatches are due, of all tenants, counted to `limit`."""
        ...

    async def counts(self, tenant: str | None = None) -> DispatchCounts:
        """Dispatches by state, of one tenant or of all."""
        ...

    # care

    async def compactable(self, *, done_before: int, limit: int) -> list[Run]:
        """Done runs finished before that time whose log was not compacted yet."""
        ...

    async def compact(self, tenant: str, run_id: str, segments: Sequence[Segment]) -> None:
        """Replace the run's segments by `segments`, and mark the run compacted.

        Their first and last numbers are the same as before. A log that is being deleted meanwhile
        stays deleted.
        """
        ...

    async def check(self) -> None:
        """A durable round trip, for readiness. Raises StoreFault."""
        ...

    async def aclose(self) -> None:
        """Finish what was accepted, then let go of everything."""
        ...
