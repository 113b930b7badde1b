"""When a run is stopped by its limits. Pure: what happened so far, and what that means."""

from __future__ import annotations

from collections.abc import Sequence

from awaken.domain.agent import Limits
from awaken.domain.message import ToolCall
from awaken.domain.outcome import Usage
from awaken.domain.record import Record
from awaken.domain.termination import Stopped


class Progress(Record):
    """How far a run is. `failures` counts steps in a row all of whose calls failed.

    `recent` are the calls of the latest steps, name and arguments, oldest first.
    """

    steps: int = 0
    usage: Usage = Usage()
    active_ms: int = 0
    failures: int = 0
    recent: tuple[tuple[tuple[str, str], ...], ...] = ()


def before_calls(limits: Limits, progress: Progress, calls: Sequence[ToolCall]) -> Stopped | None:
    """Whether the run ends here instead of running `calls`: the last round's calls do not run."""
    if limits.max_rounds is not None and progress.steps + 1 >= limits.max_rounds:
        return Stopped(code="max_rounds", detail=f"{limits.max_rounds} steps")
    return _budget(limits, progress)


def after_step(limits: Limits, progress: Progress, names: Sequence[str]) -> Stopped | None:
    """Whether the run ends behind a step that called the tools `names`."""
    if limits.stop_on_tool is not None and limits.stop_on_tool in names:
        return Stopped(code="stop_on_tool", detail=limits.stop_on_tool)
    if limits.max_consecutive_errors and progress.failures >= limits.max_consecutive_errors:
        return Stopped(code="consecutive_errors", detail=f"{progress.failures} steps")
    window = limits.loop_window
    if window and len(progress.recent) >= window and len(set(progress.recent[-window:])) == 1:
        return Stopped(code="loop_detected", detail=f"{window} steps made the same calls")
    return _budget(limits, progress)


def _budget(limits: Limits, progress: Progress) -> Stopped | None:
    seconds = progress.active_ms / 1000
    if limits.timeout_seconds is not None and seconds >= limits.timeout_seconds:
        return Stopped(code="timeout", detail=f"{limits.timeout_seconds} s of active time")
    total = progress.usage.input_tokens + progress.usage.output_tokens
    if limits.max_total_tokens is not None and total >= limits.max_total_tokens:
        return Stopped(code="token_budget", detail=f"{total} tokens")
    return None
