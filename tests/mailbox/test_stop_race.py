"""Stop always works (I9), as a race: seeded, so that what fails can be run again."""

from __future__ import annotations

from collections import Counter

import pytest

from awaken.domain.submission import Stop

from .sim.race import KINDS, Race, run_race

IN_TURN = 2_000
IN_SOAK = 100_000


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> None:
    """The store of a simulation has no thread, so it blocks the loop, and nobody minds."""


def check_variety(races: list[Race]) -> None:
    """The races were of all kinds, or they would prove little."""
    kinds = Counter((race.kind, race.answer) for race in races)
    for kind in KINDS:
        assert kinds[kind, Stop.requested] > 0.05 * len(races), kinds
    for kind in ("run", "message"):
        assert kinds[kind, Stop.too_late], kinds
    for kind in ("thread", "interrupt"):
        assert kinds[kind, Stop.nothing_to_stop], kinds
    places = Counter(race.where for race in races if race.answer is Stop.requested)
    for place in ("nowhere", "created", "running", "in tools", "between attempts", "waiting"):
        assert places[place], places
    ends = Counter(race.ended for race in races)
    for end in ("cancelled", "superseded", "too_late"):
        assert ends[end], ends


@pytest.mark.timeout(300)
def test_a_stop_that_was_answered_stops_whatever_happens_at_that_moment() -> None:
    """Regression list of peers.md, 26."""
    check_variety([run_race(seed) for seed in range(IN_TURN)])


@pytest.mark.soak
@pytest.mark.timeout(4 * 3_600)
def test_a_stop_that_was_answered_stops_in_a_hundred_thousand_races() -> None:
    check_variety([run_race(seed) for seed in range(IN_TURN, IN_TURN + IN_SOAK)])
