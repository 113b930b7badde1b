"""What `awaken chat` and `runs tail` show, and how lines are read: a terminal, or pipes.

What comes from a model or a tool is data: control characters in it would reach the terminal as
commands, and invisible ones could make an approver read something else than what is approved.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TextIO

from rich.console import Console
from rich.text import Text

from awaken.cli.show import colours
from awaken.client import Event, RunView
from awaken.client.fold import message_text

MAX_SHOWN: Final = 400
"""How many characters of a call's arguments or result are shown."""

_BIDI: Final = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HARMFUL: Final = dict.fromkeys(
    [c for c in range(0xA0) if unicodedata.category(chr(c)) == "Cc" and chr(c) not in "\n\t"]
    + [*_BIDI]
)


def harmless(text: str) -> str:
    """`text` without characters that a terminal would obey."""
    return text.translate(_HARMFUL)


def exactly(value: Any) -> str:
    """A JSON value on one line, with everything in it that cannot be seen made visible."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str) -> str:
    """At most `MAX_SHOWN` characters of `text`, and how many more there are."""
    more = len(text) - MAX_SHOWN
    return text if more <= 0 else f"{text[:MAX_SHOWN]}… ({more} more characters)"


class Screen:
    """Writes the conversation; pieces of one kind go on the same line as they come."""

    def __init__(self, file: TextIO | None = None, *, errors: bool = False) -> None:
        self._console = Console(
            file=file,
            stderr=errors,
            color_system=colours(),
            highlight=False,
            soft_wrap=True,
        )
        self._open: str | None = None
        self._said = False

    # --- lines

    def note(self, text: str) -> None:
        """A remark of this program."""
        self._line(text, "dim")

    def trouble(self, text: str) -> None:
        """Something went wrong."""
        self._line(text, "red")

    def ask(self, text: str) -> None:
        """Something the user is to decide."""
        self._line(text, "bold")

    def _line(self, text: str, style: str) -> None:
        self.end_line()
        self._print(harmless(text), style, "\n")

    def end_line(self) -> None:
        """What comes next begins a line."""
        if self._open is not None:
            self._open = None
            self._print("", "", "\n")

    def leave_prompt(self) -> None:
        """A prompt was not answered: what comes next begins a line."""
        self._print("", "", "\n")

    def _piece(self, kind: str, text: str, style: str) -> None:
        if self._open != kind:
            self.end_line()
        text = harmless(text)
        self._print(text, style, "")
        self._open = None if text.endswith("\n") else kind
        self._said = True

    def _print(self, text: str, style: str, end: str) -> None:
        self._console.print(Text(text, style=style), end=end)

    # --- events

    def show(self, event: Event, run: RunView) -> None:
        """What `event` means for the user; `run` is what is known behind it."""
        data = event.data
        match event.type:
            case "text_delta":
                self._piece("text", data["delta"], "")
            case "reasoning_delta":
                self._piece("reasoning", data["delta"], "dim italic")
            case "tool_call_stream_delta":
                self._piece(f"output of {data['id']}", data["delta"], "dim")
            case "tool_call_ready":
                told = f"→ {data['name']} {shortened(exactly(data['arguments']))}"
                self._line(told, "cyan")
            case "tool_call_done":
                self._result(run, data)
            case "activity_snapshot":
                self._progress(data["content"])
            case "run_finish":
                self._finish(run, data)
            case _:
                self._course(event.type, data)

    def _course(self, kind: str, data: Mapping[str, Any]) -> None:
        """How the run proceeds; what is as expected is not told."""
        match kind:
            case "step_start" | "step_end":
                self.end_line()  # a run that was steered says more than one answer
                self._said = False
            case "stream_reset" if self._said:
                self.note("(what was said in this step does not count; it is said again)")
            case "run_retry":
                self.note(f"(taken up again: {data['reason']})")
            case "run_interrupted":
                self.note("(a newer message takes the thread)")
            case "error":
                self.trouble(f"{data['message']} ({data['code']})")
            case _:
                pass

    def _result(self, run: RunView, data: Mapping[str, Any]) -> None:
        result = data.get("result")
        text = result if isinstance(result, str) else exactly(result)
        call = run.calls.get(data["id"])
        failed = data["outcome"] == "failed"
        name = call.name if call else ""
        self._line(f"← {name} {shortened(text)}", "red" if failed else "green")

    def _progress(self, content: Any) -> None:
        if not isinstance(content, dict) or "tool_name" not in content:
            return
        fraction = content.get("progress")
        share = f" {round(fraction * 100)} %" if isinstance(fraction, int | float) else ""
        self.note(f"  {content['tool_name']}:{share} {content.get('message', '')}".rstrip())

    def _finish(self, run: RunView, data: Mapping[str, Any]) -> None:
        self.end_line()
        end = data["termination"]
        match end["type"]:
            case "natural_end" | "behavior_requested" | "suspended":
                pass
            case "cancelled":
                self.note(f"stopped; {_kept(run)}")
            case "superseded":
                self.note(f"another message took the thread; {_kept(run)}")
            case "stopped":
                self.note(f"stopped by a limit: {end['code']}")
            case "error":
                self.trouble(f"failed: {end['message']} ({end['code']})")
            case other:
                self.note(f"ended: {other}")
        if data.get("cancel") == "too_late":
            self.note("the stop came too late: it had finished")


def _kept(run: RunView) -> str:
    """What a run that was cut short has left in the thread."""
    words = len(message_text(run.kept).split()) if run.kept else 0
    calls = [call for call in run.calls.values() if call.outcome == "succeeded"]
    kept = [f"{words} words of the answer"] if words else []
    kept += [f"the results of {len(calls)} calls"] if calls else []
    return f"kept: {' and '.join(kept)}" if kept else "there was nothing to keep"


class Lines:
    """The user's lines, from a terminal with editing, or from a pipe."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._terminal = sys.stdin.isatty()

    def read(self, prompt: str, suggestion: str = "") -> str | None:
        """The next line, without its end; None when there are no more.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        self._screen.end_line()
        if not self._terminal:
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        with _line_editing(suggestion):
            try:
                return input(prompt)
            except (EOFError, KeyboardInterrupt) as end:
                self._screen.leave_prompt()
                if isinstance(end, KeyboardInterrupt):
                    raise
                return None


@contextmanager
def _line_editing(suggestion: str) -> Iterator[None]:
    """Let `input` edit its line, which begins as `suggestion`; not every system can."""
    try:
        import readline
    except ImportError:
        yield
        return
    readline.set_startup_hook(lambda: readline.insert_text(suggestion))
    try:
        yield
    finally:
        readline.set_startup_hook()
