"""A mailbox under glass: the real store and rules, driven by hand, on a clock that only we move.

Nothing runs by itself here: `work` claims and executes what stands in line, one run after another,
and `sweep` does what is due. So a test decides what happens in which order, and nothing depends on
luck.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from awaken.agent import Agent
from awaken.domain.claim import Claim
from awaken.domain.event import Entry
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.outcome import Outcome
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Accepted, Submission
from awaken.mailbox.claim import Claimer, claim_next
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.execute import Executor
from awaken.mailbox.lease import LeaseKeeper
from awaken.mailbox.schedules import Schedules
from awaken.mailbox.service import Mailbox
from awaken.mailbox.settle import Settled
from awaken.mailbox.shares import Shares
from awaken.mailbox.sweep import Sweeper
from awaken.ports.clock import Ids
from awaken.ports.store import Store, operation
from awaken.registry.registry import Registry
from awaken.streams.writer import open_writer
from awaken.testing.clock import FakeClock, SequentialIds
from awaken.testing.history import read_history, violations

TENANT = "acme"


class Lab:
    """One process's mailbox on `store`."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        agents: Sequence[Agent],
        *,
        worker_id: str = "w1",
        ids: Ids | None = None,
        config: MailboxConfig | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.worker_id = worker_id
        self.ids = ids or SequentialIds()
        self.config = config or MailboxConfig()
        resolver = Registry(agents, clock=clock, ids=self.ids)
        writer = open_writer(store, clock)
        self.leases = LeaseKeeper(store, clock, self.config.renewal_ms)
        self.mailbox = Mailbox(
            store=store,
            resolver=resolver,
            open_writer=writer,
            clock=clock,
            ids=self.ids,
            worker_id=worker_id,
            config=self.config,
        )
        self.executor = Executor(
            store=store,
            resolver=resolver,
            open_writer=writer,
            leases=self.leases,
            clock=clock,
            ids=self.ids,
        )
        schedules = Schedules(store, resolver, clock, self.ids, self.config, Shares())
        self.sweeper = Sweeper(store, clock, self.ids, self.config, schedules)

    async def submit(self, text: str, thread_id: str | None = "t", **fields: object) -> Accepted:
        """Submit one user message."""
        message = Message(
            message_id=str(fields.pop("message_id", self.ids.new())),
            role=Role.user,
            content=(TextBlock(text=text),),
        )
        given = {"agent_id": "echo", **fields}
        submission = Submission(
            tenant=TENANT,
            run_id=self.ids.new(),
            messages=(message,),
            thread_id=thread_id,
            **given,  # type: ignore[arg-type]  # a test names fields of Submission
        )
        return await self.mailbox.submit(submission)

    async def claim(self) -> Claim | None:
        """Claim what is first in line, and do no more."""
        claimer = Claimer(
            claim_token=self.ids.new(),
            worker_id=self.worker_id,
            lease_ms=self.config.lease_ms,
        )
        claims = await self.store.transact(operation(claim_next, (claimer,), foreground_only=False))
        return claims[0] if claims else None

    async def execute(self, claim: Claim) -> tuple[Outcome, Settled | None]:
        """Execute a claim to its settle."""
        return await self.executor.execute(claim, self.clock.monotonic())

    async def work(self) -> int:
        """Execute everything that stands in line; returns how many attempts that took."""
        count = 0
        while (claim := await self.claim()) is not None:
            await self.execute(claim)
            count += 1
        return count

    async def settle_down(self, *, step_seconds: float = 31, limit: int = 60) -> None:
        """Work, let time pass and sweep, until nothing is queued or claimed any more."""
        for _ in range(limit):
            await self.work()
            await self.sweeper.sweep()
            counts = await self.store.counts()
            if not counts.queued and not counts.claimed:
                return
            self.clock.advance(step_seconds)
        raise AssertionError(f"still busy: {await self.store.counts()}")

    async def run(self, run_id: str) -> Run:
        """The run's record."""
        run = await self.store.run(TENANT, run_id)
        assert run is not None
        return run

    async def entries(self, run_id: str) -> list[Entry]:
        """The run's log."""
        run = await self.run(run_id)
        segments = await self.store.segments(TENANT, run.thread_id, 0, 10_000, run_id)
        return [entry for segment in segments for entry in segment.entries()]

    async def types(self, run_id: str) -> list[str]:
        """The run's log, as event types."""
        return [str(e.event.__struct_config__.tag) for e in await self.entries(run_id)]

    async def check(self, *threads: str, quiescent: bool = True) -> None:
        """I1, I6, I7 and the counters hold for these threads."""
        for thread_id in threads or ("t",):
            history = await read_history(self.store, TENANT, thread_id)
            broken = violations(history, quiescent=quiescent)
            assert not broken, "\n".join(broken)

    async def done(self, run_id: str) -> str:
        """How the run ended."""
        run = await self.run(run_id)
        assert run.status is RunStatus.done, run
        assert run.outcome is not None
        return str(run.outcome.termination.__struct_config__.tag)


@asynccontextmanager
async def lab(agents: Sequence[Agent]) -> AsyncIterator[Lab]:
    """A laboratory on a fresh in-memory store."""
    from awaken.stores.sqlite.store import SqliteStore

    clock = FakeClock()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    try:
        yield Lab(store, clock, agents)
    finally:
        await store.aclose()
