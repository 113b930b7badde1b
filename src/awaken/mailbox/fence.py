"""An attempt's writer as its runner has it: it can be closed while the runner still holds it.

A runner that ignores a stop is left behind, and must neither write nor begin anything after that
(I2). So both ways of writing look twice: before, and when they come back, since a runner may have
been in the middle of a write when it was left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from awaken.domain.event import Event
from awaken.ports.events import ClaimLost, EventWriter, Unwritten
from awaken.ports.store import Operation, T

LEFT_BEHIND: Final = "left_behind"
"""What a runner that was left behind is told."""


class Fence:
    """`EventWriter` over another one, until it is closed; after that everything is ClaimLost."""

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._closed = False

    def close(self) -> None:
        """Whoever holds this was left behind."""
        self._closed = True

    async def emit(self, event: Event) -> None:
        self._check()
        await self._writer.emit(event)
        self._check()

    async def commit(self, make: Callable[[Unwritten], Operation[T]]) -> T:
        self._check()
        answer = await self._writer.commit(make)
        self._check()
        return answer

    def hold(self) -> None:
        self._writer.hold()

    async def hand_over(self) -> Unwritten:
        return await self._writer.hand_over()

    def _check(self) -> None:
        if self._closed:
            raise ClaimLost(LEFT_BEHIND)
