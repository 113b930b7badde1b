"""How far a run is, as an attempt goes along: its history, its counters, its state."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from awaken.domain.ledger import StepPlan, ToolResult
from awaken.domain.message import Message, Role
from awaken.domain.outcome import Usage
from awaken.domain.state import States
from awaken.loop.context import model_messages
from awaken.loop.stops import Progress
from awaken.ports.clock import Clock
from awaken.ports.runner import Activation

RECENT = 20
"""How many steps are remembered to notice a loop."""


class Course:
    """Begins with the records; what it learns is committed step by step by others."""

    def __init__(self, activation: Activation, clock: Clock) -> None:
        run = activation.run
        self.messages: list[Message] = list(model_messages(activation.messages))
        if run.plan is not None:
            self.messages = _with_open_plan(activation, run.plan)
        self.states = States(run=run.state, thread=activation.thread_state)
        self._clock = clock
        self._began = clock.monotonic()
        self._active_before = run.active_ms
        self._progress = Progress(steps=run.steps, usage=run.usage)

    @property
    def next_step(self) -> int:
        """The number of the step that is being taken, from 1."""
        return self._progress.steps + 1

    @property
    def last_text(self) -> str:
        """The text of the last answer."""
        said = (m.text for m in reversed(self.messages) if m.role is Role.assistant)
        return next(said, "")

    def progress(self) -> Progress:
        """What the stop conditions look at."""
        spent = round((self._clock.monotonic() - self._began) * 1000)
        return replace(self._progress, active_ms=self._active_before + spent)

    def used(self, usage: Usage) -> None:
        """An inference was paid for."""
        self._progress = replace(self._progress, usage=self._progress.usage + usage)

    def closed(
        self,
        plan: StepPlan,
        messages: tuple[Message, ...],
        results: Mapping[str, ToolResult],
        states: States,
    ) -> None:
        """A step was closed."""
        self.messages.extend(messages)
        self.states = states
        all_failed = not any(results[call.id].succeeded for call in plan.calls)
        made = tuple(
            (call.name, msgspec.json.encode(call.effective, order="sorted").decode())
            for call in plan.calls
        )
        self._progress = replace(
            self._progress,
            steps=self._progress.steps + 1,
            failures=self._progress.failures + 1 if all_failed else 0,
            recent=(*self._progress.recent, made)[-RECENT:],
        )


def _with_open_plan(activation: Activation, plan: StepPlan) -> list[Message]:
    """The history with the assistant message of the open plan, whose calls have no results yet."""
    ids = {call.id for call in plan.calls}
    history = [stored.message for stored in activation.messages]
    owner = next(m for m in history if any(call.id in ids for call in m.tool_calls))
    before = [stored for stored in activation.messages if stored.message is not owner]
    return [*model_messages(before), owner]
