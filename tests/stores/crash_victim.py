"""A process that writes until it is killed, and says what was answered: run by test_crash.py."""

from __future__ import annotations

import sys

import anyio

from awaken.stores.sqlite import SqliteStore
from awaken.testing.conformance._records import claim_of, dispatch_of, grow, save_dispatches

WRITERS = 16


async def main(path: str) -> None:
    store = await SqliteStore.open(path, worker_id="victim")
    await save_dispatches(store, dispatch_of("d-1", claim_of(2**62, "victim")))

    async def write() -> None:
        while True:
            segment = await grow(store)
            print(segment.last_seq, flush=True)

    async with anyio.create_task_group() as group:
        for _ in range(WRITERS):
            group.start_soon(write)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
