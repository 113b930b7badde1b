"""A run without a server: `await awaken.run(agent, "…")`.

The run goes through a mailbox and a store like any other, in this process: it is written before it
is seen, it is retried, it can wait for a decision. The store is in memory, so it is gone when the
call returns; with `store=` it is a file, which `awaken serve` can open afterwards.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from os import PathLike, fspath
from typing import Any, Final, assert_never

import anyio

from awaken.agent import foreign_agent
from awaken.domain.event import Event, Visibility, visibility
from awaken.domain.ids import DEFAULT_TENANT, is_client_id
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.outcome import Usage
from awaken.domain.record import Record
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Submission
from awaken.domain.termination import Errored, FinalTermination
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.errors import Fault, Refusal, RequestError
from awaken.mailbox.service import Mailbox
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.store import RunFilter, Store, TicketFilter
from awaken.registry.registry import Registry
from awaken.registry.specs import AgentInCode
from awaken.streams.follow import follow_run
from awaken.streams.hub import Hub
from awaken.streams.subscription import Subscription
from awaken.streams.writer import open_writer

MEMORY: Final = ":memory:"
ADAPTER: Final = "script"
"""How the run came in, and who decides, in the records."""

PAGE: Final = 100
CLOSE_SECONDS: Final = 10.0
"""How long closing the store may take; what it had accepted is durable by then."""


class Approve(Record):
    """The call may run; `arguments` are put in the place of the model's."""

    arguments: dict[str, Any] | None = None


class Reply(Record):
    """The answer to what a tool asked, or the result of a front-end tool."""

    value: Any


class Deny(Record):
    """The call must not run; the model is told `reason`."""

    reason: str | None = None


Decision = Approve | Reply | Deny | bool | None
"""What `decide` may return: True is `Approve()`, False is `Deny()`, None leaves the ticket open."""

Decide = Callable[[Ticket], Decision | Awaitable[Decision]]
OnEvent = Callable[[Event], object]


class RunResult(Record):
    """What became of a run.

    `status` is `done`, or `waiting` for the answer to `tickets`. `termination` says how it ended;
    while it waits it is None. `text` is the answer.
    """

    text: str
    run_id: str
    thread_id: str
    status: RunStatus
    termination: FinalTermination | None = None
    usage: Usage = Usage()
    tickets: tuple[Ticket, ...] = ()


class RunFailed(Fault):
    """The run failed for good: `code` and the text say why, internals included."""

    def __init__(self, run: Run, errored: Errored) -> None:
        told = run.outcome.internal_error if run.outcome is not None else None
        super().__init__(errored.code, told or errored.message, retryable=False)
        self.run_id = run.run_id
        self.thread_id = run.thread_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


async def run(
    agent: object,
    text: str,
    *,
    thread_id: str | None = None,
    store: str | PathLike[str] | None = None,
    on_event: OnEvent | None = None,
    decide: Decide | None = None,
    metadata: dict[str, Any] | None = None,
) -> RunResult:
    """Let `agent` answer `text`, and return when the run is done or waits.

    Args:
        agent: an agent, or what `foreign_agent` takes.
        text: the user's message.
        thread_id: the conversation it belongs to; without one, a new one.
        store: the file the run is kept in, so that it survives this process; none keeps nothing.
        on_event: told every public event as it happens; it may be async.
        decide: asked about each ticket of a run that waits, until it is done; it may be async.
            Without it, or when it returns None, a waiting run is returned with its open tickets.
        metadata: kept with the run.

    A call that is cancelled leaves an unfinished run in its file: whoever opens that next goes on
    with it.

    Raises:
        RunFailed: the run failed.
        AgentError: `agent` cannot be served as it is written.
        Refusal: `foreign_work`: the file has unfinished runs of other agents, and they would fail
            here.
        StoreFault: the file cannot be opened; `store_in_use` when a server has it.
        RequestError: `thread_id` is no id, or `decide` returned what does not fit its ticket.
    """
    served = _served(agent)
    submission = _submission(served.spec.agent_id, text, thread_id, metadata)
    path = MEMORY if store is None else fspath(store)
    async with _working(served, path) as (mailbox, opened, hub):
        watched = _Watched(mailbox, opened, hub, on_event, decide)
        ended, tickets = await watched.run(submission)
    outcome = ended.outcome
    if outcome is not None and isinstance(outcome.termination, Errored):
        raise RunFailed(ended, outcome.termination)
    return RunResult(
        text=(outcome.text if outcome is not None else None) or "",
        run_id=ended.run_id,
        thread_id=ended.thread_id,
        status=ended.status,
        termination=None if outcome is None else outcome.termination,
        usage=ended.usage,
        tickets=tickets,
    )


