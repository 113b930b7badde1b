"""Everything at once: several processes, many clients, and a bad day for all of them.

Processes with different leases come and go, killed or drained; their wires to the store are slow,
lose answers and hints, and fail; the wall clock jumps. Clients send, steer, interrupt, roll back,
stop, decide, and change what waits to be read. Then the trouble ends, what is left is done, and
every promise must hold.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
from msgspec.structs import replace

from awaken.domain.delivery import Boundary, DeliveryMode, Granularity
from awaken.domain.dispatch import Mode
from awaken.domain.event import RunFinish, RunRetry
from awaken.domain.message import TextBlock
from awaken.domain.submission import OnBusy, Stop
from awaken.domain.termination import Cancelled, Errored, Superseded
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.mailbox.service import Mailbox
from awaken.testing.history import ThreadHistory

from .agent import TEXT
from .loop import simulate
from .store import Trouble
from .world import CALM, QUICK, TENANT, Host, World, world

STEPS: Final = (
    "say",
    "say break",
    "think say",
    "do(label={0})",
    "sync(label={0})",
    "pay(label={0}) do(label={1})",
)
LEASES: Final = (600, 1_500, 3_000, 10_000)
ON_BUSY: Final = (
    OnBusy.enqueue,
    OnBusy.enqueue,
    OnBusy.interrupt,
    OnBusy.steer,
    OnBusy.steer,
    OnBusy.rollback,
    OnBusy.reject,
)


@dataclass
class Story:
    """What happened, for counting: how often what."""

    kills: int = 0
    freezes: int = 0
    drains: int = 0
    jumps: int = 0
    faults: int = 0
    calls: int = 0
    histories: int = 0
    runs: int = 0
    retries: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    stopped: list[str] = field(default_factory=list)


def run_story(seed: int) -> Story:
    """One simulation; an error names its seed."""
    chance = random.Random(f"story {seed}")
    try:
        return simulate(chance, partial(_story, chance))
    except BaseException as error:
        error.add_note(f"seed {seed} of the simulation")
        raise


async def _story(chance: random.Random) -> Story:
    story = Story()
    async with world(chance) as here:
        for _ in range(chance.randint(1, 3)):
            await _new_host(here)
        threads = [f"t{number}" for number in range(chance.randint(1, 3))]
        async with anyio.create_task_group() as clients:
            for _ in range(chance.randint(1, 4)):
                clients.start_soon(_client, here, threads, story)
            for _ in range(chance.randint(0, 4)):
                clients.start_soon(_trouble, here, story)
        await _peace(here)
        for history in await here.histories():
            _check(story, history)
            story.histories += 1
        _check_effects(here)
        story.calls = here.calls
        story.faults = sum(host.wire.failed for host in here.hosts)
    return story


async def _new_host(here: World) -> Host:
    chance = here.chance
    lease_ms = chance.choice(LEASES)
    config = replace(QUICK, lease_ms=lease_ms, renewal_ms=lease_ms // 3, sweep_ms=lease_ms // 4)
    trouble = Trouble(
        slow_seconds=chance.choice((0.0, 0.002, 0.02, 0.2)),
        fails=chance.choice((0.0, 0.0, 0.03, 0.1)),
        deaf=chance.choice((0.0, 0.2)),
    )
    return await here.start(config, trouble)


async def _pause(here: World) -> None:
    await anyio.sleep(here.chance.random() * here.chance.choice((0.01, 0.1, 1, 4)))


async def _peace(here: World) -> None:
    """All trouble is over: wires work, the clock is right, and what is left is done."""
    here.clock.ahead_ms = 0
    for host in here.hosts:
        host.wire.trouble = CALM
    await here.start()
    await here.settle_down(seconds=1_000)


# --- trouble -------------------------------------------------------------------------------------


async def _trouble(here: World, story: Story) -> None:
    await _pause(here)
    match here.chance.choice(("kill", "freeze", "freeze", "drain", "clock", "outage")):
        case "kill":
            victim = here.any_host()
            await _new_host(here)
            victim.kill()
            story.kills += 1
        case "freeze":
            await _new_host(here)
            story.freezes += 1
            victim = here.any_host()
            await victim.freeze(here.chance.random() * 1.5 * victim.mailbox.config.lease_ms / 1000)
        case "drain":
            victim = here.any_host()
            await _new_host(here)
            await victim.drain(here.chance.random())
            story.drains += 1
        case "clock":
            here.clock.ahead_ms += here.chance.choice((-30_000, -500, 700, 20_000))
            story.jumps += 1
        case _:
            wire = here.any_host().wire
            before, wire.trouble = wire.trouble, replace(wire.trouble, fails=1.0)
            await _pause(here)
            wire.trouble = before


# --- clients -------------------------------------------------------------------------------------


async def _client(here: World, threads: Sequence[str], story: Story) -> None:
    for _ in range(here.chance.randint(1, 5)):
        thread_id = here.chance.choice(threads)
        what = here.chance.choice((_send, _send, _send, _stop, _decide, _change))
        with suppress(StoreFault, Refusal, RequestError):
            await what(here, thread_id, story)
        await _pause(here)


async def _send(here: World, thread_id: str, story: Story) -> None:
    chance = here.chance
    name = f"e{len(here.sent)}"
    steps = [
        chance.choice(STEPS).format(f"{name}{nth}a", f"{name}{nth}b")
        for nth in range(chance.randint(1, 3))
    ]
    if chance.random() < 0.1:
        steps.append("fail")
    mode = chance.choice((Mode.foreground, Mode.foreground, Mode.background))
    on_busy = chance.choice(ON_BUSY)
    later = mode is Mode.background and chance.random() < 0.3
    due_at = here.clock.now() + chance.randrange(5_000) if later else None
    delivery = DeliveryMode(
        boundary=chance.choice((Boundary.next_step, Boundary.on_natural_end)),
        granularity=chance.choice(tuple(Granularity)),
        barrier=chance.random() < 0.2,
        fallback=chance.random() < 0.8,
    )
    await here.submit(
        "|".join(steps),
        thread_id,
        mode=mode,
        on_busy=on_busy,
        available_at=due_at,
        delivery=delivery if on_busy is OnBusy.steer else None,
    )


async def _stop(here: World, thread_id: str, story: Story) -> None:
    known = [accepted.run_id for accepted in here.answered.values()]
    run_id = here.chance.choice(known) if known else None
    message_id = f"m-{here.chance.randint(1, len(here.sent) + 1)}"
    calls: list[Callable[[Mailbox], Awaitable[Any]]] = [
        lambda box: box.cancel_thread(TENANT, thread_id, by="ada"),
        lambda box: box.interrupt_thread(TENANT, thread_id, by="ada"),
        lambda box: box.cancel_message(TENANT, thread_id, message_id, by="ada"),
    ]
    if run_id is not None:
        calls += [lambda box: box.cancel_run(TENANT, run_id, by="ada")] * 3
    call = here.chance.choice(calls)
    answer = await here.any_host().ask(call)
    if answer is Stop.requested and run_id is not None and call in calls[3:]:
        story.stopped.append(run_id)


async def _decide(here: World, thread_id: str, story: Story) -> None:
    await here.decide_all()


async def _change(here: World, thread_id: str, story: Story) -> None:
    """Edit, take back or reorder what waits."""
    box, chance = here.any_host(), here.chance
    queue = await box.ask(lambda box: box.pending(TENANT, thread_id))
    if not queue.entries:
        return
    entry = chance.choice(queue.entries)
    one = (TENANT, thread_id, entry.message.message_id)
    ids = [each.message.message_id for each in queue.entries]
    chance.shuffle(ids)
    calls: list[Callable[[Mailbox], Awaitable[Any]]] = [
        lambda box: box.edit_pending(*one, (TextBlock(text="say"),), entry.revision),
        lambda box: box.retract_pending(*one, entry.revision),
        lambda box: box.reorder_pending(TENANT, thread_id, ids, queue.revision),
    ]
    await box.ask(chance.choice(calls))


# --- what must hold ------------------------------------------------------------------------------


def _check(story: Story, history: ThreadHistory) -> None:
    ends = {e.run_id: e.event for e in history.entries if isinstance(e.event, RunFinish)}
    for run in history.runs:
        assert run.outcome is not None
        termination = run.outcome.termination
        story.runs += 1
        story.ends[str(termination.__struct_config__.tag)] += 1
        assert TEXT.startswith(run.outcome.text or ""), "no text is doubled or lost"
        if isinstance(termination, Errored):
            assert termination.code == "model_not_found", "trouble of the store ends no run"
        if run.run_id in story.stopped:
            end = ends[run.run_id]
            stopped = isinstance(termination, Cancelled | Superseded)
            assert stopped or end.cancel == "too_late", f"{run.run_id} went on to {termination}"
    for dispatch in history.dispatches:
        known = (None, "stream_interrupted", "model_not_found")
        assert dispatch.last_error in known, "trouble of the store counts no attempt"
    retries = [e.event for e in history.entries if isinstance(e.event, RunRetry)]
    story.retries += len(retries)


def _check_effects(here: World) -> None:
    """A call that finished is never made again; one may be for each process that was lost."""
    for label, count in Counter(here.effects).items():
        assert count <= 1 + len(here.hosts), f"{label} had its effect {count} times"
