"""A sampling profiler for the server: where its threads are, after each 5 ms of processor time.

It needs nothing installed and costs a few percent. It sees Python frames only: C code counts for
the function that called it. The main thread is seen as it is; another one only where it has let go
of the interpreter lock or waits for it. So read shares, not times. `py-spy` sees more.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

INTERVAL_SECONDS: Final = 0.005
LINES: Final = 40
WAITING: Final = frozenset(
    {
        "asyncio.runners:Runner.run",  # the event loop waits, or runs its own C code
        "awaken.stores.sqlite.jobs:Inbox.get",
        "queue:Queue.get",
        "threading:Condition.wait",
    }
)
"""Where a thread is when it has nothing to do."""
BOTTOM: Final = frozenset({"asyncio.runners:Runner.run", "threading:Thread.run"})
"""What is below these, every stack has."""


class Samples:
    """How often each function was seen: running itself, and with what it calls."""

    def __init__(self) -> None:
        self.own: Counter[tuple[str, str]] = Counter()
        self.total: Counter[tuple[str, str]] = Counter()

    def take(self, _: int, here: FrameType | None) -> None:
        """The signal handler: `here` is where it interrupted the main thread."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        main = threading.main_thread().ident
        for ident, frame in sys._current_frames().items():
            stack = _stack(here if ident == main else frame)
            importing = any(name.startswith("importlib.") for name in stack)
            if stack and stack[0] not in WAITING and not importing:
                thread = names.get(ident, "?")
                self.own[thread, stack[0]] += 1
                self.total.update((thread, name) for name in set(stack))

    def told(self) -> str:
        everything = sum(self.own.values()) or 1
        lines = [f"{everything} samples of threads that were not waiting"]
        for title, counts in (("itself", self.own), ("with what it calls", self.total)):
            lines += ["", f"share of the function {title}", ""]
            for (thread, name), count in counts.most_common(LINES):
                lines.append(f"{count / everything:6.1%}  {thread:24} {name}")
        return "\n".join(lines) + "\n"


def sampled(main: Callable[[], None], path: str) -> None:
    """Call `main`, and write what was seen to `path` when it ends."""
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(path).write_text(samples.told(), encoding="utf-8")


def _stack(frame: FrameType | None) -> list[str]:
    """The names of the functions, innermost first."""
    names: list[str] = []
    while frame is not None and not BOTTOM.intersection(names):
        module = frame.f_globals.get("__name__", "?")
        names.append(f"{module}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return names
