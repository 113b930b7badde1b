"""Records to bytes and back. One form for every store: JSON, as msgspec writes it.

Fields that have their default are left out, and unknown ones are ignored, so a field can be added
with a default, and one version back can still read what this one wrote.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from awaken.domain.agent import AgentSpec
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import LogItem
from awaken.domain.message import StoredMessage
from awaken.domain.run import Run
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket
from awaken.errors import StoreFault

T = TypeVar("T")

encode: Final = msgspec.json.Encoder().encode
"""The stored form of any record. Raises TypeError for a value that JSON cannot hold."""


class Codec(Generic[T]):
    """Reads one kind of record."""

    def __init__(self, kind: str, type_: type[T]) -> None:
        self.kind = kind
        self._decode = msgspec.json.Decoder(type_).decode

    def decode(self, data: bytes, identifier: object) -> T:
        """The record; `identifier` names it if it cannot be read.

        Raises:
            StoreFault: `undecodable_record`. Repeating does not help; other rows are not affected.
        """
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            raise undecodable(self.kind, identifier) from error


def undecodable(kind: str, identifier: object) -> StoreFault:
    return StoreFault(
        "undecodable_record", f"the stored {kind} {identifier} cannot be read", retryable=False
    )


RUN: Final = Codec("run", Run)
THREAD: Final = Codec("thread", Thread)
DISPATCH: Final = Codec("dispatch", Dispatch)
PENDING: Final = Codec("pending entry", PendingEntry)
MESSAGE: Final = Codec("message", StoredMessage)
TICKET: Final = Codec("ticket", Ticket)
SPEC: Final = Codec("specification", AgentSpec)
ITEMS: Final = Codec("segment", tuple[LogItem, ...])
