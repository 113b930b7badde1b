"""Appending to a thread's log: numbers are given out only here, and only inside a commit."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain.event import Event, LogItem, Segment
from awaken.domain.thread import ThreadHead


def extend(
    head: ThreadHead,
    run_id: str | None,
    events: Sequence[Event],
    now: int,
    *,
    boundary: bool = False,
) -> tuple[ThreadHead, Segment]:
    """The head and the segment after `events` of one run were appended; `events` is not empty."""
    assert events, "a segment is never empty"
    items = tuple(
        LogItem(seq=seq, event=event) for seq, event in enumerate(events, start=head.seq + 1)
    )
    segment = Segment(
        tenant=head.tenant,
        thread_id=head.thread_id,
        run_id=run_id,
        first_seq=head.seq + 1,
        last_seq=head.seq + len(items),
        at=now,
        items=items,
        boundary=boundary,
    )
    return replace(head, seq=segment.last_seq), segment
