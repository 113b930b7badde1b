"""The run: one user intent, the truth about what became of it.

    created --start--> running --suspend--> waiting --start--> running
    created, running, waiting --finish--> done

Finished is final (I3): every transition of a done run is refused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from awaken.domain.ledger import StepPlan
from awaken.domain.outcome import Usage
from awaken.domain.record import Record
from awaken.domain.termination import FinalTermination
from awaken.domain.ticket import WaitingReason


class RunStatus(StrEnum):
    """Where a run is."""

    created = "created"
    running = "running"
    waiting = "waiting"
    done = "done"


class Origin(StrEnum):
    """Who wanted the run."""

    user = "user"
    a2a = "a2a"
    mcp = "mcp"
    acp = "acp"
    subagent = "subagent"
    internal = "internal"
    schedule = "schedule"


class OnDisconnect(StrEnum):
    """What happens to a run when its last reader is gone for 10 s."""

    keep_going = "continue"
    cancel = "cancel"


class Waiting(Record):
    """Why a waiting run waits."""

    reason: WaitingReason
    since: int
    ticket_ids: tuple[str, ...] = ()


class RunOutcome(Record):
    """How a run ended, with its final text. `internal_error` is for those who may see internals."""

    termination: FinalTermination
    text: str | None = None
    internal_error: str | None = None


class MessageRanges(Record):
    """Messages of the thread that belong to a run, by number, never bodies.

    Kept as `(first, last)` ranges, so that a run of a thousand steps has a short record.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def seqs(self) -> tuple[int, ...]:
        """The numbers, one by one."""
        return tuple(seq for first, last in self.ranges for seq in range(first, last + 1))

    def with_seqs(self, *seqs: int) -> MessageRanges:
        """These messages too; `seqs` are behind all that are there, in order."""
        ranges = list(self.ranges)
        for seq in seqs:
            if ranges and ranges[-1][1] == seq - 1:
                ranges[-1] = (ranges[-1][0], seq)
            else:
                ranges.append((seq, seq))
        return MessageRanges(ranges=tuple(ranges))


class Run(Record):
    """One user intent.

    `checkpoint_seq` is the log position of the run's last plan or close: what follows it belongs to
    the step that is open. `activation` counts starts that were not retries. `active_ms` is the time
    spent executing; waiting does not count. `retry_of` names the failed run that this one repeats.
    `answers` are the messages that it answers anew: they are that run's input, and stay it.
    `started_by` is the actor that asked for it. `client_run_id` is a client's own name for it,
    echoed only. `plan` is the effect ledger of the step that is open, if that step has tools.
    """

    tenant: str
    run_id: str
    thread_id: str
    agent_id: str
    resolution_id: str
    created_at: int
    updated_at: int
    origin: Origin = Origin.user
    adapter: str = "native"
    parent_run_id: str | None = None
    retry_of: str | None = None
    started_by: str | None = None
    client_run_id: str | None = None
    status: RunStatus = RunStatus.created
    waiting: Waiting | None = None
    outcome: RunOutcome | None = None
    input: MessageRanges = msgspec.field(default_factory=MessageRanges)
    output: MessageRanges = msgspec.field(default_factory=MessageRanges)
    answers: MessageRanges = msgspec.field(default_factory=MessageRanges)
    state: dict[str, Any] = {}
    plan: StepPlan | None = None
    steps: int = 0
    usage: Usage = msgspec.field(default_factory=Usage)
    active_ms: int = 0
    activation: int = 0
    checkpoint_seq: int = 0
    dispatch_id: str | None = None
    on_disconnect: OnDisconnect = OnDisconnect.keep_going
    transport_request_id: str | None = None
    correlation_id: str | None = None
    metadata: dict[str, Any] = {}
    started_at: int | None = None
    finished_at: int | None = None


TRANSITIONS: Final[dict[tuple[RunStatus, str], RunStatus]] = {
    (RunStatus.created, "start"): RunStatus.running,
    (RunStatus.running, "start"): RunStatus.running,
    (RunStatus.waiting, "start"): RunStatus.running,
    (RunStatus.running, "suspend"): RunStatus.waiting,
    (RunStatus.created, "finish"): RunStatus.done,
    (RunStatus.running, "finish"): RunStatus.done,
    (RunStatus.waiting, "finish"): RunStatus.done,
}
"""All legal transitions; whatever is not here is refused."""


class IllegalTransition(AssertionError):
    """A transition that is not in `TRANSITIONS` was asked for: a programmer error."""


def _move(run: Run, verb: str) -> RunStatus:
    target = TRANSITIONS.get((run.status, verb))
    if target is None:
        raise IllegalTransition(f"run {run.run_id}: {verb} is not possible when {run.status}")
    return target


def start(run: Run, now: int, *, retry: bool) -> Run:
    """The run claimed: running, in a new activation unless `retry`."""
    return replace(
        run,
        status=_move(run, "start"),
        waiting=None,
        activation=run.activation + (0 if retry else 1),
        started_at=run.started_at if run.started_at is not None else now,
        updated_at=now,
    )


def suspend(run: Run, waiting: Waiting, now: int) -> Run:
    """The run waiting, holding nothing."""
    return replace(run, status=_move(run, "suspend"), waiting=waiting, updated_at=now)


def finish(run: Run, outcome: RunOutcome, now: int) -> Run:
    """The run done."""
    return replace(
        run,
        status=_move(run, "finish"),
        waiting=None,
        outcome=outcome,
        finished_at=now,
        updated_at=now,
    )
