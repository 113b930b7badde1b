"""Processes on one store, and the clients that use them: what simulations are made of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from awaken.domain.event import (
    RunInterrupted,
    StepEnd,
    StepStart,
    TextDelta,
    ToolCallCancel,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
)
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.submission import Accepted, Submission
from awaken.domain.ticket import TicketStatus
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.lease import Held
from awaken.mailbox.service import Mailbox
from awaken.ports.store import TicketFilter
from awaken.registry.registry import Registry
from awaken.streams.writer import open_writer
from awaken.testing.clock import START_MS
from awaken.testing.history import ThreadHistory, all_threads, read_history, violations

from .agent import AGENT
from .loop import PLACE, LoopClock, SeededLoop
from .store import InlineStore, Trouble, Wire

T = TypeVar("T")

TENANT: Final = "acme"
CALM: Final = Trouble(slow_seconds=0.002)
QUICK: Final = MailboxConfig(
    lease_ms=3_000,
    renewal_ms=1_000,
    sweep_ms=1_000,
    poll_ms=500,
    interrupt_grace_ms=200,
    cancel_grace_seconds=1.0,
    max_concurrent_runs=8,
    foreground_slots=2,
)


class ChanceIds:
    """`ports.clock.Ids`: ids that count up, and chance that is seeded."""

    def __init__(self, prefix: str, chance: random.Random) -> None:
        self._prefix = prefix
        self._chance = chance
        self._number = 0

    def new(self) -> str:
        self._number += 1
        return f"{self._prefix}-{self._number:04d}"

    def jitter(self) -> float:
        return self._chance.uniform(0.5, 1.0)


class Host:
    """One life of a process."""

    def __init__(self, world: World, name: str, config: MailboxConfig, trouble: Trouble) -> None:
        self.name = name
        self.chance = world.chance
        self.effects = world.effects
        self.wire = Wire(world.store, world.chance, trouble, world.count_call)
        ids = ChanceIds(name, world.chance)
        self.mailbox = Mailbox(
            store=self.wire,
            resolver=Registry([AGENT], clock=world.clock, ids=ids),
            open_writer=open_writer(self.wire, world.clock),
            clock=world.clock,
            ids=ids,
            worker_id=name,
            config=config,
        )
        self._scope = anyio.CancelScope()

    @property
    def dead(self) -> bool:
        """Whether it was killed."""
        return self.wire.dead

    @property
    def usable(self) -> bool:
        """Whether a client can reach it."""
        return not (self.dead or self._scope.cancel_called)

    @property
    def held(self) -> tuple[Held, ...]:
        """What it executes."""
        return self.mailbox._leases.all()

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Work until it is killed, drained or stopped."""
        PLACE.set(self)
        with self._scope:
            await self.mailbox.run(task_status=task_status)

    def kill(self) -> None:
        """Kill -9."""
        self.wire.kill()
        self._scope.cancel()

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SeededLoop)
        loop.freeze(self)
        await anyio.sleep(seconds)
        loop.thaw(self)

    async def drain(self, seconds: float) -> None:
        """Stop it in good order: what it has not done after `seconds` it hands over."""
        await self.mailbox.drain(seconds)
        self._scope.cancel()

    async def ask(self, call: Callable[[Mailbox], Awaitable[T]]) -> T:
        """What a client asks of it. What is begun by that belongs to this process."""
        PLACE.set(self)
        return await call(self.mailbox)


