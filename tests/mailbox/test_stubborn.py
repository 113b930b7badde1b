"""Code of users that ignores a stop: the run is settled all the same, and nothing comes after it.

A running mailbox on the real clock, with a short grace. What ignores its stop is let go at the end
of each test, so that nothing is left behind by the test itself.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from awaken.agent import Agent, foreign_agent
from awaken.domain.event import Entry
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Accepted, Submission
from awaken.leftovers import LEFTOVERS
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.lease import Ended
from awaken.mailbox.service import Mailbox
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.events import ClaimLost
from awaken.ports.model import Finish, ModelEvent, ModelRequest, TextChunk
from awaken.ports.tool import ToolContext
from awaken.registry.registry import Registry
from awaken.stores.sqlite.store import SqliteStore
from awaken.streams.writer import open_writer
from awaken.testing.history import read_history, violations
from awaken.tools import tool

from .tools import ScriptModel

TENANT = "acme"
GRACE = 0.2
A_LITTLE = 1.5
"""Seconds; the machine is shared. Without a bound these tests would wait for ever."""


class Stubborn:
    """Ignores its stop until it is let go, then writes what it can; `refused` says what it got."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.let_go = anyio.Event()
        self.ended = anyio.Event()
        self.refused: list[str] = []

    async def hold(self) -> None:
        self.begun.set()
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except anyio.get_cancelled_exc_class():
                pass

    async def release(self) -> None:
        """Let it go, and wait until it has done what it still does."""
        self.let_go.set()
        with anyio.fail_after(5):
            await self.ended.wait()
            while LEFTOVERS.count():
                await checkpoint()


@pytest.fixture
async def stubborn() -> AsyncIterator[Stubborn]:
    """Let go in any case, or the event loop would wait for it for ever."""
    made = Stubborn()
    yield made
    made.let_go.set()
    for _ in range(10):
        await checkpoint()


def tooled(stubborn: Stubborn, **options: Any) -> Agent:
    """An agent whose tools `catch` and `shield` ignore a stop, each in a way of its own."""

    async def afterwards(ctx: ToolContext) -> str:
        for write in (ctx.progress("late"), ctx.output("late")):
            try:
                await write
            except RuntimeError as error:
                stubborn.refused.append(str(error))
        ctx.state.set("late", 1)
        stubborn.ended.set()
        return "late"

    @tool(**options)
    async def catch(ctx: ToolContext) -> str:
        """Catch every cancellation."""
        await stubborn.hold()
        return await afterwards(ctx)

    @tool(**options)
    async def shield(ctx: ToolContext) -> str:
        """Shield itself."""
        with anyio.CancelScope(shield=True):
            await stubborn.hold()
            await afterwards(ctx)
        return "late"

    @tool
    async def quick() -> str:
        """Answer."""
        return "quick"

    return Agent("it", model=ScriptModel(), tools=[catch, shield, quick])


class Running:
    """A mailbox at work."""

    def __init__(self, store: SqliteStore, mailbox: Mailbox) -> None:
        self.store = store
        self.mailbox = mailbox

    async def submit(self, text: str, thread_id: str = "t") -> Accepted:
        ids = SystemIds()
        message = Message(message_id=ids.new(), role=Role.user, content=(TextBlock(text=text),))
        return await self.mailbox.submit(
            Submission(
                tenant=TENANT,
                run_id=ids.new(),
                agent_id="it",
                thread_id=thread_id,
                messages=(message,),
            )
        )

    async def run(self, run_id: str) -> Run:
        run = await self.store.run(TENANT, run_id)
        assert run is not None
        return run

    async def until(self, run_id: str, wanted: Callable[[Run], bool], seconds: float) -> Run:
        with anyio.fail_after(seconds):
            while True:
                run = await self.run(run_id)
                if wanted(run):
                    return run
                await anyio.sleep(0.01)

    async def entries(self, run_id: str) -> list[Entry]:
        segments = await self.store.segments(TENANT, "t", 0, 10_000, run_id)
        return [entry for segment in segments for entry in segment.entries()]

    async def check(self, *, quiescent: bool = True) -> None:
        history = await read_history(self.store, TENANT, "t")
        broken = violations(history, quiescent=quiescent)
        assert not broken, "\n".join(broken)


@asynccontextmanager
async def running(agent: Any, **config: Any) -> AsyncIterator[Running]:
    clock, ids = SystemClock(), SystemIds()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    mailbox = Mailbox(
        store=store,
        resolver=Registry([agent], clock=clock, ids=ids),
        open_writer=open_writer(store, clock),
        clock=clock,
        ids=ids,
        worker_id="w1",
        config=MailboxConfig(**{"cancel_grace_seconds": GRACE, **config}),
    )
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(mailbox.run)
            yield Running(store, mailbox)
            tasks.cancel_scope.cancel()
    finally:
        await store.aclose()


def done(run: Run) -> bool:
    return run.status is RunStatus.done


def ended(run: Run) -> str:
    assert run.outcome is not None
    return str(run.outcome.termination.__struct_config__.tag)


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["catch", "shield"])
async def test_a_stop_waits_for_a_tool_no_longer_than_the_grace(
    stubborn: Stubborn, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tooled(stubborn)) as here:
        run_id = (await here.submit(f"{way}() quick()")).run_id
        await stubborn.begun.wait()
        began = anyio.current_time()
        await here.mailbox.cancel_run(TENANT, run_id, by="ada")
        run = await here.until(run_id, done, GRACE + A_LITTLE)
        assert anyio.current_time() - began >= GRACE, "it was given its grace"
        assert ended(run) == "cancelled"
        assert here.mailbox.statistics().executing == 0, "the slot is free"
        assert (LEFTOVERS.count(), str(LEFTOVERS)) == (1, f"tool {way} (1)")
        assert f"tool {way} goes on 0.2 s after it was told to stop" in caplog.text

        before = await here.entries(run_id)
        await stubborn.release()
        assert len(stubborn.refused) == 2
        assert all(text.endswith("is over") for text in stubborn.refused)
        assert await here.entries(run_id) == before, "nothing comes behind the end"
        assert await here.run(run_id) == run
        await here.check()


