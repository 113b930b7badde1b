"""One run of many steps, inside one process and without HTTP.

    python -m bench.long_run DIRECTORY STEPS

prints figures by key as JSON. Like `parts.py` it is a program of its own, so that it can be pointed
at another revision's `awaken`. The model answers at once and the tools do nothing: what is timed is
the loop, the ledger and the store, on a file with full synchronisation.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
import uvloop

from awaken import Agent, Limits, tool
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Submission
from awaken.mailbox.service import Mailbox
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    TextChunk,
)
from awaken.ports.store import Operation, Store, T
from awaken.registry.registry import Registry
from awaken.stores.sqlite.store import SqliteStore
from awaken.stores.wrapper import StoreWrapper
from awaken.streams.writer import open_writer

TENANT: Final = "bench"
WORKER: Final = "bench"
PIECES: Final = 10
"""In how many parts of equal size a run is timed."""

UNLIMITED: Final = Limits(max_rounds=None)

COUNTED_STEPS: Final = 100
LEDGER: Final = frozenset({"plan_step", "start_calls", "store_result", "close_step"})
"""The commits of the effect ledger; a stream that is written meanwhile has commits of its own."""


class Caller:
    """A model that calls `note` so many times in each of `steps` answers, and then says something.

    `asked` has when it was asked: seconds on the clock, and seconds of this process's processors.
    """

    name = "bench:caller"

    def __init__(self, steps: int, calls: int) -> None:
        self._steps = steps
        self._calls = calls
        self.asked: list[tuple[float, float]] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append((time.perf_counter(), time.process_time()))
        step = len(self.asked)
        if step > self._steps:
            yield TextChunk(text="done")
            yield Finish(reason="stop")
            return
        for nth in range(self._calls):
            call_id = f"call_{step}_{nth}"
            yield CallStart(id=call_id, name="note")
            yield CallChunk(id=call_id, text=f'{{"number": {step}}}')
            yield CallEnd(id=call_id)
        yield Finish(reason="tool_calls")


@tool
async def note(number: int) -> str:
    """Note a number."""
    return f"noted {number}"


class CountingStore(StoreWrapper):
    """Counts the operations that are committed, by name."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.commits: Counter[str] = Counter()

    async def _write(self, operation: Operation[T]) -> T:
        self.commits[operation.__name__] += 1
        return await self.inner.transact(operation)


@asynccontextmanager
async def working(
    model: Caller, directory: Path, limits: Limits = UNLIMITED
) -> AsyncIterator[tuple[Mailbox, CountingStore]]:
    """A mailbox at work on a fresh file."""
    clock, ids = SystemClock(), SystemIds()
    agent = Agent("it", model=model, tools=[note], limits=limits)
    with TemporaryDirectory(dir=directory, prefix="long-run-") as place:
        inner = await SqliteStore.open(Path(place) / "run.db", clock=clock, worker_id=WORKER)
        store = CountingStore(inner)
        mailbox = Mailbox(
            store=store,
            resolver=Registry([agent], clock=clock, ids=ids),
            open_writer=open_writer(store, clock),
            clock=clock,
            ids=ids,
            worker_id=WORKER,
        )
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(mailbox.run)
                yield mailbox, store
                tasks.cancel_scope.cancel()
        finally:
            await inner.aclose()


async def take(steps: int, calls: int, directory: Path) -> tuple[Caller, Counter[str]]:
    """A run of so many steps: its model, and the commits that it took."""
    model = Caller(steps, calls)
    async with working(model, directory) as (mailbox, store):
        ids = SystemIds()
        said = Message(message_id=ids.new(), role=Role.user, content=(TextBlock(text="begin"),))
        accepted = await mailbox.submit(
            Submission(tenant=TENANT, run_id=ids.new(), agent_id="it", messages=(said,))
        )
        run = await _end(store, accepted.run_id)
        commits = Counter(store.commits)
    assert run.steps == steps + 1 == len(model.asked), "each step was asked for and counted once"
    return model, commits


async def _end(store: Store, run_id: str) -> Run:
    while True:
        run = await store.run(TENANT, run_id)
        if run is not None and run.status is RunStatus.done:
            return run
        await asyncio.sleep(0.05)


def times(model: Caller, steps: int) -> dict[str, float]:
    """ms of a step in each part of the run, and how the last part compares with the first."""
    size = steps // PIECES
    asked = model.asked
    parts = [
        tuple((asked[end][clock] - asked[end - size][clock]) / size * 1000 for clock in (0, 1))
        for end in range(size, size * PIECES + 1, size)
    ]
    walls, processors = [wall for wall, _ in parts], [processor for _, processor in parts]
    return {f"step_ms_{nth}": wall for nth, wall in enumerate(walls, start=1)} | {
        "step_ratio": walls[-1] / walls[0],
        "step_cpu_ms": sum(processors) / PIECES,
        "step_cpu_ratio": processors[-1] / processors[0],
    }


def per_step(commits: Counter[str], steps: int) -> dict[str, float]:
    """Commits of a step: those of the ledger, and all."""
    ledger = sum(count for name, count in commits.items() if name in LEDGER)
    stream = commits["append_batch"]
    return {"ledger_commits": ledger / steps, "step_commits": (ledger + stream) / steps}


async def main(directory: Path, steps: int) -> dict[str, Any]:
    model, _ = await take(steps, 1, directory)
    _, commits = await take(COUNTED_STEPS, 2, directory)
    return times(model, steps) | per_step(commits, COUNTED_STEPS)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main(Path(sys.argv[1]), int(sys.argv[2])))))
