"""What is given up, and what is deleted: dead letters, deletions, and how long things are kept.

A dead letter is a dispatch that was given up. Its run is done and stays so (I3): what may be tried
again is a new run, whose id follows from the one it repeats (`retry_id`), so that asking twice
makes one run.

A deletion is begun in one commit, after which the thread is gone for everybody, and is carried out
in slices afterwards. Its record outlives a crash, and goes when nothing of the thread is left.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from awaken.domain.dispatch import Dispatch, Finished
from awaken.domain.ids import derived_id
from awaken.domain.record import Record

UNDECODABLE: Final = "undecodable_record"
"""The code of a stored record that cannot be read, and of the run that ends because of one."""


Reason = Literal["max_attempts", "poison", "failed", "undecodable"]
"""Why a dispatch was given up."""


class Kept(StrEnum):
    """What is kept for a while after it is over.

    finished_dispatches: deliveries that came to an end of any kind but a dead letter.
    dead_letters: discarded ones too.
    closed_tickets: of runs that are done.
    notes: each names its end itself.
    logs: the events of runs that are done.
    runs: those that are done, with their events and tickets; their messages stay.
    """

    finished_dispatches = "finished_dispatches"
    dead_letters = "dead_letters"
    closed_tickets = "closed_tickets"
    notes = "notes"
    logs = "logs"
    runs = "runs"


class Children(StrEnum):
    """What becomes of the threads below one that is deleted.

    detach: they have no parent any more. reject: while there are any, nothing is deleted.
    cascade: they are deleted too.
    """

    detach = "detach"
    reject = "reject"
    cascade = "cascade"


class LetterFilter(Record):
    """Which dead letters a list shows; None means any."""

    agent_id: str | None = None
    thread_id: str | None = None


class DeadLetter(Record):
    """A dispatch that was given up, as far as the store can tell.

    `dispatch` is None when its record cannot be read, `agent_id` when the run is gone.
    """

    dispatch_id: str
    run_id: str
    thread_id: str
    created_at: int
    finished_at: int
    agent_id: str | None = None
    dispatch: Dispatch | None = None

    @property
    def reason(self) -> Reason:
        """Why: `max_attempts`, `poison`, `undecodable`, else `failed`."""
        if self.dispatch is None or self.last_error == UNDECODABLE:
            return "undecodable"
        body = self.dispatch.body
        if isinstance(body, Finished) and body.reason == "poison":
            return "poison"
        return "max_attempts" if self.dispatch.attempt >= self.dispatch.max_attempts else "failed"

    @property
    def last_error(self) -> str | None:
        """The code of the error it ended with, or of the last one before it."""
        if self.dispatch is None:
            return UNDECODABLE
        body = self.dispatch.body
        ended = body.reason if isinstance(body, Finished) else None
        return self.dispatch.last_error if ended in (None, "poison") else ended


class Delivery(Record):
    """What a store knows of a dispatch without reading its record.

    `state` is queued, claimed, acked, cancelled, superseded, dead_letter or discarded.
    """

    tenant: str
    dispatch_id: str
    thread_id: str
    run_id: str
    state: str


class Deletion(Record):
    """A deletion of a thread that was begun; with `cascade`, of all threads below it too."""

    tenant: str
    thread_id: str
    begun_at: int
    cascade: bool = False


class Erased(Record):
    """How many rows went.

    `events` counts rows of the log, each of which holds the entries of one commit. `specs` are
    pinned specifications that no other run needed.
    """

    threads: int = 0
    runs: int = 0
    dispatches: int = 0
    messages: int = 0
    pending: int = 0
    tickets: int = 0
    events: int = 0
    specs: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(msgspec.structs.astuple(self))

    def __add__(self, other: Erased) -> Erased:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Erased(**dict(zip(self.__struct_fields__, map(sum, pairs), strict=True)))


def retry_id(run_id: str) -> str:
    """The id of the run that repeats `run_id`: there is at most one."""
    return derived_id(run_id, "retry")
