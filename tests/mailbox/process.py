"""One life of a worker process, driven by hand; and a store that is in trouble for a while.

What a run says is decided here, by a runner without model or tools: these tests are about whether a
run goes on, never about how. A `Process` uses the mailbox's own parts. Nothing in it runs by itself
unless `working` is entered, and time is fake: `jumping` lets it pass whenever nothing else happens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.lowlevel

from awaken.domain.agent import AgentSpec, resolution_id
from awaken.domain.claim import Claim
from awaken.domain.event import StepStart, TextDelta
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.outcome import Completed, Outcome, StepClose, Suspended
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Submission
from awaken.domain.termination import NaturalEnd
from awaken.domain.ticket import Ticket, WaitingReason
from awaken.errors import Fault, not_found
from awaken.mailbox.claim import Claimer, claim_next
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.service import Mailbox, Unattended
from awaken.mailbox.settle import Settled
from awaken.ports.boundary import Steps
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import EventSink
from awaken.ports.runner import Activation, Capabilities
from awaken.ports.store import Operation, RunFilter, Store, T, operation
from awaken.streams.writer import open_writer
from awaken.testing.clock import FakeClock, SequentialIds
from awaken.testing.faulty import Fault as Way
from awaken.testing.faulty import FaultyStore

TENANT = "acme"
TOKENS = ("one ", "two ", "three ", "four ")
TEXT = "".join(TOKENS)
SPEC = AgentSpec(agent_id="speaker", runner="speaker")
CONFIG = MailboxConfig(poll_ms=20)


class Speaker:
    """Says four tokens, behind those that were said before; words of the question steer it.

    `break:N` fails retryably after N tokens, unless something was said before or the attempt is not
    the first one. `fail:N` fails for good after N tokens. `hang:N` says nothing more after N tokens
    until `let_go` is set, unless something was said before. `ask` ends the first activation with a
    question. It can be steered: a turn more answers what came meanwhile. `attempts` are those that
    it was asked to make, each turn of one apart.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.attempts: list[str] = []
        self.let_go = anyio.Event()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(steerable=True, resumable=True)

    async def run(
        self, activation: Activation, sink: EventSink, steps: Steps
    ) -> Completed | Suspended:
        run = activation.run
        turn = run.steps - (run.activation - 1)
        self.attempts.append(f"{activation.attempt_id}/{turn}")
        words = _question(activation).split()
        fresh = activation.partial.empty
        name = f"answer-{run.run_id}-{run.activation}" + (f"-{turn}" if turn else "")
        message_id = activation.partial.message_id or name
        if activation.partial.message_id is None:
            await self._say(sink, StepStart(message_id=message_id))
        said = len(activation.partial.text)
        for number, token in enumerate(TOKENS):
            if fresh and f"hang:{number}" in words:
                await self.let_go.wait()
            if fresh and activation.attempt == 0 and f"break:{number}" in words:
                raise Fault("overloaded", "busy", retryable=True)
            if f"fail:{number}" in words:
                raise Fault("hopeless", "this fails every time", retryable=False)
            if len("".join(TOKENS[: number + 1])) > said:
                await self._say(sink, TextDelta(delta=token))
        answer = Message(
            message_id=message_id, role=Role.assistant, content=(TextBlock(text=TEXT),)
        )
        close = StepClose(messages=(answer,))
        if "ask" in words and run.activation == 1:
            tickets = (ticket(run),)
            return Suspended(reason=WaitingReason.tool_permission, tickets=tickets, close=close)
        return Completed(termination=NaturalEnd(), text=TEXT, close=close)

    async def _say(self, sink: EventSink, event: StepStart | TextDelta) -> None:
        """Emit, and let what is emitted be written, so that each event is a commit of its own."""
        await sink.emit(event)
        if isinstance(self._store, TroubledStore):
            await self._store.wait_quiet()


def ticket(run: Run) -> Ticket:
    """A question about a call."""
    return Ticket(
        ticket_id=f"ticket-{run.run_id}",
        thread_id=run.thread_id,
        run_id=run.run_id,
        tool_call_id="call",
        tool_name="refund",
        arguments={},
        arguments_hash="hash",
        reason=WaitingReason.tool_permission,
        opened_at=0,
    )


def _question(activation: Activation) -> str:
    mine = [m for m in activation.messages if m.message_seq in activation.run.input.seqs]
    return mine[-1].message.text if mine else ""


