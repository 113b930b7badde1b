"""The effect ledger: what a step planned to do, and what of it is done.

A step with tools is three kinds of commit. *Plan*: the assistant's message and one entry per call,
before any tool starts. *Result*: one per finished call. *Close*: the tool messages in call order.
After a crash an open plan is continued, never inferred again:

    done                    the result is kept
    planned                 the call is run
    started, no result      its `on_crash` policy decides: `retry`, `ask`, or `fail`
    suspended               it waits for its ticket; with a decision it is taken up again

A call starts only after its `started` mark was committed under the claim, so an owner that lost its
lease can finish a call it had begun, but cannot begin one.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from awaken.domain.record import Record


class CallStatus(StrEnum):
    """Where a call is."""

    planned = "planned"
    started = "started"
    suspended = "suspended"
    done = "done"


class StateWrite(Record):
    """A change a call made to the state, kept with its result until the step is closed."""

    key: str
    value: Any


class ToolResult(Record):
    """What came of a call.

    `content` is JSON; for a failed one it is `{"error": {code, message}}`.
    """

    succeeded: bool
    content: Any = None
    writes: tuple[StateWrite, ...] = ()

    @property
    def text(self) -> str:
        """The result as the text of its tool message."""
        if isinstance(self.content, str):
            return self.content
        return msgspec.json.encode(self.content).decode()


class PlannedCall(Record):
    """One call of a plan.

    `message_id` is the id its tool message will have. `begun` counts how often it was started;
    `started_by` is the attempt that did so last. `ticket_id` is the question it waits for, and
    `edited` the arguments an approver put in the place of the model's.
    """

    id: str
    name: str
    message_id: str
    arguments: Any = None
    status: CallStatus = CallStatus.planned
    begun: int = 0
    started_by: str | None = None
    result: ToolResult | None = None
    ticket_id: str | None = None
    edited: Any = None

    @property
    def effective(self) -> Any:
        """The arguments it is run with."""
        return self.arguments if self.edited is None else self.edited


class StepPlan(Record):
    """The calls of the step that is open, in the order the model made them."""

    step: int
    calls: tuple[PlannedCall, ...]

    def call(self, call_id: str) -> PlannedCall | None:
        """The call with that id."""
        return next((call for call in self.calls if call.id == call_id), None)

    def with_call(self, changed: PlannedCall) -> StepPlan:
        """The plan with one call changed."""
        calls = tuple(changed if call.id == changed.id else call for call in self.calls)
        return replace(self, calls=calls)

    @property
    def open_calls(self) -> tuple[PlannedCall, ...]:
        """Calls without a result."""
        return tuple(call for call in self.calls if call.result is None)


def started(plan: StepPlan, call_ids: tuple[str, ...], attempt_id: str) -> StepPlan:
    """The plan after these calls were begun by an attempt. Marking one twice changes nothing."""
    for call_id in call_ids:
        call = plan.call(call_id)
        if call is not None and call.result is None and call.started_by != attempt_id:
            plan = plan.with_call(
                replace(
                    call,
                    status=CallStatus.started,
                    started_by=attempt_id,
                    begun=call.begun + 1,
                )
            )
    return plan


def finished(plan: StepPlan, call_id: str, result: ToolResult) -> StepPlan | None:
    """The plan with the call's result; None when it has one already (a finished call is final)."""
    call = plan.call(call_id)
    if call is None or call.result is not None:
        return None
    return plan.with_call(replace(call, status=CallStatus.done, result=result))


def suspended(plan: StepPlan, call_id: str, ticket_id: str) -> StepPlan:
    """The plan with a call that waits for a ticket."""
    call = plan.call(call_id)
    assert call is not None, "only planned calls are suspended"
    # A suspended call has had no effect, so the attempt that takes it up again begins it afresh.
    waiting = replace(call, status=CallStatus.suspended, ticket_id=ticket_id, started_by=None)
    return plan.with_call(waiting)


def failed(code: str, message: str) -> ToolResult:
    """A result that tells the model what went wrong."""
    return ToolResult(succeeded=False, content={"error": {"code": code, "message": message}})


def arguments_hash(name: str, arguments: Any) -> str:
    """What a ticket is bound to: the call's name and its exact arguments."""
    canonical = msgspec.json.encode([name, arguments], order="sorted")
    return "sha256:" + hashlib.sha256(canonical).hexdigest()
