"""Threads, their messages, their runs, their queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Stop
from awaken.domain.thread import Thread
from awaken.errors import Refusal, RequestError, not_found
from awaken.ports.store import MessageFilter, Page, RunFilter
from awaken.protocols.native import views, wire
from awaken.protocols.native import wire_pending as pending
from awaken.protocols.native.decode import Caller, thread_submission
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.events import event_page
from awaken.protocols.native.http.params import (
    ERRORS,
    EventsQuery,
    JsonRoute,
    MessagesQuery,
    PageQuery,
    RunsOfThreadQuery,
    ThreadId,
    ThreadsQuery,
)
from awaken.protocols.native.http.runs import run_page
from awaken.protocols.native.http.services import Asking, Served, Services

router = APIRouter(prefix="/v1/threads", tags=["threads"], route_class=JsonRoute, responses=ERRORS)


async def existing_thread(services: Services, caller: Caller, thread_id: str) -> Thread:
    """The thread, or the 404."""
    thread = await services.store.thread(caller.tenant, thread_id)
    if thread is None:
        raise not_found("thread", thread_id)
    return thread


# --- the threads themselves ----------------------------------------------------------------------


@router.post("", status_code=201)
async def create_thread(
    request: wire.ThreadRequest, services: Served, caller: Asking
) -> wire.Thread:
    """Make a thread. A run makes its own; this is for one with a title, an owner or a parent."""
    thread = await services.mailbox.create_thread(
        caller.tenant,
        thread_id=request.thread_id,
        title=request.title,
        resource_id=request.resource_id,
        parent_thread_id=request.parent_thread_id,
        custom=request.custom,
    )
    return views.thread(thread)


@router.get("")
async def list_threads(
    query: Annotated[ThreadsQuery, Query()], services: Served, caller: Asking
) -> wire.ThreadPage:
    """Threads, latest change first."""
    page, next_cursor = await _thread_page(services, caller, query)
    return wire.ThreadPage(
        items=[views.thread(thread) for thread in page.items],
        next_cursor=next_cursor,
        has_more=next_cursor is not None,
    )


@router.get("/summaries")
async def list_thread_summaries(
    query: Annotated[ThreadsQuery, Query()], services: Served, caller: Asking
) -> wire.ThreadSummaryPage:
    """What a list of conversations shows, latest change first."""
    page, next_cursor = await _thread_page(services, caller, query)
    return wire.ThreadSummaryPage(
        items=[views.thread_summary(thread) for thread in page.items],
        next_cursor=next_cursor,
        has_more=next_cursor is not None,
    )


async def _thread_page(
    services: Services, caller: Caller, query: ThreadsQuery
) -> tuple[Page, str | None]:
    filters = ("threads", query.resource_id, query.parent_thread_id)
    page = await services.store.threads(
        caller.tenant,
        query.limit,
        cursors.unseal(query.cursor, *filters),
        resource_id=query.resource_id,
        parent_thread_id=query.parent_thread_id,
    )
    return page, cursors.seal(page.next_key, *filters)


@router.get("/{thread_id}")
async def read_thread(thread_id: ThreadId, services: Served, caller: Asking) -> wire.Thread:
    """A thread."""
    return views.thread(await existing_thread(services, caller, thread_id))


@router.patch("/{thread_id}")
async def change_thread(
    thread_id: ThreadId, request: wire.ThreadChanges, services: Served, caller: Asking
) -> wire.Thread:
    """Change a thread: what is absent stays, null clears, `custom` is merged key by key."""
    changes = request.model_dump(exclude_unset=True)
    return views.thread(await services.mailbox.update_thread(caller.tenant, thread_id, changes))


# --- messages ------------------------------------------------------------------------------------


@router.get("/{thread_id}/messages")
async def list_messages(
    thread_id: ThreadId,
    query: Annotated[MessagesQuery, Query()],
    services: Served,
    caller: Asking,
) -> wire.MessagePage:
    """The committed messages, by number."""
    await existing_thread(services, caller, thread_id)
    where = MessageFilter(
        after=query.after,
        before=query.before,
        run_id=query.run_id,
        visibility=query.visibility,
        descending=query.order == "desc",
    )
    filters = ("messages", thread_id, query.model_dump(exclude={"limit", "cursor"}))
    key = cursors.unseal(query.cursor, *filters)
    page = await services.store.messages(caller.tenant, thread_id, where, query.limit, key)
    return wire.MessagePage(
        items=[views.message(message) for message in page.items],
        next_cursor=cursors.seal(page.next_key, *filters),
        has_more=page.next_key is not None,
    )


@router.post("/{thread_id}/messages", status_code=202)
async def add_messages(
    thread_id: ThreadId, request: pending.MessagesRequest, services: Served, caller: Asking
) -> wire.Accepted:
    """Messages for a thread there is: behind what runs, read by it, or in its place."""
    await existing_thread(services, caller, thread_id)
    submission = thread_submission(request, thread_id, caller, services.ids.new)
    return views.accepted(await services.submit(caller, submission))


# --- runs and the queue --------------------------------------------------------------------------


@router.get("/{thread_id}/runs")
async def list_runs_of_thread(
    thread_id: ThreadId,
    query: Annotated[RunsOfThreadQuery, Query()],
    services: Served,
    caller: Asking,
) -> wire.RunPage:
    """The thread's runs, newest first."""
    await existing_thread(services, caller, thread_id)
    where = RunFilter(
        thread_id=thread_id,
        agent_id=query.agent_id,
        status=RunStatus(query.status) if query.status else None,
    )
    return await run_page(services, caller, where, query.limit, query.cursor)


