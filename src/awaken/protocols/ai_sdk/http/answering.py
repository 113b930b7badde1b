"""Answers that came with a posted message, checked against our tickets and carried out.

A client says which call it means and what it wants. What is asked, of whom, and about which
arguments is in the ticket; a part that fits no open ticket of its run answers nothing. An answer
that was carried out and is posted again (its reply was lost) is the same decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from awaken.domain.ids import derived_id
from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.errors import RequestError, not_found
from awaken.ports.store import TicketFilter
from awaken.protocols.ai_sdk import chunks
from awaken.protocols.ai_sdk.decode import Answer, Answers, refused
from awaken.protocols.ai_sdk.http.runs import activation_start, is_live
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http.identity import Right
from awaken.protocols.native.http.services import Services

MAX_TICKETS: Final = 200


class GoesOn(Record):
    """The run that goes on, and behind which entry its client has to read."""

    run: Run
    cursor: int


async def carry_out(
    services: Services, caller: Caller, rights: frozenset[Right], thread_id: str, given: Answers
) -> GoesOn:
    """Decide what the answers decide.

    Raises:
        RequestError: `thread_not_found`, `insufficient_scope` (403), `invalid_decision` (422),
            `nothing_to_answer` (409).
        Refusal: as `Mailbox.decide`.
    """
    run = await _answered_run(services, caller, thread_id, given)
    page = await services.store.tickets(
        caller.tenant, TicketFilter(run_id=run.run_id), MAX_TICKETS, None
    )
    pairs = [(a, t) for a in given.answers if (t := _ticket_of(a, page.items)) is not None]
    still_open = [(a, t) for a, t in pairs if t.status is TicketStatus.open]
    if not still_open:
        return await _known_already(services, run, answered=bool(pairs))
    head = await services.store.head(caller.tenant, thread_id)
    for answer, ticket in still_open:
        await _decide(services, caller, rights, answer, ticket)
    return GoesOn(run=run, cursor=head.seq if head else 0)


async def _answered_run(services: Services, caller: Caller, thread_id: str, given: Answers) -> Run:
    """The run whose message was posted, else the one that waits."""
    head = await services.store.head(caller.tenant, thread_id)
    if head is None:
        raise not_found("thread", thread_id)
    named = (given.message_id or "").partition(".")[0]
    for run_id in (named, head.waiting_run):
        run = await services.store.run(caller.tenant, run_id) if run_id else None
        if run is not None and run.thread_id == thread_id:
            return run
    raise _nothing(thread_id)


async def _known_already(services: Services, run: Run, *, answered: bool) -> GoesOn:
    """Nothing is to be decided: the client is shown what came of it before."""
    if not answered and not is_live(run):
        raise _nothing(run.thread_id)
    return GoesOn(run=run, cursor=await activation_start(services, run))


def _ticket_of(answer: Answer, tickets: Sequence[Ticket]) -> Ticket | None:
    """The ticket that an answer is about: the latest of its call, of the kind it answers."""
    return next((ticket for ticket in tickets if _fits(answer, ticket)), None)


def _fits(answer: Answer, ticket: Ticket) -> bool:
    if answer.call_id != ticket.tool_call_id:
        return False
    if answer.allowed is None:
        return chunks.is_client_call(ticket)
    return chunks.asks_permission(ticket) and answer.ticket_id == ticket.ticket_id


async def _decide(
    services: Services,
    caller: Caller,
    rights: frozenset[Right],
    answer: Answer,
    ticket: Ticket,
) -> None:
    if answer.allowed is not None and Right.approve not in rights:
        raise _may_not_approve()
    action, payload = _decision(answer)
    await services.mailbox.decide(
        caller.tenant,
        ticket.ticket_id,
        action=action,
        by=caller.actor,
        payload=payload,
        decision_id=derived_id(ticket.ticket_id, action),
    )


def _decision(answer: Answer) -> tuple[str, Any]:
    if answer.allowed:
        return "resume", None
    if answer.allowed is False:
        return "cancel", None if answer.reason is None else {"reason": answer.reason}
    if answer.error is not None:
        return "cancel", {"reason": answer.error}
    return "resume", answer.output


def _may_not_approve() -> RequestError:
    return RequestError(
        "insufficient_scope",
        "to approve or deny a call needs the scope approve",
        status=403,
        details={"scopes": ["approve"]},
    )


def _nothing(thread_id: str) -> RequestError:
    return refused(
        "nothing_to_answer",
        "messages: the last one is the assistant's and answers no open question of this thread; "
        "expected an answered approval or the output of a call that waits",
        thread_id=thread_id,
    )
