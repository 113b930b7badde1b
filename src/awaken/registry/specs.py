"""From an agent in code to its specification.

Names are the joint between the two: a specification names its model and its kind of runner, the
agent in code says what stands behind these names. Two rules keep that honest: a name stands for one
thing in a process, and for the same thing in the next process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from awaken.domain.agent import AgentSpec, Limits, ToolSpec
from awaken.domain.ids import is_client_id
from awaken.domain.state import StateKey
from awaken.ports.clock import Clock, Ids
from awaken.ports.model import Model
from awaken.ports.runner import Runner
from awaken.ports.tool import Tool

_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+:[\x21-\x7e]+")
MAX_MODEL_NAME: Final = 200


class AgentError(ValueError):
    """An agent cannot be served as it is written; the message names it and says why."""


class Code(Protocol):
    """What a runner can be made of."""

    @property
    def clock(self) -> Clock: ...

    @property
    def ids(self) -> Ids: ...

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            Fault: `model_not_found`, not retryable.
        """
        ...

    def tools(self, agent_id: str) -> Mapping[str, Tool]:
        """The tools the agent has in code, by name."""
        ...

    def keys(self, agent_id: str) -> Mapping[str, StateKey]:
        """The state the agent declares, by name."""
        ...


MakeRunner = Callable[[AgentSpec, Code], Runner]
"""The code behind a runner's name; raises what `Code` raises."""


class AgentInCode(Protocol):
    """An agent as a program holds it."""

    @property
    def spec(self) -> AgentSpec:
        """Its specification, as `agent_spec` makes it."""
        ...

    @property
    def models(self) -> Mapping[str, Model]:
        """The model objects it brings along, by the names that specifications use."""
        ...

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The code of its tools, by name."""
        ...

    @property
    def keys(self) -> Mapping[str, StateKey]:
        """The state it declares, by name."""
        ...

    @property
    def make_runner(self) -> MakeRunner:
        """What stands behind `spec.runner`."""
        ...


def agent_spec(
    agent_id: str,
    *,
    model: str | None = None,
    instructions: str = "",
    description: str = "",
    limits: Limits | None = None,
    runner: str = "loop",
    tools: tuple[ToolSpec, ...] = (),
    sequential: bool = False,
) -> AgentSpec:
    """The specification of an agent, every field of the type it must have.

    `model` is None for a runner that is not told its model.

    Raises:
        AgentError: the id is not a client id, the model's name is unusable, or a field has another
            type.
    """
    spec = AgentSpec(
        agent_id=agent_id,
        description=description,
        instructions=instructions,
        model="" if model is None else model,
        runner=runner,
        limits=Limits() if limits is None else limits,
        tools=tools,
        sequential=sequential,
    )
    try:
        spec = msgspec.convert(msgspec.to_builtins(spec), AgentSpec)
    except (TypeError, msgspec.ValidationError) as error:
        raise AgentError(f"agent {agent_id!r}: {error}") from error
    if not is_client_id(agent_id):
        raise AgentError(f"agent {agent_id!r}: an id is 1 to 128 visible ASCII characters")
    doubled = sorted(name for name, count in Counter(t.name for t in tools).items() if count > 1)
    if doubled:
        raise AgentError(f"agent {agent_id!r}: there are two tools named {doubled[0]!r}")
    if model is not None and not _is_model_name(model):
        raise AgentError(f"agent {agent_id!r}: {_unusable(model)}")
    return spec


def model_name(model: Model, agent_id: str) -> str:
    """The name by which specifications know a model: its `name`, else one made of the agent's id.

    Raises:
        AgentError: it is no model, or has a name that cannot be one.
    """
    if not callable(getattr(model, "stream", None)):
        raise AgentError(
            f"agent {agent_id!r}: {model!r} is neither a model's name nor an object with `stream`"
        )
    name = getattr(model, "name", None)
    if name is None:
        return f"custom:{agent_id}"
    if not isinstance(name, str) or not _is_model_name(name):
        raise AgentError(f"agent {agent_id!r}: {_unusable(name)}")
    return name


def _is_model_name(name: str) -> bool:
    return len(name) <= MAX_MODEL_NAME and _MODEL_NAME.fullmatch(name) is not None


def _unusable(name: object) -> str:
    return f"the model name {name!r} is not of the form 'provider:name'"
