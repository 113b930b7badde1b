"""Hints: what just became true, told after the commit that made it true.

A hint is only ever a reason to look. Correctness never depends on one: whoever waits also polls. In
one process hints are delivered in commit order, on the event loop, before the operation that caused
them is answered. Between processes (PostgreSQL) they are gathered and may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from awaken.domain.event import Segment
from awaken.domain.record import Record


class LogGrew(Record):
    """A segment was appended to a thread's log."""

    segment: Segment


class WorkReady(Record):
    """A thread entered the line, or (`due_at`, ms of the store's clock) something will be due."""

    due_at: int | None = None


class StopAsked(Record):
    """The claim `claim_token` has a cancel request, or was superseded: its owner should stop."""

    claim_token: str
    superseded: bool = False


class ThreadDeleted(Record):
    """A thread is gone, its log too: nothing more will be told of it."""

    tenant: str
    thread_id: str


Hint = LogGrew | WorkReady | StopAsked | ThreadDeleted

HintListener = Callable[[Sequence[Hint]], None]
"""Called on the event loop with the hints of one or more commits.

Must not block, raise or await.
"""
