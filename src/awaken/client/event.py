"""What a stream gives: an entry of the thread's event log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run.

    `type` is its name, `data` its fields (`docs/event-log.md` lists both). `id` is the cursor
    behind it; an event without one is only a part of what comes next. `seq` is its place in the
    thread's log, `at` its time in epoch ms.
    """

    type: str
    data: dict[str, Any]
    id: str | None
    seq: int
    thread_id: str
    run_id: str | None
    at: int

    @classmethod
    def of(cls, frame_id: str | None, entry: dict[str, Any]) -> Event:
        """The event of a frame's `id` and its `data`, decoded.

        Raises:
            KeyError, TypeError: it is no entry of an event log.
        """
        data = entry["event"]
        return cls(
            type=data["event_type"],
            data=data,
            id=frame_id,
            seq=entry["seq"],
            thread_id=entry["thread_id"],
            run_id=entry["run_id"],
            at=entry["at"],
        )
