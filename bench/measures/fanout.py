"""How fast the events of a few runs reach many readers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import BadAnswer, Connection, connect, get, post
from bench.load import TEXT, ask_json, close, story_of, warm_up
from bench.rig import Rig
from bench.server import Server

RUNS: Final = 10
READERS: Final = 50  # of each run
LEAD_MS: Final = 2_000
FAST_TOKENS: Final = 400
PACED_TOKENS: Final = 250
PACED_DELAY_MS: Final = 10


@dataclass(slots=True)
class Crowd:
    """What all readers have seen together."""

    frames: int = 0
    began: float = 0.0
    attached: set[int] = field(default_factory=set)
    speaking: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, reader: int, piece: bytes) -> None:
        self.attached.add(reader)
        found = piece.count(TEXT)
        if found and not self.frames:
            self.began = time.perf_counter()
            self.speaking.set()
        self.frames += found


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    async with rig.server() as server:
        await warm_up(server.port)
        connections = [await connect(server.port) for _ in range(RUNS * READERS)]
        try:
            while True:
                fast, _ = await _once(server, connections, FAST_TOKENS, 0)
                paced, cores = await _once(server, connections, PACED_TOKENS, PACED_DELAY_MS)
                yield {
                    "fanout_fast_per_s": fast,
                    "fanout_paced_per_s": paced,
                    "fanout_paced_cores": cores,
                }
        finally:
            close(connections)


async def _once(
    server: Server, connections: list[Connection], tokens: int, delay_ms: int
) -> tuple[float, float]:
    """Frames a second over all readers, and the cores the server kept busy."""
    paths = [await _plan_run(server, tokens, delay_ms) for _ in range(RUNS)]
    crowd = Crowd()
    reading = asyncio.gather(
        *(
            _read(connection, paths[reader % RUNS], crowd, reader)
            for reader, connection in enumerate(connections)
        )
    )
    await crowd.speaking.wait()
    cpu, late = server.cpu_seconds(), len(connections) - len(crowd.attached)
    await reading
    seconds = time.perf_counter() - crowd.began
    expected = tokens * len(connections)
    if late or crowd.frames != expected:
        raise BadAnswer(f"{crowd.frames} of {expected} frames, {late} readers were late")
    return crowd.frames / seconds, (server.cpu_seconds() - cpu) / seconds


async def _plan_run(server: Server, tokens: int, delay_ms: int) -> str:
    """A run that starts when its readers are there; the path of its stream."""
    due_at = time.time_ns() // 1_000_000 + LEAD_MS
    body = story_of(tokens, delay_ms, available_at=due_at)
    connection = await connect(server.port)
    try:
        accepted = await ask_json(connection, post("/v1/runs/background", body), 202)
    finally:
        connection.close()
    return f"/v1/runs/{accepted['run_id']}/stream"


async def _read(connection: Connection, path: str, crowd: Crowd, reader: int) -> None:
    answer = await connection.follow(get(path), lambda piece: crowd.take(reader, piece))
    if answer.status != 200:
        raise BadAnswer(f"status {answer.status}")


MEASURE = Measure(
    name="fanout",
    about=f"{RUNS} runs, each read by {READERS} clients that were there before it began: tokens "
    f"every {PACED_DELAY_MS} ms, which nearly each is a frame and a send of its own, and "
    "without delay, where many frames ride in one send.",
    figures=(
        Figure(
            key="fanout_paced_per_s",
            label=f"frames delivered, a token every {PACED_DELAY_MS} ms",
            unit="1/s",
            higher_is_better=True,
            aim=30_000,
        ),
        Figure(key="fanout_paced_cores", label="server CPU meanwhile", unit="cores"),
        Figure(
            key="fanout_fast_per_s",
            label="frames delivered, without delay",
            unit="1/s",
            higher_is_better=True,
        ),
    ),
    run=measure,
    repetitions=3,
)
