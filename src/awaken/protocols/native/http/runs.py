"""Runs: start in the background, wait, look, stop. Streams are in `streams`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Stop
from awaken.errors import Refusal, not_found
from awaken.ports.store import RunFilter
from awaken.protocols.native import views, wire
from awaken.protocols.native.decode import Caller, background_submission, run_submission
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.events import event_page
from awaken.protocols.native.http.params import (
    ERRORS,
    EventsQuery,
    JsonRoute,
    RunId,
    RunsQuery,
    WaitQuery,
)
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.protocols.native.http.wait import WaitResponse
from awaken.streams.expired import check_run_log

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=JsonRoute, responses=ERRORS)


@router.post("/wait", response_model=wire.Run, responses={202: {"model": wire.Run}})
async def wait_for_run(
    request: wire.RunRequest,
    query: Annotated[WaitQuery, Query()],
    services: Served,
    caller: Asking,
) -> Response:
    """Start a run and answer with it when it ends or waits.

    After 15 s the server begins to send spaces, so that proxies keep the connection. The status
    line is out then: a run that outlives `timeout_ms` comes with 200, and its `status` says so.
    """
    submission = run_submission(request, caller, services.ids.new)
    return WaitResponse(services, caller, submission, query.timeout_ms / 1000)


@router.post("/background", status_code=202)
async def start_in_background(
    request: wire.BackgroundRequest, services: Served, caller: Asking
) -> wire.Accepted:
    """Start a run that nobody waits for."""
    submission = background_submission(request, caller, services.ids.new)
    return views.accepted(await services.submit(caller, submission))


@router.get("")
async def list_runs(
    query: Annotated[RunsQuery, Query()], services: Served, caller: Asking
) -> wire.RunPage:
    """Runs, newest first."""
    where = RunFilter(
        thread_id=query.thread_id,
        agent_id=query.agent_id,
        status=RunStatus(query.status) if query.status else None,
    )
    return await run_page(services, caller, where, query.limit, query.cursor)


async def run_page(
    services: Services, caller: Caller, where: RunFilter, limit: int, cursor: str | None
) -> wire.RunPage:
    """A page of the runs that `where` shows."""
    filters = ("runs", where.thread_id, where.agent_id, where.status)
    key = cursors.unseal(cursor, *filters)
    page = await services.store.runs(caller.tenant, where, limit, key)
    return wire.RunPage(
        items=[views.run(run, await services.open_tickets(run)) for run in page.items],
        next_cursor=cursors.seal(page.next_key, *filters),
        has_more=page.next_key is not None,
    )


@router.get("/{run_id}")
async def read_run(run_id: RunId, services: Served, caller: Asking) -> wire.Run:
    """A run."""
    run = await existing_run(services, caller, run_id)
    return views.run(run, await services.open_tickets(run))


async def existing_run(services: Services, caller: Caller, run_id: str) -> Run:
    """The run, or the 404."""
    run = await services.store.run(caller.tenant, run_id)
    if run is None:
        raise not_found("run", run_id)
    return run


@router.get("/{run_id}/explain")
async def explain_run(run_id: RunId, services: Served, caller: Asking) -> wire.Explanation:
    """Why a run is where it is, what happens next, and when."""
    return views.explanation(await services.mailbox.explain(caller.tenant, run_id))


@router.get("/{run_id}/events")
async def list_run_events(
    run_id: RunId, query: Annotated[EventsQuery, Query()], services: Served, caller: Asking
) -> wire.EventPage:
    """The run's entries of the event log."""
    run = await existing_run(services, caller, run_id)
    await check_run_log(services.store, run)
    return await event_page(services, caller, run.thread_id, run_id, query)


@router.post("/{run_id}/cancel", status_code=202)
async def cancel_run(
    run_id: RunId, services: Served, caller: Asking, request: wire.StopRequest | None = None
) -> wire.Stopped:
    """Stop a run, wherever it is. Once answered 202 the stop is durable; 409 is too late."""
    reason = request.reason if request else None
    stop = await services.mailbox.cancel_run(caller.tenant, run_id, by=caller.actor, reason=reason)
    if stop is Stop.too_late:
        raise Refusal("already_finished", f"run {run_id} has finished", details={"run_id": run_id})
    return wire.Stopped(status=stop.value, run_id=run_id)
