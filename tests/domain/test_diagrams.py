"""docs/lifecycle.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from awaken.domain.dispatch import Refusal
from awaken.domain.dispatch_table import TABLE, State
from tools import diagrams

EMPTY = "".join(f"<!-- generated: {name} -->\n<!-- end -->\n" for name in diagrams.BLOCKS)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of the tool's own to write to."""
    page = tmp_path / "lifecycle.md"
    monkeypatch.setattr(diagrams, "PAGE", page)
    return page


def test_the_page_is_up_to_date() -> None:
    assert diagrams.main(["diagrams.py", "--check"]) == 0, "run python tools/diagrams.py"


def test_a_page_is_filled_and_then_left_alone(page: Path) -> None:
    page.write_text(EMPTY)
    assert diagrams.main(["diagrams.py"]) == 0
    written = page.read_text()
    assert written != EMPTY
    assert diagrams.render(written) == written
    assert diagrams.main(["diagrams.py", "--check"]) == 0


def test_the_check_finds_a_stale_page_and_leaves_it_as_it_is(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = diagrams.render(EMPTY).replace("requeue_run", "start_run")
    page.write_text(stale)
    assert diagrams.main(["diagrams.py", "--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert page.read_text() == stale


def test_what_people_write_between_the_blocks_is_kept() -> None:
    text = f"# Title\n\n{EMPTY}\nWords.\n"
    written = diagrams.render(text)
    assert written.startswith("# Title\n\n<!-- generated: run diagram -->\n\n```mermaid\n")
    assert written.endswith("<!-- end -->\n\nWords.\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY + "<!-- generated: run table -->\n<!-- end -->\n",
        EMPTY.replace("generated: facts", "generated: fictions"),
        EMPTY.replace("<!-- generated: facts -->\n<!-- end -->\n", ""),
    ],
    ids=["none", "twice", "unknown", "missing"],
)
def test_a_page_with_other_blocks_than_these_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="should have"):
        diagrams.render(text)


def test_every_row_of_the_table_is_a_line_of_the_page() -> None:
    lines = diagrams.dispatch_table().splitlines()
    assert len(lines) == len(TABLE) + 2
    assert len(set(lines)) == len(lines)


def test_the_diagram_shows_every_state_and_no_refusal() -> None:
    diagram = diagrams.dispatch_diagram()
    words = set(diagram.replace(",", " ").split())
    assert set(State) <= words
    assert not set(Refusal) - set(State) & words
