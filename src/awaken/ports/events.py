"""Where a running attempt puts what happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from awaken.domain.claim import Claim
from awaken.domain.event import Event
from awaken.domain.record import Record
from awaken.ports.store import Operation, T


class EventSink(Protocol):
    """What a runner sees of the log."""

    async def emit(self, event: Event) -> None:
        """Add `event` to the run's log, in order.

        Waits only when the store is behind, never for a reader.

        Raises:
            ClaimLost: the claim is gone; nothing more can be written.
        """
        ...


class Unwritten(Record):
    """Events that were emitted and not yet written, and the number their batch has (I2)."""

    batch_no: int
    events: tuple[Event, ...]


class EventWriter(EventSink, Protocol):
    """The writer of one attempt: batches, commits, and only then publishes."""

    async def commit(self, make: Callable[[Unwritten], Operation[T]]) -> T:
        """Run an operation that carries what is unwritten, in order with the batches around it.

        A write in flight is awaited first, and a fault repeats the operation until the claim's
        deadline, as for a batch. Raises ClaimLost, its own or the operation's.
        """
        ...

    def hold(self) -> None:
        """The runner has ended: begin no more write, since `hand_over` follows.

        Without it what was emitted last could be written a moment before it would ride along.
        Afterwards `emit` is a programmer error.
        """
        ...

    async def hand_over(self) -> Unwritten:
        """Stop writing and give out what is left, so that it can ride in another commit.

        A write in flight is awaited first. Afterwards `emit` is a programmer error.
        """
        ...


class OpenWriter(Protocol):
    """Makes the writer of a claim; leaving the context stops it without writing what is left."""

    def __call__(
        self, claim: Claim, deadline: Callable[[], float]
    ) -> AbstractAsyncContextManager[EventWriter]:
        """The writer of `claim`, while the context lasts.

        `deadline` says until when (monotonic seconds) the claim may be acted on; renewals move it.
        """
        ...


class ClaimLost(Exception):
    """The claim behind a write is not held any more: the attempt must end and write nothing.

    `why` is the name of the refusal (`domain.dispatch.Refusal`).
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