async def test_a_thread_is_free_for_its_next_run_while_a_tool_of_the_last_one_goes_on(
    stubborn: Stubborn,
) -> None:
    async with running(tooled(stubborn)) as here:
        first = (await here.submit("catch()")).run_id
        await stubborn.begun.wait()
        second = (await here.submit("quick()")).run_id  # interrupts
        run = await here.until(second, done, GRACE + A_LITTLE)
        assert (run.outcome and run.outcome.text) == "done: quick"
        assert ended(await here.run(first)) == "superseded"
        await stubborn.release()
        await here.check()


async def test_a_drain_waits_for_a_tool_no_longer_than_the_grace(stubborn: Stubborn) -> None:
    async with running(tooled(stubborn)) as here:
        run_id = (await here.submit("shield()")).run_id
        await stubborn.begun.wait()
        with anyio.fail_after(GRACE + A_LITTLE):
            await here.mailbox.drain(0)
        run = await here.run(run_id)
        assert run.status is RunStatus.running, "handed over"
        counts = await here.store.counts()
        assert (counts.queued, counts.claimed) == (1, 0)
        assert run.plan is not None
        assert run.plan.calls[0].result is None, "whether it happened stays unknown"
        await stubborn.release()
        assert await here.run(run_id) == run
        await here.check(quiescent=False)


async def test_a_lost_lease_frees_the_slot_after_the_grace(stubborn: Stubborn) -> None:
    async with running(tooled(stubborn)) as here:
        run_id = (await here.submit("catch()")).run_id
        await stubborn.begun.wait()
        for held in here.mailbox._leases.all():
            held.end(Ended.lost)
        with anyio.fail_after(GRACE + A_LITTLE):
            while here.mailbox.statistics().executing:
                await checkpoint()
        before = await here.run(run_id)
        await stubborn.release()
        assert await here.run(run_id) == before


async def test_a_tool_that_ignores_its_time_limit_is_left_and_the_run_goes_on(
    stubborn: Stubborn,
) -> None:
    async with running(tooled(stubborn, timeout_seconds=0.05)) as here:
        run_id = (await here.submit("catch() quick()")).run_id
        run = await here.until(run_id, done, GRACE + A_LITTLE)
        assert ended(run) == "natural_end"
        assert "took longer than 0.05 s" in ((run.outcome and run.outcome.text) or "")
        assert LEFTOVERS.count() == 1
        await stubborn.release()
        assert len(stubborn.refused) == 2
        assert run.state == {}
        assert await here.run(run_id) == run
        await here.check()


async def test_a_tool_that_obeys_within_the_grace_is_not_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, cleaned = anyio.Event(), []

    @tool
    async def careful() -> str:
        """Clean up when it is stopped."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(GRACE / 4)
            cleaned.append(1)
        return ""

    async with running(Agent("it", model=ScriptModel(), tools=[careful])) as here:
        run_id = (await here.submit("careful()")).run_id
        await begun.wait()
        await here.mailbox.cancel_run(TENANT, run_id, by="ada")
        await here.until(run_id, done, A_LITTLE)
        assert cleaned == [1]
        assert LEFTOVERS.count() == 0
        assert "left behind" not in caplog.text


# --- models and foreign agents -------------------------------------------------------------------


class StubbornModel:
    """A model whose stream ignores a stop in the middle of its answer."""

    name = "test:stubborn"

    def __init__(self, stubborn: Stubborn) -> None:
        self._stubborn = stubborn

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield TextChunk(text="seen ")
        await self._stubborn.hold()
        try:
            yield TextChunk(text="unseen")
            yield Finish(reason="stop")
        finally:
            self._stubborn.ended.set()


async def test_a_stop_waits_for_a_model_no_longer_than_the_grace(
    stubborn: Stubborn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Agent("it", model=StubbornModel(stubborn))
    async with running(agent) as here:
        run_id = (await here.submit("?")).run_id
        await stubborn.begun.wait()
        await here.mailbox.cancel_run(TENANT, run_id, by="ada")
        run = await here.until(run_id, done, GRACE + A_LITTLE)
        assert run.outcome is not None
        assert (ended(run), run.outcome.text) == ("cancelled", "seen ")
        assert str(LEFTOVERS) == "agent it (1)"
        before = await here.entries(run_id)
        with caplog.at_level(logging.INFO, "awaken.leftovers"):
            await stubborn.release()
        assert "ended with ClaimLost" in caplog.text, "what it says is refused"
        assert await here.entries(run_id) == before
        await here.check()


async def test_a_stop_waits_for_a_foreign_agent_no_longer_than_the_grace(
    stubborn: Stubborn,
) -> None:
    async def agent(_: Any) -> AsyncIterator[str]:
        yield "seen "
        await stubborn.hold()
        try:
            yield "unseen"
        except ClaimLost:
            stubborn.refused.append("lost")
        finally:
            stubborn.ended.set()

    async with running(foreign_agent("it", agent)) as here:
        run_id = (await here.submit("?")).run_id
        await stubborn.begun.wait()
        await here.mailbox.cancel_run(TENANT, run_id, by="ada")
        run = await here.until(run_id, done, GRACE + A_LITTLE)
        assert run.outcome is not None
        assert (ended(run), run.outcome.text) == ("cancelled", "seen ")
        before = await here.entries(run_id)
        await stubborn.release()
        assert await here.entries(run_id) == before
        await here.check()
