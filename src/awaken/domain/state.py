"""State that agents keep: named values with a scope, a default, and a way to merge two writes.

Values are JSON. A key with scope `run` lives and ends with its run, one with scope `thread` with
the thread. Writes of a step are applied in call order when the step closes: by the key's reducer,
or the last one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from awaken.domain.ledger import StateWrite
from awaken.domain.record import Record


class Scope(StrEnum):
    """How long a value lives."""

    run = "run"
    thread = "thread"


class StateKey(Record):
    """A declared value.

    `reducer(old, new)` merges a write into what is there; without one it replaces.

    A key that no agent declares has scope run and no reducer.
    """

    name: str
    scope: Scope | Literal["run", "thread"] = Scope.run
    default: Any = None
    reducer: Callable[[Any, Any], Any] | None = None


class States(Record):
    """The values of both scopes."""

    run: dict[str, Any] = {}
    thread: dict[str, Any] = {}

    @property
    def merged(self) -> dict[str, Any]:
        """What readers see: the run's values over the thread's."""
        return {**self.thread, **self.run}


def apply_writes(
    states: States, writes: Iterable[StateWrite], keys: Mapping[str, StateKey]
) -> States:
    """The states after `writes`, in order."""
    run, thread = dict(states.run), dict(states.thread)
    for write in writes:
        key = keys.get(write.key) or StateKey(name=write.key)
        values = thread if key.scope == Scope.thread else run
        old = values.get(key.name, key.default)
        values[key.name] = write.value if key.reducer is None else key.reducer(old, write.value)
    return States(run=run, thread=thread)


def patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON Patch (RFC 6902) from one object to another, by whole top-level members."""
    operations: list[dict[str, Any]] = [
        {"op": "remove", "path": _pointer(name)} for name in before if name not in after
    ]
    for name, value in after.items():
        if name not in before:
            operations.append({"op": "add", "path": _pointer(name), "value": value})
        elif _json(before[name]) != _json(value):
            operations.append({"op": "replace", "path": _pointer(name), "value": value})
    return operations


def _json(value: Any) -> bytes:
    # Compared as readers get it: in Python 1 equals True, in JSON it does not.
    return msgspec.json.encode(value, order="sorted")


def _pointer(name: str) -> str:
    """A member's JSON Pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
