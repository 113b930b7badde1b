"""How many tokens a second, when the models are faster than the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import connect, post
from bench.load import close, read_run, story_of, warm_up
from bench.rig import Rig
from bench.server import Server

RUNS: Final = 50
TOKENS: Final = 400
ROUNDS: Final = 4


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    async with rig.server() as server:
        await warm_up(server.port)
        while True:
            yield await _once(server)


async def _once(server: Server) -> Values:
    request = post("/v1/runs", story_of(TOKENS, 0))
    connections = [await connect(server.port) for _ in range(RUNS)]
    cpu, began = server.cpu_seconds(), time.perf_counter()
    try:
        for _ in range(ROUNDS):
            await asyncio.gather(*(read_run(c, request, TOKENS) for c in connections))
    finally:
        close(connections)
    seconds = time.perf_counter() - began
    cpu = server.cpu_seconds() - cpu
    deltas = ROUNDS * RUNS * TOKENS
    return {"deltas_per_s": deltas / seconds, "cpu_us_per_delta": cpu / deltas * 1e6}


MEASURE = Measure(
    name="deltas",
    about=f"{RUNS} runs of {TOKENS} tokens at once, without delay, each read to its end: from the "
    f"first request to the last end, {ROUNDS} times over.",
    figures=(
        Figure(
            key="deltas_per_s",
            label="tokens written, sent and read",
            unit="1/s",
            higher_is_better=True,
            aim=15_000,
            next_aim=20_000,
        ),
        Figure(key="cpu_us_per_delta", label="server CPU a token", unit="µs"),
    ),
    run=measure,
    repetitions=5,
    quick_repetitions=3,
)
