"""Agents for the mailbox's tests: what they do is decided by the words of the last user message."""

from __future__ import annotations

from collections.abc import AsyncIterator

from awaken.agent import Agent
from awaken.errors import Fault
from awaken.ports.model import Finish, ModelEvent, ModelRequest, ReasoningChunk, TextChunk

TOKENS = ("one ", "two ", "three ", "four ")


class TestModel:
    """Says four tokens; goes on behind what was said; breaks where it is told to.

    `break:N` breaks the stream retryably after N tokens, whenever the first attempt asks, `always`
    at once on every attempt, `permanent` for good, `bug` with an exception without a class. `think`
    reasons first and, when the first attempt asks, breaks before it says anything.
    """

    __test__ = False
    name = "test:model"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        words = request.messages[-1].text.split() if request.messages else []
        self._fail(words)
        first = request.attempt == 0
        if "think" in words:
            yield ReasoningChunk(text="hmm, ")
            if first:
                raise Fault("overloaded", "busy", retryable=True)
        cut = next((int(word[6:]) for word in words if word.startswith("break:")), None)
        said = request.partial.text
        for number, token in enumerate(TOKENS):
            if first and number == cut:
                raise Fault("stream_interrupted", "cut", retryable=True)
            if len("".join(TOKENS[: number + 1])) > len(said):
                yield TextChunk(text=token)
        yield Finish(reason="stop")

    def _fail(self, words: list[str]) -> None:
        if "always" in words:
            raise Fault("overloaded", "busy", retryable=True)
        if "permanent" in words:
            raise Fault("model_not_found", "no such model", retryable=False, public=True)
        if "bug" in words:
            raise ZeroDivisionError("secret detail")


MODEL = TestModel()
AGENTS = [Agent("echo", model=MODEL), Agent("other", model=MODEL)]
TEXT = "".join(TOKENS)
