"""`python -m bench.compare REVISION [NAME…]`: this tree against another revision, on one machine.

The two take turns, a fresh server each time, because a machine's speed drifts more in minutes than
most changes matter. What is told is the best of five of each, and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import uvloop

from bench.__main__ import ROOT, chosen
from bench.figure import Measure, Reading
from bench.report import number
from bench.rig import Rig
from bench.suite import allow_many_connections, take

TURNS: Final = 5
DEFAULT: Final = ("runs", "first_token", "deltas", "micro")


@dataclass(slots=True)
class Side:
    """One of the two: where its code is, and what was measured of it."""

    name: str
    rig: Rig
    samples: dict[str, list[float]] = field(default_factory=dict)

    async def take_turn(self, measure: Measure) -> str:
        """One repetition; what went wrong, if something did."""
        taken = await take(measure, self.rig, 1)
        for reading in taken.readings:
            self.samples.setdefault(reading.figure.key, []).extend(reading.samples)
        return taken.trouble


def main() -> int:
    arguments = _parser().parse_args()
    measures = chosen(arguments.names or list(DEFAULT))
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="awaken-compare-") as place:
        directory = Path(place)
        other = check_out(arguments.revision, directory / "other")
        rig = Rig(directory=directory, source=ROOT / "src", quick=not arguments.full)
        sides = (
            Side(arguments.revision, replace(rig, source=other / "src")),
            Side("this tree", rig),
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(compare(measures, sides, arguments.turns))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("revision", help="what to compare this tree with, as git names it")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"measures; default: {' '.join(DEFAULT)}"
    )
    parser.add_argument("--turns", type=int, default=TURNS, help=f"of each side, default {TURNS}")
    parser.add_argument("--full", action="store_true", help="turns as long as in a whole run")
    parser.add_argument("--dir", type=Path, help="where databases go; a file system on a disk")
    return parser


def check_out(revision: str, place: Path) -> Path:
    """The files of `revision` in `place`; the repository is only read."""
    archive = place.with_suffix(".tar")
    command = ["git", "-C", str(ROOT), "archive", "--output", str(archive), revision, "src"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip())
    place.mkdir()
    subprocess.run(["tar", "-x", "-f", str(archive), "-C", str(place)], check=True)
    return place


async def compare(measures: Sequence[Measure], sides: tuple[Side, Side], turns: int) -> None:
    """Measure both sides in turn, and print each measure when it is done."""
    allow_many_connections()
    print(f"{'best of':42}{sides[0].name[:16]:>16}{sides[1].name:>12}{'ratio':>8}")
    for measure in measures:
        for turn in range(turns):
            # Whoever goes second has the warmer machine, so the order changes.
            for side in sides if turn % 2 == 0 else reversed(sides):
                trouble = await side.take_turn(measure)
                if trouble:
                    print(f"  {measure.name}, {side.name}: {trouble.splitlines()[0]}")
        _tell(measure, *sides)


def _tell(measure: Measure, before: Side, after: Side) -> None:
    print(measure.name)
    for figure in measure.figures:
        old, new = before.samples.get(figure.key), after.samples.get(figure.key)
        if old and new:
            best = Reading(figure, tuple(old)).best, Reading(figure, tuple(new)).best
            ratio = f"{best[1] / best[0]:8.2f}" if best[0] else ""
            better = "more" if figure.higher_is_better else "less"
            label = f"{figure.label[:40]:40}"
            numbers = f"{number(best[0]):>16}{number(best[1]):>12}{ratio}"
            print(f"  {label}{numbers}  ({better} is better)")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
