"""Sending a run as an AG-UI stream: to its end, or until the client goes or we drain."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from awaken.domain.event import Entry, RunFinish
from awaken.domain.run import Run, RunStatus
from awaken.domain.state import States
from awaken.domain.termination import SuspendedEnd
from awaken.errors import StoreFault
from awaken.ports.store import Checkpoint
from awaken.protocols import sse
from awaken.protocols.ag_ui.carry import Carry, Names
from awaken.protocols.ag_ui.encode import AgUiEncoder
from awaken.protocols.ag_ui.history import AgUiMessage, ag_ui_messages
from awaken.protocols.encoder import CloseReason, Frame
from awaken.protocols.native.http.asgi import Receive, Send
from awaken.protocols.native.http.respond import (
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

Batches = AsyncGenerator[Sequence[Delivered], None]


async def begin_stream(send: Send, thread_id: str, run_id: str | None) -> None:
    """Send the head of a stream."""
    run = () if run_id is None else ((b"awaken-run-id", run_id.encode()),)
    await begin(send, (*run, (b"awaken-thread-id", thread_id.encode())))


async def refuse(send: Send, services: Services, names: Names, code: str, message: str) -> None:
    """Answer a request that the protocol's rules forbid: a stream that is one RUN_ERROR."""
    encoder = AgUiEncoder(names)
    await begin_stream(send, names.thread_id, None)
    await send_piece(send, sse.render(encoder.refuse(code, message, services.clock.now())))
    await end(send)


class RunView:
    """One client's stream of a run."""

    def __init__(self, services: Services, run: Run, encoder: AgUiEncoder) -> None:
        self._services = services
        self._tenant = run.tenant
        self._run_id = run.run_id
        self._encoder = encoder

    async def send(self, batches: Batches, receive: Receive, send: Send) -> None:
        """Send what follows, behind a head that was sent, to the end of the stream.

        Raises:
            ClientGone: the client closed its connection.
        """
        async with aclosing(batches):
            reason = await while_connected(receive, partial(self._pump, batches, send))
        if reason not in (CloseReason.finished, CloseReason.deleted):
            # An end without the final chunk: the client sees a broken connection.
            abandoned.set(True)
            return
        if last := self._encoder.close(reason):
            await send_piece(send, sse.render(last))
        await end(send)

    async def _pump(self, batches: Batches, send: Send) -> CloseReason:
        try:
            async for batch in batches:
                await self._send_batch(batch, send)
                del batch  # not held by a stream that waits for the next one
                if self._encoder.ended:
                    break
            else:
                await self._end_as_recorded(send)
        except ThreadGone:
            return CloseReason.deleted
        except StreamsClosed:
            return CloseReason.drain
        except StoreFault as fault:
            log.error("a stream ended: the log cannot be read: %s", fault.code)
            return CloseReason.fault
        return CloseReason.finished

    async def _send_batch(self, batch: Sequence[Delivered], send: Send) -> None:
        """All frames that are ready, in one send; a heartbeat if nothing came."""
        if not batch:
            await send_piece(send, sse.HEARTBEAT)
            return
        pieces = [
            sse.render_entry(frames)
            for each in batch
            for entry in each.entries()
            if (frames := await self._encode(entry))
        ]
        if pieces:
            await send_piece(send, b"".join(pieces))

    async def _encode(self, entry: Entry) -> list[Frame]:
        if self._encoder.needs_snapshot(entry):
            found = await self._services.store.checkpoint(self._tenant, self._run_id)
            if found is not None:
                messages = committed(found, self._encoder.message_seq)
                self._encoder.supply(messages, state_of(found))
        return self._encoder.encode(entry)

    async def _end_as_recorded(self, send: Send) -> None:
        """End a stream behind which its log has nothing, as the run's record says it ended."""
        run = await self._services.store.run(self._tenant, self._run_id)
        if run is None or self._encoder.ended:
            return
        if frames := await self._encode(last_entry(run)):
            await send_piece(send, sse.render(frames))


def last_entry(run: Run) -> Entry:
    """The `run_finish` that the log of a run that is over, or waits, has ended with."""
    termination = run.outcome.termination if run.outcome else SuspendedEnd()
    text = run.outcome.text if run.outcome else None
    finish = RunFinish(
        thread_id=run.thread_id,
        run_id=run.run_id,
        termination=termination,
        result=None if text is None else {"response": text},
    )
    at = run.finished_at or run.updated_at
    return Entry(
        seq=run.checkpoint_seq, thread_id=run.thread_id, run_id=run.run_id, at=at, event=finish
    )


def committed(found: Checkpoint, upto: int | None) -> list[AgUiMessage]:
    """The messages of a checkpoint, up to the number `upto`."""
    return ag_ui_messages(m for m in found.messages if upto is None or m.message_seq <= upto)


def state_of(found: Checkpoint) -> dict[str, object]:
    """The shared state."""
    return States(run=found.run.state, thread=found.thread_state).merged


def carry_of(found: Checkpoint) -> Carry:
    """What an encoder has to know that goes on behind the run's last plan, close or suspension."""
    run = found.run
    spoken = [m for m in found.messages if m.run_id == run.run_id and m.message.tool_calls]
    open_step = spoken[-1].message.message_id if run.plan is not None and spoken else None
    calls = run.plan.calls if run.plan is not None else ()
    results = tuple(
        {"id": c.message_id, "role": "tool", "toolCallId": c.id, "content": c.result.text}
        for c in calls
        if c.result is not None
    )
    waits = run.status is RunStatus.waiting
    return Carry(
        message_id=open_step,
        tickets=tuple(t for t in found.tickets if t.status.value == "open") if waits else (),
        results=results,
        answered=frozenset(str(each["toolCallId"]) for each in results),
        message_seq=found.messages[-1].message_seq if found.messages else None,
    )
