"""Trying again, for as long as nobody has seen anything of the answer.

A model within a model. Once an event was yielded it is with the readers, and what broke then is
mended by continuation (loop design, "A stream cut in the middle"), never by asking again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from msgspec.structs import replace

from awaken.domain.record import Record
from awaken.errors import Fault
from awaken.ports.clock import Clock, Ids
from awaken.ports.model import Model, ModelEvent, ModelRequest

OVERLOADED: Final = "overloaded"


class RetryPolicy(Record):
    """How often, how soon, and how long to be patient.

    The n-th wait is `base_ms` (`overloaded_base_ms` for `overloaded`) times 2ⁿ, at most `cap_ms`,
    times a jitter. A longer wait that the provider asked for wins, up to `longest_wait_ms`: beyond
    that the fault is raised at once, so that the run waits in the queue and holds no worker.

    `first_event_seconds` limits the wait for the first event, `idle_seconds` that for each further
    one.
    """

    retries: int = 2
    base_ms: int = 500
    overloaded_base_ms: int = 2_000
    cap_ms: int = 8_000
    longest_wait_ms: int = 30_000
    first_event_seconds: float = 300.0
    idle_seconds: float = 60.0

    def wait_ms(self, fault: Fault, failures: int, jitter: float) -> int | None:
        """How long to wait after `fault`, with `failures` before it; None if it is to be raised."""
        if not fault.retryable or failures >= self.retries:
            return None
        base = self.overloaded_base_ms if fault.code == OVERLOADED else self.base_ms
        backoff = int(min(base * 2**failures, self.cap_ms) * jitter)
        wait = max(backoff, fault.retry_after_ms or 0)
        return wait if wait <= self.longest_wait_ms else None


class RetryingModel:
    """`inner`, asked again when it fails before its first event, and not waited for without end.

    Each further try has a greater `attempt` in its request.

    Args:
        inner: the model.
        clock: waits between tries.
        ids: draws the jitter.
        policy: the figures.
    """

    def __init__(
        self, inner: Model, *, clock: Clock, ids: Ids, policy: RetryPolicy | None = None
    ) -> None:
        self.inner = inner
        self.name: str | None = getattr(inner, "name", None)
        self._clock = clock
        self._ids = ids
        self._policy = policy or RetryPolicy()

    def __repr__(self) -> str:
        return f"RetryingModel({self.inner!r})"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Ask, and ask again; see `ports/model.py`.

        Raises:
            Fault: of `inner`, the last one; `timeout` when no first event came in time;
                `stream_interrupted` when no further one did. Both are retryable.
        """
        failures = 0
        while True:
            tried = replace(request, attempt=request.attempt + failures)
            async with _closing(self.inner.stream(tried)) as events:
                try:
                    event = await self._first(events)
                except Fault as fault:
                    wait_ms = self._policy.wait_ms(fault, failures, self._ids.jitter())
                    if wait_ms is None:
                        raise
                else:
                    while event is not None:
                        yield event
                        event = await self._next(events)
                    return
            failures += 1
            await self._clock.sleep(wait_ms / 1000)

    async def aclose(self) -> None:
        """Close `inner`, if it can be closed."""
        close = getattr(self.inner, "aclose", None)
        if close is not None:
            await close()

    async def _first(self, events: AsyncIterator[ModelEvent]) -> ModelEvent | None:
        with anyio.move_on_after(self._policy.first_event_seconds):
            return await anext(events, None)
        raise Fault("timeout", "the model did not begin to answer", retryable=True, public=True)

    async def _next(self, events: AsyncIterator[ModelEvent]) -> ModelEvent | None:
        with anyio.move_on_after(self._policy.idle_seconds):
            return await anext(events, None)
        raise Fault("stream_interrupted", "the model fell silent", retryable=True, public=True)


@asynccontextmanager
async def _closing(stream: AsyncIterator[ModelEvent]) -> AsyncIterator[AsyncIterator[ModelEvent]]:
    """End the stream with the block, not when it is collected: it may hold a connection."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
