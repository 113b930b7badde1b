"""Runs measures, one after the other, and gathers their readings."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from bench.figure import Measure, Reading, Values
from bench.http import BadAnswer
from bench.machine import Bystander
from bench.measures import (
    accept,
    deltas,
    fanout,
    first_token,
    idle,
    long_run,
    micro,
    paced,
    recovery,
    runs,
)
from bench.rig import Rig
from bench.server import ServerFailed

MEASURES: Final[tuple[Measure, ...]] = (
    runs.MEASURE,
    accept.MEASURE,
    first_token.MEASURE,
    deltas.MEASURE,
    paced.MEASURE,
    fanout.MEASURE,
    idle.MEASURE,
    recovery.MEASURE,
    long_run.MEASURE,
    micro.MEASURE,
)

LIMIT_SECONDS: Final = 75.0
QUICK_LIMIT_SECONDS: Final = 25.0
"""How long a measure may take; what it has until then counts."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a measure came to.

    `others` is how many cores were busy with other work meanwhile, `trouble` why there is less than
    there should be.
    """

    measure: Measure
    readings: tuple[Reading, ...]
    seconds: float
    others: float
    trouble: str = ""


async def take_all(
    measures: Iterable[Measure], rig: Rig, tell: Callable[[Taken], None]
) -> list[Taken]:
    """The measures in order; each is told as soon as it is done."""
    allow_many_connections()
    taken = []
    for measure in measures:
        one = await take(measure, rig)
        tell(one)
        taken.append(one)
    return taken


async def take(measure: Measure, rig: Rig, repetitions: int | None = None) -> Taken:
    """All repetitions of one measure. No fault of the server ends the suite."""
    count = repetitions or rig.scaled(measure.repetitions, measure.quick_repetitions)
    limit = QUICK_LIMIT_SECONDS if rig.quick else LIMIT_SECONDS
    values: list[Values] = []
    trouble = ""
    began, bystander = time.perf_counter(), Bystander()
    try:
        async with asyncio.timeout(limit):
            await _repeat(measure, rig, count, values)
    except TimeoutError:
        trouble = f"stopped after {limit:.0f} s with {len(values)} of {count} repetitions"
    except (BadAnswer, ServerFailed, OSError) as error:
        trouble = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - began
    return Taken(measure, readings(measure, values), seconds, bystander.cores(), trouble)


async def _repeat(measure: Measure, rig: Rig, count: int, values: list[Values]) -> None:
    async with aclosing(measure.run(rig)) as run:
        async for one in run:
            values.append(one)
            if len(values) == count:
                break


def readings(measure: Measure, values: list[Values]) -> tuple[Reading, ...]:
    """The samples of each figure that has any."""
    found = []
    for figure in measure.figures:
        samples = tuple(one[figure.key] for one in values if figure.key in one)
        if samples:
            found.append(Reading(figure, samples))
    return tuple(found)


def allow_many_connections() -> None:
    """Raise the limit of open files as far as it goes, for us and the servers we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
