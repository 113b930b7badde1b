"""Waiting that has an end, also for code that ignores its cancellation.

Rules of this file
1. Whoever is told to stop waits at most a grace for what it waits for. After that the work is left
   behind: it goes on in a task (or a thread) of its own, and nobody waits for it any more.
2. What is left behind is known until it ends: it is counted, and named in the log. Its task is held
   here, since an event loop holds its tasks only weakly.
3. It must not be able to write: whoever leaves it behind closes what it was given (`left`).
4. Until it is left behind, cancellation is delivered again and again, as anyio does, but with
   pauses; afterwards not at all. Code that catches it in a loop would else be woken on every turn
   of the event loop, and leave others little of it.

This is the one place that starts a task without an owner that waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

log = logging.getLogger(__name__)

T = TypeVar("T")

DELIVER_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.2
"""How long cancellation is delivered at every wait of the work, and how long it then is not."""

CANCEL_GRACE_SECONDS: Final = 5.0
"""How long a stop waits for code that does not end (dispatch.md, section 6)."""


class Leftovers:
    """What goes on in this process though nobody waits for it; for use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[object, str] = {}

    def add(self, thing: object, name: str) -> None:
        """`thing` was left behind; it is kept alive."""
        with self._lock:
            self._names[thing] = name

    def ended(self, thing: object) -> None:
        """It ended; harmless if it was not left behind."""
        with self._lock:
            self._names.pop(thing, None)

    def count(self) -> int:
        """How many there are."""
        return len(self._names)

    def __str__(self) -> str:
        """Their names, each with how often it is there."""
        with self._lock:
            counted = Counter(self._names.values())
        return told(counted)


def told(counted: Counter[str]) -> str:
    """Names for a line of text, the most frequent first."""
    return ", ".join(f"{name} ({count})" for name, count in counted.most_common())


LEFTOVERS: Final = Leftovers()
"""Those of this process."""


def _nothing_to_close() -> None:
    """What is left behind was given nothing to write with."""


async def attend(
    work: Callable[[], Coroutine[Any, Any, T]],
    name: str,
    grace_seconds: float,
    left: Callable[[], None] = _nothing_to_close,
) -> T:
    """Run `work` and wait for it; a cancelled wait lasts at most `grace_seconds` longer.

    What `work` returns or raises is returned or raised, also when it ends within the grace.

    Args:
        work: makes the coroutine. It runs in a task of its own, in a copy of this context.
        name: what it is called in the log.
        grace_seconds: how long it may take to end once the wait was cancelled.
        left: called when it is left behind, before the cancellation goes on.
    """
    await checkpoint_if_cancelled()  # what was stopped before must not begin
    attended = _Attended(work, name)
    try:
        await attended.ended.wait()
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(grace_seconds, shield=True):
            await attended.stop()
        if not attended.ended.is_set():
            left()
            attended.leave(grace_seconds)
        if attended.stopped:
            raise
    return attended.answer()


class _Attended(Generic[T]):
    """Work in a task of its own, and what comes of it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self.ended = anyio.Event()
        self._cancelled = anyio.CancelScope()
        self._not_delivered = anyio.CancelScope()
        self._work = work
        self._name = name
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._left_at: float | None = None
        self._task = asyncio.create_task(self._run(), name=name)  # noqa: TID251 (rule 1)

    @property
    def stopped(self) -> bool:
        """Whether there is neither a result nor an error: it was cancelled, or left behind."""
        return not self._result and self._error is None

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        self._cancelled.cancel()
        while not self.ended.is_set():
            await self._wait(DELIVER_SECONDS)
            self._not_delivered.shield = True
            await self._wait(PAUSE_SECONDS)
            self._not_delivered.shield = False

    async def _wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.ended.wait()

    def answer(self) -> T:
        """What it returned; raises what it raised."""
        error, self._error = self._error, None
        if error is None:
            return self._result[0]
        try:
            raise error
        finally:
            del error  # or its traceback would hold this frame, and this frame the error

    def leave(self, after_seconds: float) -> None:
        """Nobody waits any more."""
        self._left_at = anyio.current_time()
        self._not_delivered.shield = True
        LEFTOVERS.add(self._task, self._name)
        log.warning(
            "%s goes on %.1f s after it was told to stop; it is left behind",
            self._name,
            after_seconds,
        )

    async def _run(self) -> None:
        try:
            with self._cancelled, self._not_delivered:
                if not self._cancelled.cancel_called:  # between its making and its first turn
                    self._result.append(await self._work())
        except BaseException as error:  # noqa: BLE001 (raised where the result is waited for)
            self._error = error
        finally:
            self.ended.set()
            self._tell_end()

    def _tell_end(self) -> None:
        if self._left_at is None:
            return
        LEFTOVERS.ended(self._task)
        seconds = anyio.current_time() - self._left_at
        how = "ended" if self._error is None else f"ended with {type(self._error).__name__}"
        log.info("%s, left behind, %s %.1f s later", self._name, how, seconds)
        self._error = None
