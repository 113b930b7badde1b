"""Answers to what a run waits for, checked against our tickets and carried out.

What is open must be covered by one request: an interrupt by an entry of `resume`, a call of the
client by its tool message (or an entry). All is checked before anything is decided. An answer that
was carried out and is posted again is the same decision, and its client is shown the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.errors import RequestError
from awaken.ports.store import TicketFilter
from awaken.protocols.ag_ui.decode import Choice, choice, refused, tool_results
from awaken.protocols.ag_ui.frames import is_client_call
from awaken.protocols.ag_ui.wire import ResumeEntry, RunAgentInput
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http.identity import Right
from awaken.protocols.native.http.services import Services

MAX_TICKETS: Final = 200
MAX_PAYLOAD_BYTES: Final = 1024 * 1024


class Asked(Record):
    """The questions of a thread: those that are open, and the run that waits for them."""

    run: Run | None = None
    tickets: tuple[Ticket, ...] = ()


class Answers(Record):
    """What a request decides: `choices` by ticket, `calls` the client's own among them.

    `repeated` is a run whose questions were answered so before.
    """

    choices: tuple[tuple[Ticket, Choice], ...] = ()
    calls: frozenset[str] = frozenset()
    repeated: str | None = None


async def asked(services: Services, tenant: str, thread_id: str) -> Asked:
    """What the thread waits for."""
    head = await services.store.head(tenant, thread_id)
    waiting = head.waiting_run if head else None
    run = await services.store.run(tenant, waiting) if waiting else None
    if run is None:
        return Asked()
    return Asked(run=run, tickets=tuple(await services.open_tickets(run)))


async def answers(
    services: Services, caller: Caller, thread_id: str, request: RunAgentInput, open_: Asked
) -> Answers:
    """The answers in a request.

    Raises:
        RequestError: `interrupts_open`, `interrupt_not_found`, `interrupt_expired`,
            `interrupt_closed` (409), or `invalid_field`.
    """
    results = tool_results(request)
    if request.resume:
        return await _resumed(services, caller, thread_id, request.resume, results, open_)
    found = [
        (ticket, results[ticket.tool_call_id])
        for ticket in open_.tickets
        if is_client_call(ticket) and ticket.tool_call_id in results
    ]
    _check_covered(open_.tickets, {ticket.ticket_id for ticket, _ in found})
    if not found and results:
        return Answers(repeated=await _answered_before(services, caller, thread_id, results))
    return Answers(
        choices=tuple(found), calls=frozenset(ticket.tool_call_id for ticket, _ in found)
    )


async def _resumed(
    services: Services,
    caller: Caller,
    thread_id: str,
    entries: Sequence[ResumeEntry],
    results: Mapping[str, Choice],
    open_: Asked,
) -> Answers:
    tickets = [
        await _ticket(services, caller, thread_id, entry, index)
        for index, entry in enumerate(entries)
    ]
    pairs = [
        (ticket, choice(entry, ticket, f"resume[{index}]"))
        for index, (entry, ticket) in enumerate(zip(entries, tickets, strict=True))
    ]
    still = [(ticket, made) for ticket, made in pairs if ticket.status is TicketStatus.open]
    for ticket, made in pairs:
        if ticket.status is not TicketStatus.open:
            _check_repeated(ticket, made)
    if not still:
        return Answers(repeated=pairs[0][0].run_id)
    named = {ticket.ticket_id for ticket, _ in still}
    by_tools = [
        (ticket, results[ticket.tool_call_id])
        for ticket in open_.tickets
        if ticket.tool_call_id in results and ticket.ticket_id not in named
    ]
    by_tools = [pair for pair in by_tools if is_client_call(pair[0])]
    everything = [*still, *by_tools]
    _check_covered(open_.tickets, {ticket.ticket_id for ticket, _ in everything}, strict=True)
    now = services.clock.now()
    for ticket, _ in everything:
        if ticket.expires_at is not None and now > ticket.expires_at:
            raise _expired(ticket)
    return Answers(
        choices=tuple(everything), calls=frozenset(ticket.tool_call_id for ticket, _ in by_tools)
    )


async def _ticket(
    services: Services, caller: Caller, thread_id: str, entry: ResumeEntry, index: int
) -> Ticket:
    ticket = await services.store.ticket(caller.tenant, entry.interrupt_id)
    if ticket is None or ticket.thread_id != thread_id:
        raise refused(
            "interrupt_not_found",
            f"resume[{index}].interruptId: {entry.interrupt_id!r} is no interrupt of this thread",
            field=f"resume[{index}].interruptId",
        )
    return ticket


def _check_repeated(ticket: Ticket, made: Choice) -> None:
    """An answer to a closed ticket is one only if it is the answer that closed it."""
    if ticket.status is TicketStatus.expired:
        raise _expired(ticket)
    decision = ticket.decision
    if decision is None or decision.decision_id != made.decision_id(ticket.ticket_id):
        raise refused(
            "interrupt_closed",
            f"resume: interrupt {ticket.ticket_id} is {ticket.status.value} already",
            interrupt_id=ticket.ticket_id,
        )


def _expired(ticket: Ticket) -> RequestError:
    return refused(
        "interrupt_expired",
        f"resume: the time to answer interrupt {ticket.ticket_id} is over",
        interrupt_id=ticket.ticket_id,
    )


def _check_covered(tickets: Sequence[Ticket], named: set[str], *, strict: bool = False) -> None:
    """Every open interrupt must be answered; the client's own calls may be left behind.

    They may not when the request resumes (`strict`): the interrupt told of them too.
    """
    if not strict and all(is_client_call(ticket) for ticket in tickets):
        return
    missing = [ticket.ticket_id for ticket in tickets if ticket.ticket_id not in named]
    if missing:
        raise refused(
            "interrupts_open",
            f"resume: the thread has open interrupts that are not answered: {', '.join(missing)}",
            interrupts=missing,
        )


async def _answered_before(
    services: Services, caller: Caller, thread_id: str, results: Mapping[str, Choice]
) -> str | None:
    """The run that was given these results before."""
    where = TicketFilter(thread_id=thread_id)
    page = await services.store.tickets(caller.tenant, where, MAX_TICKETS, None)
    for ticket in page.items:
        made = results.get(ticket.tool_call_id)
        if made is None or ticket.decision is None:
            continue
        if ticket.decision.decision_id == made.decision_id(ticket.ticket_id):
            return str(ticket.run_id)
    return None


async def carry_out(
    services: Services, caller: Caller, rights: frozenset[Right], given: Answers
) -> None:
    """Decide what the answers decide.

    Raises:
        RequestError: `insufficient_scope` (403), `invalid_decision` (422).
        Refusal: as `Mailbox.decide`.
    """
    for ticket, made in given.choices:
        if not is_client_call(ticket) and Right.approve not in rights:
            raise _may_not_approve()
        if len(msgspec.json.encode(made.payload)) > MAX_PAYLOAD_BYTES:
            raise RequestError(
                "invalid_decision",
                f"an answer may have at most {MAX_PAYLOAD_BYTES} bytes",
                status=422,
                details={"field": "resume"},
            )
        services.mailbox.check_decision(ticket, made.action, made.payload)
    for ticket, made in given.choices:
        await services.mailbox.decide(
            caller.tenant,
            ticket.ticket_id,
            action=made.action,
            by=caller.actor,
            payload=made.payload,
            decision_id=made.decision_id(ticket.ticket_id),
            message_id=made.message_id,
        )


def _may_not_approve() -> RequestError:
    return RequestError(
        "insufficient_scope",
        "to answer an interrupt needs the scope approve",
        status=403,
        details={"scopes": ["approve"]},
    )
