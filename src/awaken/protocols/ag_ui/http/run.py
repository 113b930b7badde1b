"""`POST` a `RunAgentInput`, in raw ASGI: the answer is the stream of the run it starts or resumes.

What the rules of the protocol forbid (a thread with open interrupts and no `resume`, say) is
answered with RUN_ERROR; what is no `RunAgentInput` with a refusal. A disconnect closes the
subscription and nothing else (I8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from awaken.domain.run import Run
from awaken.domain.submission import OnBusy
from awaken.errors import AwakenError, Refusal, RequestError, not_found
from awaken.ports.store import MessageFilter
from awaken.protocols.ag_ui import decode
from awaken.protocols.ag_ui.carry import Carry, Names
from awaken.protocols.ag_ui.encode import AgUiEncoder
from awaken.protocols.ag_ui.http.answering import Answers, Asked, answers, asked, carry_out
from awaken.protocols.ag_ui.http.attach import show_run
from awaken.protocols.ag_ui.http.respond import RunView, begin_stream, carry_of, refuse
from awaken.protocols.ag_ui.wire import RunAgentInput
from awaken.protocols.native.decode import Caller, parse
from awaken.protocols.native.http.asgi import (
    Receive,
    Scope,
    Send,
    check_content_type,
    read_body,
)
from awaken.protocols.native.http.identity import identity_of
from awaken.protocols.native.http.services import Services, caller_of, services_of
from awaken.streams.follow import follow_run

INPUTS: Final = 200
"""Among how many of a run's first messages those of its request are looked for."""


@dataclass(slots=True)
class _Posted:
    """A request on its way."""

    services: Services
    caller: Caller
    request: RunAgentInput
    thread_id: str
    agent_id: str | None
    receive: Receive
    send: Send

    def names(self, own_run_id: str) -> Names:
        """What the client calls thread and run."""
        return Names(
            thread_id=self.request.thread_id,
            run_id=self.request.run_id,
            own_run_id=own_run_id,
            parent_run_id=self.request.parent_run_id,
        )

    def forget(self) -> None:
        """The whole history of a chat is not held while its answer is streamed."""
        empty: dict[str, Any] = {
            "messages": [],
            "state": None,
            "tools": None,
            "context": None,
            "resume": None,
        }
        self.request = self.request.model_copy(update=empty)


async def post_run(scope: Scope, receive: Receive, send: Send, _: str) -> None:
    """On the thread that the body names; it is made if there is none."""
    await _post(scope, receive, send, None, None)


async def post_to_thread(scope: Scope, receive: Receive, send: Send, thread_id: str) -> None:
    """On a thread that there is."""
    thread_id = unquote(thread_id)
    if await services_of(scope).store.thread(caller_of(scope).tenant, thread_id) is None:
        raise not_found("thread", thread_id)
    await _post(scope, receive, send, thread_id, None)


async def post_to_agent(scope: Scope, receive: Receive, send: Send, agent_id: str) -> None:
    """As `post_run`, with the agent of the path."""
    await _post(scope, receive, send, None, unquote(agent_id))


async def _post(
    scope: Scope, receive: Receive, send: Send, thread_id: str | None, agent_id: str | None
) -> None:
    check_content_type(scope)
    posted = _Posted(
        services=services_of(scope),
        caller=caller_of(scope),
        request=parse(RunAgentInput, await read_body(scope, receive)),
        thread_id=thread_id or "",
        agent_id=agent_id,
        receive=receive,
        send=send,
    )
    decode.check_ids(posted.request)
    posted.thread_id = posted.thread_id or posted.request.thread_id
    services, caller = posted.services, posted.caller
    open_ = await asked(services, caller.tenant, posted.thread_id)
    if open_.run is not None and await _came_again(posted, open_.run):
        await _show_again(posted, open_.run.run_id)
        return
    try:
        given = await answers(services, caller, posted.thread_id, posted.request, open_)
    except RequestError as error:
        if error.status != 409 and not str(error.details.get("field")).startswith("resume"):
            raise  # no RunAgentInput
        await refuse(send, services, posted.names(""), error.code, str(error))
        return
    if given.choices:
        await _resume(posted, open_, given, scope)
    elif given.repeated is not None and not decode.new_messages(posted.request):
        await _show_again(posted, given.repeated)
    else:
        await _start(posted)


async def _came_again(posted: _Posted, run: Run) -> bool:
    """Whether the request is the one that started the run: the client never heard what it asks."""
    request = posted.request
    if run.client_run_id != request.run_id or request.resume or decode.tool_results(request):
        return False
    where = MessageFilter(run_id=run.run_id)
    first = await posted.services.store.messages(run.tenant, run.thread_id, where, INPUTS, None)
    there = {stored.message.message_id for stored in first.items}
    return all(message.message_id in there for message in decode.new_messages(request))


