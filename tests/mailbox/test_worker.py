"""The running mailbox, on the real clock: slots, wake-ups, renewal, stop and drain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from awaken.agent import Agent
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.run import OnDisconnect, Run, RunStatus
from awaken.domain.submission import Accepted, OnBusy, Submission
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.service import Mailbox, Unattended
from awaken.models.scripted import Pause, ScriptedModel
from awaken.ports.clock import SystemClock, SystemIds
from awaken.registry.registry import Registry
from awaken.stores.sqlite.store import SqliteStore
from awaken.streams.writer import open_writer
from awaken.testing.history import read_history, violations

TENANT = "acme"
SLOW = ScriptedModel(["a ", Pause(ms=60_000), "b"], name="slow")
SLOWISH = ScriptedModel([word for n in range(20) for word in (f"{n} ", Pause(ms=20))], name="ish")
QUICK = ScriptedModel(["a ", "b"], name="quick")
AGENTS = [
    Agent("slow", model=SLOW),
    Agent("slowish", model=SLOWISH),
    Agent("quick", model=QUICK),
]
FAST = MailboxConfig(
    lease_ms=600, renewal_ms=100, sweep_ms=100, poll_ms=5_000, unattended_seconds=1.5
)


class Running:
    """A mailbox at work on a store of its own."""

    def __init__(self, store: SqliteStore, mailbox: Mailbox) -> None:
        self.store = store
        self.mailbox = mailbox
        self.ids = SystemIds()

    async def submit(self, agent: str, thread: str | None = None, **fields: object) -> Accepted:
        message = Message(
            message_id=self.ids.new(), role=Role.user, content=(TextBlock(text="hi"),)
        )
        submission = Submission(
            tenant=TENANT,
            run_id=self.ids.new(),
            agent_id=agent,
            thread_id=thread,
            messages=(message,),
            **fields,  # type: ignore[arg-type]  # a test names fields of Submission
        )
        return await self.mailbox.submit(submission)

    async def until(self, run_id: str, status: RunStatus = RunStatus.done) -> Run:
        """Look until the run has that status."""
        with anyio.fail_after(10):
            while True:
                run = await self.store.run(TENANT, run_id)
                assert run is not None
                if run.status is status:
                    return run
                await anyio.sleep(0.01)

    async def until_text(self, run: Accepted) -> None:
        """Look until the run has published text."""
        with anyio.fail_after(10):
            while True:
                segments = await self.store.segments(TENANT, run.thread_id, 0, 100, run.run_id)
                events = [item.event for segment in segments for item in segment.items]
                if any(event.__struct_config__.tag == "text_delta" for event in events):
                    return
                await anyio.sleep(0.01)

    async def check(self, thread_id: str) -> None:
        broken = violations(await read_history(self.store, TENANT, thread_id), quiescent=False)
        assert not broken, "\n".join(broken)


@asynccontextmanager
async def running(
    config: MailboxConfig = FAST, unattended: Unattended | None = None
) -> AsyncIterator[Running]:
    clock, ids = SystemClock(), SystemIds()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    mailbox = Mailbox(
        store=store,
        resolver=Registry(AGENTS),
        open_writer=open_writer(store, clock),
        clock=clock,
        ids=ids,
        worker_id="w1",
        config=config,
        unattended=unattended,
    )
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(mailbox.run)
            yield Running(store, mailbox)
            tasks.cancel_scope.cancel()
    finally:
        await store.aclose()


async def test_a_free_worker_claims_in_the_commit_of_the_submit() -> None:
    async with running() as here:
        accepted = await here.submit("quick")
        assert accepted.status is RunStatus.running
        run = await here.until(accepted.run_id)
        assert run.outcome is not None
        assert run.outcome.text == "a b"
        await here.check(accepted.thread_id)


async def test_a_lease_is_renewed_as_long_as_the_run_lasts() -> None:
    async with running(MailboxConfig(lease_ms=200, renewal_ms=40, sweep_ms=30)) as here:
        accepted = await here.submit("slowish")
        await here.until(accepted.run_id)
        segments = await here.store.segments(TENANT, accepted.thread_id, 0, 1000)
        types = [i.event.__struct_config__.tag for segment in segments for i in segment.items]
        assert "run_retry" not in types
        await here.check(accepted.thread_id)


async def test_queued_runs_start_by_themselves_when_the_thread_is_free() -> None:
    async with running() as here:
        first = await here.submit("slowish", "t")
        rest = [await here.submit("quick", "t", on_busy=OnBusy.enqueue) for _ in range(5)]
        assert [run.position for run in rest] == [1, 2, 3, 4, 5]
        for run in (first, *rest):
            await here.until(run.run_id)
        await here.check("t")


async def test_more_runs_than_slots_all_end() -> None:
    config = MailboxConfig(max_concurrent_runs=3, foreground_slots=1)
    async with running(config) as here:
        runs = [await here.submit("quick") for _ in range(30)]
        for run in runs:
            await here.until(run.run_id)
        assert here.mailbox.statistics().executing == 0


async def test_background_work_leaves_slots_for_those_who_wait() -> None:
    from awaken.domain.dispatch import Mode

    config = MailboxConfig(max_concurrent_runs=3, foreground_slots=1)
    async with running(config) as here:
        for _ in range(5):
            await here.submit("slow", mode=Mode.background, on_busy=OnBusy.enqueue)
        accepted = await here.submit("quick")
        await here.until(accepted.run_id)


async def test_a_stop_reaches_a_running_model_call_at_once() -> None:
    async with running() as here:
        accepted = await here.submit("slow")
        await here.until_text(accepted)
        await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
        run = await here.until(accepted.run_id)
        assert run.outcome is not None
        assert run.outcome.text == "a "
        await here.check(accepted.thread_id)


async def test_an_interrupt_takes_the_thread_within_a_moment() -> None:
    async with running() as here:
        slow = await here.submit("slow", "t")
        await here.until_text(slow)
        quick = await here.submit("quick", "t")
        await here.until(quick.run_id)
        ended = await here.until(slow.run_id)
        assert ended.outcome is not None
        assert ended.outcome.termination.__struct_config__.tag == "superseded"
        await here.check("t")


async def test_a_drain_hands_running_work_over_without_counting_an_attempt() -> None:
    async with running() as here:
        accepted = await here.submit("slow")
        await here.until_text(accepted)
        await here.mailbox.drain(0.05)
        dispatch = await here.store.dispatch(TENANT, accepted.dispatch_id)
        assert dispatch is not None
        assert (dispatch.body.__struct_config__.tag, dispatch.attempt) == ("queued", 0)
        assert dispatch.retry_reason == "handoff"
        await here.check(accepted.thread_id)


async def test_a_run_that_asked_for_it_is_stopped_when_nobody_reads_it() -> None:
    away = {"seconds": 0.0}
    async with running(unattended=lambda tenant, run_id: away["seconds"]) as here:
        accepted = await here.submit("slow", on_disconnect=OnDisconnect.cancel)
        other = await here.submit("slow")
        await here.until_text(accepted)
        away["seconds"] = 11
        run = await here.until(accepted.run_id)
        assert run.outcome is not None
        assert run.outcome.termination.__struct_config__.tag == "cancelled"
        assert (await here.until(other.run_id, RunStatus.running)).status is RunStatus.running


@pytest.mark.parametrize("count", [64])
async def test_many_submits_at_once_on_one_thread_leave_one_winner(count: int) -> None:
    """Regression list of peers.md, 21."""
    async with running() as here:
        accepted: list[Accepted] = []

        async def one() -> None:
            accepted.append(await here.submit("quick", "t"))

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
        for run in accepted:
            await here.until(run.run_id)
        assert len(accepted) == count
        await here.check("t")
