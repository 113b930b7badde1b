"""From an agent's name to its specification, and from a pinned specification to code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from awaken.domain.agent import AgentSpec
from awaken.ports.runner import Runner


class Resolver(Protocol):
    """The registry as the mailbox sees it."""

    def resolve(self, tenant: str, agent_id: str) -> tuple[str, AgentSpec]:
        """The current (resolution id, specification) of an agent.

        Raises:
            RequestError: `agent_not_found` (404), naming the agents there are.
        """
        ...

    def agents(self, tenant: str) -> Sequence[AgentSpec]:
        """All agents a client may start, by id."""
        ...

    def bind(self, spec: AgentSpec) -> Runner:
        """The runner for a *pinned* specification, its code found by name.

        Never anything newer (I12).

        Raises:
            Fault: not retryable: `agent_not_found`, `model_not_found` or `runner_not_found`.
        """
        ...
