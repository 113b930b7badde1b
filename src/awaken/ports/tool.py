"""A tool as the loop sees it: a name and a schema for the model, and code to call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from awaken.domain.agent import ToolSpec
from awaken.domain.state import StateKey


class ToolState(Protocol):
    """The state of run and thread, as a call sees and changes it."""

    def get(self, key: str | StateKey, default: Any = None) -> Any:
        """The value of a key, the call's own writes included; else the key's default."""
        ...

    def set(self, key: str | StateKey, value: Any) -> None:
        """Write a JSON encodable value.

        It is kept with the call's result, and is seen by others when the step closes.
        """
        ...


class ToolContext(Protocol):
    """What a tool may know and do while it runs.

    Everything it emits is fenced by the claim (I2).
    """

    @property
    def call_id(self) -> str:
        """The id of this call; the same in every attempt at it."""
        ...

    @property
    def idempotency_key(self) -> str:
        """A key for the effect of this call, stable over crashes and retries: hand it to APIs."""
        ...

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    @property
    def thread_id(self) -> str:
        """The thread."""
        ...

    @property
    def agent_id(self) -> str:
        """The agent."""
        ...

    @property
    def attempt(self) -> int:
        """How often this call was begun before; 0 the first time."""
        ...

    @property
    def state(self) -> ToolState:
        """The state of run and thread."""
        ...

    async def progress(self, message: str | None = None, *, fraction: float | None = None) -> None:
        """Tell readers how far the call is; `fraction` is 0 to 1."""
        ...

    async def output(self, text: str) -> None:
        """Stream a piece of the tool's output to readers."""
        ...

    async def ask(self, question: str, *, schema: Any = None) -> Any:
        """Ask the user.

        The run waits, without holding anything, and the call begins again with the answer.

        The first time this does not return: it ends the attempt. When the answer has come the call
        is made again, and this returns it. `schema` is a type or a JSON schema the answer must fit.
        """
        ...


class Tool(Protocol):
    """Code behind a `ToolSpec`."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told, and the policies that are pinned with a run."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Run with `arguments`; the answer is JSON encodable.

        Raises:
            ToolArgumentsError: the arguments do not fit; told to the model.
            ToolUnavailable: the call was not begun; told to the model.
            Exception: anything else is a failed call, told to the model; it never ends the run.
        """
        ...


class ToolArgumentsError(Exception):
    """The arguments of a call do not fit its schema; the text is for the model."""


class ToolUnavailable(Exception):
    """A call cannot be begun now; the text is for the model."""
