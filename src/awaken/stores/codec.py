"""Records to bytes and back. One form for every store: JSON, as msgspec writes it.

Fields that have their default are left out (but those of specifications, see `domain/agent.py`),
and unknown ones are ignored, so a field can be added with a default, and one version back can still
read what this one wrote.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from awaken.domain.agent import AgentSpec
from awaken.domain.care import Deletion
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import LogItem
from awaken.domain.message import StoredMessage
from awaken.domain.note import Note
from awaken.domain.outgoing import Outgoing
from awaken.domain.rule import ApprovalRule
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket
from awaken.errors import UndecodableRecord

T = TypeVar("T")

encode: Final = msgspec.json.Encoder().encode
"""The stored form of any record. Raises TypeError for a value that JSON cannot hold."""


class Codec(Generic[T]):
    """Reads one kind of record."""

    def __init__(self, kind: str, type_: type[T]) -> None:
        self.kind = kind
        self._decode = msgspec.json.Decoder(type_).decode

    def decode(self, data: bytes, identifier: object, tenant: str | None = None) -> T:
        """The record; `identifier`, and `tenant` if given, name it if it cannot be read.

        Raises:
            UndecodableRecord: repeating does not help; other rows are not affected.
        """
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            raise UndecodableRecord(self.kind, identifier, tenant) from error


RUN: Final = Codec("run", Run)
THREAD: Final = Codec("thread", Thread)
DISPATCH: Final = Codec("dispatch", Dispatch)
PENDING: Final = Codec("pending entry", PendingEntry)
MESSAGE: Final = Codec("message", StoredMessage)
TICKET: Final = Codec("ticket", Ticket)
NOTE: Final = Codec("note", Note)
SCHEDULE: Final = Codec("schedule", Schedule)
RULE: Final = Codec("approval rule", ApprovalRule)
OUTGOING: Final = Codec("outgoing message", Outgoing)
DELETION: Final = Codec("deletion", Deletion)
SPEC: Final = Codec("specification", AgentSpec)
ITEMS: Final = Codec("segment", tuple[LogItem, ...])
