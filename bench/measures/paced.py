"""How evenly tokens arrive when many models speak at the pace of people."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import BadAnswer, Connection, connect, post
from bench.load import TOKEN, close, story_of, warm_up
from bench.rig import Rig
from bench.server import Server
from bench.stats import percentile, slope

STREAMS: Final = 500
DELAY_MS: Final = 100
MIN_POINTS: Final = 10

Arrival = tuple[float, float]
"""The number of a token and when it came."""


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    tokens = rig.scaled(120, 70)
    async with rig.server(max_concurrent_runs=STREAMS + 100) as server:
        await warm_up(server.port)
        while True:
            yield await _once(server, tokens)


async def _once(server: Server, tokens: int) -> Values:
    request = post("/v1/runs", story_of(tokens, DELAY_MS))
    connections = [await connect(server.port) for _ in range(STREAMS)]
    cores: list[float] = []
    watch = asyncio.create_task(_watch_cpu(server, cores))
    try:
        streams = await asyncio.gather(*(_listen(c, request, tokens) for c in connections))
    finally:
        watch.cancel()
        close(connections)
    busy = statistics.median(cores)
    values = evenness(streams)
    tokens_per_s = STREAMS * 1000 / (DELAY_MS + values["pace_excess_ms"])
    return values | {"paced_cores": busy, "paced_us_per_token": busy / tokens_per_s * 1e6}


async def _listen(connection: Connection, request: bytes, tokens: int) -> list[Arrival]:
    arrivals: list[Arrival] = []

    def take(piece: bytes) -> None:
        now = time.perf_counter()
        arrivals.extend((float(number), now) for number in TOKEN.findall(piece))

    answer = await connection.follow(request, take)
    if answer.status != 200 or len(arrivals) != tokens:
        raise BadAnswer(f"status {answer.status}, {len(arrivals)} of {tokens} tokens")
    return arrivals


async def _watch_cpu(server: Server, cores: list[float]) -> None:
    """The cores the server keeps busy, second by second."""
    while True:
        cpu, began = server.cpu_seconds(), time.perf_counter()
        await asyncio.sleep(1)
        cores.append((server.cpu_seconds() - cpu) / (time.perf_counter() - began))


def evenness(streams: Sequence[Sequence[Arrival]]) -> Values:
    """Jitter and pace while all streams are under way.

    A stream's own pace is the slope of its arrivals over its token numbers: a model that sleeps a
    little too long each time is no jitter. A token's offset is its arrival less its number times
    that pace, and its jitter is how far its offset is from the median of its stream. What the pace
    has above the delay is told apart.
    """
    began = max(stream[0][1] for stream in streams)
    ended = min(stream[-1][1] for stream in streams)
    jitters: list[float] = []
    paces: list[float] = []
    for stream in streams:
        points = [point for point in stream if began <= point[1] <= ended]
        if len(points) < MIN_POINTS:
            raise BadAnswer("the streams hardly overlap: the server accepts too slowly")
        pace = slope(points)
        offsets = [arrival - number * pace for number, arrival in points]
        middle = statistics.median(offsets)
        jitters.extend(abs(offset - middle) for offset in offsets)
        paces.append(pace)
    return {
        "jitter_p50_ms": percentile(jitters, 50) * 1000,
        "jitter_p99_ms": percentile(jitters, 99) * 1000,
        "pace_excess_ms": statistics.median(paces) * 1000 - DELAY_MS,
    }


MEASURE = Measure(
    name="paced",
    about=f"{STREAMS} runs at once, each with a token every {DELAY_MS} ms, all read; seen while "
    "all are under way. Jitter is how far a token is from its place in its stream's even pace.",
    figures=(
        Figure(key="jitter_p99_ms", label="jitter, p99", unit="ms", aim=100),
        Figure(key="jitter_p50_ms", label="jitter, median", unit="ms"),
        Figure(
            key="pace_excess_ms",
            label=f"a token's time above the {DELAY_MS} ms its model sleeps",
            unit="ms",
        ),
        Figure(key="paced_cores", label="server CPU", unit="cores"),
        Figure(key="paced_us_per_token", label="server CPU a token", unit="µs"),
    ),
    run=measure,
    repetitions=3,
)
