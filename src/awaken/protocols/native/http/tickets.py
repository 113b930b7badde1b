"""Tickets: what waiting runs ask, and deciding it.

A decision can name its ticket by id, or, within a run or a thread, by the tool call that waits.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import unquote

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BeforeValidator

from awaken.domain.rule import Effect
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.errors import RequestError, not_found
from awaken.ports.store import TicketFilter
from awaken.protocols.native import views, wire
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.params import ERRORS, JsonRoute, PageQuery, RunId, ThreadId
from awaken.protocols.native.http.runs import existing_run
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.protocols.native.http.threads import existing_thread

router = APIRouter(tags=["tickets"], route_class=JsonRoute, responses=ERRORS)

TicketId = Annotated[str, BeforeValidator(unquote), Path(description="The ticket's id.")]

MAX_PAYLOAD_BYTES: Final = 1024 * 1024
"""As much as a tool may answer with: a decision can become the result of its call."""
MAX_SEARCHED: Final = 2_000
"""How many tickets, latest first, a tool call's is looked for among."""
PAGE: Final = 200


class TicketsQuery(PageQuery):
    status: Literal["open", "answered", "denied", "expired", "cancelled", "superseded", "all"] = (
        "open"
    )
    run_id: str | None = None
    thread_id: str | None = None

    def where(self) -> TicketFilter:
        """The filter that was asked for."""
        status = None if self.status == "all" else TicketStatus(self.status)
        return TicketFilter(status=status, run_id=self.run_id, thread_id=self.thread_id)


# --- looking -------------------------------------------------------------------------------------


@router.get("/v1/tickets")
async def list_tickets(
    query: Annotated[TicketsQuery, Query()], services: Served, caller: Asking
) -> wire.TicketPage:
    """The approval inbox: open tickets, or those of another status, latest first."""
    filters = ("tickets", query.status, query.run_id, query.thread_id)
    key = cursors.unseal(query.cursor, *filters)
    page = await services.store.tickets(caller.tenant, query.where(), query.limit, key)
    return wire.TicketPage(
        items=[views.ticket(ticket) for ticket in page.items],
        next_cursor=cursors.seal(page.next_key, *filters),
        has_more=page.next_key is not None,
    )


@router.get("/v1/tickets/{ticket_id}")
async def read_ticket(ticket_id: TicketId, services: Served, caller: Asking) -> wire.Ticket:
    """A ticket, open or closed."""
    return views.ticket(await _existing_ticket(services, caller, ticket_id))


async def _existing_ticket(services: Services, caller: Caller, ticket_id: str) -> Ticket:
    ticket = await services.store.ticket(caller.tenant, ticket_id)
    if ticket is None:
        raise not_found("ticket", ticket_id)
    return ticket


# --- deciding ------------------------------------------------------------------------------------


@router.post("/v1/tickets/{ticket_id}/decision", status_code=202)
async def decide_ticket(
    ticket_id: TicketId, request: wire.DecisionRequest, services: Served, caller: Asking
) -> wire.Decided:
    """Answer a ticket. Once answered 202 the decision is durable; the last one resumes the run."""
    return await _decide(services, caller, ticket_id, request)


@router.post("/v1/runs/{run_id}/decision", status_code=202)
async def decide_for_run(
    run_id: RunId, request: wire.AddressedDecision, services: Served, caller: Asking
) -> wire.Decided:
    """Answer a ticket of a run, named by its own id or by its tool call's."""
    await existing_run(services, caller, run_id)
    where = TicketFilter(run_id=run_id)
    ticket = await _addressed(services, caller, where, request)
    return await _decide(services, caller, ticket.ticket_id, request)


@router.post("/v1/threads/{thread_id}/decision", status_code=202)
async def decide_for_thread(
    thread_id: ThreadId, request: wire.AddressedDecision, services: Served, caller: Asking
) -> wire.Decided:
    """Answer a ticket of a thread, named by its own id or by its tool call's."""
    await existing_thread(services, caller, thread_id)
    where = TicketFilter(thread_id=thread_id)
    ticket = await _addressed(services, caller, where, request)
    return await _decide(services, caller, ticket.ticket_id, request)


async def _decide(
    services: Services, caller: Caller, ticket_id: str, request: wire.DecisionRequest
) -> wire.Decided:
    if len(msgspec.json.encode(request.payload)) > MAX_PAYLOAD_BYTES:
        raise _invalid("payload", f"the payload may have at most {MAX_PAYLOAD_BYTES} bytes")
    decided = await services.mailbox.decide(
        caller.tenant,
        ticket_id,
        action=request.action,
        by=caller.actor,
        payload=request.payload,
        decision_id=request.decision_id,
        arguments_hash=request.arguments_hash,
        remember=None if request.remember is None else Effect(request.remember),
    )
    return wire.Decided(ticket=views.ticket(decided.ticket), resumed=decided.resumed)


def _invalid(field: str, message: str) -> RequestError:
    return RequestError("invalid_decision", message, status=422, details={"field": field})


# --- which ticket is meant -----------------------------------------------------------------------


async def _addressed(
    services: Services, caller: Caller, where: TicketFilter, request: wire.AddressedDecision
) -> Ticket:
    """The ticket of that run or thread; that of another one is not found."""
    match request.ticket_id, request.tool_call_id:
        case str(ticket_id), None:
            ticket = await _existing_ticket(services, caller, ticket_id)
            if where.run_id not in (None, ticket.run_id):
                raise not_found("ticket", ticket_id)
            if where.thread_id not in (None, ticket.thread_id):
                raise not_found("ticket", ticket_id)
            return ticket
        case None, str(call_id):
            return await _ticket_of_call(services, caller, where, call_id, request.decision_id)
        case _:
            raise _invalid("ticket_id", "name either ticket_id or tool_call_id")


async def _ticket_of_call(
    services: Services,
    caller: Caller,
    where: TicketFilter,
    call_id: str,
    decision_id: str | None,
) -> Ticket:
    """The call's ticket that this very decision closed, else the open one, else its latest.

    A call that asks several times has several: a repeated decision must not answer the next one.
    """
    found = await _tickets_of_call(services, caller, where, call_id)
    if not found:
        raise RequestError(
            "ticket_not_found",
            f"no ticket for the tool call {call_id!r}",
            status=404,
            details={"tool_call_id": call_id},
        )
    repeated = (t for t in found if t.decision and t.decision.decision_id == decision_id)
    still_open = (t for t in found if t.status is TicketStatus.open)
    return next(repeated, None) or next(still_open, found[0])


async def _tickets_of_call(
    services: Services, caller: Caller, where: TicketFilter, call_id: str
) -> list[Ticket]:
    """The call's tickets, latest first."""
    found: list[Ticket] = []
    key: str | None = None
    for _ in range(MAX_SEARCHED // PAGE):
        page = await services.store.tickets(caller.tenant, where, PAGE, key)
        found += [ticket for ticket in page.items if ticket.tool_call_id == call_id]
        key = page.next_key
        if key is None:
            break
    return found
