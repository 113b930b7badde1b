"""The soak: races, simulations and real servers in turn, until the time is over.

    make soak
    make soak ARGS='--minutes 3'
    python -m tests.soak --only races --seed 4711 --seeds 1    # what a report says was broken

Prints and writes a report. Ends with an error if a promise was broken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from msgspec.structs import replace

from .parts import Tally, chaos, races, stories
from .report import report

ROOT = Path(__file__).parents[2]
TURN = {"races": 1_000, "stories": 200, "chaos": 1}
"""Seeds of one turn."""

Part = Callable[[range], Tally]


class Soak:
    """The parts, and what they found so far; `seed` is the first seed of each."""

    def __init__(self, pool: ProcessPoolExecutor, processes: int, seed: int) -> None:
        self.found: dict[str, Tally] = {}
        self._pool = pool
        self._processes = processes
        self._seed = seed

    def turn(self, name: str, count: int) -> Tally:
        """So many more seeds of one part."""
        began = time.monotonic()
        before = self.found.get(name, Tally())
        first = self._seed + before.seeds
        seeds = range(first, first + count)
        tally = chaos(seeds) if name == "chaos" else self._spread(name, seeds)
        self.found[name] = before + replace(tally, seconds=time.monotonic() - began)
        return tally

    def _spread(self, name: str, seeds: range) -> Tally:
        part: Part = {"races": races, "stories": stories}[name]
        shares = [seeds[number :: self._processes] for number in range(self._processes)]
        return sum(self._pool.map(part, shares), Tally())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; default 60")
    parser.add_argument("--seed", type=int, help="the first seed; default: the time")
    parser.add_argument("--seeds", type=int, help="of each part in a turn, and make one turn only")
    parser.add_argument("--only", choices=list(TURN), help="one part only")
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "soak" / "report.md")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    began, processes = time.time(), os.cpu_count() or 1
    seed = int(began) if given.seed is None else given.seed
    names = [given.only] if given.only else list(TURN)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        soak = Soak(pool, processes, seed)
        while True:
            for name in names:
                tally = soak.turn(name, given.seeds or TURN[name])
                print(
                    f"{name}: {soak.found[name].seeds} seeds",
                    *tally.violations,
                    sep="\n  ",
                    flush=True,
                )
            if given.seeds or time.time() - began >= given.minutes * 60:
                break
    page = report(ROOT, began, time.time() - began, seed, soak.found)
    print(page)
    if not given.seeds:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(page, encoding="utf-8")
    return int(any(tally.violations for tally in soak.found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
