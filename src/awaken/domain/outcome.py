"""Two answers to "how did it end?".

`Termination` is how an *activation of a run* ended; it is stored on the run and told to clients in
`run_finish`. All but `Suspended` are final.

`Outcome` is everything one *attempt* at a claimed run can come to. `mailbox/execute.py` reduces
each attempt to exactly one outcome, and `settle` has one answer to each.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.event import Event
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.termination import (
    BehaviorRequested,
    Blocked,
    NaturalEnd,
    Stopped,
)
from awaken.domain.ticket import Ticket, WaitingReason


class Usage(Record):
    """Tokens counted by the provider, as far as it told us."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )


class Failure(Record):
    """What went wrong.

    `message` may hold internals: it is stored with the run, not sent to clients.

    `public_message` is what clients are shown; without one they see the code only.
    """

    code: str
    message: str
    public_message: str | None = None

    @property
    def for_clients(self) -> str:
        """The text for those who may not see internals."""
        return self.public_message or "the run failed; its stored record has the details"


class StepClose(Record):
    """What a finished step adds in the commit that closes it.

    First `events`, then a `message_committed` for each of `messages` (numbered in that commit),
    then `step_end`.
    """

    events: tuple[Event, ...] = ()
    messages: tuple[Message, ...] = ()
    usage: Usage = msgspec.field(default_factory=Usage)
    state: dict[str, Any] | None = None


class Completed(Record, tag="completed"):
    """The agent came to an end by its own lights; `close` is the close of its last step."""

    termination: NaturalEnd | BehaviorRequested | Stopped | Blocked
    text: str = ""
    close: StepClose | None = None


class Suspended(Record, tag="suspended"):
    """The run waits for the answer to `tickets`, or for its children, and holds nothing."""

    reason: WaitingReason
    tickets: tuple[Ticket, ...] = ()
    close: StepClose | None = None


class Retry(Record, tag="retry"):
    """Trouble that another attempt may not have."""

    failure: Failure
    retry_after_ms: int | None = None


class Failed(Record, tag="failed"):
    """Trouble that would come again."""

    failure: Failure


class CancelledOutcome(Record, tag="cancelled"):
    """Someone asked the run to stop, and the attempt did."""


class SupersededOutcome(Record, tag="superseded"):
    """A newer turn of the thread won."""


class Interrupted(Record, tag="interrupted"):
    """*We* are shutting down: the dispatch goes back to the queue, and no attempt is counted."""


class Lost(Record, tag="lost"):
    """The claim is no longer ours: nothing may be written, and nothing is."""


Outcome = (
    Completed
    | Suspended
    | Retry
    | Failed
    | CancelledOutcome
    | SupersededOutcome
    | Interrupted
    | Lost
)
