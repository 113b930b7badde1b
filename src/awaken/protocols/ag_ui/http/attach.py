"""Attaching to a thread: a legal beginning, then what follows.

RUN_STARTED, STATE_SNAPSHOT and MESSAGES_SNAPSHOT say how things were at the run's last plan or
close, and the tail is told from there. With a cursor the messages are those of a client that has
read so far: the step that is open is among them as far as it was told, and its parts are opened
again. So whatever a client had, it folds to what one has that was never cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from msgspec.structs import replace

from awaken.domain.event import (
    Entry,
    Event,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StepStart,
)
from awaken.domain.fold import fold
from awaken.domain.ids import is_client_id
from awaken.domain.run import Run
from awaken.errors import not_found
from awaken.ports.store import Checkpoint, MessageFilter
from awaken.protocols import sse
from awaken.protocols.ag_ui.carry import Carry, Names
from awaken.protocols.ag_ui.decode import parent_of
from awaken.protocols.ag_ui.encode import AgUiEncoder
from awaken.protocols.ag_ui.history import (
    AgUiMessage,
    ag_ui_messages,
    of_partial,
    reasoning_id,
    without_stale_reasoning,
)
from awaken.protocols.ag_ui.http.respond import (
    RunView,
    begin_stream,
    carry_of,
    committed,
    state_of,
)
from awaken.protocols.encoder import CloseReason
from awaken.protocols.native.decode import invalid_field, sequence_number, text_parameters
from awaken.protocols.native.http.asgi import Receive, Scope, Send, header
from awaken.protocols.native.http.respond import end, send_piece
from awaken.protocols.native.http.services import Services, caller_of, services_of
from awaken.streams.follow import check_cursor, follow_run

PAGE = 200


async def connect(scope: Scope, receive: Receive, send: Send, thread_id: str) -> None:
    """The run of a thread that is under way, that waits, or that was last."""
    services, tenant, thread_id = services_of(scope), caller_of(scope).tenant, unquote(thread_id)
    given = text_parameters(scope["query_string"].decode("latin-1"), ("after", "runId"))
    after, run_name = _cursor(scope, given), given.get("runId")
    if run_name is not None and not is_client_id(run_name):
        raise invalid_field("runId", "must be 1 to 128 visible ASCII characters")
    run = await _run_of(services, tenant, thread_id, after)
    if scope["method"] == "HEAD":
        await begin_stream(send, thread_id, run.run_id if run else None)
        await end(send)
    elif run is None:
        await _show_messages(services, tenant, thread_id, run_name, send)
    else:
        names = _names(run, run_name)
        await show_run(services, run, names, receive, send, after=after)


def _cursor(scope: Scope, given: Mapping[str, str]) -> int | None:
    last = header(scope, b"last-event-id")
    if last:
        return sequence_number("Last-Event-ID", last)
    return sequence_number("after", given["after"]) if "after" in given else None


async def _run_of(services: Services, tenant: str, thread_id: str, after: int | None) -> Run | None:
    thread = await services.store.thread(tenant, thread_id)
    head = await services.store.head(tenant, thread_id)
    if thread is None or head is None:
        raise not_found("thread", thread_id)
    if after is not None:
        check_cursor(after, head)
    run_id = head.active_run or head.waiting_run or thread.latest_run_id
    return await services.store.run(tenant, run_id) if run_id else None


def _names(run: Run, run_name: str | None) -> Names:
    return Names(
        thread_id=run.thread_id,
        run_id=run_name or run.client_run_id or run.run_id,
        own_run_id=run.run_id,
        parent_run_id=parent_of(run.metadata),
    )


async def show_run(
    services: Services,
    run: Run,
    names: Names,
    receive: Receive,
    send: Send,
    *,
    after: int | None = None,
) -> None:
    """Stream a run to a client, from its last plan or close, or from a cursor behind that."""
    found = await services.store.checkpoint(run.tenant, run.run_id)
    if found is None:
        raise not_found("run", run.run_id)
    cursor = max(after or 0, found.run.checkpoint_seq)
    seen = [e for segment in found.tail for e in segment.entries() if e.seq <= cursor]
    encoder = AgUiEncoder(names, prelude(found, seen))
    for entry in seen:
        encoder.pass_over(entry)
    at = seen[-1].at if seen else found.run.updated_at
    view = RunView(services, found.run, encoder)
    del found, seen
    with services.hub.subscribe(run.tenant, run.thread_id, cursor, run.run_id) as subscription:
        await begin_stream(send, run.thread_id, run.run_id)
        await send_piece(send, sse.render(encoder.begin(at)))
        await view.send(follow_run(services.store, subscription, "activation"), receive, send)


def prelude(found: Checkpoint, seen: list[Entry]) -> Carry:
    """How things are for a client that has read `seen`, the first part of the tail."""
    carry = carry_of(found)
    messages: list[AgUiMessage] = committed(found, None)
    there = {str(each["id"]) for each in messages}
    messages += [each for each in carry.results if each["id"] not in there]
    if carry.message_id is None:
        messages += of_partial(fold(entry.event for entry in seen))
    messages = _cleared(messages, [item.event for part in found.tail for item in part.items])
    return replace(
        carry,
        state=state_of(found),
        messages=tuple(messages),
        known=frozenset(str(each["id"]) for each in messages),
    )


def _cleared(messages: list[AgUiMessage], tail: Sequence[Event]) -> list[AgUiMessage]:
    """Without what the client may have of reasoning that the tail tells again, or that is void."""
    steps = [event.message_id for event in tail if isinstance(event, StepStart)]
    thinks = any(isinstance(event, ReasoningDelta | ReasoningEncryptedValue) for event in tail)
    if not steps or not thinks:
        return messages
    return without_stale_reasoning(messages, reasoning_id(steps[-1], 0))


async def _show_messages(
    services: Services, tenant: str, thread_id: str, run_name: str | None, send: Send
) -> None:
    """A thread that no run was started on."""
    messages = await all_messages(services, tenant, thread_id)
    run_name = run_name or f"none-{thread_id}"[:128]
    names = Names(thread_id=thread_id, run_id=run_name, own_run_id="")
    encoder = AgUiEncoder(names, Carry(state={}, messages=tuple(messages)))
    frames = [*encoder.begin(services.clock.now()), *encoder.close(CloseReason.finished)]
    await begin_stream(send, thread_id, None)
    await send_piece(send, sse.render(frames))
    await end(send)


async def all_messages(services: Services, tenant: str, thread_id: str) -> list[AgUiMessage]:
    """All messages of a thread that a client may see."""
    found: list[AgUiMessage] = []
    key: str | None = None
    while True:
        page = await services.store.messages(tenant, thread_id, MessageFilter(), PAGE, key)
        found += ag_ui_messages(page.items)
        key = page.next_key
        if key is None:
            return found
