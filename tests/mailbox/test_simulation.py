"""The seeded simulation: whatever happens to processes, wires and clocks, all promises hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from functools import partial

import anyio
import pytest

from awaken.domain.dispatch import Mode
from awaken.domain.event import RunRetry, RunStart
from awaken.domain.run import RunStatus
from awaken.domain.submission import OnBusy
from awaken.mailbox.config import MailboxConfig

from .sim.loop import simulate
from .sim.story import Story, run_story
from .sim.world import TENANT, World, world

IN_TURN = 300
IN_SOAK = 30_000
HAND_OVERS = 50


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> None:
    """The store of a simulation has no thread, so it blocks the loop, and nobody minds."""


def check_variety(stories: list[Story]) -> None:
    """There was trouble of all kinds, or the stories would prove little."""
    for count in (
        sum(story.kills for story in stories),
        sum(story.freezes for story in stories),
        sum(story.drains for story in stories),
        sum(story.jumps for story in stories),
        sum(story.retries for story in stories),
        sum(len(story.stopped) for story in stories),
    ):
        assert count > 0.05 * len(stories), stories
    assert sum(story.faults for story in stories) > len(stories)
    ended = {end for story in stories for end in story.ends}
    assert ended == {"natural_end", "cancelled", "superseded", "error"}


@pytest.mark.timeout(180)
def test_whatever_happens_to_processes_wires_and_clocks_all_promises_hold() -> None:
    check_variety([run_story(seed) for seed in range(IN_TURN)])


def test_a_seed_tells_the_same_story_again() -> None:
    stories = [[run_story(seed) for seed in range(5)] for _ in range(2)]
    assert stories[0] == stories[1]


@pytest.mark.soak
@pytest.mark.timeout(4 * 3_600)
def test_whatever_happens_all_promises_hold_in_many_simulations() -> None:
    check_variety([run_story(seed) for seed in range(IN_TURN, IN_TURN + IN_SOAK)])


def in_a_world(work: Callable[[World], Coroutine[None, None, None]], seed: int = 1) -> None:
    async def run(chance: random.Random) -> None:
        async with world(chance) as here:
            await work(here)

    chance = random.Random(seed)
    simulate(chance, partial(run, chance))


def test_a_long_run_that_is_handed_over_again_and_again_uses_no_attempt() -> None:
    """Regression list of peers.md, 27: churn of deployments does not use up attempts."""

    async def churn(here: World) -> None:
        steps = [f"do(label=s{number})" for number in range(4 * HAND_OVERS)]
        host = await here.start()
        run_id = await here.submit("|".join(steps))
        for _ in range(HAND_OVERS):
            while not host.held:
                await here.wait_call(here.calls + 1, 1)
            await here.wait_call(here.calls + here.chance.randrange(8), 10)
            assert host.held
            successor = await here.start()
            await host.drain(0)
            host = successor
        run = await here.store.run(TENANT, run_id)
        assert run is not None
        assert run.status is RunStatus.running, "it was handed over in the middle, each time"
        await here.settle_down()
        (history,) = await here.histories()
        retries = [e.event for e in history.entries if isinstance(e.event, RunRetry)]
        assert len(retries) >= HAND_OVERS
        assert {retry.reason for retry in retries} == {"handoff"}
        assert {retry.attempt for retry in retries} == {1}
        (dispatch,) = history.dispatches
        assert (dispatch.attempt, dispatch.expiries, dispatch.life_expiries) == (0, 0, 0)
        assert sorted(set(here.effects)) == sorted(f"s{n}" for n in range(4 * HAND_OVERS))

    in_a_world(churn)


@pytest.mark.parametrize("seed", range(3))
def test_processes_with_different_leases_never_take_a_healthy_run_from_one_another(
    seed: int,
) -> None:
    """Regression list of peers.md, 30: the row carries its lease's own timing."""

    def config(lease_ms: int) -> MailboxConfig:
        return MailboxConfig(
            lease_ms=lease_ms,
            renewal_ms=lease_ms // 3,
            sweep_ms=lease_ms // 10,
            poll_ms=100,
            max_concurrent_runs=4,
            foreground_slots=0,
        )

    async def live_together(here: World) -> None:
        for lease_ms in (60_000, 1_000, 10_000, 300):
            await here.start(config(lease_ms))
        steps = "|".join(["do(label=a) do(label=b)"] * 30)
        for number in range(8):
            await here.submit(steps, f"t{number}")
        await anyio.sleep(1)
        owners = {held.claim.worker_id for host in here.hosts for held in host.held}
        assert len(owners) > 1, "several processes have some of them"
        await here.settle_down()
        for history in await here.histories():
            assert not [e for e in history.entries if isinstance(e.event, RunRetry)]
            assert len(history.runs) == 1

    in_a_world(live_together, seed)


@pytest.mark.parametrize("seed", range(20))
def test_a_delayed_run_starts_once_though_several_processes_wait_for_it(seed: int) -> None:
    """Regression list of peers.md, 20."""

    async def wait_for_it(here: World) -> None:
        for _ in range(3):
            await here.start()
        due_at = here.clock.now() + 5_000
        await here.submit(
            "do(label=once)", mode=Mode.background, on_busy=OnBusy.enqueue, available_at=due_at
        )
        await here.settle_down()
        (history,) = await here.histories()
        starts = [e for e in history.entries if isinstance(e.event, RunStart)]
        assert len(starts) == 1
        assert due_at <= starts[0].at < due_at + 1_000
        assert here.effects == ["once"]

    in_a_world(wait_for_it, seed)
