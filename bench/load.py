"""Ways to load a server, and the requests that do it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from bench.http import Answer, BadAnswer, Connection, connect, post

EIGHT_TOKENS: Final = "one two three four five six seven eight"
TEXT: Final = b"text_delta\n"
"""The end of the `event:` line of a token's frame; its data has the name without the line end."""
TOKEN: Final = re.compile(rb'"text_delta","delta":"[^"]*#(\d+)"')
"""A token of `storyteller`, in the data of its frame, with its number."""

Job = Callable[[Connection], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Done:
    """How many jobs were done, and in how much time."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def run_of(agent: str, words: str, **fields: Any) -> dict[str, Any]:
    """The body that asks for a run."""
    return {"agent_id": agent, "messages": [{"role": "user", "content": words}], **fields}


def story_of(tokens: int, delay_ms: int, **fields: Any) -> dict[str, Any]:
    """The body that asks `storyteller` for that many tokens."""
    return run_of("storyteller", f"tokens={tokens} delay_ms={delay_ms}", **fields)


async def closed_loop(port: int, clients: int, seconds: float, job: Job) -> Done:
    """`clients` connections, each doing one job after the other until the time is over."""
    connections = [await connect(port) for _ in range(clients)]
    began = time.perf_counter()
    until = began + seconds

    async def one(connection: Connection) -> int:
        count = 0
        while time.perf_counter() < until:
            await job(connection)
            count += 1
        return count

    try:
        counts = await asyncio.gather(*(one(connection) for connection in connections))
    finally:
        close(connections)
    return Done(sum(counts), time.perf_counter() - began)


async def read_run(connection: Connection, request: bytes, tokens: int) -> Answer:
    """Ask for a run with a stream and read that to its end.

    Raises:
        BadAnswer: it had not that many tokens.
    """
    pieces: list[bytes] = []
    answer = await connection.follow(request, pieces.append)
    body = b"".join(pieces)
    seen = body.count(TEXT)
    if answer.status != 200 or seen != tokens:
        told = body[-300:].decode(errors="replace")
        raise BadAnswer(f"status {answer.status}, {seen} of {tokens} tokens, ends with {told!r}")
    return answer


async def ask_json(connection: Connection, request: bytes, status: int) -> Any:
    """The JSON of an answer with that status."""
    return expect(await connection.ask(request), status).json()


def expect(answer: Answer, status: int) -> Answer:
    """`answer`, if it has that status."""
    if answer.status != status:
        told = answer.body[:300].decode(errors="replace")
        raise BadAnswer(f"status {answer.status} instead of {status}: {told}")
    return answer


async def warm_up(port: int, runs: int = 50) -> None:
    """Let the server import, plan and cache what its first requests need."""
    request = post("/v1/runs", run_of("echo", EIGHT_TOKENS))
    connection = await connect(port)
    try:
        for _ in range(runs):
            await read_run(connection, request, 8)
    finally:
        connection.close()


def close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.close()
