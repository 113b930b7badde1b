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
