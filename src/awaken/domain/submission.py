"""What every protocol turns a request into, and what the mailbox answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from awaken.domain.agent import ToolSpec
from awaken.domain.delivery import DeliveryMode
from awaken.domain.dispatch import Mode
from awaken.domain.message import Message
from awaken.domain.record import Record
from awaken.domain.run import OnDisconnect, Origin, RunStatus


class OnBusy(StrEnum):
    """What a submission does to a thread that is busy.

    interrupt: takes the thread: the active run is asked to stop, queued foreground runs are
    superseded.
    enqueue: waits its turn.
    steer: is read by the active run at its next step or its natural end.
    rollback: as interrupt, and the messages of the run that is stopped are hidden.
    reject: is refused with `thread_busy`, naming the run that is in the way.
    """

    interrupt = "interrupt"
    enqueue = "enqueue"
    steer = "steer"
    rollback = "rollback"
    reject = "reject"


class IdempotencyKey(Record):
    """A client's name for one request: `fingerprint` is the hash of its body.

    The same key with the same body on the same route is the same request.
    """

    route: str
    key: str
    fingerprint: str


class Branch(Record):
    """Where a submission goes back to in its thread.

    regenerate: the message `message_id` is answered anew, by a run without messages of its own.
    edit: the submission's message takes the place of `message_id`.
    What follows is hidden (`mailbox/branch.py`). `message_id` is the id that the client knows.
    """

    kind: Literal["regenerate", "edit"]
    message_id: str


class Submission(Record):
    """A request for one run, checked by its protocol and not yet accepted.

    `agent_id` None means the thread's previous agent, else `default`. `thread_id` None means a new
    thread. `available_at` (epoch ms) delays a background run. `run_id` is minted by us, never a
    client's. `actor` is who asks for it. `delivery` says more about how a message that steers is
    delivered. `tools` are the client's own, for this run: they are pinned with it, and the client
    executes them. `state` is merged into the state of the thread, member by member.
    """

    tenant: str
    run_id: str
    messages: tuple[Message, ...]
    thread_id: str | None = None
    agent_id: str | None = None
    mode: Mode = Mode.foreground
    on_busy: OnBusy = OnBusy.interrupt
    delivery: DeliveryMode | None = None
    idempotency: IdempotencyKey | None = None
    priority: int | None = None
    available_at: int | None = None
    dedupe_key: str | None = None
    on_disconnect: OnDisconnect = OnDisconnect.keep_going
    actor: str | None = None
    origin: Origin = Origin.user
    adapter: str = "native"
    client_run_id: str | None = None
    transport_request_id: str | None = None
    correlation_id: str | None = None
    metadata: dict[str, Any] = {}
    branch: Branch | None = None
    known_stands: bool = False
    tools: tuple[ToolSpec, ...] = ()
    state: dict[str, Any] = {}


class Accepted(Record):
    """The submission is durable. A stream that starts behind `cursor` sees all of its run.

    `status` is `running` when it was claimed in the same commit, else `created`; `position` is its
    place among what waits (1 is next), None when it does not wait. For a message that steers,
    `run_id` is the run that is to read it, and `fallback_run_id` the one that starts if that one
    ends first.
    """

    run_id: str
    dispatch_id: str
    thread_id: str
    cursor: int
    status: RunStatus
    position: int | None = None
    fallback_run_id: str | None = None


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
