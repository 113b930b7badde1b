"""What an idle stream costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

from bench.figure import Figure, Measure, Values
from bench.http import BadAnswer, Connection, connect, get, post
from bench.load import ask_json, close, expect, warm_up
from bench.rig import Rig
from bench.server import Server

STREAMS: Final = 5_000
AT_ONCE: Final = 50
IDLE_SECONDS: Final = 3.0


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    while True:
        # A server each time: what a process has freed it hardly gives back.
        async with rig.server() as server:
            await warm_up(server.port)
            values = await _once(server)
        yield values


async def _once(server: Server) -> Values:
    threads = await _threads(server.port, STREAMS)
    # The first streams pay for what all share.
    close(await _open(server.port, threads[:AT_ONCE]))
    rss, began = server.rss_bytes(), time.perf_counter()
    connections = await _open(server.port, threads)
    opened = time.perf_counter()
    try:
        await asyncio.sleep(1)
        cpu = server.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        cpu = server.cpu_seconds() - cpu
        rss = server.rss_bytes() - rss
        if any(connection.ended for connection in connections):
            raise BadAnswer("an idle stream ended")
    finally:
        close(connections)
    return {
        "idle_kib_per_stream": rss / len(threads) / 1024,
        "idle_cores": cpu / IDLE_SECONDS,
        "idle_opened_per_s": len(threads) / (opened - began),
    }


async def _threads(port: int, count: int) -> list[str]:
    """That many empty threads."""
    ids: list[str] = []

    async def make(connection: Connection) -> None:
        while len(ids) < count:
            thread: Any = await ask_json(connection, post("/v1/threads", {}), 201)
            ids.append(thread["id"])

    connections = [await connect(port) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*(make(connection) for connection in connections))
    finally:
        close(connections)
    return ids[:count]


async def _open(port: int, threads: list[str]) -> list[Connection]:
    """A stream on each thread, open when this returns."""
    connections: list[Connection] = []
    for begin in range(0, len(threads), AT_ONCE):
        some = threads[begin : begin + AT_ONCE]
        fresh = await asyncio.gather(*(connect(port) for _ in some))
        connections += fresh
        for connection, thread_id in zip(fresh, some, strict=True):
            connection.send_nowait(get(f"/v1/threads/{thread_id}/stream?from=now"), len)
        for connection in fresh:
            expect(await connection.wait_head(), 200)
    return connections


MEASURE = Measure(
    name="idle",
    about=f"{STREAMS} streams, each on an empty thread of its own; the growth of the server's "
    "resident memory, divided by their number.",
    figures=(
        Figure(key="idle_kib_per_stream", label="memory a stream", unit="KiB", aim=20),
        Figure(key="idle_cores", label="server CPU while all are idle", unit="cores"),
        Figure(
            key="idle_opened_per_s",
            label="streams opened",
            unit="1/s",
            higher_is_better=True,
        ),
    ),
    run=measure,
    repetitions=3,
)
