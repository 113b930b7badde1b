"""How long a client waits until its run is durable, one client at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import Connection, connect, post
from bench.load import EIGHT_TOKENS, expect, read_run, run_of, warm_up
from bench.rig import Rig
from bench.stats import percentile

DAY_MS: Final = 24 * 3_600_000


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    count = rig.scaled(500, 200)
    async with rig.server() as server:
        await warm_up(server.port)
        connection = await connect(server.port)
        while True:
            # Those that are not due go last: what is queued must not stand beside the others.
            executed = await _accept(connection, count)
            streamed = await _first_byte(connection, count)
            tomorrow = time.time_ns() // 1_000_000 + DAY_MS
            undue = await _accept(connection, count, available_at=tomorrow)
            yield {
                "accept_p50_ms": percentile(executed, 50),
                "accept_p99_ms": percentile(executed, 99),
                "first_byte_p50_ms": percentile(streamed, 50),
                "first_byte_p99_ms": percentile(streamed, 99),
                "accept_undue_p50_ms": percentile(undue, 50),
            }


async def _accept(connection: Connection, count: int, **fields: int) -> list[float]:
    request = post("/v1/runs/background", run_of("echo", EIGHT_TOKENS, **fields))
    times = []
    for _ in range(count):
        answer = expect(await connection.ask(request), 202)
        times.append((answer.ended_at - answer.sent_at) * 1000)
    return times


async def _first_byte(connection: Connection, count: int) -> list[float]:
    request = post("/v1/runs", run_of("echo", EIGHT_TOKENS))
    times = []
    for _ in range(count):
        answer = await read_run(connection, request, 8)
        times.append((answer.head_at - answer.sent_at) * 1000)
    return times


MEASURE = Measure(
    name="accept",
    about="Requests one after the other on one connection. A background run is executed while the "
    "next one is being accepted.",
    figures=(
        Figure(key="accept_p50_ms", label="POST /v1/runs/background, median", unit="ms", aim=3),
        Figure(key="accept_p99_ms", label="POST /v1/runs/background, p99", unit="ms"),
        Figure(
            key="accept_undue_p50_ms",
            label="the same, not due before tomorrow: accepting alone, median",
            unit="ms",
        ),
        Figure(key="first_byte_p50_ms", label="POST /v1/runs, first byte, median", unit="ms"),
        Figure(key="first_byte_p99_ms", label="POST /v1/runs, first byte, p99", unit="ms"),
    ),
    run=measure,
    repetitions=5,
)
