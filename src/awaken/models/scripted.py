"""The deterministic model of demos and tests: it says what its script says.

A script is a list of steps, or a function from the request to an iterable of steps. The same
question must give the same answer: what was published of it (`request.partial`) is then a prefix,
and the model goes on behind that by reading its script again and leaving out what was said.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from awaken.domain.fold import Partial
from awaken.domain.message import Block, TextBlock, ThinkingBlock, ToolCall
from awaken.domain.outcome import Usage
from awaken.domain.record import Record
from awaken.errors import Fault
from awaken.ports.clock import Clock, SystemClock
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)

STEPS_PER_TURN: Final = 16
"""How many steps are taken before other tasks, a stop among them, get a turn."""


class Pause(Record):
    """Wait so long before the next step; left out while skipping."""

    ms: int


Step = str | Pause | ToolCall | Fault | ModelEvent
"""A text token, a wait, a whole tool call, trouble to raise, or an event of a model.

`Finish` is the last step that is read.
"""

Script = Sequence[Step] | Callable[[ModelRequest], Iterable[Step]]


class ScriptedModel:
    """A model that follows `script`. A script without `Finish` stops when it is over.

    Args:
        script: see above.
        name: specifications call it `scripted:<name>`; without one it goes by its agent's id.
        clock: does the waiting.
    """

    def __init__(
        self, script: Script, *, name: str | None = None, clock: Clock | None = None
    ) -> None:
        self.name = None if name is None else f"scripted:{name}"
        self._script = script
        self._clock = clock or SystemClock()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Follow the script behind `request.partial`.

        Usage counts four characters of input, and each step of output, as one token. It is that of
        the whole answer, whatever of it was published before.

        Raises:
            Fault: one of the script; or `script_mismatch`, not retryable, when what was published
                is no prefix of it.
        """
        published = _Published(request.partial)
        tally = _Tally(request)
        for count, step in enumerate(self._steps(request), start=1):
            if count % STEPS_PER_TURN == 0:
                await checkpoint()
            match step:
                case str():
                    event: ModelEvent = TextChunk(text=step)
                case Pause(ms=ms):
                    if published.over and ms > 0:
                        await self._clock.sleep(ms / 1000)
                    continue
                case Fault():
                    raise step.with_traceback(None)
                case Finish():
                    published.end()
                    yield tally.complete(step)
                    return
                case _:
                    event = step
            tally.count(event)
            fresh = published.behind(event)
            if fresh is not None:
                yield fresh
        published.end()
        yield tally.complete(Finish(reason="stop"))

    def _steps(self, request: ModelRequest) -> Iterator[str | Pause | Fault | ModelEvent]:
        """The steps of the script, a call in its parts."""
        for step in self._script(request) if callable(self._script) else self._script:
            if isinstance(step, ToolCall):
                yield CallStart(id=step.id, name=step.name)
                yield CallChunk(id=step.id, text=msgspec.json.encode(step.arguments).decode())
                yield CallEnd(id=step.id)
            else:
                yield step


class _Published:
    """What readers have of the answer, taken away from the front of the script until none is left.

    Reasoning alone does not count: whoever has no text starts again. Signatures are counted, not
    compared: each ends a block, so as many of the script's were published as blocks have one.
    """

    def __init__(self, partial: Partial) -> None:
        blocks = partial.blocks if partial.text else ()
        self._parts = [part for part in map(_part, blocks) if part[1]]
        self._taken = 0
        self._signatures = sum(
            isinstance(block, ThinkingBlock) and block.signature is not None for block in blocks
        )

    @property
    def over(self) -> bool:
        """Whether the script is behind what was published."""
        return not self._parts

    def behind(self, event: ModelEvent) -> ModelEvent | None:
        """What of `event` is new, None if nothing is."""
        if not self._parts and not self._signatures:
            return event
        fresh: ModelEvent | None
        match event:
            case TextChunk(text=text):
                tail = self._take(TextChunk, text)
                fresh = TextChunk(text=tail) if tail else None
            case ReasoningChunk(text=text, signature=signature):
                tail = self._take(ReasoningChunk, text)
                if signature is not None and self._signatures:
                    self._signatures -= 1
                    signature = None
                fresh = ReasoningChunk(text=tail, signature=signature)
                fresh = fresh if tail or signature else None
            case _ if self._parts:
                raise _mismatch()
            case _:
                fresh = event
        return fresh

    def end(self) -> None:
        """The script is over: everything published must have been in it."""
        if self._parts:
            raise _mismatch()

    def _take(self, kind: type[ModelEvent], text: str) -> str:
        """The part of `text` that is behind what was published."""
        if not self._parts or not text:
            return text
        expected_kind, expected = self._parts[0]
        left = len(expected) - self._taken
        fits = expected.startswith(text, self._taken) or (
            len(self._parts) == 1 and text.startswith(expected[self._taken :])
        )
        if kind is not expected_kind or not fits:
            raise _mismatch()
        self._taken += len(text)
        if len(text) >= left:
            self._parts.pop(0)
            self._taken = 0
        return text[left:]


def _part(block: Block) -> tuple[type[ModelEvent], str]:
    if isinstance(block, ThinkingBlock):
        return ReasoningChunk, block.thinking
    return TextChunk, block.text if isinstance(block, TextBlock) else ""


def _mismatch() -> Fault:
    return Fault(
        "script_mismatch",
        "what was published of this answer is no prefix of what the script says now",
        retryable=False,
        public=True,
    )


class _Tally:
    """Counts what a provider would bill."""

    def __init__(self, request: ModelRequest) -> None:
        characters = len(request.instructions) + sum(len(m.text) for m in request.messages)
        self._input = -(-characters // 4)
        self._output = 0
        self._reasoning = 0

    def count(self, event: ModelEvent) -> None:
        self._output += 1
        self._reasoning += isinstance(event, ReasoningChunk)

    def complete(self, finish: Finish) -> Finish:
        """`finish`, with usage unless the script gave one."""
        if finish.usage != Usage():
            return finish
        usage = Usage(
            input_tokens=self._input,
            output_tokens=self._output,
            reasoning_tokens=self._reasoning,
        )
        return replace(finish, usage=usage)