@router.get("/{thread_id}/runs/active")
async def read_active_run(thread_id: ThreadId, services: Served, caller: Asking) -> wire.ActiveRun:
    """The run that has the thread, or the one that waits, or null."""
    await existing_thread(services, caller, thread_id)
    run = await _active_run(services, caller, thread_id)
    if run is None:
        return wire.ActiveRun(active_run=None)
    return wire.ActiveRun(active_run=views.run(run, await services.open_tickets(run)))


async def _active_run(services: Services, caller: Caller, thread_id: str) -> Run | None:
    head = await services.store.head(caller.tenant, thread_id)
    if head is not None and head.active_run is not None:
        return await services.store.run(caller.tenant, head.active_run)
    where = RunFilter(thread_id=thread_id, status=RunStatus.waiting)
    waiting = await services.store.runs(caller.tenant, where, 1, None)
    return next(iter(waiting.items), None)


@router.get("/{thread_id}/runs/latest")
async def read_latest_run(thread_id: ThreadId, services: Served, caller: Asking) -> wire.Run:
    """The thread's newest run; 404 when it had none."""
    await existing_thread(services, caller, thread_id)
    page = await services.store.runs(caller.tenant, RunFilter(thread_id=thread_id), 1, None)
    if not page.items:
        raise RequestError(
            "run_not_found",
            f"thread {thread_id} had no run yet",
            status=404,
            details={"thread_id": thread_id},
        )
    run: Run = page.items[0]
    return views.run(run, await services.open_tickets(run))


@router.get("/{thread_id}/events")
async def list_thread_events(
    thread_id: ThreadId,
    query: Annotated[EventsQuery, Query()],
    services: Served,
    caller: Asking,
) -> wire.EventPage:
    """The thread's event log."""
    await existing_thread(services, caller, thread_id)
    return await event_page(services, caller, thread_id, None, query)


@router.get("/{thread_id}/mailbox")
async def list_dispatches(
    thread_id: ThreadId,
    query: Annotated[PageQuery, Query()],
    services: Served,
    caller: Asking,
) -> wire.DispatchPage:
    """The thread's dispatches, newest first."""
    await existing_thread(services, caller, thread_id)
    filters = ("dispatches", thread_id)
    key = cursors.unseal(query.cursor, *filters)
    page = await services.store.dispatches(caller.tenant, thread_id, query.limit, key)
    return wire.DispatchPage(
        items=[views.dispatch(dispatch) for dispatch in page.items],
        next_cursor=cursors.seal(page.next_key, *filters),
        has_more=page.next_key is not None,
    )


# --- stopping ------------------------------------------------------------------------------------


@router.post("/{thread_id}/cancel", status_code=202, responses={200: {"model": wire.ThreadStopped}})
async def cancel_thread(
    thread_id: ThreadId,
    services: Served,
    caller: Asking,
    response: Response,
    request: pending.ThreadStopRequest | None = None,
) -> wire.ThreadStopped:
    """Stop what runs, waits and is queued in the thread; 200 `nothing_to_stop` when it is idle.

    With `message_id` only what that message started, also if it has not arrived yet; 409
    `already_finished` when that has ended.
    """
    reason = request.reason if request else None
    if request is not None and request.message_id is not None:
        stop = await services.mailbox.cancel_message(
            caller.tenant, thread_id, request.message_id, by=caller.actor, reason=reason
        )
        if stop is Stop.too_late:
            raise _too_late(request.message_id)
        return _stopped(thread_id, stop, "cancel_requested", 1, response)
    stop, count = await services.mailbox.cancel_thread(
        caller.tenant, thread_id, by=caller.actor, reason=reason
    )
    return _stopped(thread_id, stop, "cancel_requested", count, response)


@router.post(
    "/{thread_id}/interrupt", status_code=202, responses={200: {"model": wire.ThreadStopped}}
)
async def interrupt_thread(
    thread_id: ThreadId,
    services: Served,
    caller: Asking,
    response: Response,
    request: wire.StopRequest | None = None,
) -> wire.ThreadStopped:
    """As cancel, and whatever still runs can write nothing more."""
    reason = request.reason if request else None
    stop, count = await services.mailbox.interrupt_thread(
        caller.tenant, thread_id, by=caller.actor, reason=reason
    )
    return _stopped(thread_id, stop, "interrupt_requested", count, response)


def _too_late(message_id: str) -> Refusal:
    return Refusal(
        "already_finished",
        f"the run of message {message_id!r} has finished",
        details={"message_id": message_id},
    )


def _stopped(
    thread_id: str, stop: Stop, requested: str, count: int, response: Response
) -> wire.ThreadStopped:
    if stop is not Stop.requested:
        response.status_code = 200
    return wire.ThreadStopped(
        status=requested if stop is Stop.requested else stop.value,
        thread_id=thread_id,
        superseded_dispatches=count,
    )
