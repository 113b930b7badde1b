"""History of a chat as UI messages, and stopping it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from awaken.domain.message import Role, StoredMessage
from awaken.domain.submission import Stop
from awaken.domain.thread import Thread
from awaken.domain.ticket import TicketStatus
from awaken.ports.store import MessageFilter, TicketFilter
from awaken.protocols.ai_sdk.history import ui_messages
from awaken.protocols.ai_sdk.http.runs import client_tools, live_run
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http.params import ERRORS, JsonRoute, ThreadId
from awaken.protocols.native.http.params import Query as Parameters
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.protocols.native.http.threads import existing_thread
from awaken.protocols.native.wire import MAX_TIME

router = APIRouter(prefix="/v1/ai-sdk", tags=["ai-sdk"], route_class=JsonRoute, responses=ERRORS)

PAGE: Final = 200
MAX_READ: Final = 5_000
"""How many stored messages one answer is made of at most, however long a single run was."""
MAX_TICKETS: Final = 200


class HistoryQuery(Parameters):
    limit: int = Field(default=100, ge=1, le=1000, description="About how many stored messages.")
    before: int | None = Field(
        default=None, ge=0, le=MAX_TIME, description="`before` of the page behind this one."
    )


class UIMessages(BaseModel):
    """UI messages, oldest first; `before` asks for those that come before."""

    messages: list[dict[str, Any]]
    before: int | None = None
    has_more: bool = False


class ChatStopped(BaseModel):
    status: str
    thread_id: str
    runs: int


_IDLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": ChatStopped, "description": "Nothing ran, waited or was queued."}
}


@router.get("/threads/{thread_id}/messages", response_model_exclude_none=True)
async def list_ui_messages(
    thread_id: ThreadId,
    query: Annotated[HistoryQuery, Query()],
    services: Served,
    caller: Asking,
) -> UIMessages:
    """The thread as UI messages, for `useChat({messages})`.

    What a run that is under way says is not among them: `…/stream` tells that from its beginning.
    """
    thread = await existing_thread(services, caller, thread_id)
    return await _ui_messages(services, caller, thread, query)


@router.get("/chat/{thread_id}/messages", response_model_exclude_none=True)
async def list_chat_messages(
    thread_id: ThreadId,
    query: Annotated[HistoryQuery, Query()],
    services: Served,
    caller: Asking,
) -> UIMessages:
    """As that of a thread; a chat in which nobody has said anything yet has none."""
    thread = await services.store.thread(caller.tenant, thread_id)
    if thread is None:
        return UIMessages(messages=[])
    return await _ui_messages(services, caller, thread, query)


async def _ui_messages(
    services: Services, caller: Caller, thread: Thread, query: HistoryQuery
) -> UIMessages:
    thread_id = thread.thread_id
    live = await live_run(services, thread)
    stored, more = await _latest(services, caller, thread_id, query)
    where = TicketFilter(thread_id=thread_id, status=TicketStatus.open)
    tickets = await services.store.tickets(caller.tenant, where, MAX_TICKETS, None)
    agent_id = thread.agent_id or "default"
    told = ui_messages(
        stored,
        tickets.items,
        streamed=live.run_id if live else None,
        client_tools=client_tools(services, caller.tenant, agent_id),
    )
    before = stored[0].message_seq if more else None
    return UIMessages(messages=told, before=before, has_more=more)


async def _latest(
    services: Services, caller: Caller, thread_id: str, query: HistoryQuery
) -> tuple[list[StoredMessage], bool]:
    """The latest messages, from one of the user on: the answer of a run is not cut in two."""
    found: list[StoredMessage] = []
    before = query.before
    while True:
        where = MessageFilter(before=before, descending=True)
        page = await services.store.messages(caller.tenant, thread_id, where, PAGE, None)
        for stored in page.items:
            found.append(stored)
            if len(found) >= query.limit and stored.message.role is Role.user:
                return found[::-1], stored.message_seq > 1
        if page.next_key is None or len(found) >= MAX_READ:
            return found[::-1], page.next_key is not None
        before = found[-1].message_seq


@router.post("/threads/{thread_id}/cancel", status_code=202, responses=_IDLE)
@router.post("/chat/{thread_id}/cancel", status_code=202, responses=_IDLE)
async def cancel_chat(
    thread_id: ThreadId, services: Served, caller: Asking, response: Response
) -> ChatStopped:
    """Stop what runs, waits and is queued in the chat; 200 `nothing_to_stop` when it is idle.

    `stop()` of the SDK only drops its connection; the run goes on.
    """
    stop, count = await services.mailbox.cancel_thread(caller.tenant, thread_id, by=caller.actor)
    if stop is not Stop.requested:
        response.status_code = 200
    return ChatStopped(status=stop.value, thread_id=thread_id, runs=count)