@dataclass
class World:
    """The store, its processes, and what happened so far."""

    chance: random.Random
    tasks: TaskGroup
    clock: LoopClock = field(default_factory=lambda: LoopClock(START_MS))
    hosts: list[Host] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    answered: dict[str, Accepted] = field(default_factory=dict)
    calls: int = 0
    news: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.store = InlineStore(self.clock)

    def count_call(self) -> None:
        self.calls += 1
        self.news.set()
        self.news = anyio.Event()

    async def wait_call(self, number: int, seconds: float) -> None:
        """Until the store was called so often, but at most so long."""
        with anyio.move_on_after(seconds):
            while self.calls < number:
                await self.news.wait()

    def add(self, config: MailboxConfig = QUICK, trouble: Trouble = CALM) -> Host:
        """Another process, which accepts requests, but does not work yet."""
        host = Host(self, f"p{len(self.hosts) + 1}", config, trouble)
        self.hosts.append(host)
        return host

    async def start(self, config: MailboxConfig = QUICK, trouble: Trouble = CALM) -> Host:
        """Another process, working."""
        host = self.add(config, trouble)
        try:
            await self.tasks.start(host.run)
        except RuntimeError:
            if host.usable:
                raise
            # It was killed before it worked: anyio's word for a child that ended unstarted.
        return host

    def any_host(self) -> Host:
        """One that a client can reach."""
        return self.chance.choice([host for host in self.hosts if host.usable])

    async def submit(self, text: str, thread_id: str = "t", **fields: object) -> str:
        """Send a message as a run; the run's id, whether or not it was accepted."""
        run_id = f"run-{len(self.sent) + 1}"
        name = str(fields.pop("message_id", f"m-{len(self.sent) + 1}"))
        self.sent.append(run_id)
        message = Message(message_id=name, role=Role.user, content=(TextBlock(text=text),))
        wanted = Submission(
            tenant=TENANT,
            run_id=run_id,
            messages=(message,),
            thread_id=thread_id,
            agent_id="sim",
            **fields,  # type: ignore[arg-type]  # a test names fields of Submission
        )
        with suppress(StoreFault, Refusal):
            self.answered[run_id] = await self.any_host().ask(lambda box: box.submit(wanted))
        return run_id

    async def decide_all(self) -> None:
        """Answer every open question."""
        where = TicketFilter(status=TicketStatus.open)
        for ticket in (await self.store.tickets(TENANT, where, 100, None)).items:
            with suppress(StoreFault, Refusal, RequestError):
                await self.any_host().ask(partial(_allow, ticket.ticket_id))

    async def settle_down(self, *, seconds: float = 300) -> None:
        """Until all that was accepted is done; questions are answered."""
        until = self.clock.monotonic() + seconds
        while await self._busy():
            assert self.clock.monotonic() < until, f"still busy: {await self.store.counts()}"
            await anyio.sleep(0.2)
            await self.decide_all()

    async def _busy(self) -> bool:
        counts = await self.store.counts()
        if counts.queued or counts.claimed:
            return True
        where = TicketFilter(status=TicketStatus.open)
        return bool((await self.store.tickets(TENANT, where, 1, None)).items)

    async def histories(self) -> list[ThreadHistory]:
        """All threads; whatever promise is broken is an error here."""
        found = []
        for thread_id in await all_threads(self.store, TENANT):
            history = await read_history(self.store, TENANT, thread_id)
            broken = [
                *violations(history),
                *spoken_after_interrupt(history),
                *left_open(history),
            ]
            assert not broken, "\n".join(broken)
            found.append(history)
        known = {run.run_id for history in found for run in history.runs}
        lost = {accepted.run_id for accepted in self.answered.values()} - known
        assert not lost, f"accepted and gone: {lost}"
        return found


async def _allow(ticket_id: str, box: Mailbox) -> None:
    await box.decide(TENANT, ticket_id, action="resume", by="ada")


def spoken_after_interrupt(history: ThreadHistory) -> Iterable[str]:
    """I2: nothing that the owner of a stale claim says lands."""
    interrupted: set[str | None] = set()
    for entry in history.entries:
        match entry.event:
            case RunInterrupted():
                interrupted.add(entry.run_id)
            case StepStart() | TextDelta() | ToolCallStart() | ToolCallReady():
                if entry.run_id in interrupted:
                    yield f"run {entry.run_id} went on after it was interrupted: {entry}"
            case _:
                pass


def left_open(history: ThreadHistory) -> Iterable[str]:
    """A run that is over has left no step and no call open, wherever it was cut."""
    for run in history.runs:
        step, calls = False, set[str]()
        for event in (entry.event for entry in history.entries if entry.run_id == run.run_id):
            match event:
                case StepStart():
                    if step:
                        yield f"run {run.run_id} begins a step in a step"
                    step = True
                case StepEnd():
                    step = False
                case ToolCallStart(id=name):
                    calls.add(name)
                case ToolCallCancel(id=name) | ToolCallDone(id=name):
                    calls.discard(name)
                case _:
                    pass
        if step or calls:
            yield f"run {run.run_id} is over and leaves open: step {step}, calls {calls}"


@asynccontextmanager
async def world(chance: random.Random) -> AsyncIterator[World]:
    """A world without a process; all that is started in it ends with it."""
    async with anyio.create_task_group() as tasks:
        here = World(chance, tasks)
        try:
            yield here
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
    here.store.end()
