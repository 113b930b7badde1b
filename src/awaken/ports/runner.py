"""The thin waist: the mailbox decides *whether* a run may go on, a runner decides *how* it does.

Anything that turns an activation into events and an outcome can be served.
"""

from __future__ import annotations

from typing import Any, Protocol

from awaken.domain.agent import AgentSpec
from awaken.domain.fold import Partial
from awaken.domain.message import StoredMessage
from awaken.domain.outcome import Outcome
from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.domain.ticket import Ticket
from awaken.leftovers import CANCEL_GRACE_SECONDS
from awaken.ports.boundary import Steps
from awaken.ports.events import EventSink


class Capabilities(Record):
    """What a runner can do. What it cannot, the mailbox does not ask of it."""

    steerable: bool = False
    resumable: bool = False
    checkpoints: bool = False


class Activation(Record):
    """All that one attempt starts from.

    `messages` is the history the agent may see, its input included. `partial` is what earlier
    attempts of this activation had published of the open step: the runner goes on behind it.
    `attempt` counts the failures before this one since the last completed step. A stop waits
    `cancel_grace_seconds` for code that does not end.
    """

    run: Run
    spec: AgentSpec
    messages: tuple[StoredMessage, ...]
    partial: Partial
    dispatch_id: str
    attempt_id: str
    attempt: int
    tickets: tuple[Ticket, ...] = ()
    thread_state: dict[str, Any] = {}
    cancel_grace_seconds: float = CANCEL_GRACE_SECONDS


class Runner(Protocol):
    """Executes activations of the agents it was made for."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Outcome:
        """Execute `activation`, telling `sink` what happens, and say what came of it.

        `steps` commits what must survive the attempt; a runner without checkpoints leaves it alone.

        Cancellation of the surrounding scope must be let through: a runner that does not is left
        behind after the grace, and from then on each use of `sink` and `steps` raises ClaimLost. A
        raised `Fault` becomes Retry or Failed by its `retryable`; any other exception is
        Failed(`internal`).
        """
        ...
