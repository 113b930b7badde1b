"""A process that submits missed ticks until it is killed: run by test_schedules.py."""

from __future__ import annotations

import sys

import anyio

from awaken.agent import Agent
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.schedule import Missed, Schedule
from awaken.ports.clock import SystemClock
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock

from .agents import TestModel
from .lab import TENANT, Lab

START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
TICKS = 60
"""As many are missed when the victim begins."""


def every_minute() -> Schedule:
    text = Message(message_id="0", role=Role.user, content=(TextBlock(text="hello"),))
    return Schedule(
        tenant=TENANT,
        schedule_id="minutely",
        cron="* * * * *",
        agent_id="echo",
        messages=(text,),
        created_by="ada",
        created_at=START_MS,
        updated_at=START_MS,
        missed=Missed.all,
        next_at=START_MS + MINUTE_MS,
    )


async def submit_ticks(path: str, worker_id: str) -> None:
    clock = FakeClock(START_MS + TICKS * MINUTE_MS + 30_000)
    store = await SqliteStore.open(path, clock=clock, worker_id=worker_id)
    lab = Lab(store, clock, [Agent("echo", model=TestModel())])
    if await store.schedule(TENANT, "minutely") is None:

        async def put(tx: object) -> None:
            tx.put_schedule(every_minute())  # type: ignore[attr-defined]  # a transaction

        await store.transact(put)
    print("ready", SystemClock().now(), flush=True)
    await lab.sweeper.sweep()
    await store.aclose()
    print("done", flush=True)


if __name__ == "__main__":
    anyio.run(submit_ticks, sys.argv[1], sys.argv[2])
