"""A process that is killed loses nothing it was answered, and another one takes over at once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from awaken.errors import StoreFault
from awaken.stores.sqlite import SqliteStore
from awaken.testing.conformance._records import THREAD, A, grow

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

VICTIM = Path(__file__).with_name("crash_victim.py")
ANSWERS = 200


async def answers(process: Process) -> AsyncIterator[int]:
    """The numbers that the victim was answered, as far as it could write whole lines."""
    assert process.stdout is not None
    rest = ""
    async for text in TextReceiveStream(process.stdout):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield int(line)


async def test_a_killed_process_loses_nothing_it_was_answered(path: Path) -> None:
    answered: set[int] = set()
    async with await anyio.open_process([sys.executable, VICTIM, path], stderr=None) as victim:
        async for seq in answers(victim):
            answered.add(seq)
            if len(answered) == 1:
                with pytest.raises(StoreFault, match=f"process {victim.pid} .worker victim."):
                    await SqliteStore.open(path)
            if len(answered) == ANSWERS:
                victim.kill()
    store = await SqliteStore.open(path, worker_id="heir")
    head = await store.head(A, THREAD)
    assert head is not None
    assert head.seq >= max(answered)
    stored = await store.segments(A, THREAD, 0, head.seq + 1)
    assert [s.last_seq for s in stored] == list(range(1, head.seq + 1))
    assert [d.dispatch_id for d in await store.claims_of_the_dead()] == ["d-1"]
    assert (await grow(store)).last_seq == head.seq + 1
    await store.aclose()
