"""The streaming routes, in raw ASGI: post to a chat, and attach to what it says.

A disconnect closes the subscription and nothing else (I8): `stop()` of the SDK only drops its
connection, and whoever means the run posts to `…/cancel`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from awaken.domain.run import Run
from awaken.domain.submission import Accepted, Submission
from awaken.errors import not_found
from awaken.protocols.ai_sdk import decode, wire
from awaken.protocols.ai_sdk.decode import Answers
from awaken.protocols.ai_sdk.encode import AiSdkEncoder
from awaken.protocols.ai_sdk.history import answer_id
from awaken.protocols.ai_sdk.http.answering import carry_out
from awaken.protocols.ai_sdk.http.respond import PROTOCOL, begin_stream, pass_over, send_run
from awaken.protocols.ai_sdk.http.runs import encoder_of, live_run
from awaken.protocols.native.decode import Caller, parse, sequence_number
from awaken.protocols.native.http.asgi import (
    Receive,
    Scope,
    Send,
    check_content_type,
    header,
    read_body,
)
from awaken.protocols.native.http.identity import identity_of
from awaken.protocols.native.http.respond import end
from awaken.protocols.native.http.services import Services, caller_of, services_of
from awaken.protocols.native.http.streams import StreamRoute
from awaken.streams.follow import check_cursor, follow_run

# --- POST ----------------------------------------------------------------------------------------


async def post_chat(scope: Scope, receive: Receive, send: Send, _: str) -> None:
    """A request of a chat, on the thread that its body names."""
    await _post(scope, receive, send, None, None)


async def post_to_thread(scope: Scope, receive: Receive, send: Send, thread_id: str) -> None:
    """As `post_chat`, on a thread that there is."""
    thread_id = unquote(thread_id)
    tenant = caller_of(scope).tenant
    if await services_of(scope).store.thread(tenant, thread_id) is None:
        raise not_found("thread", thread_id)
    await _post(scope, receive, send, thread_id, None)


async def post_to_agent(scope: Scope, receive: Receive, send: Send, agent_id: str) -> None:
    """As `post_chat`, with the agent of the path."""
    await _post(scope, receive, send, None, unquote(agent_id))


async def _post(
    scope: Scope, receive: Receive, send: Send, thread_id: str | None, agent_id: str | None
) -> None:
    services, caller = services_of(scope), caller_of(scope)
    check_content_type(scope)
    request = parse(wire.ChatRequest, await read_body(scope, receive))
    thread_id = decode.chat_id(request, thread_id) or services.ids.new()
    answers = decode.answers(request)
    if answers is not None:
        await _go_on(scope, receive, send, thread_id, answers)
        return
    submission = decode.submission(
        request, caller, services.ids.new, thread_id=thread_id, agent_id=agent_id
    )
    del request  # the whole history of a chat is not held while its answer is streamed
    await _start(services, caller, submission, receive, send)


async def _start(
    services: Services, caller: Caller, submission: Submission, receive: Receive, send: Send
) -> None:
    """Submit, and stream what the run says until it ends or waits."""
    assert submission.thread_id is not None, "the thread of a chat is named"
    # Subscribed first, so that the commit of the submit finds its reader: no read of the store.
    subscription = services.hub.subscribe(
        submission.tenant, submission.thread_id, None, submission.run_id
    )
    with subscription:
        accepted = await services.submit(caller, submission)
        subscription.seek(accepted.cursor, accepted.run_id, accepted.thread_id)
        encoder = await _encoder(services, submission, accepted)
        del submission, caller
        await begin_stream(send, accepted.thread_id, accepted.run_id)
        batches = follow_run(services.store, subscription, "activation")
        await send_run(encoder, batches, receive, send)


async def _encoder(services: Services, submission: Submission, accepted: Accepted) -> AiSdkEncoder:
    """The encoder for what was accepted.

    That is a new run, one that was accepted before, or one whose question the message answers.
    """
    run = await services.store.run(submission.tenant, accepted.run_id)
    if run is None:
        raise not_found("run", accepted.run_id)
    if accepted.run_id == submission.run_id or not await _has_begun(services, run, accepted):
        return encoder_of(services, run)
    last = submission.messages[-1]
    encoder = encoder_of(services, run, answer_id(run.run_id, last.client_id or last.message_id))
    await pass_over(services, run, encoder, accepted.cursor)
    encoder.go_on(in_new_message=True)
    return encoder


async def _has_begun(services: Services, run: Run, accepted: Accepted) -> bool:
    """Whether the run was there before the message: then its stream begins in its middle."""
    first = await services.store.segments(run.tenant, run.thread_id, 0, 1, run.run_id)
    return bool(first) and first[0].first_seq <= accepted.cursor


async def _go_on(
    scope: Scope, receive: Receive, send: Send, thread_id: str, answers: Answers
) -> None:
    """Carry out answers, and stream how the run goes on."""
    services, caller = services_of(scope), caller_of(scope)
    rights = identity_of(scope).rights
    goes_on = await carry_out(services, caller, rights, thread_id, answers)
    run, cursor = goes_on.run, goes_on.cursor
    # Its client goes on with the message that it has posted.
    encoder = encoder_of(services, run, answers.message_id)
    await pass_over(services, run, encoder, cursor)
    encoder.go_on()
    del answers, goes_on
    with services.hub.subscribe(run.tenant, run.thread_id, cursor, run.run_id) as subscription:
        await begin_stream(send, run.thread_id, run.run_id)
        batches = follow_run(services.store, subscription, "activation")
        await send_run(encoder, batches, receive, send)


# --- GET …/stream --------------------------------------------------------------------------------


async def attach_chat(scope: Scope, receive: Receive, send: Send, thread_id: str) -> None:
    """The run under way, from its beginning; 204 when nothing is, or the chat is new."""
    await _attach(scope, receive, send, unquote(thread_id), must_exist=False)


async def attach_thread(scope: Scope, receive: Receive, send: Send, thread_id: str) -> None:
    """As `attach_chat`, of a thread that there is."""
    await _attach(scope, receive, send, unquote(thread_id), must_exist=True)


async def _attach(
    scope: Scope, receive: Receive, send: Send, thread_id: str, *, must_exist: bool
) -> None:
    services, tenant = services_of(scope), caller_of(scope).tenant
    cursor = _resumed_at(scope)
    thread = await services.store.thread(tenant, thread_id)
    if thread is None and must_exist:
        raise not_found("thread", thread_id)
    run = await live_run(services, thread) if thread else None
    if run is None:
        await _send_idle(send)
        return
    check_cursor(cursor, await services.store.head(tenant, thread_id))
    encoder = encoder_of(services, run)
    await pass_over(services, run, encoder, cursor)
    with services.hub.subscribe(tenant, thread_id, cursor, run.run_id) as subscription:
        await begin_stream(send, thread_id, run.run_id)
        if scope["method"] == "HEAD":
            await end(send)
        else:
            batches = follow_run(services.store, subscription, "settled")
            await send_run(encoder, batches, receive, send)


def _resumed_at(scope: Scope) -> int:
    """The cursor of a client that has one: it gets the tail only."""
    last = header(scope, b"last-event-id")
    return sequence_number("Last-Event-ID", last) if last else 0


async def _send_idle(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": list(PROTOCOL)})
    await send({"type": "http.response.body"})


# --- which is which ------------------------------------------------------------------------------

_POST: Final = frozenset({"POST"})
_GET: Final = frozenset({"GET", "HEAD"})
_NONE: Final[frozenset[str]] = frozenset()

CHAT: Final = StreamRoute("/v1/ai-sdk/chat", _POST, _NONE, post_chat)
THREAD: Final = StreamRoute("/v1/ai-sdk/threads/{thread_id}/runs", _POST, _NONE, post_to_thread)
AGENT: Final = StreamRoute("/v1/ai-sdk/agents/{agent_id}/runs", _POST, _NONE, post_to_agent)
CHAT_STREAM: Final = StreamRoute("/v1/ai-sdk/chat/{thread_id}/stream", _GET, _NONE, attach_chat)
THREAD_STREAM: Final = StreamRoute(
    "/v1/ai-sdk/threads/{thread_id}/stream", _GET, _NONE, attach_thread
)
AGENT_STREAM: Final = StreamRoute(
    "/v1/ai-sdk/agents/{agent_id}/runs/{thread_id}/stream", _GET, _NONE, attach_chat
)

STREAMS: Final = (CHAT, THREAD, AGENT, CHAT_STREAM, THREAD_STREAM, AGENT_STREAM)


def find_chat_route(path: str) -> tuple[StreamRoute, str] | None:
    """The streaming route of `path` and the id in it, still percent-encoded."""
    if not path.startswith("/v1/ai-sdk/"):
        return None
    match path.split("/"):
        case ["", "v1", "ai-sdk", "chat"]:
            return CHAT, ""
        case ["", "v1", "ai-sdk", "threads", thread_id, "runs"] if thread_id:
            return THREAD, thread_id
        case ["", "v1", "ai-sdk", "agents", agent_id, "runs"] if agent_id:
            return AGENT, agent_id
        case ["", "v1", "ai-sdk", "chat", thread_id, "stream"] if thread_id:
            return CHAT_STREAM, thread_id
        case ["", "v1", "ai-sdk", "threads", thread_id, "stream"] if thread_id:
            return THREAD_STREAM, thread_id
        case ["", "v1", "ai-sdk", "agents", agent_id, "runs", thread_id, "stream"] if (
            agent_id and thread_id
        ):
            return AGENT_STREAM, thread_id
        case _:
            return None
