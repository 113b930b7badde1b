"""The load generator's HTTP client: one kept-alive connection, one request at a time.

Rules of this file
1. It must cost much less than the server it measures, so it reads only what it needs: the status,
   `content-length` or `transfer-encoding: chunked`, and the bytes of the body.
2. A chunk is handed on when it is complete. The server writes whole frames, so no frame is ever cut
   and callers may search the pieces of a body for what they count.
3. All that one read of the socket completes is handed on in one call.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

HOST: Final = "127.0.0.1"

OnBody = Callable[[bytes], object]


class BadAnswer(Exception):
    """The server did not answer as it should have."""


@dataclass(slots=True)
class Answer:
    """A response; times are of `time.perf_counter`."""

    sent_at: float
    status: int = 0
    head: bytes = b""
    body: bytes = b""
    head_at: float = 0.0
    ended_at: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        """The value of a header; empty when it is not there."""
        prefix = name.lower().encode() + b":"
        for line in self.head.split(b"\r\n")[1:]:
            if line.lower().startswith(prefix):
                return line[len(prefix) :].strip().decode("latin-1")
        return ""


class ResponseReader:
    """Bytes of one response in, pieces of its body out (to `on_body`). Does no I/O."""

    def __init__(self, on_body: OnBody) -> None:
        self.status = 0
        self.head = b""
        self.done = False
        self._on_body = on_body
        self._buffer = b""
        self._left: int | None = None  # of a body with a length; None: chunked

    def feed(self, data: bytes) -> None:
        """Take what came from the socket."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self.status and not self._read_head():
            return
        piece = self._read_chunks() if self._left is None else self._read_length()
        if piece:
            self._on_body(piece)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        self.status = int(self.head[9:12])
        headers = self.head.lower()
        if b"\r\ntransfer-encoding: chunked" not in headers:
            _, found, rest = headers.partition(b"\r\ncontent-length:")
            self._left = int(rest.split(b"\r\n", 1)[0]) if found else 0
        return True

    def _read_length(self) -> bytes:
        assert self._left is not None
        piece, self._buffer = self._buffer, b""
        self._left -= len(piece)
        self.done = self._left <= 0
        return piece

    def _read_chunks(self) -> bytes:
        buffer, position = self._buffer, 0
        pieces = []
        while not self.done:
            line_end = buffer.find(b"\r\n", position)
            if line_end < 0:
                break
            start = line_end + 2
            size = int(buffer[position:line_end], 16)
            if start + size + 2 > len(buffer):
                break
            self.done = size == 0
            pieces.append(buffer[start : start + size])
            position = start + size + 2
        self._buffer = buffer[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Connection(asyncio.Protocol):
    """One connection to the server. Make it with `connect`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._answer = Answer(sent_at=0.0)
        self._headed: asyncio.Future[Answer] | None = None
        self._ended: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send `request` and read the whole answer."""
        pieces: list[bytes] = []
        answer = await self.follow(request, pieces.append)
        answer.body = b"".join(pieces)
        return answer

    async def follow(self, request: bytes, on_body: OnBody) -> Answer:
        """Send `request` and hand the body on as it comes, to its end.

        Raises:
            ConnectionError: the connection was closed before the end.
        """
        self.send_nowait(request, on_body)
        return await self.wait_end()

    def send_nowait(self, request: bytes, on_body: OnBody) -> None:
        """Send `request`; the body will be handed on as it comes."""
        assert self._reader is None, "one request at a time"
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("not connected")
        loop = asyncio.get_running_loop()
        self._headed, self._ended = loop.create_future(), loop.create_future()
        self._reader = ResponseReader(on_body)
        self._answer = Answer(sent_at=time.perf_counter())
        self._transport.write(request)

    async def wait_head(self) -> Answer:
        """Wait until status and headers of the answer are there."""
        assert self._headed is not None, "nothing was sent"
        return await self._headed

    async def wait_end(self) -> Answer:
        """Wait until the answer is complete."""
        assert self._ended is not None, "nothing was sent"
        return await self._ended

    @property
    def ended(self) -> bool:
        """Whether the answer is complete, or will never be."""
        return self._ended is not None and self._ended.done()

    def close(self) -> None:
        """Close it; whoever waits for an answer is cancelled."""
        for waiter in (self._headed, self._ended):
            if waiter is not None:
                waiter.cancel()
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        reader, answer = self._reader, self._answer
        if reader is None:
            return
        now = time.perf_counter()
        reader.feed(data)
        if not answer.status and reader.status:
            answer.status, answer.head, answer.head_at = reader.status, reader.head, now
            _resolve(self._headed, answer)
        if reader.done:
            answer.ended_at = time.perf_counter()
            self._reader = None
            _resolve(self._ended, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader = None
        for waiter in (self._headed, self._ended):
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionError("the server closed the connection"))


def _resolve(waiter: asyncio.Future[Answer] | None, answer: Answer) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(answer)


async def connect(port: int) -> Connection:
    """A new connection to the server on this machine."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, HOST, port)
    return connection


def get(path: str, headers: str = "") -> bytes:
    """The bytes of a GET; `headers` are whole lines that end in CRLF."""
    return f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n".encode()


def post(path: str, body: Any) -> bytes:
    """The bytes of a POST of JSON."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data
