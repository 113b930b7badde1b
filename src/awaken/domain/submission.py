"""What every protocol turns a request into, and what the mailbox answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from awaken.domain.dispatch import Mode
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.run import OnDisconnect, Origin, RunStatus


class OnBusy(StrEnum):
    """What a submission does to a thread that is busy.

    interrupt: takes the thread: the active run is asked to stop, queued foreground runs are
    superseded.
    enqueue: waits its turn.
    reject: is refused with `thread_busy`, naming the run that is in the way.
    """

    interrupt = "interrupt"
    enqueue = "enqueue"
    reject = "reject"


class Submission(Record):
    """A request for one run, checked by its protocol and not yet accepted.

    `agent_id` None means the thread's previous agent, else `default`. `thread_id` None means a new
    thread. `available_at` (epoch ms) delays a background run. `run_id` is minted by us, never a
    client's.
    """

    tenant: str
    run_id: str
    messages: tuple[Message, ...]
    thread_id: str | None = None
    agent_id: str | None = None
    mode: Mode = Mode.foreground
    on_busy: OnBusy = OnBusy.interrupt
    priority: int | None = None
    available_at: int | None = None
    dedupe_key: str | None = None
    on_disconnect: OnDisconnect = OnDisconnect.keep_going
    origin: Origin = Origin.user
    adapter: str = "native"
    client_run_id: str | None = None
    transport_request_id: str | None = None
    correlation_id: str | None = None
    metadata: dict[str, Any] = {}


class Accepted(Record):
    """The submission is durable. A stream that starts behind `cursor` sees all of its run.

    `status` is `running` when it was claimed in the same commit, else `created`; `position` is its
    place among what waits (1 is next), None when it does not wait.
    """

    run_id: str
    dispatch_id: str
    thread_id: str
    cursor: int
    status: RunStatus
    position: int | None = None


class Stop(StrEnum):
    """What a stop came to."""

    requested = "cancel_requested"
    nothing_to_stop = "nothing_to_stop"
    too_late = "already_finished"


class Explanation(Record):
    """Why a run is where it is, for people.

    `next_step` says what happens next, `next_at` when (ms).
    """

    run_id: str
    thread_id: str
    status: RunStatus
    summary: str
    next_step: str
    next_at: int | None = None
    waits_for: tuple[str, ...] = ()
    attempts: int = 0
    expiries: int = 0
    activation: int = 0
    last_error: str | None = None
    lease_holder: str | None = None
    lease_until: int | None = None
    dispatch_id: str | None = None
    dispatch_state: str | None = None
    position: int | None = None
    blocked_by_run_id: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
