"""`python -m bench`: run the benchmarks and report. See README.md beside this file."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from bench import machine, report
from bench.figure import Measure
from bench.rig import Rig
from bench.suite import MEASURES, Taken, take_all

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = ROOT / "docs" / "bench"


def main() -> int:
    arguments = _parser().parse_args()
    measures = chosen(arguments.names)
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="awaken-bench-") as place:
        rig = Rig(directory=Path(place), quick=arguments.quick, profile=arguments.profile)
        told = machine.describe(rig.directory)
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            taken = runner.run(take_all(measures, rig, tell))
    made = report.make(taken, told, machine.revision(ROOT), date, quick=arguments.quick)
    if arguments.json:
        report.write(made, arguments.json)
    # A partial, quick or profiled run must not take the place of a whole one.
    if not (arguments.names or arguments.quick or arguments.profile):
        PAGES.mkdir(parents=True, exist_ok=True)
        report.write(made, PAGES / "report.json")
        (PAGES / "report.md").write_text(report.markdown(made), encoding="utf-8")
        print(f"written: {PAGES.relative_to(ROOT)}/report.md and report.json")
    return 0


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(measure.name for measure in MEASURES)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {names}")
    parser.add_argument("--quick", action="store_true", help="less of everything, under 90 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here as JSON")
    parser.add_argument("--dir", type=Path, help="where databases go; a file system on a disk")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="sample the server and write what it does to FILE (of the last server started)",
    )
    return parser


def chosen(names: list[str]) -> list[Measure]:
    """The measures with these names, or all."""
    known = {measure.name: measure for measure in MEASURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(MEASURES)


def tell(taken: Taken) -> None:
    """One measure, for whoever watches."""
    noise = (
        f", {taken.others:.1f} cores busy with other work"
        if taken.others >= report.NOISE_CORES
        else ""
    )
    print(f"\n{taken.measure.name}  ({taken.seconds:.1f} s{noise})")
    for reading in taken.readings:
        figure = reading.figure
        name = f"{figure.label}, {figure.unit}" if figure.unit else figure.label
        numbers = f"{report.number(reading.median):>10} {report.number(reading.best):>10}"
        aim = "" if figure.aim is None else f"   aim {report.number(figure.aim)}: {reading.met}"
        print(f"  {name:68}{numbers}{aim}")
    if taken.trouble:
        print(f"  trouble: {taken.trouble}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
