"""Care for data: dead letters, trying again, deleting, and everything that is held."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import unquote

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field

from awaken.domain.care import Children, DeadLetter, Erased, LetterFilter, retry_id
from awaken.protocols.native import views, wire
from awaken.protocols.native import wire_care as care
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.export import json_lines, of_resource, of_thread
from awaken.protocols.native.http.params import ERRORS, PageQuery, RunId, ThreadId
from awaken.protocols.native.http.params import Query as Parameters
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.protocols.native.http.threads import existing_thread

router = APIRouter(prefix="/v1", responses=ERRORS)

DispatchId = Annotated[str, BeforeValidator(unquote), Path(description="The dispatch's id.")]
ResourceId = Annotated[
    str, BeforeValidator(unquote), Path(description="The `resource_id` of threads.")
]

EXPORTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One JSON object a line: `{type, data}`; the last has the type `end`.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


class LettersQuery(PageQuery):
    agent_id: str | None = None
    thread_id: str | None = None


class DeleteQuery(Parameters):
    children: Children = Field(
        default=Children.reject,
        description="What becomes of the threads below: `reject` deletes nothing while there are "
        "any, `detach` leaves them without a parent, `cascade` deletes them too.",
    )


# --- dead letters and trying again ---------------------------------------------------------------


@router.get("/mailbox/dead-letters", tags=["mailbox"])
async def list_dead_letters(
    query: Annotated[LettersQuery, Query()], services: Served, caller: Asking
) -> care.DeadLetterPage:
    """Deliveries that were given up and not discarded, newest first."""
    filters = ("dead_letters", query.agent_id, query.thread_id)
    key = cursors.unseal(query.cursor, *filters)
    where = LetterFilter(agent_id=query.agent_id, thread_id=query.thread_id)
    page = await services.store.dead_letters(caller.tenant, where, query.limit, key)
    return care.DeadLetterPage(
        items=await _letters(services, caller, page.items),
        next_cursor=cursors.seal(page.next_key, *filters),
        has_more=page.next_key is not None,
    )


async def _letters(
    services: Services, caller: Caller, letters: tuple[DeadLetter, ...]
) -> list[care.DeadLetter]:
    retries = {letter.run_id: retry_id(letter.run_id) for letter in letters}
    known = await services.store.known_runs(caller.tenant, list(retries.values()))
    return [
        views.dead_letter(letter, retry if (retry := retries[letter.run_id]) in known else None)
        for letter in letters
    ]


@router.post("/mailbox/dead-letters/{dispatch_id}/requeue", status_code=202, tags=["mailbox"])
async def requeue_dead_letter(
    dispatch_id: DispatchId, services: Served, caller: Asking
) -> wire.Accepted:
    """Try the run of a dead letter again, as a new run; asking twice gives the same one."""
    run_id = await services.mailbox.keeper.run_of_letter(caller.tenant, dispatch_id)
    return views.accepted(await services.retry(caller, run_id))


@router.post("/mailbox/dead-letters/{dispatch_id}/discard", tags=["mailbox"])
async def discard_dead_letter(
    dispatch_id: DispatchId, services: Served, caller: Asking
) -> care.Discarded:
    """Take a dead letter out of the list. Its run stays as it is."""
    await services.mailbox.keeper.discard(caller.tenant, dispatch_id)
    return care.Discarded(dispatch_id=dispatch_id, discarded=True)


@router.post("/runs/{run_id}/retry", status_code=202, tags=["runs"])
async def retry_run(run_id: RunId, services: Served, caller: Asking) -> wire.Accepted:
    """Try a failed run again: a new run answers its messages, which stay in the thread once.

    It is pinned to what its agent is now, stands behind what is queued, and has `retry_of`. A run
    has one retry: asking twice gives the same one.
    """
    return views.accepted(await services.retry(caller, run_id))


# --- deleting ------------------------------------------------------------------------------------


@router.delete("/threads/{thread_id}", tags=["threads"])
async def delete_thread(
    thread_id: ThreadId,
    query: Annotated[DeleteQuery, Query()],
    services: Served,
    caller: Asking,
) -> care.Deleted:
    """Delete a thread and all that is held of it. What runs is stopped, streams end.

    From the first commit on nothing of it is found. A deletion that was cut off goes on by itself.
    """
    erased = await services.mailbox.keeper.delete_thread(
        caller.tenant, thread_id, children=query.children, by=caller.actor
    )
    return care.Deleted(deleted=_counts(erased))


@router.delete("/resources/{resource_id}", tags=["threads"])
async def delete_resource(
    resource_id: ResourceId, services: Served, caller: Asking
) -> care.Deleted:
    """Delete all threads of a resource, and the threads below them."""
    erased = await services.mailbox.keeper.delete_resource(
        caller.tenant, resource_id, by=caller.actor
    )
    return care.Deleted(deleted=_counts(erased))


def _counts(erased: Erased) -> care.Counts:
    return care.Counts(
        threads=erased.threads,
        runs=erased.runs,
        dispatches=erased.dispatches,
        messages=erased.messages,
        pending=erased.pending,
        tickets=erased.tickets,
        events=erased.events,
        specs=erased.specs,
    )


# --- everything that is held ---------------------------------------------------------------------


@router.get(
    "/threads/{thread_id}/export",
    tags=["threads"],
    response_class=StreamingResponse,
    responses=EXPORTED,
)
async def export_thread(thread_id: ThreadId, services: Served, caller: Asking) -> StreamingResponse:
    """Everything that is held of a thread, as JSON lines."""
    thread = await existing_thread(services, caller, thread_id)
    lines = json_lines(of_thread(services.store, thread))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@router.get(
    "/resources/{resource_id}/export",
    tags=["threads"],
    response_class=StreamingResponse,
    responses=EXPORTED,
)
async def export_resource(
    resource_id: ResourceId, services: Served, caller: Asking
) -> StreamingResponse:
    """Everything that is held of a resource's threads and the threads below them, as JSON lines."""
    items = await of_resource(services, caller.tenant, resource_id)
    return StreamingResponse(json_lines(items), media_type="application/x-ndjson")
