"""The routes that answer with an event stream, in raw ASGI.

A disconnect closes the subscription and nothing else: the run goes on (I8). A stream whose log goes
on is never ended cleanly: it gets `reconnect`, and its connection is aborted (I6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from msgspec.structs import replace

from awaken.domain.submission import Accepted, Submission
from awaken.domain.thread import ThreadHead
from awaken.errors import not_found
from awaken.ports.store import MessageFilter
from awaken.protocols import sse
from awaken.protocols.encoder import Frame
from awaken.protocols.native import views, wire
from awaken.protocols.native.decode import (
    Caller,
    invalid_field,
    parse,
    run_submission,
    sequence_number,
    text_parameters,
)
from awaken.protocols.native.http.asgi import (
    Receive,
    Scope,
    Send,
    check_content_type,
    header,
    read_body,
)
from awaken.protocols.native.http.respond import Headers, begin, end, follow, send_piece
from awaken.protocols.native.http.services import Services, caller_of, services_of
from awaken.streams.expired import check_run_log, check_thread_cursor
from awaken.streams.follow import Until, check_cursor, follow_run, follow_thread
from awaken.streams.subscription import Subscription

SNAPSHOT_MESSAGES: Final = 200
"""How many of the latest messages a snapshot holds."""

Endpoint = Callable[[Scope, Receive, Send, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """A streaming route; methods `left_to_api` have the same path and are answered elsewhere."""

    pattern: str
    methods: frozenset[str]
    left_to_api: frozenset[str]
    endpoint: Endpoint


def find_stream_route(path: str) -> tuple[StreamRoute, str] | None:
    """The route of `path` and the id in it, still percent-encoded; None when it is no stream."""
    match path.split("/"):
        case ["", "v1", "runs"]:
            return START_RUN, ""
        case ["", "v1", "runs", run_id, "stream"] if run_id:
            return JOIN_RUN, run_id
        case ["", "v1", "threads", thread_id, "stream"] if thread_id:
            return JOIN_THREAD, thread_id
        case _:
            return None


# --- POST /v1/runs -------------------------------------------------------------------------------


async def start_run(scope: Scope, receive: Receive, send: Send, _: str) -> None:
    """Start a run and stream it to the end of this activation."""
    services = services_of(scope)
    caller = caller_of(scope)
    submission = await _read_submission(services, caller, scope, receive)
    thread_id = submission.thread_id or services.ids.new()
    # Subscribed first, so that the commit of the submit finds its reader: no read of the store.
    subscription = services.hub.subscribe(submission.tenant, thread_id, None, submission.run_id)
    with subscription:
        submission = replace(submission, thread_id=thread_id)
        accepted = await services.submit(caller, submission)
        subscription.seek(accepted.cursor, accepted.run_id, accepted.thread_id)
        fallback = _fallback(accepted)
        del submission, accepted, caller  # not held as long as the stream is open
        place = f"{scope.get('root_path', '')}/v1/runs/{subscription.run_id}"
        named = ((b"content-location", place.encode()), *_names(subscription), *fallback)
        await begin(send, named)
        await follow(follow_run(services.store, subscription, "activation"), receive, send)


async def _read_submission(
    services: Services, caller: Caller, scope: Scope, receive: Receive
) -> Submission:
    check_content_type(scope)
    request = parse(wire.RunRequest, await read_body(scope, receive))
    return run_submission(request, caller, services.ids.new)


def _fallback(accepted: Accepted) -> Headers:
    if accepted.fallback_run_id is None:
        return ()
    return ((b"awaken-fallback-run-id", accepted.fallback_run_id.encode()),)


def _names(subscription: Subscription) -> Headers:
    thread = (b"awaken-thread-id", subscription.thread_id.encode())
    if subscription.run_id is None:
        return (thread,)
    return ((b"awaken-run-id", subscription.run_id.encode()), thread)


# --- GET /v1/runs/{run_id}/stream ----------------------------------------------------------------


async def join_run(scope: Scope, receive: Receive, send: Send, run_id: str) -> None:
    """Stream a run from a cursor, by default from its beginning."""
    services = services_of(scope)
    subscription, until = await _run_subscription(services, scope, unquote(run_id))
    with subscription:
        await begin(send, _names(subscription))
        if scope["method"] == "HEAD":
            await end(send)
        else:
            await follow(follow_run(services.store, subscription, until), receive, send)


async def _run_subscription(
    services: Services, scope: Scope, run_id: str
) -> tuple[Subscription, Until]:
    given, tenant = _parameters(scope, "after", "until"), caller_of(scope).tenant
    until = _until(given.get("until"))
    cursor = _resumed_at(scope, given)
    run = await services.store.run(tenant, run_id)
    if run is None:
        raise not_found("run", run_id)
    if cursor is not None:
        check_cursor(cursor, await services.store.head(tenant, run.thread_id))
    await check_run_log(services.store, run)
    return services.hub.subscribe(tenant, run.thread_id, cursor or 0, run.run_id), until


def _until(text: str | None) -> Until:
    match text:
        case None | "settled":
            return "settled"
        case "done":
            return "done"
        case _:
            raise invalid_field("until", "must be 'settled' or 'done'")


# --- GET /v1/threads/{thread_id}/stream ----------------------------------------------------------


async def join_thread(scope: Scope, receive: Receive, send: Send, thread_id: str) -> None:
    """Stream a thread across its runs, without an end."""
    services = services_of(scope)
    subscription, prelude = await _thread_subscription(services, scope, unquote(thread_id))
    with subscription:
        await begin(send, _names(subscription))
        if scope["method"] == "HEAD":
            await end(send)
            return
        if prelude:
            await send_piece(send, prelude)
        del prelude  # not held as long as the stream is open
        await follow(follow_thread(subscription), receive, send)


async def _thread_subscription(
    services: Services, scope: Scope, thread_id: str
) -> tuple[Subscription, bytes]:
    given, tenant = _parameters(scope, "after", "from", "snapshot"), caller_of(scope).tenant
    snapshot = _flag("snapshot", given.get("snapshot"))
    cursor, prelude = _resumed_at(scope, given), b""
    head = await services.store.head(tenant, thread_id)
    if head is None:
        raise not_found("thread", thread_id)
    start = given.get("from", "now")
    if cursor is None:
        cursor = _start(start, head)
        if snapshot:
            if start == "now":
                cursor = await _open_step(services, head)
            prelude = await _snapshot(services, head, cursor)
        start_is_given = start not in ("start", "now")
    else:
        start_is_given = True
    check_cursor(cursor, head)
    if start_is_given:
        await check_thread_cursor(services.store, tenant, thread_id, cursor)
    return services.hub.subscribe(tenant, thread_id, cursor), prelude


def _start(text: str, head: ThreadHead) -> int:
    """The cursor of `from`: the entry it names is the first one given."""
    match text:
        case "start":
            return 0
        case "now":
            return head.seq
        case _:
            return max(sequence_number("from", text) - 1, 0)


async def _open_step(services: Services, head: ThreadHead) -> int:
    """Where the step that is open began: what follows is in no message yet."""
    if head.active_run is None:
        return head.seq
    run = await services.store.run(head.tenant, head.active_run)
    if run is None:
        return head.seq
    if run.checkpoint_seq:
        return run.checkpoint_seq
    first = await services.store.segments(head.tenant, head.thread_id, 0, 1, run.run_id)
    return first[0].first_seq - 1 if first else head.seq


async def _snapshot(services: Services, head: ThreadHead, cursor: int) -> bytes:
    """The thread as it was at `cursor` or later, in one frame.

    It is read after the head was: what it may already hold of the entries that follow, a client
    recognises by the messages' numbers.
    """
    thread = await services.store.thread(head.tenant, head.thread_id)
    if thread is None:
        raise not_found("thread", head.thread_id)
    latest = await services.store.messages(
        head.tenant, head.thread_id, MessageFilter(descending=True), SNAPSHOT_MESSAGES, None
    )
    snapshot = wire.ThreadSnapshot(
        seq=cursor,
        thread=views.thread(thread),
        messages=[views.message(message) for message in reversed(latest.items)],
        has_more=latest.next_key is not None,
        active_run_id=head.active_run,
    )
    data = snapshot.model_dump_json().encode()
    return sse.render([Frame(event="thread_snapshot", id=str(cursor), data=data)])


# --- parameters ----------------------------------------------------------------------------------


def _parameters(scope: Scope, *known: str) -> Mapping[str, str]:
    return text_parameters(scope["query_string"].decode("latin-1"), known)


def _resumed_at(scope: Scope, given: Mapping[str, str]) -> int | None:
    """The cursor to go on after. The header wins: a browser that reconnects repeats the address."""
    last = header(scope, b"last-event-id")
    if last:
        return sequence_number("Last-Event-ID", last)
    after = given.get("after")
    return None if after is None else sequence_number("after", after)


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise invalid_field(name, "must be true or false")
    return text == "true"


START_RUN: Final = StreamRoute(
    "/v1/runs", frozenset({"POST"}), frozenset({"GET", "HEAD"}), start_run
)
JOIN_RUN: Final = StreamRoute(
    "/v1/runs/{run_id}/stream", frozenset({"GET", "HEAD"}), frozenset(), join_run
)
JOIN_THREAD: Final = StreamRoute(
    "/v1/threads/{thread_id}/stream", frozenset({"GET", "HEAD"}), frozenset(), join_thread
)
