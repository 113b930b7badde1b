"""Messages that were delivered and not yet read: what an entry is, and which ones a run may take.

Pending entries are mutable until they are consumed (I4); consumption is one commit (I5). Selection
is
pure: stores load the queue, call `select`, and remove what it answers.

A run that starts takes its own entries and those it inherited (`run_id` points at it). A running
run takes, at a step's end or its natural end, what was delivered to it or to nobody. It never takes
another queued run's entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum

from awaken.domain.agent import AgentSpec
from awaken.domain.dispatch import Dispatch
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.run import Run


class Boundary(StrEnum):
    """When an entry may be consumed."""

    interrupt = "interrupt"
    next_step = "next_step"
    on_natural_end = "on_natural_end"
    resume_input = "resume_input"
    new_run = "new_run"


class _Precedence(IntEnum):
    interrupt = 0
    next_step = 1
    on_natural_end = 2
    new_run = 3


class Granularity(StrEnum):
    """Whether an entry is consumed with its neighbours or alone."""

    one = "one"
    batch = "batch"


class DeliveryMode(Record):
    """How an entry wants to be delivered.

    `barrier` ends a batch behind the entry and lets nothing overtake it. `target_run` binds it to
    one run; `fallback` lets it start a run of its own when its target ends without having read it.
    """

    boundary: Boundary = Boundary.new_run
    granularity: Granularity = Granularity.batch
    barrier: bool = False
    target_run: str | None = None
    fallback: bool = True


class FollowUp(Record):
    """The run that takes an entry whose target ended without having read it.

    It is made ready when the message is accepted, so that whoever ends the target can start it:
    `spec` is what `run` is pinned to.
    """

    run: Run
    dispatch: Dispatch
    spec: AgentSpec


class PendingEntry(Record):
    """A message in the queue of its thread.

    `run_id` is the run that will consume it, if that is fixed. `follow_up` is the run that takes it
    instead, if that one ends first.
    """

    tenant: str
    thread_id: str
    position: int
    message: Message
    created_at: int
    run_id: str | None = None
    revision: int = 1
    mode: DeliveryMode = DeliveryMode()
    follow_up: FollowUp | None = None


class Placed(Record):
    """An entry and its place in the queue, from 1."""

    entry: PendingEntry
    place: int


class PendingQueue(Record):
    """What waits on a thread, in order, and the revision of the whole."""

    thread_id: str
    revision: int
    entries: tuple[PendingEntry, ...]


def eligible(entry: PendingEntry, boundary: Boundary, run_id: str | None) -> bool:
    """Whether `entry` may be consumed at `boundary` of `run_id` (None: a run about to be made)."""
    if entry.run_id is not None and entry.run_id != run_id:
        return False
    mode = entry.mode
    if Boundary.resume_input in (mode.boundary, boundary):
        return mode.boundary is boundary and mode.target_run in (None, run_id)
    if _Precedence[mode.boundary.value] > _Precedence[boundary.value]:
        return False
    if mode.target_run is None or mode.target_run == run_id:
        return True
    return boundary is Boundary.new_run and mode.fallback


def _skippable(entry: PendingEntry, boundary: Boundary, run_id: str | None) -> bool:
    """Whether an entry that is not eligible lets others pass: it waits in another lane."""
    if entry.run_id is not None and entry.run_id != run_id:
        return True
    for_new_run = entry.mode.boundary is Boundary.new_run
    if boundary is Boundary.new_run:
        return not for_new_run and not entry.mode.fallback
    return for_new_run


def select(
    queue: Sequence[PendingEntry], boundary: Boundary, run_id: str | None
) -> list[PendingEntry]:
    """The entries to consume at `boundary`, in order.

    `queue` is the thread's whole queue by position. A barrier is overtaken by nothing and ends the
    batch behind itself; an entry with granularity `one` is consumed alone.
    """
    chosen: list[PendingEntry] = []
    skipped = False
    for entry in queue:
        if not eligible(entry, boundary, run_id):
            if entry.mode.barrier or not _skippable(entry, boundary, run_id):
                break
            skipped = True
            continue
        alone = entry.mode.granularity is Granularity.one
        if (entry.mode.barrier and skipped) or (alone and chosen):
            break
        chosen.append(entry)
        if alone or entry.mode.barrier:
            break
    return chosen
