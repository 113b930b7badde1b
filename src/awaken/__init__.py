"""Awaken serves AI agents: durable runs, streams that resume, every agent protocol.

A name of the public API is imported when it is first used, so that `import awaken` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from awaken.agent import Agent, ForeignAgent, foreign_agent
    from awaken.domain.agent import Approval, Limits
    from awaken.domain.message import ToolCall
    from awaken.domain.state import StateKey
    from awaken.errors import Fault
    from awaken.foreign.conversation import Conversation
    from awaken.models.provider import ProviderModel
    from awaken.models.scripted import ScriptedModel
    from awaken.ports.model import Model, ModelRequest
    from awaken.ports.tool import ToolContext
    from awaken.registry.specs import AgentError
    from awaken.script import RunFailed, run
    from awaken.tools import FrontendTool, ToolError, tool

    __version__: str

__all__ = [
    "Agent",
    "AgentError",
    "Approval",
    "Conversation",
    "Fault",
    "ForeignAgent",
    "FrontendTool",
    "Limits",
    "Model",
    "ModelRequest",
    "ProviderModel",
    "RunFailed",
    "ScriptedModel",
    "StateKey",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "__version__",
    "foreign_agent",
    "run",
    "tool",
]

_HOMES: Final = {
    "Agent": "awaken.agent",
    "AgentError": "awaken.registry.specs",
    "Approval": "awaken.domain.agent",
    "Conversation": "awaken.foreign.conversation",
    "Fault": "awaken.errors",
    "ForeignAgent": "awaken.agent",
    "FrontendTool": "awaken.tools",
    "Limits": "awaken.domain.agent",
    "Model": "awaken.ports.model",
    "ModelRequest": "awaken.ports.model",
    "ProviderModel": "awaken.models.provider",
    "RunFailed": "awaken.script",
    "ScriptedModel": "awaken.models.scripted",
    "StateKey": "awaken.domain.state",
    "ToolCall": "awaken.domain.message",
    "ToolContext": "awaken.ports.tool",
    "ToolError": "awaken.tools",
    "foreign_agent": "awaken.agent",
    "run": "awaken.script",
    "tool": "awaken.tools",
}

if not TYPE_CHECKING:  # a checker would otherwise believe that every name exists

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = _version()
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import version

    return version("awaken-server")
