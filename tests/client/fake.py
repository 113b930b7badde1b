"""A server that is a script: each request is answered by the next answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx

from awaken.client import Client, ClientError
from awaken.testing.clock import SequentialIds
from tests.client.test_patience import SteppingClock


class Body(httpx.AsyncByteStream):
    """A body in pieces; an exception among them breaks the connection there, None hangs."""

    def __init__(self, pieces: tuple[bytes | Exception | None, ...]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None
        if piece is None:
            await anyio.sleep_forever()
        if isinstance(piece, Exception):
            raise piece
        assert piece is not None
        return piece


CUT = httpx.RemoteProtocolError("cut")
REFUSED = httpx.ConnectError("refused")


def entry(seq: int, kind: str, **fields: Any) -> bytes:
    """A frame of the native stream."""
    event = {"event_type": kind, **fields}
    data = {"seq": seq, "thread_id": "t", "run_id": "r", "at": seq, "event": event}
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def text(seq: int, delta: str) -> bytes:
    return entry(seq, "text_delta", delta=delta)


def finish(seq: int, how: str = "natural_end") -> bytes:
    return entry(seq, "run_finish", thread_id="t", run_id="r", termination={"type": how})


def stream(*pieces: bytes | Exception | None, **headers: str) -> httpx.Response:
    """The answer of a streaming route."""
    names = {"awaken-run-id": "r", "awaken-thread-id": "t", "content-type": "text/event-stream"}
    return httpx.Response(200, headers={**names, **headers}, stream=Body(pieces))


def answer(status: int, value: Any, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=value, headers=headers)


def refusal(status: int, code: str, **headers: str) -> httpx.Response:
    return answer(status, {"error": {"code": code, "message": "no"}}, **headers)


Answer = httpx.Response | Exception


class FakeServer:
    """Answers by its script, and remembers what it was asked."""

    def __init__(self, *script: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self.pauses: list[tuple[str, float]] = []
        self.clock = SteppingClock()
        self._script = list(script)

    def client(self, **options: Any) -> Client:
        return Client(
            "http://127.0.0.1:1",
            **options,
            transport=httpx.MockTransport(self._answer),
            clock=self.clock,
            ids=SequentialIds(),
            on_pause=self._paused,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        given = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(given, Exception):
            raise given
        return given

    def _paused(self, error: ClientError, seconds: float) -> None:
        self.pauses.append((error.code, seconds))

    def asked(self) -> list[str]:
        """The requests: method, path, and the cursor if there was one."""
        return [
            " ".join([r.method, r.url.raw_path.decode(), *r.headers.get_list("last-event-id")])
            for r in self.requests
        ]

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests if request.content]
