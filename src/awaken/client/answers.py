"""What the server answers, as far as the client hands it on: plain JSON objects, typed.

The keys are those of `protocols/native/wire.py`. They are plain so that a client goes on working
with a server that is newer than it.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Accepted(TypedDict):
    """A run that was accepted; a stream behind `cursor` shows all of it."""

    run_id: str
    dispatch_id: str
    thread_id: str
    status: Literal["created", "running", "waiting", "done"]
    position: int | None
    cursor: int
    fallback_run_id: str | None


class Decision(TypedDict):
    """How a ticket was answered."""

    decision_id: str
    action: str
    payload: Any
    by: str | None
    decided_at: int


class Ticket(TypedDict):
    """A question of a run; `resume_mode` says what the answer is used for."""

    ticket_id: str
    thread_id: str
    run_id: str
    tool_call_id: str
    tool_name: str
    arguments: Any
    arguments_hash: str
    reason: str
    resume_mode: str
    message: str | None
    response_schema: dict[str, Any] | None
    status: str
    opened_at: int
    expires_at: int | None
    on_expiry: str
    quorum: int
    approved_by: list[str]
    closed_at: int | None
    decision: Decision | None


class Decided(TypedDict):
    """The ticket as it is now, and whether its run goes on."""

    ticket: Ticket
    resumed: bool


class Waiting(TypedDict):
    """Why a run waits."""

    reason: str
    since: int
    ticket_ids: list[str]
    tickets: list[Ticket]


class Result(TypedDict):
    """The final text."""

    response: str


class Usage(TypedDict):
    """Tokens."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Run(TypedDict):
    """A run as it is now; `termination` and `result` come with its end."""

    run_id: str
    thread_id: str
    agent_id: str
    status: Literal["created", "running", "waiting", "done"]
    waiting: Waiting | None
    termination: dict[str, Any] | None
    result: Result | None
    parent_run_id: str | None
    retry_of: str | None
    started_by: str | None
    client_run_id: str | None
    dispatch_id: str | None
    resolution_id: str
    origin: str
    adapter: str
    on_disconnect: str
    activation: int
    steps: int
    usage: Usage
    active_ms: int
    input_message_seqs: list[int]
    output_message_seqs: list[int]
    metadata: dict[str, Any]
    created_at: int
    started_at: int | None
    finished_at: int | None
    updated_at: int


class Message(TypedDict):
    """A committed message; `message_seq` is its place in the thread."""

    id: str
    message_id: str
    message_seq: int
    thread_id: str
    run_id: str | None
    role: Literal["system", "user", "assistant", "tool"]
    content: list[dict[str, Any]]
    tool_calls: list[dict[str, Any]]
    tool_call_id: str | None
    visibility: Literal["all", "internal", "replaced"]
    interrupted: bool
    client_id: str | None
    metadata: dict[str, Any]
    created_at: int
    replaced_by: str | None


class Agent(TypedDict):
    """An agent that can be started."""

    agent_id: str
    description: str
    model: str
    tools: list[str]


class Thread(TypedDict):
    """A thread; `custom` is its owner's own."""

    thread_id: str
    title: str | None
    resource_id: str | None
    parent_thread_id: str | None
    agent_id: str | None
    latest_run_id: str | None
    custom: dict[str, Any]
    created_at: int
    updated_at: int


class Explanation(TypedDict):
    """Why a run is where it is, what happens next, and when."""

    run_id: str
    thread_id: str
    status: str
    summary: str
    next_step: str
    next_at: int | None
    waits_for: list[str]
    attempts: int
    expiries: int
    activation: int
    last_error: str | None
    lease_holder: str | None
    lease_until: int | None
    dispatch_id: str | None
    dispatch_state: str | None
    position: int | None
    blocked_by_run_id: str | None
    tool_calls: list[dict[str, Any]]


class DeadLetter(TypedDict):
    """A dispatch that was given up; `retried_by` is the run that has taken its place."""

    dispatch_id: str
    run_id: str
    thread_id: str
    agent_id: str
    reason: str | None
    last_error: str | None
    attempt: int
    expiries: int
    mode: str
    created_at: int
    finished_at: int
    retried_by: str | None


class SystemInfo(TypedDict):
    """What is running, since when."""

    name: str
    version: str
    worker_id: str
    uptime_seconds: int
    draining: bool


class Finding(TypedDict):
    """What one check has found; `advice` says what to do, if anything."""

    check: str
    status: Literal["ok", "warning", "problem"]
    message: str
    advice: str | None
    details: dict[str, Any]


class Examination(TypedDict):
    """All findings, and the worst status among them."""

    status: Literal["ok", "warning", "problem"]
    findings: list[Finding]
