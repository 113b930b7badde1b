"""The front door: an agent as a program writes it down."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

from awaken.domain.agent import AgentSpec, Limits, ToolSpec
from awaken.domain.state import StateKey
from awaken.foreign.find import MakeDeps, runner_of
from awaken.loop.runner import LoopRunner
from awaken.models.provider import ProviderModel
from awaken.models.provider_options import PROVIDERS
from awaken.models.retry import RetryingModel
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.model import Model
from awaken.ports.runner import Runner
from awaken.ports.tool import Tool
from awaken.registry.specs import AgentError, Code, MakeRunner, agent_spec, model_name


class Agent:
    """An agent that runs in our loop.

    Args:
        agent_id: its name for clients, 1 to 128 visible ASCII characters.
        model: `"provider:name"`, or an object that is a model.
        instructions: what the model is told before the conversation.
        description: one sentence for those who choose among agents.
        limits: when a run of it is stopped.
        tools: functions made tools by `@tool`, and front-end tools.
        state: keys that need a scope, a default or a reducer; others need no declaration.
        sequential: run its tools one after the other, in the order the model calls them.

    Raises:
        AgentError: something of it is unusable; the message says what.
    """

    def __init__(
        self,
        agent_id: str,
        *,
        model: str | Model,
        instructions: str = "",
        description: str = "",
        limits: Limits | None = None,
        tools: Sequence[Tool] = (),
        state: Sequence[StateKey] = (),
        sequential: bool = False,
    ) -> None:
        name = model if isinstance(model, str) else model_name(model, agent_id)
        self.spec: AgentSpec = agent_spec(
            agent_id,
            model=name,
            instructions=instructions,
            description=description,
            limits=limits,
            tools=tuple(_spec_of(tool, agent_id) for tool in tools),
            sequential=sequential,
        )
        self.tools: dict[str, Tool] = {tool.spec.name: tool for tool in tools}
        self.keys: dict[str, StateKey] = {key.name: key for key in state}
        self.models: dict[str, Model] = _models(model, name, agent_id)
        self.make_runner: MakeRunner = _make_loop

    @property
    def agent_id(self) -> str:
        """Its name for clients."""
        return self.spec.agent_id

    def __repr__(self) -> str:
        return f"Agent({self.agent_id!r}, model={self.spec.model!r})"


class ForeignAgent:
    """An agent that is executed by a runner of its own: anything behind `ports/runner.py`.

    Args:
        agent_id: its name for clients, 1 to 128 visible ASCII characters.
        runner: executes its runs, several at a time; or a function that makes it of the
            specification and the code of the process.
        description: one sentence for those who choose among agents.

    Raises:
        AgentError: something of it is unusable; the message says what.
    """

    def __init__(
        self, agent_id: str, *, runner: Runner | MakeRunner, description: str = ""
    ) -> None:
        self.spec: AgentSpec = agent_spec(
            agent_id, description=description, runner=f"custom:{agent_id}"
        )
        self.tools: dict[str, Tool] = {}
        self.keys: dict[str, StateKey] = {}
        self.models: dict[str, Model] = {}
        self.make_runner: MakeRunner = _maker(runner)

    @property
    def agent_id(self) -> str:
        """Its name for clients."""
        return self.spec.agent_id

    def __repr__(self) -> str:
        return f"ForeignAgent({self.agent_id!r})"


def foreign_agent(
    agent_id: str, thing: object, *, description: str = "", deps: MakeDeps | None = None
) -> ForeignAgent:
    """An agent that was written with something else, served as it is.

    Args:
        agent_id: its name for clients, 1 to 128 visible ASCII characters.
        thing: a `pydantic_ai.Agent`, or an async generator function that takes a `Conversation`.
        description: one sentence for those who choose among agents.
        deps: for a `pydantic_ai.Agent`: makes what its tools depend on from the `Conversation`.

    Raises:
        AgentError: `thing` is something else; the message names it.
    """
    try:
        make = runner_of(thing, deps)
    except TypeError as error:
        raise AgentError(f"agent {agent_id!r}: {error}") from error
    return ForeignAgent(
        agent_id, runner=lambda spec, code: make(code.clock, code.ids), description=description
    )


def _maker(runner: Runner | MakeRunner) -> MakeRunner:
    """What makes the runner: where one is given, that one again and again."""
    if not hasattr(runner, "run"):
        return runner
    made = cast(Runner, runner)
    return lambda spec, code: made


def _models(model: str | Model, name: str, agent_id: str) -> dict[str, Model]:
    """The model objects an agent brings along; one of a provider gets retries around it."""
    if isinstance(model, str):
        return _provided(name, agent_id)
    if isinstance(model, ProviderModel):
        return {name: RetryingModel(model, clock=SystemClock(), ids=SystemIds())}
    return {name: model}


def _provided(name: str, agent_id: str) -> dict[str, Model]:
    """The model of a provider; none when another agent must bring what is called `name`."""
    if name.partition(":")[0] not in PROVIDERS:
        return {}
    try:
        return {name: _provider(name)}
    except ValueError as error:
        raise AgentError(f"agent {agent_id!r}: {error}") from error


@functools.cache
def _provider(name: str) -> RetryingModel:
    """One model a name, however many agents use it: they share its connections."""
    return RetryingModel(ProviderModel(name), clock=SystemClock(), ids=SystemIds())


def _make_loop(spec: AgentSpec, code: Code) -> Runner:
    return LoopRunner(
        code.model(spec.model),
        code.clock,
        code.ids,
        tools=code.tools(spec.agent_id),
        keys=code.keys(spec.agent_id),
    )


def _spec_of(tool: object, agent_id: str) -> ToolSpec:
    """The specification of a tool; a bare function is told what it lacks."""
    spec = getattr(tool, "spec", None)
    if not isinstance(spec, ToolSpec):
        raise AgentError(
            f"agent {agent_id!r}: {tool!r} is not a tool; put @tool above its definition"
        )
    return spec
