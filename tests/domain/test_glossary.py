"""The glossary has each term once, and its names are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"- \*\*(?P<term>[^*]+)\*\*: (?P<meaning>\S.*[.)])")
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")][2:]


def test_every_term_is_one_line() -> None:
    assert [line for line in LINES if not ENTRY.fullmatch(line)] == []


def test_every_term_is_there_once() -> None:
    terms = [match["term"].lower() for match in ENTRY.finditer(TEXT)]
    assert len(set(terms)) == len(terms) == len(LINES)


def test_every_name_in_code_letters_is_in_the_source() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    words = set(re.findall(r"\w+", source))
    assert {name for name in re.findall(r"`(\w+)`", "\n".join(LINES)) if name not in words} == set()


def test_the_words_of_the_lifecycle_are_defined() -> None:
    terms = {match["term"].lower() for match in ENTRY.finditer(TEXT)}
    bold = re.findall(
        r"\*\*(\w[\w ]*)\*\*", (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    )
    states = {"created", "running", "waiting", "done"}
    assert {word for word in bold if word not in terms | states} == set()