# --- a new run -----------------------------------------------------------------------------------


async def _start(posted: _Posted) -> None:
    """Submit, and stream what the run says until it ends or waits."""
    services, caller = posted.services, posted.caller
    submission = decode.submission(
        posted.request,
        caller,
        services.ids.new,
        thread_id=posted.thread_id,
        agent_id=posted.agent_id,
    )
    run_id = submission.run_id
    # Subscribed first, so that the commit of the submit finds its reader: no read of the store.
    subscription = services.hub.subscribe(caller.tenant, posted.thread_id, None, run_id)
    with subscription:
        accepted = await services.submit(caller, submission)
        if accepted.run_id == run_id:
            subscription.seek(accepted.cursor, run_id, accepted.thread_id)
            run = await _existing(services, caller, run_id)
            encoder = AgUiEncoder(posted.names(run_id), await _first_carry(posted, run))
            receive, send = posted.receive, posted.send
            posted.forget()
            del submission
            await begin_stream(send, run.thread_id, run.run_id)
            batches = follow_run(services.store, subscription, "activation")
            await RunView(services, run, encoder).send(batches, receive, send)
            return
    await _show_again(posted, accepted.run_id)  # the request was accepted before


async def _first_carry(posted: _Posted, run: Run) -> Carry:
    """What the client knows: the messages it posted; and the state, if the thread has any."""
    thread = await posted.services.store.thread(run.tenant, run.thread_id)
    state = thread.state if thread is not None else {}
    known = frozenset(message.id for message in posted.request.messages)
    return Carry(known=known, state=state or None)


async def _existing(services: Services, caller: Caller, run_id: str) -> Run:
    run = await services.store.run(caller.tenant, run_id)
    if run is None:
        raise not_found("run", run_id)
    return run


# --- a run that goes on --------------------------------------------------------------------------


async def _resume(posted: _Posted, open_: Asked, given: Answers, scope: Scope) -> None:
    """Carry out the answers, and stream how the run goes on."""
    services, caller, run = posted.services, posted.caller, open_.run
    assert run is not None, "who answers a ticket answers a waiting run"
    head = await services.store.head(caller.tenant, run.thread_id)
    found = await services.store.checkpoint(caller.tenant, run.run_id)
    if head is None or found is None:
        raise not_found("run", run.run_id)
    try:
        await carry_out(services, caller, identity_of(scope).rights, given)
    except (RequestError, Refusal) as error:
        await _refuse_answer(posted, run, error)
        return
    await _say_more(posted)
    carry = carry_of(found)
    known = frozenset(message.id for message in posted.request.messages)
    encoder = AgUiEncoder(posted.names(run.run_id), _answered(carry, known, given.calls))
    receive, send = posted.receive, posted.send
    posted.forget()
    del found, carry
    with services.hub.subscribe(run.tenant, run.thread_id, head.seq, run.run_id) as subscription:
        await begin_stream(send, run.thread_id, run.run_id)
        batches = follow_run(services.store, subscription, "activation")
        await RunView(services, run, encoder).send(batches, receive, send)


def _answered(carry: Carry, known: frozenset[str], calls: frozenset[str]) -> Carry:
    return Carry(
        message_id=carry.message_id,
        tickets=carry.tickets,
        results=carry.results,
        known=known,
        answered=carry.answered | calls,
        message_seq=carry.message_seq,
    )


async def _refuse_answer(posted: _Posted, run: Run, error: AwakenError) -> None:
    """What is wrong with an answer is told as the protocol does; who may not answer is refused."""
    if error.status in (401, 403, 503):
        raise error
    names = posted.names(run.run_id)
    await refuse(posted.send, posted.services, names, error.code, str(error))


async def _say_more(posted: _Posted) -> None:
    """Messages that came along with answers are read by the run at its next step, or behind it."""
    if not decode.new_messages(posted.request):
        return
    submission = decode.submission(
        posted.request,
        posted.caller,
        posted.services.ids.new,
        thread_id=posted.thread_id,
        agent_id=posted.agent_id,
        on_busy=OnBusy.steer,
    )
    await posted.services.submit(posted.caller, submission)


async def _show_again(posted: _Posted, run_id: str) -> None:
    """The run that a repeated request started or resumed before, from its last step on."""
    run = await _existing(posted.services, posted.caller, run_id)
    names = posted.names(run_id)
    posted.forget()
    await show_run(posted.services, run, names, posted.receive, posted.send)
