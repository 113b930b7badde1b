"""What an encoder is told before its first entry: names, and how things are there."""

from __future__ import annotations

from typing import Any

from awaken.domain.record import Record
from awaken.domain.ticket import Ticket
from awaken.protocols.ag_ui.history import AgUiMessage


class Names(Record):
    """How the client calls what it reads; `own_run_id` is our id of the run, empty for none."""

    thread_id: str
    run_id: str
    own_run_id: str
    parent_run_id: str | None = None


class Carry(Record):
    """What is so at the place where an encoder starts.

    `message_id` is the message of the step that is open. `tickets` are the open ones. `results` are
    tool messages of that step, which is not closed. `known` are ids of messages that the client
    has, `answered` the calls whose results it has. `state` and `messages` are told behind
    RUN_STARTED. `message_seq` is the number of the last message that was committed.
    """

    message_id: str | None = None
    tickets: tuple[Ticket, ...] = ()
    results: tuple[AgUiMessage, ...] = ()
    known: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    state: dict[str, Any] | None = None
    messages: tuple[AgUiMessage, ...] | None = None
    message_seq: int | None = None
