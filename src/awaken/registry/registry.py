"""The agents of a process, behind `ports/resolver.py`.

All is decided when it is made: what cannot be served is an `AgentError` at start, not at the first
request. After that nothing changes, so a specification that was pinned earlier, perhaps by an older
release, either finds the code it names or fails its run (I12).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from awaken.domain.agent import AgentSpec, resolution_id
from awaken.domain.ids import is_client_id
from awaken.domain.state import StateKey
from awaken.errors import Fault, RequestError
from awaken.ports.clock import Clock, Ids, SystemClock, SystemIds
from awaken.ports.model import Model
from awaken.ports.runner import Runner
from awaken.ports.tool import Tool
from awaken.registry.specs import AgentError, AgentInCode, Code, MakeRunner

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_AGENT: Final = "default"
"""Who answers when nobody is named; an agent that is the only one is meant by it too."""

MAX_NAMED: Final = 20
"""How many names an error message lists."""


class Registry:
    """The resolver over agents in code; all tenants see the same ones.

    Args:
        agents: the agents to serve, each id once.
        clock: given to the runners that are made.
        ids: likewise.

    Raises:
        AgentError: two agents have one id, a name stands for two things, or a model is not known.
    """

    def __init__(
        self,
        agents: Iterable[AgentInCode],
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.ids = ids or SystemIds()
        self._resolved: dict[str, tuple[str, AgentSpec]] = {}
        self._models: dict[str, Model] = {}
        self._runners: dict[str, MakeRunner] = {}
        self._tools: dict[str, Mapping[str, Tool]] = {}
        self._keys: dict[str, Mapping[str, StateKey]] = {}
        for agent in agents:
            self._add(agent)
        for _, spec in self._resolved.values():
            self._check_model(spec)

    def resolve(self, tenant: str, agent_id: str) -> tuple[str, AgentSpec]:
        found = self._resolved.get(agent_id)
        if found is None and agent_id == DEFAULT_AGENT and len(self._resolved) == 1:
            found = next(iter(self._resolved.values()))
        if found is None:
            raise self._unknown(agent_id)
        return found

    def agents(self, tenant: str) -> Sequence[AgentSpec]:
        return [spec for _, (_, spec) in sorted(self._resolved.items())]

    def bind(self, spec: AgentSpec, code: Code | None = None) -> Runner:
        """As the port has it; `code` gives the runner its models and tools, in place of this."""
        if spec.agent_id not in self._resolved:
            raise _gone("agent", spec.agent_id)
        make_runner = self._runners.get(spec.runner)
        if make_runner is None:
            raise _gone("runner", spec.runner)
        return make_runner(spec, code or self)

    def model(self, name: str) -> Model:
        found = self._models.get(name)
        if found is None:
            raise _gone("model", name)
        return found

    async def aclose(self) -> None:
        """Close the models that can be closed. One that fails to is logged, and stops no other."""
        for model in {id(model): model for model in self._models.values()}.values():
            close = getattr(model, "aclose", None)
            if close is None:
                continue
            try:
                await close()
            except Exception:  # whatever the user's model raises
                log.warning("%r could not be closed", model, exc_info=True)

    def tools(self, agent_id: str) -> Mapping[str, Tool]:
        return self._tools.get(agent_id, {})

    def keys(self, agent_id: str) -> Mapping[str, StateKey]:
        return self._keys.get(agent_id, {})

    def _add(self, agent: AgentInCode) -> None:
        spec = agent.spec
        if spec.agent_id in self._resolved:
            raise AgentError(f"agent {spec.agent_id!r}: there are two agents with this id")
        self._resolved[spec.agent_id] = (resolution_id(spec), spec)
        self._tools[spec.agent_id] = agent.tools
        self._keys[spec.agent_id] = agent.keys
        _claim(self._runners, spec.runner, agent.make_runner, f"agent {spec.agent_id!r}: runner")
        for name, model in agent.models.items():
            _claim(self._models, name, model, f"agent {spec.agent_id!r}: model")

    def _check_model(self, spec: AgentSpec) -> None:
        if spec.model and spec.model not in self._models:
            hint = _hint(spec.model, self._models) if self._models else _PROVIDERS
            raise AgentError(f"agent {spec.agent_id!r}: there is no model {spec.model!r}{hint}")

    def _unknown(self, agent_id: str) -> RequestError:
        return RequestError(
            "agent_not_found",
            f"no agent with the id {agent_id[:128]!r}{_hint(agent_id, self._resolved)}",
            status=404,
            details={"agent_id": agent_id[:128], "available": sorted(self._resolved)[:MAX_NAMED]},
        )


def _claim(taken: dict[str, T], name: str, thing: T, place: str) -> None:
    """Make `name` stand for `thing`, and for nothing else."""
    if taken.setdefault(name, thing) is not thing:
        raise AgentError(f"{place} {name!r} is already the name of another one")


def _gone(kind: str, name: str) -> Fault:
    """A pinned specification names what this process does not have."""
    return Fault(
        f"{kind}_not_found",
        f"the run needs the {kind} {name!r}, which is not served here",
        retryable=False,
        public=True,
    )


_PROVIDERS: Final = "; one of a provider is written as in 'openai:gpt-5-mini' (docs/models.md)"


def _hint(name: str, known: Iterable[str]) -> str:
    """The names there are, the closest one first asked about."""
    names = sorted(known)
    if not names:
        return "; there are none"
    close = difflib.get_close_matches(name, names, n=1) if is_client_id(name) else []
    question = f", did you mean {close[0]!r}?" if close else ";"
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{question} available: {', '.join(names[:MAX_NAMED])}{more}"
