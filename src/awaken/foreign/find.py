"""Which runner an agent that is not ours needs. Loads a framework's adapter only for its agents."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

from awaken.foreign.conversation import Conversation
from awaken.foreign.generator import GeneratorRunner, check_function
from awaken.ports.clock import Clock, Ids
from awaken.ports.runner import Runner

if TYPE_CHECKING:
    from pydantic_ai.agent import AbstractAgent

MakeDeps = Callable[[Conversation], object]
"""Makes what the tools of a `pydantic_ai.Agent` depend on, for one attempt."""

Make = Callable[[Clock, Ids], Runner]


def is_pydantic_agent(thing: object) -> TypeGuard[AbstractAgent[Any, Any]]:
    """Whether `thing` is an agent of pydantic-ai; loads nothing."""
    loaded = sys.modules.get("pydantic_ai.agent")
    return loaded is not None and isinstance(thing, loaded.AbstractAgent)


def runner_of(thing: object, deps: MakeDeps | None = None) -> Make:
    """What makes the runner of `thing`.

    Raises:
        TypeError: it is nothing that can be served, or takes no `deps`.
    """
    if is_pydantic_agent(thing):
        from awaken.foreign.pydantic_ai import PydanticRunner

        return lambda clock, ids: PydanticRunner(thing, clock, ids, deps=deps)
    if not callable(thing):
        raise TypeError(
            f"{type(thing).__name__} cannot be served: give a pydantic_ai.Agent or an async "
            "generator function that takes the conversation"
        )
    check_function(thing)
    if deps is not None:
        raise TypeError("deps is for a pydantic_ai.Agent; a generator function makes its own")
    return lambda clock, ids: GeneratorRunner(thing, ids)
