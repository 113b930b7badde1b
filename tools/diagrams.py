"""Writes the diagrams and tables of docs/lifecycle.md from the data the code is tested with.

    python tools/diagrams.py          write what is generated anew
    python tools/diagrams.py --check  write nothing; fail when the page is out of date

What stands between a line `<!-- generated: NAME -->` and the next `<!-- end -->` is this tool's.
Every block of `BLOCKS` must be on the page, once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from awaken.domain.dispatch import Refusal
from awaken.domain.dispatch_table import (
    FINISHED,
    MEANING,
    SETTLE,
    TABLE,
    Fact,
    Move,
    Row,
    State,
    Verb,
)
from awaken.domain.run import TRANSITIONS, RunStatus

PAGE = Path(__file__).parents[1] / "docs" / "lifecycle.md"
BLOCK = re.compile(
    r"^<!-- generated: (?P<name>[a-z ]+) -->\n(?P<body>.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL
)
# What the diagram leaves to the table: conditions that hold for each arrow of their verb.
EVIDENT = {Fact.owner, Fact.due, Fact.lapsed, Fact.overdue}


def main(argv: list[str]) -> int:
    check = argv[1:] == ["--check"]
    if argv[1:] and not check:
        print(__doc__)
        return 2
    text = PAGE.read_text(encoding="utf-8")
    wanted = render(text)
    if check and text != wanted:
        print(f"{PAGE.name} is out of date: run python tools/diagrams.py")
        return 1
    if text != wanted:
        PAGE.write_text(wanted, encoding="utf-8")
    return 0


def render(text: str) -> str:
    """`text` with every generated block written anew."""
    found = sorted(match["name"] for match in BLOCK.finditer(text))
    if found != sorted(BLOCKS):
        raise SystemExit(f"the page has the blocks {found}, but should have {sorted(BLOCKS)}")
    return BLOCK.sub(_block, text)


def _block(match: re.Match[str]) -> str:
    name = match["name"]
    return f"<!-- generated: {name} -->\n\n{BLOCKS[name]()}\n\n<!-- end -->"


# --- the run -----------------------------------------------------------------------------------


def run_diagram() -> str:
    arrows = [f"{source} --> {target} : {verb}" for (source, verb), target in TRANSITIONS.items()]
    return _diagram(["[*] --> created : accept", *arrows, "done --> [*]"])


def run_table() -> str:
    verbs = sorted({verb for _, verb in TRANSITIONS}, key=["start", "suspend", "finish"].index)
    rows = [
        [f"**{status}**", *(TRANSITIONS.get((status, verb), "refused") for verb in verbs)]
        for status in RunStatus
    ]
    return _table(["", *verbs], rows)


# --- the dispatch ------------------------------------------------------------------------------


def dispatch_diagram() -> str:
    labels: dict[tuple[State, State], list[str]] = {}
    for row in TABLE:
        if isinstance(row.answer, Move):
            for source in row.states:
                arrow = labels.setdefault((source, row.answer.to), [])
                arrow += [label for label in _labels(row) if label not in arrow]
    arrows = [
        f"{source} --> {target} : {', '.join(label)}" for (source, target), label in labels.items()
    ]
    ends = [f"{state} --> [*]" for state in FINISHED]
    return _diagram(["[*] --> queued : enqueue", *arrows, *ends])


def _labels(row: Row) -> list[str]:
    facts = [fact for fact in row.when if fact not in EVIDENT]
    suffix = f" ({', '.join(facts)})" if facts else ""
    verbs = ["any settle"] if row.verbs == SETTLE else row.verbs
    return [f"{verb}{suffix}" for verb in verbs]


def facts() -> str:
    return _table(["Fact", "It holds when"], [[fact.value, MEANING[fact]] for fact in Fact])


def dispatch_table() -> str:
    rows = [[_states(row), _verbs(row), _conditions(row), *_answer(row)] for row in TABLE]
    return _table(["From", "On", "If", "To", "Counts", "Effect, or *refusal*"], rows)


def _states(row: Row) -> str:
    return "finished" if row.states == FINISHED else ", ".join(row.states)


def _verbs(row: Row) -> str:
    if row.verbs == tuple(Verb):
        return "anything"
    plain = [verb.value for verb in row.verbs if verb not in SETTLE]
    forms = [verb.value for verb in row.verbs if verb in SETTLE]
    if len(forms) == len(SETTLE):
        forms = ["any form"]
    return ", ".join(plain + [f"settle: {', '.join(forms)}"] * bool(forms))


def _conditions(row: Row) -> str:
    return ", ".join([*row.when, *(f"not {fact}" for fact in row.unless)])


def _answer(row: Row) -> list[str]:
    if isinstance(row.answer, Refusal):
        return ["", "", f"*{row.answer}*"]
    move = row.answer
    return [move.to, move.counts or "", f"`{move.effect}`" if move.effect else ""]


# --- Markdown ----------------------------------------------------------------------------------


def _diagram(lines: Iterable[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"```mermaid\nstateDiagram-v2\n{body}\n```"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


BLOCKS: dict[str, Callable[[], str]] = {
    "run diagram": run_diagram,
    "run table": run_table,
    "dispatch diagram": dispatch_diagram,
    "facts": facts,
    "dispatch table": dispatch_table,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv))