class Team:
    """A resolver of one agent."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    def resolve(self, tenant: str, agent_id: str) -> tuple[str, AgentSpec]:
        if agent_id != SPEC.agent_id:
            raise not_found("agent", agent_id)
        return resolution_id(SPEC), SPEC

    def agents(self, tenant: str) -> Sequence[AgentSpec]:
        return [SPEC]

    def bind(self, spec: AgentSpec) -> Speaker:
        return self._speaker


class Process:
    """A mailbox on `store`; `name` is its worker's, and the beginning of the ids it makes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        name: str = "w1",
        *,
        config: MailboxConfig = CONFIG,
        ids: Ids | None = None,
        unattended: Unattended | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.name = name
        self.config = config
        self.ids = ids or SequentialIds(name)
        self.speaker = Speaker(store)
        self.mailbox = Mailbox(
            store=store,
            resolver=Team(self.speaker),
            open_writer=open_writer(store, clock),
            clock=clock,
            ids=self.ids,
            worker_id=name,
            config=config,
            unattended=unattended,
        )
        # Its own parts, so that what is driven here is what a server has.
        self.leases = self.mailbox._leases
        self.worker = self.mailbox._worker
        self.executor = self.worker._executor
        self.sweeper = self.mailbox._sweeper

    async def claim(self) -> Claim | None:
        """Claim what is first in line, and do no more."""
        claimer = Claimer(
            claim_token=self.ids.new(), worker_id=self.name, lease_ms=self.config.lease_ms
        )
        op = operation(claim_next, (claimer,), foreground_only=False)
        claims = await self.store.transact(op)
        return claims[0] if claims else None

    async def execute(self, claim: Claim) -> tuple[Outcome, Settled | None]:
        """Execute a claim to its settle."""
        return await self.executor.execute(claim, self.clock.monotonic())

    async def work(self) -> int:
        """Execute everything that stands in line; how many attempts that took."""
        count = 0
        while (claim := await self.claim()) is not None:
            await self.execute(claim)
            count += 1
        return count

    async def work_to_the_end(self, clock: FakeClock, *, limit: int = 40) -> None:
        """Work, let leases and pauses pass, and sweep, until nothing more will happen by itself."""
        self.speaker.let_go.set()
        for _ in range(limit):
            await self.work()
            await self.sweeper.sweep()
            counts = await self.store.counts()
            if not counts.claimed and (not counts.queued or await self.held_up()):
                return
            clock.advance(self.config.lease_ms / 1000 + 1)
        raise AssertionError(f"still busy: {await self.store.counts()}")

    async def held_up(self) -> bool:
        """Whether all that is queued waits behind a run that waits for somebody."""
        page = await self.store.runs(TENANT, RunFilter(status=RunStatus.waiting), 1, None)
        due = (await self.store.counts()).in_line or await self.store.next_due_at() is not None
        return bool(page.items) and not due

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Let the mailbox work by itself: worker, renewals and sweeper."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.mailbox.run)
            yield
            tasks.cancel_scope.cancel()


class SettableClock(FakeClock):
    """A clock whose wall time can be set, while its monotonic time goes on as before."""

    ahead_ms = 0

    def now(self) -> int:
        return super().now() + self.ahead_ms


def submission(run_id: str, text: str, **fields: object) -> Submission:
    """One user message for the speaker, on thread `t` unless `fields` say otherwise."""
    message = Message(
        message_id=f"question-{run_id}", role=Role.user, content=(TextBlock(text=text),)
    )
    given = {"tenant": TENANT, "agent_id": SPEC.agent_id, "thread_id": "t", **fields}
    return Submission(
        run_id=run_id,
        messages=(message,),
        **given,  # type: ignore[arg-type]  # a test names fields of Submission
    )


class TroubledStore(FaultyStore):
    """A `FaultyStore` whose nth call fails, and all that follow for `seconds` of the clock."""

    def __init__(
        self, inner: Store, clock: Clock, way: Way, *, nth: int, seconds: float, reads: bool
    ) -> None:
        super().__init__(inner, way, nth=nth, persistent=seconds > 0, reads=reads)
        self._clock = clock
        self._seconds = seconds
        self._began: float | None = None
        self._busy = 0
        self._ended = anyio.Event()

    async def _write(self, operation: Operation[T]) -> T:
        with self._watched():
            return await super()._write(operation)

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        with self._watched():
            return await super()._call(name, call)

    async def wait_quiet(self) -> None:
        """Until nothing is under way, and nothing begins to be within some turns of the loop."""
        quiet = 0
        while quiet < 8:
            if self._busy:
                quiet = 0
                await self._ended.wait()
            await anyio.lowlevel.checkpoint()
            quiet += 1

    @contextmanager
    def _watched(self) -> Iterator[None]:
        if self._began is not None and self._clock.monotonic() >= self._began + self._seconds:
            self.heal()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._ended.set()
            self._ended = anyio.Event()
            if self.failed and self._began is None:
                self._began = self._clock.monotonic()


@asynccontextmanager
async def jumping(clock: FakeClock, store: TroubledStore) -> AsyncIterator[None]:
    """Whenever nothing happens, let the time of the next sleeper come."""

    async def jump() -> None:
        while True:
            await store.wait_quiet()
            if clock.next_wake is None:
                await anyio.sleep(0.001)
            else:
                clock.advance(clock.next_wake)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(jump)
        yield
        tasks.cancel_scope.cancel()
