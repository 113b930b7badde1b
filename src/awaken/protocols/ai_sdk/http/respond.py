"""Sending a run as a UI message stream: to its end, or until the client goes or we drain."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

import anyio.lowlevel

from awaken.domain.event import Entry
from awaken.domain.run import Run
from awaken.errors import StoreFault
from awaken.protocols import sse
from awaken.protocols.ai_sdk.encode import AiSdkEncoder
from awaken.protocols.encoder import CloseReason
from awaken.protocols.native.http.asgi import Receive, Send
from awaken.protocols.native.http.respond import (
    Headers,
    abandoned,
    begin,
    end,
    send_piece,
    while_connected,
)
from awaken.protocols.native.http.services import Services
from awaken.streams.delivered import Delivered
from awaken.streams.subscription import StreamsClosed, ThreadGone

log = logging.getLogger(__name__)

PROTOCOL: Final[Headers] = ((b"x-vercel-ai-ui-message-stream", b"v1"),)
PAGE: Final = 200

Batches = AsyncGenerator[Sequence[Delivered], None]


async def begin_stream(send: Send, thread_id: str, run_id: str) -> None:
    """Send the head of a stream."""
    names = ((b"awaken-run-id", run_id.encode()), (b"awaken-thread-id", thread_id.encode()))
    await begin(send, (*PROTOCOL, *names))


async def send_run(encoder: AiSdkEncoder, batches: Batches, receive: Receive, send: Send) -> None:
    """Send what follows, behind a head that was sent, to the end of the stream.

    Raises:
        ClientGone: the client closed its connection.
    """
    async with aclosing(batches):
        reason = await while_connected(receive, partial(_pump, encoder, batches, send))
    if last := encoder.close(reason):
        await send_piece(send, sse.render(last))
        await end(send)
    else:
        # An end without the final chunk: the client sees a broken connection, not a whole answer.
        abandoned.set(True)


async def _pump(encoder: AiSdkEncoder, batches: Batches, send: Send) -> CloseReason:
    try:
        async for batch in batches:
            await _send_batch(encoder, batch, send)
            del batch  # not held by a stream that waits for the next one
    except ThreadGone:
        return CloseReason.deleted
    except StreamsClosed:
        return CloseReason.drain
    except StoreFault as fault:
        log.error("a stream ended: the log cannot be read: %s", fault.code)
        return CloseReason.fault
    return CloseReason.finished


async def _send_batch(encoder: AiSdkEncoder, batch: Sequence[Delivered], send: Send) -> None:
    """All frames that are ready, in one send; a heartbeat if nothing came."""
    if not batch:
        await send_piece(send, sse.HEARTBEAT)
        return
    entries = (entry for each in batch for entry in each.entries())
    pieces = [sse.render_entry(frames) for entry in entries if (frames := encoder.encode(entry))]
    if pieces:
        await send_piece(send, b"".join(pieces))


async def pass_over(services: Services, run: Run, encoder: AiSdkEncoder, cursor: int) -> None:
    """Let the encoder see what the client has already: the run's log up to `cursor`."""
    async for entry in log_of(services, run):
        if entry.seq > cursor:
            return
        encoder.encode(entry)


async def log_of(services: Services, run: Run) -> AsyncGenerator[Entry, None]:
    """The run's log, from its beginning, as it is now."""
    after = 0
    while page := await services.store.segments(run.tenant, run.thread_id, after, PAGE, run.run_id):
        for segment in page:
            for entry in segment.entries():
                yield entry
        after = page[-1].last_seq
        await anyio.lowlevel.checkpoint()
