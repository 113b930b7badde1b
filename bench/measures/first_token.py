"""What the server adds to the time to the first token, and how often it waits for the disk."""

from __future__ import annotations

import bisect
import re
import shutil
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import BadAnswer, Connection, connect, post
from bench.load import EIGHT_TOKENS, TEXT, run_of, warm_up
from bench.rig import Rig
from bench.server import ServerFailed
from bench.stats import percentile

TRACED: Final = 30
SYNC: Final = re.compile(r"^\d+ +(\d+\.\d+) f(?:data)?sync\(", re.MULTILINE)

_REQUEST = post("/v1/runs", run_of("echo", EIGHT_TOKENS))


@dataclass(slots=True)
class Seen:
    """When a run was asked for, said its first token, and was over; of `time.time`."""

    sent_at: float
    first_at: float = 0.0
    ended_at: float = 0.0

    def take(self, piece: bytes) -> None:
        if not self.first_at and TEXT in piece:
            self.first_at = time.time()


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    count = rig.scaled(500, 200)
    syncs = await _syncs(rig)
    async with rig.server() as server:
        await warm_up(server.port)
        connection = await connect(server.port)
        while True:
            seen = [await _run(connection) for _ in range(count)]
            first = [(one.first_at - one.sent_at) * 1000 for one in seen]
            whole = [(one.ended_at - one.sent_at) * 1000 for one in seen]
            yield syncs | {
                "first_token_p50_ms": percentile(first, 50),
                "first_token_p99_ms": percentile(first, 99),
                "run_p50_ms": percentile(whole, 50),
            }
            syncs = {}  # counted once, told once


async def _run(connection: Connection) -> Seen:
    seen = Seen(time.time())
    answer = await connection.follow(_REQUEST, seen.take)
    seen.ended_at = time.time()
    if answer.status != 200 or not seen.first_at:
        raise BadAnswer(f"status {answer.status}, no token")
    return seen


# --- counting -----------------------------------------------------------------------------------


async def _syncs(rig: Rig) -> Values:
    """Disk syncs until a run's first token and until its end; nothing without `strace`."""
    strace = shutil.which("strace")
    if strace is None:
        return {}
    with TemporaryDirectory(dir=rig.directory, prefix="trace-") as place:
        trace = Path(place) / "trace"
        # -D: the server stays our own child, so that it can be stopped as always.
        options = ["-D", "-f", "-ttt", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
        try:
            async with rig.server(prefix=[strace, *options]) as server:
                await warm_up(server.port, 10)
                connection = await connect(server.port)
                seen = [await _run(connection) for _ in range(TRACED)]
        except ServerFailed:  # tracing may be forbidden
            return {}
        return counted(trace.read_text(encoding="utf-8", errors="replace"), seen)


def counted(trace: str, seen: list[Seen]) -> Values:
    """The syncs of `trace` that began while each run was waited for."""
    times = sorted(float(match) for match in SYNC.findall(trace))
    if not times:
        return {}

    def within(began: float, ended: float) -> int:
        return bisect.bisect(times, ended) - bisect.bisect(times, began)

    return {
        "syncs_first_token": sum(within(s.sent_at, s.first_at) for s in seen) / len(seen),
        "syncs_run": sum(within(s.sent_at, s.ended_at) for s in seen) / len(seen),
    }


MEASURE = Measure(
    name="first_token",
    about="POST /v1/runs to `echo`, which has no delay, one run after the other: the time from the "
    "request sent to the first `text_delta` is what the server adds.",
    figures=(
        Figure(key="first_token_p50_ms", label="first token, median", unit="ms", aim=5),
        Figure(key="first_token_p99_ms", label="first token, p99", unit="ms"),
        Figure(key="run_p50_ms", label="whole run, median", unit="ms"),
        Figure(key="syncs_first_token", label="disk syncs until the first token", unit=""),
        Figure(key="syncs_run", label="disk syncs until the end of the stream", unit=""),
    ),
    run=measure,
    repetitions=5,
)
