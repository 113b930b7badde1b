"""What is measured: a measure is one idea, a figure one number of it, a reading its repetitions."""

from __future__ import annotations

import statistics
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.rig import Rig

Values = dict[str, float]
"""One repetition of a measure: its figures by key. A figure may be missing from some."""

Run = Callable[["Rig"], AsyncGenerator[Values]]
"""Yields repetitions for as long as it is asked for more."""

Met = Literal["yes", "best only", "no", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number. `aim` is what it should reach, `next_aim` what it should reach after that."""

    key: str
    label: str
    unit: str
    higher_is_better: bool = False
    aim: float | None = None
    next_aim: float | None = None

    def reaches(self, value: float, aim: float) -> bool:
        return value >= aim if self.higher_is_better else value <= aim


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One idea: `run` gives its figures. `about` says in a sentence what is done."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    run: Run
    repetitions: int
    quick_repetitions: int = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """What the repetitions of a figure came to; `samples` is not empty."""

    figure: Figure
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        return max(self.samples) if self.figure.higher_is_better else min(self.samples)

    @property
    def met(self) -> Met:
        """Whether the median reaches the aim, or at least the best repetition does."""
        aim = self.figure.aim
        if aim is None:
            return ""
        if self.figure.reaches(self.median, aim):
            return "yes"
        return "best only" if self.figure.reaches(self.best, aim) else "no"
