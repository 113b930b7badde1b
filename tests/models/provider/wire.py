"""A provider of one's own: it records what it is sent, byte by byte, and says what it is told.

For what the simulated providers cannot do: falling silent, ending without a reason, and showing a
request as it was sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple


class Sent(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Wire:
    """Answers every request with `pieces`, then ends as `ending` says.

    `close` ends the answer well, `cut` tears the connection, `stall` waits until the other side
    leaves, which sets `left`.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.ending = "close"
        self.left = asyncio.Event()
        self.url = ""

    def says(self, *events: object, names: Iterable[str] | None = None, ending: str) -> None:
        """Answer with server-sent events of JSON; text is sent as it is."""
        kinds = list(names or [""] * len(events))
        self.ending = ending
        self.pieces = []
        for kind, event in zip(kinds, events, strict=True):
            data = event if isinstance(event, str) else json.dumps(event)
            name = f"event: {kind}\n" if kind else ""
            self.pieces.append(f"{name}data: {data}\n\n".encode())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.sent.append(await _read(reader))
            kind = "text/event-stream" if self.status == 200 else "application/json"
            headers = {
                "content-type": kind,
                "transfer-encoding": "chunked",
                "connection": "close",
                **self.headers,
            }
            lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in headers.items())]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            for piece in self.pieces:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            if self.ending == "stall":
                await reader.read()
                self.left.set()
            elif self.ending == "close":
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def wired() -> AsyncIterator[Wire]:
    """A running one."""
    wire = Wire()
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield wire


async def _read(reader: asyncio.StreamReader) -> Sent:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(": ") for line in head[1:] if line)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Sent(head[0].split(" ")[1], headers, json.loads(body or b"{}"))
