"""`awaken tickets`: what runs ask of people, and the answers."""

from __future__ import annotations

import json as json_
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awaken.cli import show
from awaken.cli.codes import Code
from awaken.cli.options import All, Json, Limit, Url, group
from awaken.cli.runs import DEFAULT_LIMIT
from awaken.cli.session import ask
from awaken.cli.show import Column, fail

if TYPE_CHECKING:
    from awaken.client import Ticket
    from awaken.client.answers import Decided

app = group()

TicketId = Annotated[str, typer.Argument(metavar="TICKET", help="The ticket's id.")]


@app.command("ls")
def list_tickets(
    status: Annotated[
        str,
        typer.Option(
            metavar="STATUS",
            help="open, answered, denied, expired, cancelled, superseded or all.",
        ),
    ] = "open",
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only of this run.")] = None,
    thread: Annotated[
        str | None, typer.Option(metavar="THREAD", help="Only of this thread.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """List open tickets, latest first."""
    tickets = ask(
        url,
        lambda client: client.tickets(
            status=status, run_id=run, thread_id=thread, limit=None if everything else limit
        ),
    )
    if json:
        show.as_json(tickets)
        return
    show.table(tickets, _columns(status), empty="no tickets")


def _columns(status: str) -> list[Column]:
    from awaken.cli.screen import exactly
    from awaken.ports.clock import SystemClock

    now = SystemClock().now()
    state = [] if status == "open" else [Column("STATUS", lambda ticket: ticket["status"])]
    return [
        Column("TICKET", lambda ticket: ticket["ticket_id"], whole=True),
        *state,
        Column("AGE", lambda ticket: show.age(ticket["opened_at"], now)),
        Column("TOOL", lambda ticket: ticket["tool_name"]),
        Column("ARGUMENTS", lambda ticket: exactly(ticket["arguments"])),
    ]


@app.command("show")
def show_ticket(ticket: TicketId, url: Url = None, json: Json = False) -> None:
    """Show a ticket and what it asks."""
    found = ask(url, lambda client: client.ticket(ticket))
    if json:
        show.as_json(found)
        return
    show.sheet(_facts(found))


def _facts(ticket: Ticket) -> list[tuple[str, str | None]]:
    from awaken.cli.screen import exactly

    decision, schema = ticket["decision"], ticket["response_schema"]
    return [
        ("ticket", ticket["ticket_id"]),
        ("status", ticket["status"]),
        ("call", f"{ticket['tool_name']} {exactly(ticket['arguments'])}"),
        ("asks", ticket["message"]),
        ("reason", ticket["reason"]),
        ("answer is", _MEANING.get(ticket["resume_mode"], ticket["resume_mode"])),
        ("must fit", exactly(schema) if schema else None),
        ("needs", _votes(ticket)),
        ("run", ticket["run_id"]),
        ("thread", ticket["thread_id"]),
        ("opened", show.moment(ticket["opened_at"])),
        ("expires", show.moment(ticket["expires_at"])),
        ("closed", show.moment(ticket["closed_at"])),
        ("decided by", decision["by"] if decision else None),
        ("payload", exactly(decision["payload"]) if decision else None),
    ]


def _votes(ticket: Ticket) -> str | None:
    if ticket["quorum"] == 1:
        return None
    names = ", ".join(ticket["approved_by"]) or "nobody"
    return f"{ticket['quorum']} people; allowed so far by {names}"


_MEANING = {
    "replay_tool_call": "a permission: approve runs the call, with --arguments other ones",
    "pass_decision_to_tool": "told to the tool: approve --payload ANSWER",
    "use_decision_as_tool_result": "the result of the call: approve --payload RESULT",
}


@app.command()
def approve(
    ticket: TicketId,
    arguments: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Run the call with these arguments instead: an object."),
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="The answer to a question, or the result of the call."),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Answer a ticket, so that its run goes on.

    It does when this was the last one that was open.
    """
    answer = _answer(arguments, payload)
    _decide(ask(url, lambda client: client.decide(ticket, "resume", answer)), json)


def _answer(arguments: str | None, payload: str | None) -> Any:
    if arguments is not None and payload is not None:
        fail("either --arguments or --payload, not both", Code.usage)
    if arguments is None:
        return None if payload is None else _value("--payload", payload)
    value = _value("--arguments", arguments)
    if not isinstance(value, dict):
        fail("--arguments: expected a JSON object, such as '{\"amount\": 5}'", Code.usage)
    return {"arguments": value}


def _value(option: str, text: str) -> Any:
    try:
        return json_.loads(text)
    except ValueError as error:
        fail(f"{option}: expected JSON (a text is '\"a text\"'): {error}", Code.usage)


@app.command()
def deny(
    ticket: TicketId,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; the model is told.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Deny the call of a ticket.

    It is not run, and the model is told so.
    """
    payload = None if reason is None else {"reason": reason}
    _decide(ask(url, lambda client: client.decide(ticket, "cancel", payload)), json)


def _decide(decided: Decided, json: bool) -> None:
    if json:
        show.as_json(decided)
        return
    ticket = decided["ticket"]
    goes_on = "goes on" if decided["resumed"] else "still waits for other answers"
    show.say(f"ticket {ticket['ticket_id']}: {ticket['status']}")
    show.say(f"run {ticket['run_id']} {goes_on}")
