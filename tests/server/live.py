"""The application behind a real uvicorn in the test's own loop, and raw connections to it."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import uvicorn
from anyio.abc import SocketStream

from awaken.server.app import App
from awaken.server.serving import EmbeddedServer, http_protocol, listener


class Live:
    """A running server; `uvicorn` is for looking at what it holds."""

    def __init__(self, app: App, server: uvicorn.Server, port: int) -> None:
        self.app = app
        self.uvicorn = server
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def wait_quiet(self, seconds: float = 10) -> None:
        """Until no connection, request or subscription is left."""
        state = self.uvicorn.server_state
        services = self.app.services
        assert services is not None
        hub = services.hub
        await wait_until(
            lambda: not (state.connections or state.tasks or hub.statistics().subscriptions),
            seconds,
        )
        assert hub.statistics().topics == 0
        assert hub.statistics().waiters == 0


async def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Let the loop turn until `condition` holds."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.lowlevel.checkpoint()


def request(method: str, path: str, body: Any = None, *headers: str) -> bytes:
    """The bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *headers]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def receive_until(stream: SocketStream, wanted: bytes, seconds: float = 10) -> bytes:
    """What arrives up to the piece that completes `wanted`, which must come."""
    received = bytearray()
    with anyio.fail_after(seconds):
        while True:
            searched = max(0, len(received) - len(wanted))
            received += await stream.receive()
            if received.find(wanted, searched) >= 0:
                return bytes(received)


async def receive_all(stream: SocketStream) -> bytes:
    """What arrives until the server closes."""
    received = b""
    with anyio.fail_after(10):
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            return received


@asynccontextmanager
async def serving(app: App, *, send_buffer: int | None = None) -> AsyncIterator[Live]:
    """`app`, whose lifespan is running, behind a socket that may have a small buffer."""
    bound = listener(app.settings.model_copy(update={"port": 0}))
    if send_buffer is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    config = uvicorn.Config(
        app,
        http=http_protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    started = anyio.Event()
    server = EmbeddedServer(config, started.set)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [bound])
        with anyio.fail_after(10):
            await started.wait()
        try:
            yield Live(app, server, bound.getsockname()[1])
        finally:
            server.should_exit = True
