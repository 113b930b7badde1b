"""What every protocol's encoder is: a pure object that turns log entries into frames.

Rules of an encoder
1. It is made without a request and does no I/O: the same entries give the same frames, ids
   included. What it numbers or names comes from the entries (the opening entry's seq), never from
   a counter.
2. It tracks what it has opened, and closes it before anything terminal.
3. Only public entries reach clients; a kind it has no frame for is a documented drop.
4. A cursor is where a reader may go on: it is the `id` of an entry's last frame, and of no other.

Design: streams.md section 5.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from awaken.domain.event import Entry, LogItem, StreamReset
from awaken.domain.record import Record


class Frame(Record):
    """One frame of a stream. `retry_ms` tells the client how soon to come back."""

    data: bytes
    event: str | None = None
    id: str | None = None
    retry_ms: int | None = None


class CloseReason(StrEnum):
    """Why a stream ends.

    finished: it is complete. deleted: the thread is gone, and nothing more will come. drain: the
    process shuts down. fault: the log cannot be read. Only the first two are clean ends: after the
    others the connection is aborted, so that no client takes half an answer for a whole one.
    """

    finished = "finished"
    deleted = "deleted"
    drain = "drain"
    fault = "fault"


class Encoder(Protocol):
    """The encoder of one stream."""

    def encode(self, entry: Entry) -> list[Frame]:
        """The frames of `entry`, to be sent in one piece."""
        ...

    def close(self, reason: CloseReason) -> list[Frame]:
        """The last frames of the stream."""
        ...


def cursor_of(entry: Entry | LogItem) -> str | None:
    """The cursor of a reader that has `entry`.

    None for the `stream_reset` that readers are given in front of a merged part and that no log has
    (`streams/compact.py`): whoever stops there must get it again.
    """
    if entry.first is not None and isinstance(entry.event, StreamReset):
        return None
    return str(entry.seq)
