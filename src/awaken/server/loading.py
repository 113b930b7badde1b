"""Finding the agents in a module or file that a user names on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from awaken.agent import foreign_agent
from awaken.foreign.find import is_pydantic_agent
from awaken.registry.specs import AgentInCode

_NOT_OWN: Final = (
    "<frozen ",
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("platlib"),
    str(Path(__file__).parents[1]),
)
"""How files of libraries begin, and ours."""

CONVENTION: Final = "agents"
"""The name that is looked for first when none is given."""


class LoadError(Exception):
    """The agents cannot be loaded; the text says what to do."""


def load_agents(target: str) -> list[AgentInCode]:
    """The agents of `module`, `file.py`, `module:attr` or `file.py:attr`.

    Without an attribute these are the list `agents`, else all agents at the top of the module.

    Raises:
        LoadError: there is no such module or attribute, it cannot be imported, or it has no agents.
    """
    name, attribute = _split(target)
    module = _import(name)
    if attribute is not None:
        found = getattr(module, attribute, None)
        if found is None:
            raise LoadError(f"{name} has no {attribute!r}; it has: {_agents_by_name(module)}")
        agents = _as_agents(found, attribute)
    else:
        found = getattr(module, CONVENTION, None)
        agents = _as_agents(found, CONVENTION) if found else _agents_of(module)
    if not agents:
        raise LoadError(
            f"there are no agents in {target}: define one at the top of the module, "
            f"agent = Agent('assistant', …), or a list named {CONVENTION}"
        )
    return agents


def _split(target: str) -> tuple[str, str | None]:
    name, colon, attribute = target.rpartition(":")
    return (name, attribute) if colon and attribute.isidentifier() else (target, None)


def _import(name: str) -> ModuleType:
    path = Path(name)
    is_file = path.suffix == ".py" or os.sep in name
    if is_file and not path.is_file():
        raise LoadError(f"there is no file {name}")
    sys.path.insert(0, str(path.parent.resolve()) if is_file else os.getcwd())
    module_name = path.stem if is_file else name
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name.partition(".")[0]:
            raise LoadError(
                f"there is no module {name!r} here; name a file (agents.py) or a module that "
                "Python can import from this directory"
            ) from error
        raise LoadError(_trouble(name, error)) from error
    except SystemExit as end:
        raise LoadError(
            f"{name} ends the process when it is imported: put what it does when it is run under "
            "`if __name__ == '__main__':`"
        ) from end
    except Exception as error:  # whatever the user's code raises
        raise LoadError(_trouble(name, error)) from error


def _trouble(name: str, error: Exception) -> str:
    """What went wrong in the user's module, and where."""
    told = error.msg if isinstance(error, SyntaxError) else error
    return f"{name} cannot be imported: {type(error).__name__}: {told} ({_place(error)})"


def _place(error: Exception) -> str:
    """The last line of the user's own code, rather than one of a library that it called."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_OWN)]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def _as_agents(found: Any, name: str) -> list[AgentInCode]:
    """What stands under `name`; a generator function is an agent only where it is named."""
    if _is_agent(found) or inspect.isasyncgenfunction(found):
        return [_served(name, found)]
    if isinstance(found, Iterable) and not isinstance(found, str | bytes):
        return [
            _served(_name(each, f"{name}-{n}"), each)
            for n, each in enumerate(found, 1)
            if _is_agent(each)
        ]
    return []


def _name(value: Any, otherwise: str) -> str:
    """The name of an agent in a list; ours have one of their own."""
    return getattr(value, "name", None) or otherwise


def _served(name: str, value: Any) -> AgentInCode:
    bare = is_pydantic_agent(value) or inspect.isasyncgenfunction(value)
    return foreign_agent(name, value) if bare else value


def _agents_of(module: ModuleType) -> list[AgentInCode]:
    return [_served(name, value) for name, value in vars(module).items() if _is_agent(value)]


def _agents_by_name(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if _is_agent(value)]
    return ", ".join(names) or "no agents"


def _is_agent(value: object) -> bool:
    """Whether `value` is an `AgentInCode`; a class is not, though its instances may be."""
    if isinstance(value, type):
        return False
    if is_pydantic_agent(value):
        return True
    return all(hasattr(value, name) for name in ("spec", "models", "make_runner"))
