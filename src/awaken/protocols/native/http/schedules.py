"""Schedules: what is submitted again and again, and submitting it now."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Path, Query
from msgspec.structs import replace
from pydantic import BeforeValidator

from awaken.domain.schedule import Missed, Schedule
from awaken.domain.submission import IdempotencyKey, OnBusy
from awaken.errors import not_found
from awaken.protocols.native import views, wire
from awaken.protocols.native import wire_schedules as schedules
from awaken.protocols.native.decode import Caller, input_messages, invalid_field
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.params import ERRORS, JsonRoute, PageQuery
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.protocols.native.views_schedules import schedule as view

router = APIRouter(
    prefix="/v1/schedules", tags=["schedules"], route_class=JsonRoute, responses=ERRORS
)

ScheduleId = Annotated[str, BeforeValidator(unquote), Path(description="The schedule's id.")]


@router.post("", status_code=201)
async def create_schedule(
    request: schedules.ScheduleRequest, services: Served, caller: Asking
) -> schedules.Schedule:
    """Submit these messages whenever the cron expression says so."""
    wanted = Schedule(
        tenant=caller.tenant,
        schedule_id="",
        created_by=caller.actor,
        created_at=0,
        updated_at=0,
        **_fields(request, services),
    )
    return view(await services.mailbox.create_schedule(wanted))


@router.get("")
async def list_schedules(
    query: Annotated[PageQuery, Query()], services: Served, caller: Asking
) -> schedules.SchedulePage:
    """Schedules, newest first."""
    key = cursors.unseal(query.cursor, "schedules")
    page = await services.store.schedules(caller.tenant, query.limit, key)
    return schedules.SchedulePage(
        items=[view(each) for each in page.items],
        next_cursor=cursors.seal(page.next_key, "schedules"),
        has_more=page.next_key is not None,
    )


@router.get("/{schedule_id}")
async def read_schedule(
    schedule_id: ScheduleId, services: Served, caller: Asking
) -> schedules.Schedule:
    """A schedule: when it comes next, and what came of its latest tick."""
    found = await services.store.schedule(caller.tenant, schedule_id)
    if found is None:
        raise not_found("schedule", schedule_id)
    return view(found)


@router.patch("/{schedule_id}")
async def change_schedule(
    schedule_id: ScheduleId,
    request: schedules.ScheduleChanges,
    services: Served,
    caller: Asking,
) -> schedules.Schedule:
    """Change a schedule. Other times begin from now; runs that it submitted go on."""
    changes = _fields(request, services)
    return view(await services.mailbox.change_schedule(caller.tenant, schedule_id, changes))


@router.delete("/{schedule_id}", status_code=204)
async def delete_schedule(schedule_id: ScheduleId, services: Served, caller: Asking) -> None:
    """Submit nothing more; runs that it submitted go on."""
    await services.mailbox.delete_schedule(caller.tenant, schedule_id)


@router.post("/{schedule_id}/trigger", status_code=202)
async def trigger_schedule(
    schedule_id: ScheduleId, services: Served, caller: Asking
) -> wire.Accepted:
    """Submit the messages now, once more: no tick of the schedule is changed by that."""
    wanted = await services.mailbox.triggered(caller.tenant, schedule_id)
    submission = replace(wanted, idempotency=_idempotency(caller), **_named(caller))
    return views.accepted(await services.submit(caller, submission))


def _idempotency(caller: Caller) -> IdempotencyKey | None:
    """A trigger has no body: the route says all."""
    if caller.idempotency_key is None:
        return None
    return IdempotencyKey(route=caller.route, key=caller.idempotency_key, fingerprint="")


def _named(caller: Caller) -> dict[str, Any]:
    return {
        "actor": caller.actor,
        "transport_request_id": caller.transport_request_id,
        "correlation_id": caller.correlation_id,
    }


def _fields(
    request: schedules.ScheduleRequest | schedules.ScheduleChanges, services: Services
) -> dict[str, Any]:
    """The fields that were sent, as the record has them."""
    fields = {name: getattr(request, name) for name in request.model_fields_set}
    if "messages" in fields:
        _check_ids(request)
        fields["messages"] = input_messages(request.messages, services.ids.new)
    if "on_busy" in fields:
        fields["on_busy"] = OnBusy(request.on_busy)
    if "missed" in fields:
        fields["missed"] = Missed(request.missed)
    return fields


def _check_ids(request: schedules.ScheduleRequest | schedules.ScheduleChanges) -> None:
    for index, message in enumerate(request.messages):
        if message.id is not None:
            raise invalid_field(
                f"messages[{index}].id", "must be absent: each tick's messages have their own"
            )
