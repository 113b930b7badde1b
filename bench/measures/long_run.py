"""Whether a run's thousandth step costs what its first one did."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.long_run import PIECES
from bench.program import values_of
from bench.rig import Rig

STEPS: Final = 1_000


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    while True:
        yield await values_of(rig, "bench.long_run", STEPS)


def _part(nth: int) -> Figure:
    size = STEPS // PIECES
    label = f"a step, of steps {size * (nth - 1) + 1} to {size * nth}"
    return Figure(key=f"step_ms_{nth}", label=label, unit="ms")


MEASURE = Measure(
    name="long_run",
    about=f"One run of {STEPS} steps with a tool each, inside one process and without HTTP, on a "
    "file; the model answers at once. Commits are counted in a run whose steps have two tools.",
    figures=(
        *map(_part, range(1, PIECES + 1)),
        Figure(key="step_ratio", label="the last hundred steps : the first", unit="", aim=1.5),
        Figure(key="step_cpu_ms", label="a step, processor time", unit="ms"),
        Figure(
            key="step_cpu_ratio", label="the same of processor time, last : first", unit="", aim=1.5
        ),
        Figure(
            key="ledger_commits",
            label="plan, results and close of two tools",
            unit="commits",
            aim=4,
        ),
        Figure(key="step_commits", label="these commits, and those of the stream", unit=""),
    ),
    run=measure,
    repetitions=3,
)
