"""A plain async generator as an agent.

    async def my_agent(conversation: Conversation):
        yield "You said: "
        yield conversation.text

It yields text, or one of `TELLING` for all that is not text. Its end is the end of the run. A
`Fault` it raises says whether another attempt helps; any other exception fails the run. Another
attempt begins it anew, and what readers had seen of the earlier one is taken back.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import msgspec

from awaken.domain.outcome import Outcome
from awaken.errors import Fault
from awaken.foreign.answer import TELLING, Answer, Telling
from awaken.foreign.conversation import Conversation, conversation_of
from awaken.ports.boundary import Steps
from awaken.ports.clock import Ids
from awaken.ports.events import EventSink
from awaken.ports.runner import Activation, Capabilities

AgentFunction = Callable[[Conversation], AsyncGenerator[str | Telling, None]]

_CAPABILITIES: Final = Capabilities()


class GeneratorRunner:
    """Runs `function`, an async generator function that takes a `Conversation`.

    Raises:
        TypeError: it is something else; the text says what.
    """

    def __init__(self, function: AgentFunction, ids: Ids) -> None:
        check_function(function)
        self._function = function
        self._ids = ids

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Outcome:
        answer = Answer(activation, sink, steps, self._ids)
        await answer.begin()
        async with aclosing(self._function(conversation_of(activation))) as said:
            async for item in said:
                await _tell(answer, item)
        return await answer.end()


def check_function(function: object) -> None:
    """Refuse what cannot be called as an agent.

    Raises:
        TypeError: it is no async generator function, or does not take one argument.
    """
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} returns its answer; an agent yields it, piece by piece")
    if not inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} is no async generator function (async def with yield)")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise TypeError(f"{name} must take one argument, the conversation: {error}") from None


async def _tell(answer: Answer, item: Any) -> None:
    try:
        if isinstance(item, str):
            await answer.say(item)
        elif isinstance(item, TELLING):
            # The log can only be read again if every field has its type.
            await answer.tell(msgspec.convert(msgspec.to_builtins(item), type(item)))
        else:
            raise _refused(_what(item))
    except (TypeError, ValueError) as error:  # the latter also for half a character
        raise _refused(f"{_what(item)}: {error}") from error


def _what(item: object) -> str:
    config = getattr(item, "__struct_config__", None)
    return str(getattr(config, "tag", None) or type(item).__name__)


def _refused(what: str) -> Fault:
    allowed = ", ".join(str(kind.__struct_config__.tag) for kind in TELLING)
    return Fault(
        "invalid_event",
        f"the agent yielded {what}; it may yield text and {allowed}, the rest is the server's",
        retryable=False,
        public=True,
    )
