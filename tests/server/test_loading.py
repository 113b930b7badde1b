from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from awaken.server.loading import LoadError, load_agents

MODULE = """
from awaken import Agent, ScriptedModel

one = Agent("one", model=ScriptedModel(lambda request: ["1"], name="one"))
two = Agent("two", model=ScriptedModel(lambda request: ["2"], name="two"))
both = [one, two]
nothing = 5
"""


@pytest.fixture(autouse=True)
def _restored_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test imports anew, from its own directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(target: str) -> list[str]:
    return [agent.spec.agent_id for agent in load_agents(target)]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("mine.py", ["one", "two"]),
        ("mine", ["one", "two"]),
        ("mine:two", ["two"]),
        ("mine.py:both", ["one", "two"]),
    ],
)
def test_agents_are_found_by_module_file_and_name(target: str, found: list[str]) -> None:
    Path("mine.py").write_text(MODULE)
    assert names(target) == found


def test_a_list_named_agents_is_taken_first() -> None:
    Path("mine.py").write_text(f"{MODULE}\nagents = [two]\n")
    assert names("mine.py") == ["two"]


def test_an_absolute_file_outside_the_directory_is_found(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "theirs.py").write_text(MODULE)
    assert names(str(other / "theirs.py")) == ["one", "two"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere.py", "there is no file nowhere.py"),
        ("nowhere", "there is no module 'nowhere' here"),
        ("mine:three", "mine has no 'three'; it has: one, two"),
        ("mine:nothing", "there are no agents in mine:nothing"),
        ("empty.py", "there are no agents in empty.py"),
        ("broken.py", "broken.py cannot be imported: ZeroDivisionError: division by zero"),
        ("syntax.py", "syntax.py cannot be imported: SyntaxError"),
        ("needy.py", "needy.py cannot be imported: ModuleNotFoundError: No module named 'absent_'"),
    ],
)
def test_what_cannot_be_loaded_is_explained(target: str, told: str) -> None:
    Path("mine.py").write_text(MODULE)
    Path("empty.py").write_text("")
    Path("broken.py").write_text("1 / 0\n")
    Path("syntax.py").write_text("def\n")
    Path("needy.py").write_text("import absent_\n")
    with pytest.raises(LoadError) as caught:
        load_agents(target)
    assert str(caught.value).startswith(told)


def test_trouble_in_a_module_is_placed() -> None:
    Path("broken2.py").write_text("\n\n1 / 0\n")
    with pytest.raises(LoadError, match=r"broken2\.py:3\)$"):
        load_agents("broken2.py")


def test_a_syntax_error_is_placed_where_it_is() -> None:
    Path("syntax2.py").write_text("ok = 1\ndef f(:\n")
    with pytest.raises(LoadError, match=r"invalid syntax \(\S*syntax2\.py:2\)$"):
        load_agents("syntax2.py")


def test_trouble_inside_a_library_is_placed_in_the_code_that_called_it() -> None:
    Path("caller.py").write_text("import json\n\njson.loads('{')\n")
    with pytest.raises(LoadError, match=r"JSONDecodeError: .*\(\S*caller\.py:3\)$"):
        load_agents("caller.py")


def test_a_module_that_ends_the_process_is_explained() -> None:
    Path("ending.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(LoadError, match=r"^ending\.py ends the process when it is imported"):
        load_agents("ending.py")
