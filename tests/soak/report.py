"""What a soak came to, as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.machine import describe, revision

from .parts import Tally

WHAT: Final = {
    "races": "a stop against everything else (`tests/mailbox/sim/race.py`)",
    "stories": "simulated processes, clients and trouble (`tests/mailbox/sim/story.py`)",
    "chaos": "real servers, killed under load (`tests/chaos`)",
}


def report(root: Path, began: float, seconds: float, seed: int, found: Mapping[str, Tally]) -> str:
    """The page. `began` is in epoch seconds; `seed` is the first of each part."""
    machine, tree = describe(root), revision(root)
    when = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    changed = ", with changes that were not committed" if tree.changed else ""
    total = sum(found.values(), Tally())
    verdict = "No promise was broken." if not total.violations else "**Promises were broken.**"
    rows = "".join(_row(WHAT[name], tally) for name, tally in found.items()) + _row("all", total)
    return f"""# Soak report

Made by `make soak`; do not edit. Each seed is one run of a simulation, or of a real server under
load, with trouble that the seed decides. After each, the history checker
(`awaken.testing.history`) reads all that the store holds and names every broken promise.

- {when}, {seconds / 60:.1f} minutes
- {os.cpu_count()} cores, {machine.cpu}, {machine.system}, {machine.python}
- commit {tree.commit}{changed}
- seeds from {seed}

{verdict}

| | seeds | histories checked | processes killed | violations | seconds |
|---|---:|---:|---:|---:|---:|
{rows}{_told(total)}"""


def _row(name: str, tally: Tally) -> str:
    numbers = (tally.seeds, tally.histories, tally.kills, len(tally.violations))
    cells = " | ".join(f"{number:,}".replace(",", " ") for number in numbers)
    return f"| {name} | {cells} | {tally.seconds:.0f} |\n"


def _told(total: Tally) -> str:
    if not total.violations:
        return ""
    return "\n## Violations\n\n" + "".join(f"- {text}\n" for text in total.violations)
