"""How long a reader waits when the server is killed in the middle of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import BadAnswer, connect, get, post
from bench.load import TOKEN, expect, story_of, warm_up
from bench.rig import Rig
from bench.server import Server

TOKENS: Final = 60
KILL_AFTER: Final = 20
DELAY_MS: Final = 50


@dataclass(slots=True)
class Reader:
    """What a client knows: the tokens it was given, in order, and its cursor."""

    numbers: list[int] = field(default_factory=list)
    cursor: str = ""
    last_at: float = 0.0
    first_after_at: float = 0.0
    finished: bool = False
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, piece: bytes) -> None:
        now = time.perf_counter()
        for frame in piece.split(b"\n\n"):
            name, data, cursor = _fields(frame)
            if name == b"text_delta":
                self.numbers += [int(number) for number in TOKEN.findall(data)]
                self.first_after_at = self.first_after_at or now
                self.last_at = now
            self.finished = self.finished or name == b"run_finish"
            if self.finished or len(self.numbers) >= KILL_AFTER:
                self.enough.set()
            self.cursor = cursor.decode() or self.cursor


def _fields(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """The event, data and id of an SSE frame."""
    found = {b"event": b"", b"data": b"", b"id": b""}
    for line in frame.split(b"\n"):
        key, _, value = line.partition(b":")
        if key in found:
            found[key] = value.removeprefix(b" ")
    return found[b"event"], found[b"data"], found[b"id"]


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    async with rig.server() as server:
        await warm_up(server.port)
        while True:
            yield await _once(server)


async def _once(server: Server) -> Values:
    reader = Reader()
    run_id = await _read_until_killed(server, reader)
    killed_at = time.perf_counter()
    reader.first_after_at = 0.0
    await server.start()
    await _resume(server, reader, run_id)
    return {
        "start_ms": (server.ready_at - server.started_at) * 1000,
        "recovery_start_ms": (reader.first_after_at - server.started_at) * 1000,
        "recovery_ready_ms": (reader.first_after_at - server.ready_at) * 1000,
        "recovery_kill_ms": (reader.first_after_at - killed_at) * 1000,
        "recovery_wrong_tokens": _wrong(reader.numbers),
    }


async def _read_until_killed(server: Server, reader: Reader) -> str:
    """Read a run, and kill the server after some of its tokens; the run's id."""
    connection = await connect(server.port)
    connection.send_nowait(post("/v1/runs", story_of(TOKENS, DELAY_MS)), reader.take)
    run_id = expect(await connection.wait_head(), 200).header("awaken-run-id")
    await reader.enough.wait()
    await server.kill()
    try:
        await connection.wait_end()
    except ConnectionError:
        return run_id
    raise BadAnswer("the stream ended well though the server was killed")


async def _resume(server: Server, reader: Reader, run_id: str) -> None:
    connection = await connect(server.port)
    cursor = f"last-event-id: {reader.cursor}\r\n"
    answer = await connection.follow(get(f"/v1/runs/{run_id}/stream", cursor), reader.take)
    connection.close()
    if answer.status != 200 or not reader.first_after_at or not reader.finished:
        raise BadAnswer(f"status {answer.status}: the run was not continued to its end")


def _wrong(numbers: list[int]) -> int:
    """How many tokens are missing, doubled or out of place."""
    expected = list(range(1, TOKENS + 1))
    missing = sum(1 for number in expected if number not in numbers)
    return max(missing, len(numbers) - TOKENS) if numbers != expected else 0


MEASURE = Measure(
    name="recovery",
    about=f"A run with a token every {DELAY_MS} ms is killed with its server (SIGKILL) in the "
    "middle; the server is started again at once, and the reader resumes with its last cursor.",
    figures=(
        Figure(
            key="recovery_start_ms",
            label="from the start of the new process to the next token",
            unit="ms",
            aim=2_000,
        ),
        Figure(key="recovery_ready_ms", label="from its readiness to the next token", unit="ms"),
        Figure(key="start_ms", label="from its start to its readiness", unit="ms", aim=2_000),
        Figure(key="recovery_wrong_tokens", label="tokens lost or doubled", unit="", aim=0),
    ),
    run=measure,
    repetitions=5,
)
