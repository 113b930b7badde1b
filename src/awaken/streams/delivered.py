"""A segment on its way to readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from awaken.domain.event import Entry, RunFinish, RunQueued, RunRetry, RunStart, Segment

Turn = RunFinish | RunQueued | RunRetry | RunStart
TURNS: Final = (RunFinish, RunQueued, RunRetry, RunStart)


class Delivered:
    """A segment and what was made of it, once for all readers that got it from one ring.

    `size` is about how many bytes its entries have; 0 when it is in no ring.
    """

    __slots__ = ("_frames", "_turn", "_turned", "segment", "size")

    def __init__(self, segment: Segment, size: int = 0) -> None:
        self.segment = segment
        self.size = size
        self._frames: dict[str, bytes] | None = None
        self._turn: Turn | None = None
        self._turned = False

    def entries(self) -> list[Entry]:
        """The segment's entries."""
        return self.segment.entries()

    def frames(self, key: str, encode: Callable[[Segment], bytes]) -> bytes:
        """`encode(segment)`, done once for all readers that give this `key`.

        `encode` must depend on nothing but the segment.
        """
        if self._frames is None:
            self._frames = {}
        encoded = self._frames.get(key)
        if encoded is None:
            encoded = self._frames[key] = encode(self.segment)
        return encoded

    def turn(self) -> Turn | None:
        """The last entry of the segment that tells whether its run goes on, if there is one."""
        if not self._turned:
            events = (item.event for item in reversed(self.segment.items))
            self._turn = next((event for event in events if isinstance(event, TURNS)), None)
            self._turned = True
        return self._turn
