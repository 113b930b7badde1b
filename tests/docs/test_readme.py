"""What the README promises is held by tests that exist, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from awaken.server.loading import load_agents

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def promises(page: str, begin: str, end: str) -> list[tuple[str, str]]:
    """(promise, test) for each test that the last column of a table of promises names."""
    text = (ROOT / page).read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")]
    return [
        (row[0], name)
        for row in rows
        if not row[-1].startswith("Held by")
        for name in re.findall(r"`([^`]+)`", row[-1]) or [""]
    ]


def named(name: str, sources: str) -> bool:
    """Whether there is such a test, or such a file of tests."""
    return (ROOT / name).is_file() if "/" in name else f"def {name}(" in sources


@pytest.mark.parametrize(
    ("page", "begin", "end", "least"),
    [
        ("README.md", "## What is promised", "\n## ", 10),
        ("docs/guarantees.md", "# What is promised", "## What is not promised", 80),
    ],
)
def test_every_promise_names_a_test_that_exists(
    page: str, begin: str, end: str, least: int
) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    found = promises(page, begin, end)
    assert len(found) > least
    assert [(promise, name) for promise, name in found if not named(name, sources)] == []


def test_every_invariant_is_among_the_promises() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    told = re.findall(r"\(I(\d+)\)", text)
    assert sorted(told, key=int) == [str(number) for number in range(1, 13)]


def test_the_agent_of_the_readme_is_served_as_it_is_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = re.search(r"```python\n(# my_agents\.py\n.*?)```", text, re.DOTALL)
    assert printed is not None
    assert len(printed[1].splitlines()) <= 13, "ten lines, and empty ones"
    path = tmp_path / "my_agents.py"
    path.write_text(printed[1], encoding="utf-8")
    (agent,) = load_agents(str(path))
    assert (agent.spec.agent_id, agent.spec.model) == ("assistant", "openai:gpt-5-mini")
    assert [each.name for each in agent.spec.tools] == ["get_weather"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
