"""What a protocol makes of each event of the log: one table that encoders obey and docs print.

Every event is told or dropped, and a drop has a reason. A new event is neither until somebody
decides, so `unmapped` names it and a test fails.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from typing import Final, get_args

from awaken.domain.event import Event
from awaken.domain.record import Record


class Told(Record):
    """The event becomes these `frames`, as `how` says. An encoder's method `on_<event>` does it."""

    frames: tuple[str, ...]
    how: str = ""


class Dropped(Record):
    """The event has no frame, and `why`."""

    why: str


Mapping = MappingOf[type[Event], Told | Dropped]

EVENTS: Final[tuple[type[Event], ...]] = get_args(Event)


def name_of(kind: type[Event]) -> str:
    """The wire name of a type of events."""
    return str(kind.__struct_config__.tag)


def unmapped(mapping: Mapping) -> list[str]:
    """The events that the table says nothing about."""
    return [name_of(kind) for kind in EVENTS if kind not in mapping]


def markdown(mapping: Mapping) -> str:
    """The table for the docs, in the order of the vocabulary."""
    lines = ["| Event | Becomes | |", "|---|---|---|"]
    lines += [_row(name_of(kind), mapping[kind]) for kind in EVENTS]
    return "\n".join(lines) + "\n"


def _row(name: str, entry: Told | Dropped) -> str:
    if isinstance(entry, Dropped):
        return f"| `{name}` | nothing | {entry.why} |"
    frames = ", ".join(f"`{frame}`" for frame in entry.frames)
    return f"| `{name}` | {frames} | {entry.how} |"
