"""What a running attempt may commit about its own run, besides its events.

Every call is one commit, fenced by the claim (I2), named by (attempt, step, kind) and answered from
the record when it is repeated. Events that were emitted before it ride in the same commit, in
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from awaken.domain.event import Event
from awaken.domain.ledger import PlannedCall, StepPlan, ToolResult
from awaken.domain.message import Message
from awaken.domain.outcome import Usage
from awaken.domain.record import Record
from awaken.domain.rule import ApprovalRule


class PlanCommit(Record):
    """The commit that begins a step with tools; nothing of it has an effect yet.

    `begin` names the calls that start at once: they are marked `started` in this commit.
    """

    step: int
    message: Message
    calls: tuple[PlannedCall, ...]
    begin: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    usage: Usage = Usage()


class CloseCommit(Record):
    """The commit that ends a step with tools: its tool messages and state."""

    step: int
    messages: tuple[Message, ...]
    events: tuple[Event, ...] = ()
    run_state: dict[str, Any] | None = None
    thread_state: dict[str, Any] | None = None


class Steps(Protocol):
    """The effect ledger of a run, as the attempt that holds it sees it.

    Every method raises ClaimLost when the claim is gone.
    """

    @property
    def checkpoint_seq(self) -> int:
        """The log's position behind the run's last plan or close: there the open step begins."""
        ...

    async def plan(self, commit: PlanCommit) -> StepPlan:
        """Store the plan of a step and the assistant message that made it."""
        ...

    async def rules(self) -> Sequence[ApprovalRule]:
        """The approval rules of the run's tenant, as they are now."""
        ...

    async def start(self, step: int, call_ids: Sequence[str]) -> None:
        """Mark calls as begun; answered before they may run."""
        ...

    async def result(self, step: int, call_id: str, result: ToolResult) -> None:
        """Store the result of a call and tell readers."""
        ...

    async def close(self, commit: CloseCommit) -> tuple[Message, ...]:
        """End the step: commit its tool messages, and count the progress of the run.

        Returns the messages that were sent to steer the run meanwhile; the next step follows them.
        """
        ...
