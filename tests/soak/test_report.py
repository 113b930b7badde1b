"""What a soak finds is in its report, and what it names can be run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import parts
from .parts import Tally, races, stories
from .report import report

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> None:
    """The store of a simulation has no thread, so it blocks the loop, and nobody minds."""


def test_seeds_histories_and_kills_are_counted() -> None:
    found = races(range(3)) + stories(range(2))
    assert found.seeds == 5
    assert found.histories >= 5
    assert found.violations == ()
    page = report(ROOT, 0.0, 60.0, 0, {"races": found})
    assert "No promise was broken." in page
    assert f"| all | 5 | {found.histories} | {found.kills} | 0 |" in page


def test_a_broken_promise_is_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(seed: int) -> parts.Counted:
        assert seed != 7, "run-1 went on"
        return parts.Killed(1, 0)

    monkeypatch.setattr(parts, "run_race", broken)
    found = races(range(5, 10))
    assert (found.seeds, found.histories) == (5, 4)
    (violation,) = found.violations
    assert violation.startswith("race, seed 7: AssertionError at test_report.py:")
    assert "run-1 went on" in violation
    page = report(ROOT, 0.0, 60.0, 5, {"races": found, "chaos": Tally()})
    assert "**Promises were broken.**" in page
    assert violation in page
