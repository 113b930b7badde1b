"""How many durable runs a second: accepted, executed, streamed, finished."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import Connection, get, post
from bench.load import EIGHT_TOKENS, closed_loop, expect, read_run, run_of, warm_up
from bench.rig import Rig
from bench.server import Server

CLIENTS: Final = 64


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    seconds = rig.scaled(4, 2)
    async with rig.server() as server:
        await warm_up(server.port)
        while True:
            alone = await closed_loop(server.port, 1, seconds / 2, _run)
            floor = await closed_loop(server.port, CLIENTS, 1, _look)
            values = await _together(server, seconds)
            yield values | {
                "runs_per_s_1": alone.per_second,
                "requests_per_s_64": floor.per_second,
            }


async def _together(server: Server, seconds: float) -> Values:
    cpu, client_cpu = server.cpu_seconds(), time.process_time()
    done = await closed_loop(server.port, CLIENTS, seconds, _run)
    cpu, client_cpu = server.cpu_seconds() - cpu, time.process_time() - client_cpu
    return {
        "runs_per_s_64": done.per_second,
        "cpu_us_per_run": cpu / done.count * 1e6,
        "client_us_per_run": client_cpu / done.count * 1e6,
    }


_REQUEST = post("/v1/runs", run_of("echo", EIGHT_TOKENS))
_LOOK = get("/health/live")


async def _run(connection: Connection) -> None:
    await read_run(connection, _REQUEST, 8)


async def _look(connection: Connection) -> None:
    expect(await connection.ask(_LOOK), 200)


MEASURE = Measure(
    name="runs",
    about="POST /v1/runs to `echo` with 8 tokens; each client keeps its connection and reads each "
    "stream to its end.",
    figures=(
        Figure(
            key="runs_per_s_64",
            label=f"runs, {CLIENTS} clients",
            unit="1/s",
            higher_is_better=True,
            aim=250,
            next_aim=400,
        ),
        Figure(key="runs_per_s_1", label="runs, 1 client", unit="1/s", higher_is_better=True),
        Figure(key="cpu_us_per_run", label=f"server CPU a run, {CLIENTS} clients", unit="µs"),
        Figure(key="client_us_per_run", label="load generator CPU a run", unit="µs"),
        Figure(
            key="requests_per_s_64",
            label=f"GET /health/live, {CLIENTS} clients: the floor of HTTP",
            unit="1/s",
            higher_is_better=True,
        ),
    ),
    run=measure,
    repetitions=5,
)
