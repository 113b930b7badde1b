"""Messages that wait to be read: steering a run, and changing what was not read yet."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Header, Path
from pydantic import BeforeValidator

from awaken.errors import RequestError
from awaken.protocols.native import views, wire
from awaken.protocols.native import wire_pending as pending
from awaken.protocols.native.decode import content_blocks, invalid_field, run_inputs
from awaken.protocols.native.http.params import ERRORS, JsonRoute, RunId, ThreadId
from awaken.protocols.native.http.runs import existing_run
from awaken.protocols.native.http.services import Asking, Served

router = APIRouter(prefix="/v1", tags=["pending"], route_class=JsonRoute, responses=ERRORS)

MessageId = Annotated[str, BeforeValidator(unquote), Path(description="The message's id.")]
IfMatch = Annotated[
    str | None, Header(description="The revision that the change is made for, as it was read.")
]


@router.post("/runs/{run_id}/inputs", status_code=202)
async def add_inputs(
    run_id: RunId, request: pending.InputsRequest, services: Served, caller: Asking
) -> wire.Accepted:
    """Messages for a run that goes on: read at its next step or its natural end.

    If it ends without having read them, the run `fallback_run_id` starts with them.
    """
    run = await existing_run(services, caller, run_id)
    submission = run_inputs(request, run, caller, services.ids.new)
    return views.accepted(await services.submit(caller, submission))


@router.get("/threads/{thread_id}/pending")
async def list_pending(
    thread_id: ThreadId, services: Served, caller: Asking
) -> pending.PendingQueue:
    """All that waits to be read on the thread, in order."""
    return views.pending_queue(await services.mailbox.pending(caller.tenant, thread_id))


@router.post("/threads/{thread_id}/pending/reorder")
async def reorder_pending(
    thread_id: ThreadId,
    request: pending.PendingOrder,
    services: Served,
    caller: Asking,
    if_match: IfMatch = None,
) -> pending.PendingQueue:
    """Put what waits into another order; `If-Match` is the revision of the queue."""
    queue = await services.mailbox.reorder_pending(
        caller.tenant, thread_id, request.message_ids, revision(if_match)
    )
    return views.pending_queue(queue)


@router.patch("/threads/{thread_id}/pending/{message_id}")
async def edit_pending(
    thread_id: ThreadId,
    message_id: MessageId,
    request: pending.PendingEdit,
    services: Served,
    caller: Asking,
    if_match: IfMatch = None,
) -> pending.PendingMessage:
    """Give a message other content; `If-Match` is the message's revision."""
    changed = await services.mailbox.edit_pending(
        caller.tenant,
        thread_id,
        message_id,
        content_blocks(request.content),
        revision(if_match),
    )
    return views.pending_message(changed.entry, changed.place)


@router.delete("/threads/{thread_id}/pending/{message_id}", status_code=204)
async def retract_pending(
    thread_id: ThreadId,
    message_id: MessageId,
    services: Served,
    caller: Asking,
    if_match: IfMatch = None,
) -> None:
    """Take a message back; a queued run without messages ends `cancelled`, `nothing_to_do`."""
    await services.mailbox.retract_pending(caller.tenant, thread_id, message_id, revision(if_match))


def revision(text: str | None) -> int:
    """The revision in an `If-Match` header, with or without quotes.

    Raises:
        RequestError: `precondition_required` (428) without one, `invalid_field` (422).
    """
    if text is None:
        raise RequestError(
            "precondition_required",
            "If-Match: is required: the revision that was read",
            status=428,
            details={"field": "If-Match"},
        )
    number = text.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) <= 15):
        raise invalid_field("If-Match", "must be a revision, a number")
    return int(number)
