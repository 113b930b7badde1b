"""What an agent is, as data: the part of it that is pinned with a run.

A specification holds what decides the agent's behaviour (instructions, model name, limits, tool
names and schemas, approval policy) and neither code nor credentials: those are bound by name at
activation. Its content hash is the `resolution_id` a run is pinned to (I12).

Unlike other records these are stored with every field written out: a release that changes a default
must not change what a run was pinned to. One that was stored without a field has its default.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec.structs import replace

from awaken.domain.record import Record


class Limits(Record, omit_defaults=False):
    """When a run is stopped; None means no limit.

    `timeout_seconds` counts active time, not waiting. `max_consecutive_errors` counts steps all of
    whose calls failed. `stop_on_tool` ends the run behind the step that called it. `loop_window`:
    the run ends when that many steps in a row make the same calls. Histories are cut to about
    `max_context_tokens`. An answer that hit the model's output limit is continued at most
    `max_continuations` times.
    """

    max_rounds: int | None = 16
    timeout_seconds: float | None = None
    max_total_tokens: int | None = None
    max_consecutive_errors: int | None = None
    stop_on_tool: str | None = None
    loop_window: int | None = None
    max_context_tokens: int | None = None
    max_continuations: int = 3


class Approval(Record, omit_defaults=False):
    """How a call is decided about.

    When nobody decides in `expires_seconds` (None: 7 days), `on_expiry` says what happens: the call
    is denied (`deny`), the run is stopped (`cancel`), or nothing: it waits for as long as it takes
    (`leave`). `quorum` people must allow it; one that denies it is enough.
    """

    on_expiry: str = "deny"
    expires_seconds: float | None = None
    quorum: int = 1


class ToolSpec(Record, omit_defaults=False):
    """A tool as the model sees it, and its policies.

    `approval`: a call waits until somebody allows it, as `approval_policy` says; if `approvers` are
    named, only they may decide. `frontend`: the client executes it, and its answer (which fits
    `response_schema`) is the result. `on_crash` says what becomes of a call that had begun and left
    no result when its worker died: `retry`, `ask` (the approvers too) or `fail`.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    approval: bool = False
    approvers: tuple[str, ...] = ()
    approval_policy: Approval = msgspec.field(default_factory=Approval)
    frontend: bool = False
    response_schema: dict[str, Any] | None = None
    on_crash: str = "fail"
    timeout_seconds: float | None = None


class AgentSpec(Record, omit_defaults=False):
    """An agent as it is stored.

    `runner` names the kind of runner that can execute it; `sequential` makes it run its tools one
    after the other.
    """

    agent_id: str
    description: str = ""
    instructions: str = ""
    model: str = ""
    runner: str = "loop"
    limits: Limits = msgspec.field(default_factory=Limits)
    tools: tuple[ToolSpec, ...] = ()
    sequential: bool = False
    settings: dict[str, Any] = {}


def with_client_tools(spec: AgentSpec, tools: tuple[ToolSpec, ...]) -> AgentSpec:
    """The agent with tools that a client brings; a name that the agent has stays the agent's."""
    taken = {tool.name for tool in spec.tools}
    return replace(spec, tools=(*spec.tools, *(tool for tool in tools if tool.name not in taken)))


def resolution_id(spec: AgentSpec) -> str:
    """The content hash of `spec`: equal specifications have equal ids, whenever and wherever."""
    # As the store will give it back: a limit written as 60 in code is stored and read as 60.0.
    stored = msgspec.convert(msgspec.to_builtins(spec), AgentSpec)
    canonical = msgspec.json.encode(stored, order="sorted")
    return "sha256:" + hashlib.sha256(canonical).hexdigest()
