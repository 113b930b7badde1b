"""Sending a followed log as an event stream: until it ends, the client goes, or we drain."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Final, TypeVar

import anyio

from awaken.errors import AwakenError, StoreFault
from awaken.protocols import sse
from awaken.protocols.encoder import CloseReason
from awaken.protocols.native.encode import NativeEncoder, encode_segment
from awaken.protocols.native.http.asgi import ClientGone, Receive, Send
from awaken.streams.delivered import Delivered
from awaken.streams.subscription import StreamsClosed, ThreadGone

log = logging.getLogger(__name__)

T = TypeVar("T")

Headers = tuple[tuple[bytes, bytes], ...]
Batches = AsyncGenerator[Sequence[Delivered], None]

STREAM_HEADERS: Final[Headers] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

abandoned: ContextVar[bool] = ContextVar("abandoned", default=False)
"""Set in the context of a request whose connection is cut on purpose, for the log filter."""


async def begin(send: Send, headers: Headers = ()) -> None:
    """Send the head of an event stream."""
    all_headers = [*STREAM_HEADERS, *headers]
    await send({"type": "http.response.start", "status": 200, "headers": all_headers})


async def follow(batches: Batches, receive: Receive, send: Send) -> None:
    """Send the stream of `batches` behind a head that was sent, to its end.

    Raises:
        ClientGone: the client closed its connection.
    """
    async with aclosing(batches):
        reason = await while_connected(receive, partial(_pump, batches, send))
    if last := NativeEncoder().close(reason):
        await send_piece(send, sse.render(last))
    if reason in (CloseReason.finished, CloseReason.deleted):
        await end(send)
    else:
        # An end without the final chunk: the client sees a broken connection, not a whole answer.
        abandoned.set(True)


async def end(send: Send) -> None:
    """End an answer that is whole."""
    await send({"type": "http.response.body"})


async def send_piece(send: Send, piece: bytes) -> None:
    """Send more of an answer."""
    await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _pump(batches: Batches, send: Send) -> CloseReason:
    try:
        async for batch in batches:
            await _send_batch(send, batch)
            del batch  # not held by a stream that waits for the next one
    except ThreadGone:
        return CloseReason.deleted
    except StreamsClosed:
        return CloseReason.drain
    except StoreFault as fault:
        log.error("a stream ended: the log cannot be read: %s", fault.code)
        return CloseReason.fault
    return CloseReason.finished


async def _send_batch(send: Send, batch: Sequence[Delivered]) -> None:
    """All frames that are ready, in one send; each segment is encoded once for all its readers."""
    if not batch:
        await send_piece(send, sse.HEARTBEAT)
    elif piece := b"".join([each.frames("native", encode_segment) for each in batch]):
        await send_piece(send, piece)


async def while_connected(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` comes to.

    Raises:
        ClientGone: the client closed its connection first; `work` was cancelled.
        AwakenError: as `work` does.
    """
    outcome: list[T] = []
    trouble: AwakenError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
        try:
            outcome.append(await work())
        except AwakenError as error:
            trouble = error
        tasks.cancel_scope.cancel()
    if trouble is not None:
        raise trouble
    if not outcome:
        raise ClientGone
    return outcome[0]


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
