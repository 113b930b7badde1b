"""Faults that shipped in other servers (reference/peers.md, section 6), none of which is ours.

Each is a test. The number stands in its docstring, here or where the subject is at home:

 1 the first event is lost                   streams/test_hub, a_reader_…_the_first_event
 2 joining doubles what was said             e2e/test_recovery, joined_at_every_frame_while_…
 3 a failure to be retried looks final       test_way_of_a_run, a_transient_failure_is_retried_…
 4 a stop is lost with its worker            test_way_of_a_run, a_claimed_run_is_stopped_even_if_…
 5 the sweeper drowns                        here
 6 a tick fires twice                        test_schedules, two_schedulers_on_one_store_…
 7 a waiting request is left, its run not    server/test_wait_left
 8 an undecodable run blocks its worker      test_known_faults, a_row_that_cannot_be_read_…
 9 a rollback is followed by stale writes    here
10 an answer is lost in a restart            e2e/test_tools, a_decision_while_the_server_is_down_…
13 errors tell SQL; SSE fields break lines   server/test_runs, a_failed_run_is_told_without_…;
                                             protocols/test_sse, line_breaks_and_nul_are_…
16 connections are closed under a proxy      here; server/test_connections, a_drain_tells_readers_…
17 subscriptions are kept                    streams/test_hub, ten_thousand_readers_leave_nothing
18 a hiccup of the store shows in a stream   test_faults, the_store_may_be_away_for_a_moment;
                                             streams/test_follow, a_store_that_fails_when_asked_…
19 half of a submission is accepted          test_faults, any_one_write_may_fail
20 a delayed run is dispatched twice         test_simulation, a_delayed_run_starts_once_…
21 two runs of a thread overwrite rows       test_worker, many_submits_at_once_on_one_thread_…
22 a paused run blocks its thread            test_tools, a_new_message_of_the_user_supersedes_…
23 a stopped run leaves its questions        test_tools, stopping_a_waiting_run_closes_its_tickets_…
24 an answer reaches another question        test_tools, several_questions_are_answered_in_any_…
25 a stop leaves half a part open            here
26 a stop that races the start is lost       test_stop_race
27 deployments use up attempts               test_simulation, a_long_run_that_is_handed_over_…
28 the old client never ends                 e2e/test_recovery, a_killed_server_goes_on_…
30 replicas with other timings sweep         test_known_faults, a_claim_keeps_the_lease_…;
                                             test_simulation, processes_with_different_leases_…
31 late steps cost more                      test_long_runs, a_late_step_does_no_more_…

11 (stopping children) comes with them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from msgspec.structs import replace

from awaken.agent import Agent
from awaken.domain.dispatch import Mode
from awaken.domain.run import RunStatus
from awaken.domain.submission import OnBusy
from awaken.mailbox.sweep import promote
from awaken.ports.model import (
    CallChunk,
    CallStart,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)
from awaken.ports.store import Transaction, operation
from awaken.server.serving import KEEP_ALIVE_SECONDS
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.history import read_history

from .lab import TENANT, Lab, lab
from .sim.world import left_open
from .tools import Bench


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_sweeper_works_with_a_hundred_thousand_rows_that_are_due() -> None:
    """Regression list of peers.md, 5: in slices, between which others get their turn."""
    clock = FakeClock()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w1")
    try:
        here = Lab(store, clock, [Bench().agent])
        later = clock.now() + 60_000
        accepted = await here.submit(
            "x", "t", agent_id="tooled", mode=Mode.background, available_at=later
        )
        for hundred in range(1_000):
            op = operation(
                copy_rows, accepted.dispatch_id, range(hundred * 100, hundred * 100 + 100)
            )
            await store.transact(op)
        await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
        assert (await store.counts()).queued == 100_000
        clock.advance(61)
        with anyio.fail_after(200):
            await here.sweeper.sweep()
        assert await store.transact(operation(promote, 1)) == 0, "all of it stands in line"
        assert (await store.counts()).in_line == 100_000
    finally:
        await store.aclose()


async def copy_rows(tx: Transaction, dispatch_id: str, numbers: range) -> None:
    """The dispatch again, on so many other threads."""
    dispatch = await tx.dispatch(TENANT, dispatch_id)
    head = await tx.head(TENANT, "t")
    assert dispatch is not None
    assert head is not None
    for number in numbers:
        other = {"dispatch_id": f"d{number}", "run_id": f"r{number}", "thread_id": f"t{number}"}
        tx.put_dispatch(replace(dispatch, **other))
        tx.put_head(replace(head, thread_id=other["thread_id"]))


async def test_nothing_is_written_behind_a_rollback() -> None:
    """Regression list of peers.md, 9: the owner that hears late changes neither log nor state."""
    made = Bench()
    async with lab([made.agent]) as here:
        old = await here.submit("count(by=1)|count(by=1)", agent_id="tooled")
        claim = await here.claim()
        assert claim is not None
        await here.submit("do(label=new)", agent_id="tooled", on_busy=OnBusy.rollback)
        before = await here.store.thread(TENANT, "t")
        await here.execute(claim)
        after = await here.store.thread(TENANT, "t")
        assert before is not None
        assert after is not None
        assert after.state == before.state == {}
        assert (await here.run(old.run_id)).steps == 0
        assert "step_start" not in await here.types(old.run_id)
        await here.work()
        assert made.effects == ["new"]
        await here.check()


def test_idle_connections_outlive_the_patience_of_load_balancers() -> None:
    """Regression list of peers.md, 16: theirs is 60 s, so they, not we, close the connection."""
    assert KEEP_ALIVE_SECONDS > 60


class Interrupted:
    """Says `events` and then nothing more, until it is stopped."""

    name = "test:interrupted"

    def __init__(self, events: list[ModelEvent]) -> None:
        self.events = events
        self.said = anyio.Event()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        for event in self.events:
            yield event
        self.said.set()
        await anyio.sleep_forever()


@pytest.mark.parametrize(
    "events",
    [
        [],
        [ReasoningChunk(text="hmm")],
        [ReasoningChunk(text="hmm"), TextChunk(text="so")],
        [CallStart(id="c1", name="do")],
        [CallStart(id="c1", name="do"), CallChunk(id="c1", text='{"label": ')],
    ],
)
async def test_a_stop_in_the_middle_of_a_part_leaves_nothing_open(
    events: list[ModelEvent],
) -> None:
    """Regression list of peers.md, 25, for the log, of which every protocol is a view."""
    model = Interrupted(events)
    async with lab([Agent("half", model=model, tools=list(Bench().agent.tools.values()))]) as here:
        accepted = await here.submit("q", agent_id="half")
        claim = await here.claim()
        assert claim is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.execute, claim)
            await model.said.wait()
            await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
            here.leases.stop_asked(claim.claim_token, superseded=False)
        run = await here.run(accepted.run_id)
        assert run.status is RunStatus.done
        assert await here.done(accepted.run_id) == "cancelled"
        await here.check()
        history = await read_history(here.store, TENANT, "t")
        assert not list(left_open(history))
        again = await here.submit("do(label=a)", agent_id="half")
        assert again.status is RunStatus.created, "the thread takes the next message"
