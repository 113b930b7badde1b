"""What the README promises is held by tests that exist, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def promises() -> list[tuple[str, str]]:
    """(promise, test) for each test that the table of promises names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("## What is promised")[1].split("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| ")]
    return [(row[0], name) for row in rows[1:] for name in re.findall(r"`([^`]+)`", row[1])]


def test_every_promise_names_a_test_that_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    missing = [
        name
        for _, name in promises()
        if not ((ROOT / name).is_file() if "/" in name else f"def {name}(" in sources)
    ]
    assert len(promises()) > 10
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
