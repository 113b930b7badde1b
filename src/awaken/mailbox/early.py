"""Stops by message: of the run that a client's message started, also before the message is there.

A client that sends a message and stops it at once cannot know which of the two arrives first. A
stop of a message that nobody has seen is noted for a minute, and ends its run when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from awaken.domain.message import Message
from awaken.domain.note import Note, NoteKind
from awaken.domain.record import Record
from awaken.domain.termination import Cancelled
from awaken.ports.store import Transaction

KEPT_MS: Final = 60_000


class Stopper(Record):
    """Who stops, and why; the first reason given to a run wins.

    `grace_ms` is how long what is claimed has to settle, when it loses its thread too.
    """

    by: str
    reason: str | None = None
    grace_ms: int | None = None

    @property
    def termination(self) -> Cancelled:
        """How a run ends that is stopped."""
        return Cancelled(by=self.by, reason=self.reason)


def note_stop(
    tx: Transaction, tenant: str, thread_id: str, message_id: str, stopper: Stopper
) -> None:
    """Remember the stop of a message that has not come."""
    note = Note(
        tenant=tenant,
        kind=NoteKind.early_stop,
        key=_name(thread_id, message_id),
        expires_at=tx.now + KEPT_MS,
        data={"by": stopper.by, "reason": stopper.reason},
    )
    tx.put_note(note)


async def early_stop(
    tx: Transaction, tenant: str, thread_id: str, messages: Iterable[Message]
) -> Stopper | None:
    """The stop that came before one of these messages."""
    for message in messages:
        name = _name(thread_id, message.message_id)
        note = await tx.note(tenant, NoteKind.early_stop, name)
        if note is not None and note.expires_at > tx.now:
            return Stopper(by=note.data["by"], reason=note.data["reason"])
    return None


def _name(thread_id: str, message_id: str) -> str:
    return f"{thread_id}\n{message_id}"