class _Watched:
    """One run, seen through to its end or its wait."""

    def __init__(
        self,
        mailbox: Mailbox,
        store: Store,
        hub: Hub,
        on_event: OnEvent | None,
        decide: Decide | None,
    ) -> None:
        self._mailbox = mailbox
        self._store = store
        self._hub = hub
        self._on_event = on_event
        self._decide = decide

    async def run(self, submission: Submission) -> tuple[Run, tuple[Ticket, ...]]:
        tenant, thread_id = submission.tenant, submission.thread_id
        assert thread_id is not None, "a script names its thread"
        with self._hub.subscribe(tenant, thread_id, None, submission.run_id) as subscription:
            accepted = await self._mailbox.submit(submission)
            subscription.seek(accepted.cursor, accepted.run_id)
            while True:
                await self._follow(subscription)
                run = await self._store.run(tenant, accepted.run_id)
                assert run is not None, "an accepted run has a record"
                if run.status is RunStatus.done:
                    return run, ()
                if not await self._answer(run):
                    return run, await self._open_tickets(run)

    async def _follow(self, subscription: Subscription) -> None:
        async with aclosing(follow_run(self._store, subscription)) as batches:
            async for batch in batches:
                for delivered in batch:
                    for entry in delivered.entries():
                        await self._tell(entry.event)

    async def _tell(self, event: Event) -> None:
        if self._on_event is not None and visibility(event) is Visibility.public:
            answer = self._on_event(event)
            if inspect.isawaitable(answer):
                await answer

    async def _answer(self, run: Run) -> bool:
        """Have the open tickets decided; whether the run goes on."""
        resumed = False
        for ticket in await self._open_tickets(run):
            decision = None if self._decide is None else self._decide(ticket)
            if inspect.isawaitable(decision):
                decision = await decision
            if decision is None:
                continue
            action, payload = _verdict(decision)
            decided = await self._mailbox.decide(
                run.tenant, ticket.ticket_id, action=action, payload=payload, by=ADAPTER
            )
            resumed |= decided.resumed
        return resumed

    async def _open_tickets(self, run: Run) -> tuple[Ticket, ...]:
        where = TicketFilter(run_id=run.run_id, status=TicketStatus.open)
        page = await self._store.tickets(run.tenant, where, PAGE, None)
        return page.items


@asynccontextmanager
async def _working(agent: AgentInCode, path: str) -> AsyncIterator[tuple[Mailbox, Store, Hub]]:
    """A mailbox at work on the store at `path`; left, it hands back what it has not finished."""
    from awaken.stores.sqlite.store import SqliteStore

    clock, ids = SystemClock(), SystemIds()
    worker_id = ids.new()
    registry = Registry([agent], clock=clock, ids=ids)
    store = await SqliteStore.open(path, clock=clock, worker_id=worker_id)
    try:
        await _refuse_foreign_work(store, agent.spec.agent_id)
        hub = Hub(store, clock)
        store.listen(hub.deliver)
        mailbox = Mailbox(
            store=store,
            resolver=registry,
            open_writer=open_writer(store, clock),
            clock=clock,
            ids=ids,
            worker_id=worker_id,
        )
        async with _running(mailbox, hub):
            yield mailbox, store, hub
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await store.aclose()


@asynccontextmanager
async def _running(mailbox: Mailbox, hub: Hub) -> AsyncIterator[None]:
    """Both run meanwhile. An error of the caller goes on as it is, not in a group."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.run)
            await tasks.start(mailbox.run)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await mailbox.drain(0)
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _refuse_foreign_work(store: Store, agent_id: str) -> None:
    """What is queued is executed by whoever opens the store, and fails without its agent (I12)."""
    for status in (RunStatus.created, RunStatus.running):
        key: str | None = None
        while True:
            page = await store.runs(DEFAULT_TENANT, RunFilter(status=status), PAGE, key)
            for other in page.items:
                if other.agent_id != agent_id:
                    raise _foreign_work(other)
            key = page.next_key
            if key is None:
                break


def _foreign_work(run: Run) -> Refusal:
    return Refusal(
        "foreign_work",
        f"the store has an unfinished run of the agent {run.agent_id!r}, which is not served here; "
        "open it with that agent first",
        details={"run_id": run.run_id, "agent_id": run.agent_id},
    )


def _served(agent: Any) -> AgentInCode:
    """`agent`, or what was written with something else under a name of its own."""
    if hasattr(agent, "spec") and hasattr(agent, "make_runner"):
        served: AgentInCode = agent
        return served
    name = getattr(agent, "name", None) or getattr(agent, "__name__", None)
    return foreign_agent(name if isinstance(name, str) and is_client_id(name) else "agent", agent)


def _submission(
    agent_id: str, text: str, thread_id: str | None, metadata: dict[str, Any] | None
) -> Submission:
    if thread_id is not None and not is_client_id(thread_id):
        problem = "thread_id must be 1 to 128 visible ASCII characters"
        raise RequestError("invalid_field", problem, details={"field": "thread_id"})
    ids = SystemIds()
    message = Message(message_id=ids.new(), role=Role.user, content=(TextBlock(text=text),))
    return Submission(
        tenant=DEFAULT_TENANT,
        run_id=ids.new(),
        messages=(message,),
        thread_id=thread_id or ids.new(),
        agent_id=agent_id,
        adapter=ADAPTER,
        metadata=metadata or {},
    )


def _verdict(decision: Approve | Reply | Deny | bool) -> tuple[str, Any]:
    """The action and the payload a decision stands for."""
    match decision:
        case True:
            return "resume", None
        case False:
            return "cancel", None
        case Approve(arguments=arguments):
            return "resume", None if arguments is None else {"arguments": arguments}
        case Reply(value=value):
            return "resume", value
        case Deny(reason=reason):
            return "cancel", None if reason is None else {"reason": reason}
        case _ as never:
            assert_never(never)
