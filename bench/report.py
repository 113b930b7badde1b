"""The report: `report.json` for programs, `report.md` for people; both say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.figure import Met, Reading
from bench.machine import Machine, Revision
from bench.ratios import compute
from bench.suite import Taken


class FigureReport(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    label: str
    unit: str
    higher_is_better: bool
    aim: float | None
    next_aim: float | None
    median: float
    best: float
    met: Met
    samples: tuple[float, ...]


class MeasureReport(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    about: str
    seconds: float
    others: float
    trouble: str
    figures: tuple[FigureReport, ...]


class RatioReport(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    value: float
    meaning: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite; `date` is UTC, ISO 8601."""

    date: str
    quick: bool
    revision: Revision
    machine: Machine
    seconds: float
    measures: tuple[MeasureReport, ...]
    ratios: tuple[RatioReport, ...]


def make(
    taken: Sequence[Taken], machine: Machine, revision: Revision, date: str, *, quick: bool
) -> Report:
    """The report of what was taken."""
    return Report(
        date=date,
        quick=quick,
        revision=revision,
        machine=machine,
        seconds=round(sum(one.seconds for one in taken), 1),
        measures=tuple(_measure(one) for one in taken),
        ratios=tuple(
            RatioReport(label=ratio.label, value=_rounded(value), meaning=ratio.meaning)
            for ratio, value in compute(_best_values(taken, machine))
        ),
    )


def write(report: Report, path: Path) -> None:
    """The report as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def _best_values(taken: Sequence[Taken], machine: Machine) -> Mapping[str, float]:
    best = {reading.figure.key: reading.best for one in taken for reading in one.readings}
    return best | {"sync_p50_us": machine.sync_p50_us}


def _measure(one: Taken) -> MeasureReport:
    return MeasureReport(
        name=one.measure.name,
        about=one.measure.about,
        seconds=round(one.seconds, 1),
        others=round(one.others, 2),
        trouble=one.trouble.partition("\n")[0],  # what follows is a log, with paths
        figures=tuple(_figure(reading) for reading in one.readings),
    )


def _figure(reading: Reading) -> FigureReport:
    figure = reading.figure
    return FigureReport(
        key=figure.key,
        label=figure.label,
        unit=figure.unit,
        higher_is_better=figure.higher_is_better,
        aim=figure.aim,
        next_aim=figure.next_aim,
        median=_rounded(reading.median),
        best=_rounded(reading.best),
        met=reading.met,
        samples=tuple(_rounded(sample) for sample in reading.samples),
    )


def _rounded(value: float) -> float:
    """Four digits: more is noise."""
    return float(f"{value:.4g}")


# --- for people ----------------------------------------------------------------------------------

NOISE_CORES: Final = 0.2
"""From how much other work on a measure says so."""

_INTRODUCTION: Final = (
    "# Benchmark report",
    "",
    "Made by `make bench`; do not edit. What is measured and how: `bench/README.md`. Server and",
    "load generator share the machine, so absolute figures depend on it; on one with other work",
    "they are worse. *Median* and *best* are over the repetitions. An aim is met if the median",
    "reaches it; *best only* means that only the best repetition does. Databases are SQLite files",
    "with synchronous FULL.",
    "",
)


def markdown(report: Report) -> str:
    """The report as a page."""
    lines = [
        *_INTRODUCTION,
        *_machine_lines(report),
        *_summary(report),
    ]
    for measure in report.measures:
        lines += _measure_lines(measure)
    lines += _ratio_lines(report.ratios)
    return "\n".join(lines)


def _machine_lines(report: Report) -> Iterator[str]:
    machine, revision = report.machine, report.revision
    changed = " and uncommitted changes" if revision.changed else ""
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    yield "## Where and what"
    yield ""
    yield f"- {report.date}, commit {revision.commit}{changed}, {report.seconds:.0f} s"
    yield (f"- {machine.cores} cores, {machine.cpu}, {machine.memory_gib} GiB, {machine.system}")
    yield f"- {machine.python}, SQLite {machine.sqlite}, {packages}"
    yield (
        f"- databases on {machine.file_system}: writing 8 KiB with a sync takes "
        f"{machine.sync_p50_us:.0f} µs (p99 {machine.sync_p99_us:.0f})"
    )
    yield f"- a million additions in Python take {machine.additions_ms} ms"
    yield f"- cores busy with other work meanwhile: {_others(report.measures)}"
    yield ""


def _others(measures: Sequence[MeasureReport]) -> str:
    """From the quietest to the busiest measure."""
    found = [measure.others for measure in measures]
    return f"{min(found)} to {max(found)}, by measure" if found else "none was measured"


def _summary(report: Report) -> Iterator[str]:
    aimed = [f for m in report.measures for f in m.figures if f.met]
    met = sum(figure.met == "yes" for figure in aimed)
    yield f"**{met} of {len(aimed)} aims met.**"
    yield ""


def _measure_lines(measure: MeasureReport) -> Iterator[str]:
    yield f"## {measure.name}"
    yield ""
    yield measure.about
    yield ""
    if measure.others >= NOISE_CORES:
        yield f"*{measure.others:.1f} cores were busy with other work meanwhile.*"
        yield ""
    if measure.trouble:
        yield f"Trouble: {measure.trouble}"
        yield ""
    if measure.figures:
        yield "| | median | best | of | aim | met |"
        yield "|---|---:|---:|---:|---:|---|"
        yield from (_row(figure) for figure in measure.figures)
        yield ""


def _row(figure: FigureReport) -> str:
    name = f"{figure.label}, {figure.unit}" if figure.unit else figure.label
    return (
        f"| {name} | {number(figure.median)} | {number(figure.best)} | {len(figure.samples)} "
        f"| {_aim(figure)} | {figure.met} |"
    )


def _aim(figure: FigureReport) -> str:
    if figure.aim is None:
        return ""
    sign = "≥" if figure.higher_is_better else "≤"
    following = f", next {number(figure.next_aim)}" if figure.next_aim is not None else ""
    return f"{sign} {number(figure.aim)}{following}"


def _ratio_lines(ratios: Sequence[RatioReport]) -> Iterator[str]:
    if not ratios:
        return
    yield "## Ratios"
    yield ""
    yield "Of the best repetitions of this one run; these may be compared between machines."
    yield ""
    yield "| | ratio | tells |"
    yield "|---|---:|---|"
    for ratio in ratios:
        yield f"| {ratio.label} | {ratio.value:.2f} | {ratio.meaning} |"
    yield ""


def number(value: float) -> str:
    """Three digits, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")  # a space that does not break
    return f"{value:.3g}"
