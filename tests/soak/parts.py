"""What the soak does in turn; each part takes seeds, and says what it found."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from tests.chaos.test_chaos import killed_under_load
from tests.mailbox.sim.race import run_race
from tests.mailbox.sim.story import run_story

KILLS: Final = 5
"""How often the real server is killed in one turn."""
MOST_TOLD: Final = 20
"""Violations of which a report tells the details."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Seeds tried, histories that the checker found whole, processes killed, what was broken."""

    seeds: int = 0
    histories: int = 0
    kills: int = 0
    violations: tuple[str, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            seeds=self.seeds + other.seeds,
            histories=self.histories + other.histories,
            kills=self.kills + other.kills,
            violations=self.violations + other.violations,
            seconds=self.seconds + other.seconds,
        )


class Counted(Protocol):
    """What a simulation says of itself."""

    @property
    def histories(self) -> int: ...

    @property
    def kills(self) -> int: ...


def races(seeds: Iterable[int]) -> Tally:
    """Stops against everything else (`tests/mailbox/sim/race.py`)."""
    return _all("race", run_race, seeds)


def stories(seeds: Iterable[int]) -> Tally:
    """Simulations of a bad day (`tests/mailbox/sim/story.py`)."""
    return _all("story", run_story, seeds)


def chaos(seeds: Iterable[int]) -> Tally:
    """Real servers that are killed under load (`tests/chaos`)."""
    return _all("chaos", _killed, seeds)


class Killed(msgspec.Struct, frozen=True):
    histories: int
    kills: int = KILLS


def _killed(seed: int) -> Killed:
    with tempfile.TemporaryDirectory() as directory:
        return Killed(len(killed_under_load(Path(directory), seed, KILLS)))


def _all(name: str, run: Callable[[int], Counted], seeds: Iterable[int]) -> Tally:
    tally = sum((_one(name, run, seed) for seed in seeds), Tally())
    return replace(tally, violations=tally.violations[:MOST_TOLD])


def _one(name: str, run: Callable[[int], Counted], seed: int) -> Tally:
    try:
        found = run(seed)
    except Exception as error:  # noqa: BLE001  # whatever it is, it goes into the report
        return Tally(seeds=1, violations=(_told(name, seed, error),))
    return Tally(seeds=1, histories=found.histories, kills=found.kills)


def _told(name: str, seed: int, error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"{name}, seed {seed}: {type(error).__name__} at {where}: {str(error)[:500]}"
