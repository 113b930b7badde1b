"""Compaction of a finished run's log, and reading it from any cursor: pure, and the rules of both.

Rules of this file
1. A part's deltas that follow one another in the run become one entry under the last one's
   number, with `first` set to the first one's. Numbers never change: all other entries keep
   theirs.
2. Deltas that a later `stream_reset` voids are left out. The reset stays, for cursors among them.
3. Only neighbours are merged, so no two merged entries of a run overlap, and a cursor falls
   inside at most one of them.
4. A reader whose cursor is inside a merged part gets a `stream_reset` that voids what it has of
   the part, then the part whole. That reset is not stored and has no cursor: it carries the
   number of the entry it precedes, and `first`, which no stored reset has.

Design: streams.md section 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from awaken.domain.event import (
    Entry,
    Event,
    LogItem,
    ReasoningDelta,
    Segment,
    StreamReset,
    TextDelta,
    ToolCallDelta,
    ToolCallStreamDelta,
)

Delta = TextDelta | ReasoningDelta | ToolCallDelta | ToolCallStreamDelta
DELTAS: Final = (TextDelta, ReasoningDelta, ToolCallDelta, ToolCallStreamDelta)

COMPACTED: Final = "compacted"
"""The `reason` of the reset in front of a merged part."""

Placed = tuple[int, LogItem]
"""An item and the index of its segment."""


def entries_after(segment: Segment, cursor: int) -> list[Entry]:
    """What a reader at `cursor` is given of `segment`."""
    return cut(segment, cursor).entries()


def cut(segment: Segment, cursor: int) -> Segment:
    """`segment` as a reader at `cursor` is given it; `cursor` is below its `last_seq`."""
    if cursor < segment.first_seq:
        return segment
    assert cursor < segment.last_seq, "nothing of the segment is after the cursor"
    return replace(segment, first_seq=cursor + 1, items=tuple(_items_after(segment.items, cursor)))


def _items_after(items: Sequence[LogItem], cursor: int) -> Iterator[LogItem]:
    for item in items:
        if item.seq <= cursor:
            continue
        if item.first is not None and item.first <= cursor:
            reset = StreamReset(from_seq=item.first, reason=COMPACTED)
            yield LogItem(seq=item.seq, event=reset, first=item.first)
        yield item


def compact_run(segments: Sequence[Segment]) -> list[Segment]:
    """The log of one done run (all of it, in order), compacted; doing it again changes nothing.

    The first and the last number covered stay. A number whose entry is gone belongs to the next
    segment that has entries; one without entries is left out. Each entry keeps the time of its
    segment, a merged one that of its last delta.
    """
    items: list[list[LogItem]] = [[] for _ in segments]
    for index, item in _merged(_not_voided(segments)):
        items[index].append(item)
    return list(_rebuilt(segments, items))


def _not_voided(segments: Sequence[Segment]) -> list[Placed]:
    """All items but the deltas that a later reset voids."""
    kept: list[Placed] = []
    void_from: int | None = None
    for index, item in reversed([(i, item) for i, s in enumerate(segments) for item in s.items]):
        event = item.event
        if isinstance(event, StreamReset):
            void_from = event.from_seq if void_from is None else min(void_from, event.from_seq)
        if void_from is None or item.seq < void_from or _part(event) is None:
            kept.append((index, item))
    kept.reverse()
    return kept


def _merged(items: Iterable[Placed]) -> Iterator[Placed]:
    for part, group in groupby(items, lambda placed: _part(placed[1].event)):
        if part is None:
            yield from group
        else:
            yield _one(list(group))


def _one(deltas: Sequence[Placed]) -> Placed:
    """One part's deltas as one item, in the segment of the last."""
    (_, first), (index, last) = deltas[0], deltas[-1]
    if len(deltas) == 1:
        return index, last
    event = _joined([item.event for _, item in deltas if isinstance(item.event, DELTAS)])
    return index, LogItem(seq=last.seq, event=event, first=first.first or first.seq)


def _part(event: Event) -> tuple[str, str] | None:
    """Which part `event` is a delta of, or None when it is no delta."""
    match event:
        case TextDelta():
            return "text", ""
        case ReasoningDelta():
            return "reasoning", ""
        case ToolCallDelta(id=call_id):
            return "arguments", call_id
        case ToolCallStreamDelta(id=call_id):
            return "output", call_id
        case _:
            return None


def _joined(deltas: Sequence[Delta]) -> Event:
    text = "".join(d.args_delta if isinstance(d, ToolCallDelta) else d.delta for d in deltas)
    field = "args_delta" if isinstance(deltas[-1], ToolCallDelta) else "delta"
    return replace(deltas[-1], **{field: text})


def _rebuilt(segments: Sequence[Segment], items: Sequence[list[LogItem]]) -> Iterator[Segment]:
    uncovered: int | None = None
    for segment, kept in zip(segments, items, strict=True):
        first_seq = segment.first_seq if uncovered is None else uncovered
        if not kept:
            uncovered = first_seq
            continue
        last_seq = kept[-1].seq
        yield replace(segment, first_seq=first_seq, last_seq=last_seq, items=tuple(kept))
        uncovered = last_seq + 1 if last_seq < segment.last_seq else None
    assert uncovered is None, "a done run ends in its run_finish, which is no delta"
