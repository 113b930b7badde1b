"""The generated pages of the reference hold what the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import awaken
from awaken.domain.event import EVENT_TYPES
from awaken.protocols.native.encode import FIELDS
from tools import errors, reference

DOCS = Path(__file__).parents[2] / "docs"


def sections(page: str) -> dict[str, str]:
    """The text below each heading."""
    parts = re.split(r"^#{2,3} (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_event_is_described_with_its_fields() -> None:
    found = sections(reference.events_page())
    told = {str(kind.__struct_config__.tag) for kind in FIELDS}
    assert told <= set(found)
    assert not (set(EVENT_TYPES) - told) & set(found), "what clients are not told"
    assert "allowed_approvers" not in found["Ticket"]
    assert "| `position` | `int \\| None` | `None` |" in found["run_queued"]
    assert "| `type` | `'text'` |" in found["TextBlock"], "a record inside of an event"


def test_every_public_name_says_what_it_is() -> None:
    found = sections(reference.python_page())
    silent = [
        name
        for name in awaken.__all__
        if name != "__version__" and not found[name].rpartition("```")[2].strip()
    ]
    assert not silent


def test_signatures_are_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", reference.python_page(), re.DOTALL)
    assert len(blocks) > 50
    for block in blocks:
        if block.startswith(("def ", "async def ")):
            ast.parse(re.sub(r"(def )\w+\.(\w+)", r"\1\2", block.strip()) + ": ...")


def found_in(source: str, place: Path) -> list[tuple[str, int | None, bool | None, str]]:
    (place / "module.py").write_text(source)
    return [
        (each.code, each.kind.status, each.kind.retryable, each.text)
        for each in errors.find_codes(place)
    ]


def test_a_code_is_found_however_it_gets_into_its_error(tmp_path: Path) -> None:
    source = '''
class Own(Refusal):
    """Own words."""
    def __init__(self):
        super().__init__("of_subclass", "said", status=410)
def passes(code, text): return RequestError(code, text, status=422)
def makes(kind): return RequestError(f"{kind}_not_found", f"no {kind}", status=404)
def chooses(x):
    code = "one" if x else "other"
    return Fault(code, "text", retryable=False)
raise passes("passed_on", f"{1} is wrong")
raise makes("thing")
raise Refusal("plain", "words")
'''
    assert found_in(source, tmp_path) == [
        ("of_subclass", 410, None, "said"),
        ("one", 500, False, "text"),
        ("other", 500, False, "text"),
        ("passed_on", 422, None, "… is wrong"),
        ("plain", 409, None, "words"),
        ("thing_not_found", 404, None, "no …"),
    ]


def test_a_code_is_found_in_the_table_that_it_is_taken_from(tmp_path: Path) -> None:
    source = """
KNOWN = {1: ("by_number", "its text", True), "by_name": (False, "other text")}
def looks_up(n):
    code, text, again = KNOWN[n]
    return StoreFault(code, text, retryable=again)
"""
    assert found_in(source, tmp_path) == [
        ("by_name", 503, False, "other text"),
        ("by_number", 503, True, "its text"),
    ]


def test_every_code_of_the_http_page_is_one_of_the_code() -> None:
    """The table there is written by hand."""
    known = {found.code for found in errors.find_codes(errors.PACKAGE)}
    table = (DOCS / "http.md").read_text().partition("| Status | Codes |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", table))
    assert len(named) > 25
    assert named - known == set()
