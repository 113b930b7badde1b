"""A stop, at any moment of a run's life, against everything else that happens at that moment.

One or two processes work on a thread. A client sends it messages, another one stops a run, a
message or the whole thread at a point that chance chooses, a third may kill a process or drain it,
and a fourth answers questions. Then all is left to come to its end, and what was answered to the
stop is compared with what became of the runs (I9).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio

from awaken.domain.dispatch import Claimed, Mode
from awaken.domain.event import MessageCommitted, RunFinish
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import OnBusy, Stop
from awaken.domain.termination import Cancelled, NaturalEnd, Superseded
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.mailbox.service import Mailbox
from awaken.testing.history import ThreadHistory

from .agent import TEXT
from .loop import simulate
from .store import Trouble
from .world import TENANT, Host, World, world

SCRIPTS: Final = (
    "say",
    "think say break",
    "think do(label=a)",
    "hang",
    "wait(label=a) do(label=b)",
    "fail",
    "do(label=a)",
    "sync(label=a)|say",
    "pay(label=a)|do(label=b)",
    "do(label=a) pay(label=b) sync(label=c)",
)
KINDS: Final = ("run", "message", "thread", "interrupt")
STOP_MS: Final = 12_000
"""How long a stop may take that meets the worst: its hint is lost, its owner is killed or frozen,
the lease has to run out, and what is cancelled takes all of its grace."""
MESSAGES: Final = ("m-1", "m-2")


@dataclass
class Race:
    """What happened. `where` is what the first run was doing when the stop was sent."""

    kind: str
    where: str = "nowhere"
    target: str = ""
    answer: Stop | None = None
    answered_at: int = 0
    known: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    over: Run | None = None
    ended: str = ""
    kills: int = 0
    histories: int = 0


def run_race(seed: int) -> Race:
    """One race; an error names its seed."""
    chance = random.Random(seed)
    try:
        return simulate(chance, partial(_race, chance))
    except BaseException as error:
        error.add_note(f"seed {seed} of the race")
        raise


async def _race(chance: random.Random) -> Race:
    race = Race(chance.choice(KINDS))
    slow, deaf = chance.choice((0.0, 0.002, 0.02)), chance.choice((0.0, 0.0, 0.3))
    trouble = Trouble(slow_seconds=slow, deaf=deaf)
    async with world(chance) as here:
        late = chance.random() < 0.15
        for _ in range(chance.choice((1, 2))):
            host = here.add(trouble=trouble)
            here.tasks.start_soon(_begin, here, host, late)
        async with anyio.create_task_group() as clients:
            clients.start_soon(_talk, here)
            clients.start_soon(_stop, here, race)
            if chance.random() < 0.3:
                clients.start_soon(_accident, here, race)
            if chance.random() < 0.5:
                clients.start_soon(_answer, here)
        await here.settle_down()
        for history in await here.histories():  # of one thread, or none if all were killed early
            _check(race, history)
        race.histories = await _takes_the_next_message(here)
    return race


# --- who takes part ------------------------------------------------------------------------------


async def _moment(here: World) -> None:
    """A time that chance chooses: by the clock, or right at some call of the store."""
    chance = here.chance
    if chance.random() < 0.6:
        await here.wait_call(here.calls + chance.randrange(40), 3)
    else:
        await anyio.sleep(chance.random() * chance.choice((0.02, 0.2, 2)))


async def _begin(here: World, host: Host, late: bool) -> None:
    if late:
        await _moment(here)
    await host.run()


async def _talk(here: World) -> None:
    chance = here.chance
    await here.submit(chance.choice(SCRIPTS))
    if chance.random() < 0.5:
        await _moment(here)
        on_busy = chance.choice(
            (OnBusy.enqueue, OnBusy.interrupt, OnBusy.steer, OnBusy.steer, OnBusy.rollback)
        )
        mode = chance.choice((Mode.foreground, Mode.background))
        await here.submit(chance.choice(SCRIPTS), on_busy=on_busy, mode=mode)


async def _answer(here: World) -> None:
    await _moment(here)
    await here.decide_all()


async def _accident(here: World, race: Race) -> None:
    """A process is killed, frozen or drained, and another one comes in its place."""
    await _moment(here)
    victim = here.any_host()
    await here.start(trouble=victim.wire.trouble)
    match here.chance.choice(("kill", "kill", "freeze", "drain")):
        case "kill":
            victim.kill()
            race.kills += 1
        case "freeze":
            await victim.freeze(here.chance.random() * 5)
        case _:
            await victim.drain(here.chance.random() * 0.1)


async def _stop(here: World, race: Race) -> None:
    await _moment(here)
    race.known = [accepted.run_id for accepted in here.answered.values()]
    race.where = await _where(here)
    call = _call(here, race)
    if call is None:
        return
    host: Host = here.any_host()
    try:
        answer: Any = await host.ask(call)
    except (StoreFault, RequestError, Refusal):
        return
    race.answer = answer[0] if isinstance(answer, tuple) else answer
    race.answered_at = here.clock.now()
    for run_id in race.known:
        run = await here.store.run(TENANT, run_id)
        assert run is not None
        if run.status is not RunStatus.done:
            race.unfinished.append(run_id)
        elif run_id == race.target:
            race.over = run


def _call(here: World, race: Race) -> Callable[[Mailbox], Awaitable[Any]] | None:
    match race.kind:
        case "run":
            if not race.known:
                return None
            race.target = here.chance.choice(race.known)
            return lambda box: box.cancel_run(TENANT, race.target, by="ada")
        case "message":
            race.target = here.chance.choice(MESSAGES)
            return lambda box: box.cancel_message(TENANT, "t", race.target, by="ada")
        case "thread":
            return lambda box: box.cancel_thread(TENANT, "t", by="ada")
        case _:
            return lambda box: box.interrupt_thread(TENANT, "t", by="ada")


async def _where(here: World) -> str:
    run = await here.store.run(TENANT, "run-1")
    dispatch = await here.store.dispatch(TENANT, run.dispatch_id or "") if run else None
    if run is None or dispatch is None:
        return "nowhere"
    if run.status is RunStatus.running and not isinstance(dispatch.body, Claimed):
        return "between attempts"
    if run.status is RunStatus.running and run.plan is not None:
        return "in tools"
    return run.status.value


# --- what must hold ------------------------------------------------------------------------------


def _check(race: Race, history: ThreadHistory) -> None:
    """I9: a stop that was answered reached what it named, or that says it came too late."""
    runs = {run.run_id: run for run in history.runs}
    ends = {e.run_id: e.event for e in history.entries if isinstance(e.event, RunFinish)}
    for run in history.runs:
        assert run.outcome is not None
        assert TEXT.startswith(run.outcome.text or "")

    match race.answer:
        case Stop.requested:
            for run_id in _named(race, history):
                race.ended = _obeyed(run_id, ends[run_id])
                run = runs[run_id]
                took_ms = (run.finished_at or 0) - max(race.answered_at, run.created_at)
                assert took_ms < STOP_MS, f"run {run_id} took {took_ms} ms to stop"
        case Stop.nothing_to_stop:
            assert not race.unfinished
        case Stop.too_late if race.kind == "run":
            assert race.over is not None, "what was too late to stop was over"
            assert race.over == runs[race.target], "a stop that was too late changes nothing"
        case _:
            pass


def _named(race: Race, history: ThreadHistory) -> list[str]:
    """The runs that the stop must have reached."""
    if race.kind == "run":
        return [race.target]
    if race.kind != "message":
        return race.unfinished
    return [
        entry.run_id
        for entry in history.entries
        if isinstance(entry.event, MessageCommitted)
        and entry.event.message.message_id == race.target
        and entry.run_id is not None
    ]


def _obeyed(run_id: str, end: RunFinish) -> str:
    """How it ended: stopped, or by itself, and it says that the stop came too late."""
    stopped = isinstance(end.termination, Cancelled | Superseded)
    assert stopped or end.cancel == "too_late", f"run {run_id} went on to {end.termination}"
    return end.cancel or str(end.termination.__struct_config__.tag)


async def _takes_the_next_message(here: World) -> int:
    """How many histories were checked behind that."""
    run_id = await here.submit("say", message_id="m-last")
    await here.settle_down()
    run = await here.store.run(TENANT, run_id)
    assert run is not None, "the thread takes the next message"
    assert run.outcome is not None
    assert isinstance(run.outcome.termination, NaturalEnd), run.outcome
    assert run.outcome.text == TEXT
    return len(await here.histories())
