"""One inference: a model's stream, told to readers as it comes, and gathered into an answer.

A stream that breaks in the middle is recovered here, with the same table that the next attempt
follows after a crash: complete calls are used; text is continued; half a call is dropped; nothing
but reasoning is voided and thought again. Where nothing was published there is nothing to recover:
the fault goes to the mailbox, which tries again later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, assert_never

from msgspec.structs import replace

from awaken.domain.event import (
    ReasoningDelta,
    ReasoningEncryptedValue,
    StreamReset,
    TextDelta,
    ToolCallCancel,
    ToolCallDelta,
    ToolCallStart,
)
from awaken.domain.message import Block, ToolCall
from awaken.domain.record import Record
from awaken.errors import Fault
from awaken.loop.transcript import Transcript
from awaken.ports.clock import Clock
from awaken.ports.events import EventSink
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)

RECOVERIES: Final = 2
"""How often one answer is taken up again after its stream broke, before the attempt gives up."""


class Answer(Record):
    """A completed inference; `blocks` begins with what earlier attempts had published of it."""

    blocks: tuple[Block, ...]
    calls: tuple[ToolCall, ...]
    finish: Finish
    duration_ms: int


async def infer(
    model: Model, request: ModelRequest, sink: EventSink, clock: Clock, reset_from: int
) -> Answer:
    """Ask `model`, tell `sink` what it says, and return all of it.

    `duration_ms` is the time of this attempt alone. `reset_from` is the first log number of the
    step.

    Raises:
        Fault: of the model, or `stream_broken` (retryable) when its stream ends without `Finish`.
        ClaimLost: of the sink.
    """
    began = clock.monotonic()
    transcript = Transcript(request.partial)
    finish = await _finish(model, request, sink, transcript, reset_from)
    return Answer(
        blocks=transcript.blocks(),
        calls=transcript.calls(),
        finish=finish,
        duration_ms=round((clock.monotonic() - began) * 1000),
    )


async def _finish(
    model: Model, request: ModelRequest, sink: EventSink, transcript: Transcript, reset_from: int
) -> Finish:
    for recovery in range(RECOVERIES + 1):
        try:
            return await _listen(model, request, sink, transcript)
        except Fault as fault:
            last = recovery == RECOVERIES
            if not fault.retryable or last or transcript.empty:
                raise
        await _drop_half_calls(sink, transcript)
        if transcript.calls():
            return Finish(reason="tool_calls")
        if not transcript.text:
            await sink.emit(StreamReset(from_seq=reset_from, reason="stream_interrupted"))
            transcript.forget()
        request = replace(request, partial=transcript.partial())
    raise AssertionError("the last try returns or raises")


async def _drop_half_calls(sink: EventSink, transcript: Transcript) -> None:
    for call_id, name in transcript.drop_half_calls():
        await sink.emit(ToolCallCancel(id=call_id, name=name, reason="stream_interrupted"))


async def _listen(
    model: Model, request: ModelRequest, sink: EventSink, transcript: Transcript
) -> Finish:
    async with _closing(model.stream(request)) as chunks:
        async for chunk in chunks:
            match chunk:
                case TextChunk(text=text):
                    if text:
                        transcript.said(text)
                        await sink.emit(TextDelta(delta=text))
                case Finish():
                    return chunk
                case ReasoningChunk():
                    await _reason(chunk, sink, transcript)
                case CallStart() | CallChunk() | CallEnd():
                    await _call(chunk, sink, transcript)
                case _ as never:
                    assert_never(never)
    raise Fault("stream_broken", "the model's answer broke off", retryable=True, public=True)


async def _reason(chunk: ReasoningChunk, sink: EventSink, transcript: Transcript) -> None:
    if chunk.text:
        transcript.thought(chunk.text)
        await sink.emit(ReasoningDelta(delta=chunk.text))
    if chunk.signature is not None:
        transcript.signed(chunk.signature)
        await sink.emit(ReasoningEncryptedValue(encrypted_value=chunk.signature))


async def _call(
    chunk: CallStart | CallChunk | CallEnd, sink: EventSink, transcript: Transcript
) -> None:
    match chunk:
        case CallStart(id=call_id, name=name):
            transcript.call_started(call_id, name)
            await sink.emit(ToolCallStart(id=call_id, name=name))
        case CallChunk(id=call_id, text=text):
            if text:
                transcript.call_grew(call_id, text)
                await sink.emit(ToolCallDelta(id=call_id, args_delta=text))
        case CallEnd(id=call_id):
            transcript.call_ended(call_id)


@asynccontextmanager
async def _closing(stream: AsyncIterator[ModelEvent]) -> AsyncIterator[AsyncIterator[ModelEvent]]:
    """End the stream with the block, not when it is collected: it may hold a connection."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
