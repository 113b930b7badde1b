"""How an activation of a run ended: the `termination` of `run_finish` and of the run record."""

from __future__ import annotations

from awaken.domain.record import Record


class NaturalEnd(Record, tag="natural_end"):
    """The agent had nothing more to say."""


class BehaviorRequested(Record, tag="behavior_requested"):
    """A tool or hook asked the run to end."""


class Stopped(Record, tag="stopped"):
    """A stop condition was met; `code` names it (`max_rounds`, `timeout`, …)."""

    code: str
    detail: str | None = None


class Cancelled(Record, tag="cancelled"):
    """Someone stopped the run: `by` is `user`, `system`, or an actor's name."""

    by: str
    reason: str | None = None


class Superseded(Record, tag="superseded"):
    """A newer submission took the thread; `by_run_id` is where the conversation goes on."""

    by_run_id: str


class Blocked(Record, tag="blocked"):
    """A policy refused to go on."""

    reason: str


class Errored(Record, tag="error"):
    """The run failed for good. `message` is safe for clients."""

    code: str
    message: str


class SuspendedEnd(Record, tag="suspended"):
    """Not final: the run waits, and a later activation goes on."""


FinalTermination = (
    NaturalEnd | BehaviorRequested | Stopped | Cancelled | Superseded | Blocked | Errored
)
Termination = FinalTermination | SuspendedEnd
