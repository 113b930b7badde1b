"""One thread's topic: a ring of its latest segments, its head as far as known, its readers.

Rules of this file
1. The ring has no holes: a segment enters it only if it continues it (`first_seq == last + 1`). One
   that leaves a gap starts the ring anew; one that is older than its end changes nothing.
2. `head` never goes back. A reader whose cursor is below it and not covered by the ring reads the
   store.
3. The ring is bounded by count and bytes; the newest segment always fits.
4. The topic of a deleted thread is `ended`: its readers get what the ring has, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from awaken.domain.event import Segment
from awaken.streams.delivered import Delivered

if TYPE_CHECKING:
    from awaken.streams.subscription import Subscription

RING_SEGMENTS: Final = 32
RING_BYTES: Final = 64 * 1024

_encoder = msgspec.json.Encoder()


class Topic:
    """The topic of (tenant, thread): exists while it has subscriptions."""

    __slots__ = ("ended", "head", "moved", "ring", "ring_bytes", "subscriptions")

    def __init__(self) -> None:
        self.head = 0
        self.ended = False
        self.moved = False
        self.ring: list[Delivered] = []
        self.ring_bytes = 0
        self.subscriptions: dict[Subscription, None] = {}

    def push(self, segment: Segment) -> None:
        """A commit appended `segment`: remember it and wake the readers."""
        ring = self.ring
        last = ring[-1].segment.last_seq if ring else None
        if last is not None and segment.last_seq <= last:
            return
        if last is not None and segment.first_seq != last + 1:
            self.clear()
        entry = Delivered(segment, len(_encoder.encode(segment.items)))
        ring.append(entry)
        self.ring_bytes += entry.size
        while len(ring) > RING_SEGMENTS or (self.ring_bytes > RING_BYTES and len(ring) > 1):
            self.ring_bytes -= ring.pop(0).size
        self.learn(segment.last_seq)

    def learn(self, seq: int) -> None:
        """The log has reached `seq`: wake the readers that are behind."""
        if seq > self.head:
            self.head = seq
            self.moved = True
            for subscription in self.subscriptions:
                subscription.wake_nowait()

    def end(self) -> None:
        """The thread is gone: wake all readers."""
        self.ended = True
        for subscription in self.subscriptions:
            subscription.wake_nowait()

    def clear(self) -> None:
        """Drop the ring; readers behind it read the store."""
        self.ring.clear()
        self.ring_bytes = 0

    def after(self, cursor: int) -> list[Delivered] | None:
        """The ring's segments after `cursor`, or None when the ring cannot tell or has none."""
        ring = self.ring
        if not ring or ring[-1].segment.last_seq <= cursor:
            return None
        if ring[0].segment.first_seq > cursor + 1:
            return None
        if ring[-1].segment.first_seq == cursor + 1:  # the usual reader has all but the newest
            return ring[-1:]
        return [entry for entry in ring if entry.segment.last_seq > cursor]
