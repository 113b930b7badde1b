"""The demo agents: deterministic, without a key, served when no module is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from awaken.agent import Agent
from awaken.demo.office import calculate, get_weather, office_agents
from awaken.demo.stories import story_agents
from awaken.ports.clock import Clock

_REAL_MODELS: Final = {
    "OPENAI_API_KEY": "openai:gpt-5-mini",
    "ANTHROPIC_API_KEY": "anthropic:claude-haiku-4-5",
}


def make_agents(clock: Clock | None = None, data_dir: Path | None = None) -> list[Agent]:
    """All demo agents.

    Args:
        clock: what they wait by.
        data_dir: where `worker` keeps `effects.log`; the working directory without one.
    """
    return [
        *story_agents(clock),
        *office_agents(clock, data_dir or Path()),
        *real_agents(),
    ]


def real_agents() -> list[Agent]:
    """`chat`, on a real model, when the environment has a key for one."""
    for variable, model in _REAL_MODELS.items():
        if os.environ.get(variable):
            return [
                Agent(
                    "chat",
                    model=model,
                    instructions="You are a helpful assistant. Be brief.",
                    description=f"Talks to {model}.",
                    tools=[get_weather, calculate],
                )
            ]
    return []


agents = make_agents()
