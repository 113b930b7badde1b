"""`awaken tickets` and `awaken dead-letters`, against a real server."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.client import Run
from tests.cli.support import asked, awaken, follow, settled
from tests.e2e.harness import Server

pytestmark = pytest.mark.xdist_group("cli-tickets")


def asking(server: Server, text: str, agent: str = "clerk") -> tuple[Run, dict[str, Any]]:
    """A run that waits, and what it asks."""
    run = settled(server, agent, text)
    (ticket,) = asked(run)["tickets"]
    return run, dict(ticket)


def answer(server: Server, run: Run) -> str:
    """The final text of a run that goes on."""
    done: Run = follow(server, lambda client: client.wait(run["run_id"], until="done"))
    assert done["result"] is not None
    return done["result"]["response"]


def test_open_tickets_are_listed_and_shown(server: Server) -> None:
    run, ticket = asking(server, "refund order 17 amount=20")
    listed = awaken("tickets", "ls", server=server)
    assert listed.out.splitlines()[0].split() == ["TICKET", "AGE", "TOOL", "ARGUMENTS"]
    (line,) = [each for each in listed.out.splitlines() if each.startswith(ticket["ticket_id"])]
    assert line.endswith('refund  {"order": "17", "amount": 20}')
    of_run = awaken("tickets", "ls", "--run", run["run_id"], "--json", server=server).json
    assert of_run == [ticket]
    shown = awaken("tickets", "show", ticket["ticket_id"], server=server)
    for text in ("allow refund?", "a permission", run["run_id"], "expires"):
        assert text in shown.out


def test_a_ticket_is_approved(server: Server) -> None:
    run, ticket = asking(server, "refund order 21 amount=20")
    approved = awaken("tickets", "approve", ticket["ticket_id"], server=server)
    assert approved.out == (
        f"ticket {ticket['ticket_id']}: answered\nrun {run['run_id']} goes on\n"
    )
    assert answer(server, run) == "I refunded 20.0 for order 21."
    again = awaken("tickets", "approve", ticket["ticket_id"], server=server)
    assert (again.code, again.out) == (13, "")
    assert "ticket_closed" in again.err


def test_a_ticket_is_approved_with_other_arguments(server: Server) -> None:
    run, ticket = asking(server, "refund order 22 amount=20")
    arguments = '{"order": "22", "amount": 3}'
    approved = awaken(
        "tickets", "approve", ticket["ticket_id"], "--arguments", arguments, "--json", server=server
    )
    assert approved.json["resumed"] is True
    assert answer(server, run) == "I refunded 3.0 for order 22."


def test_a_ticket_is_denied_with_a_reason(server: Server) -> None:
    run, ticket = asking(server, "refund order 23 amount=20")
    denied = awaken("tickets", "deny", ticket["ticket_id"], "--reason", "too much", server=server)
    assert denied.out.startswith(f"ticket {ticket['ticket_id']}: denied\n")
    assert "too much" in answer(server, run)


def test_a_result_is_given_as_payload_and_must_fit(server: Server) -> None:
    run, ticket = asking(server, "hi", agent="helper")
    wrong = awaken("tickets", "approve", ticket["ticket_id"], "--payload", '"red"', server=server)
    assert wrong.code == 13
    assert "invalid_decision" in wrong.err
    right = awaken(
        "tickets", "approve", ticket["ticket_id"], "--payload", '{"color": "red"}', server=server
    )
    assert right.code == 0
    assert answer(server, run) == "You picked red."


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--arguments", "{"], "--arguments: expected JSON"),
        (["--arguments", "[]"], "--arguments: expected a JSON object"),
        (["--payload", "red"], "--payload: expected JSON"),
        (["--payload", "1", "--arguments", "{}"], "not both"),
    ],
)
def test_an_answer_that_is_none_is_refused_before_the_server_is_asked(
    args: list[str], told: str
) -> None:
    refused = awaken("tickets", "approve", "nothing", *args, "--url", "http://127.0.0.1:1")
    assert refused.code == 2
    assert told in refused.err


def dead(server: Server) -> dict[str, Any]:
    """A dead letter."""
    run = settled(server, "flaky", "fail=permanent")
    letters = awaken("dead-letters", "ls", "--json", server=server)
    assert letters.code == 0, letters.err
    (letter,) = [each for each in letters.json if each["run_id"] == run["run_id"]]
    return dict(letter)


def test_dead_letters_are_listed_with_their_reason(server: Server) -> None:
    letter = dead(server)
    lines = awaken("dead-letters", "ls", server=server).out.splitlines()
    assert lines[0].split() == ["DISPATCH", "AGENT", "AGE", "WHY"]
    (line,) = [each for each in lines if each.startswith(letter["dispatch_id"])]
    assert "flaky" in line
    assert "demo_permanent" in line
    assert len(awaken("dead-letters", "ls", "--limit", "1", "--json", server=server).json) == 1


def test_dead_letters_are_requeued_and_what_fails_does_not_hide_the_rest(server: Server) -> None:
    first, second = dead(server)["dispatch_id"], dead(server)["dispatch_id"]
    done = awaken("dead-letters", "requeue", first, "nowhere", second, "--json", server=server)
    assert done.code == 12
    assert "nowhere" in done.err
    assert len(done.err.splitlines()) == 1
    runs = [server.get(f"/v1/runs/{accepted['run_id']}") for accepted in done.json]
    assert len({run["run_id"] for run in runs}) == 2
    assert all(run["retry_of"] for run in runs)


def test_dead_letters_are_discarded_only_when_it_is_said_so(server: Server) -> None:
    dispatch_id = dead(server)["dispatch_id"]
    unsure = awaken("dead-letters", "discard", dispatch_id, server=server)
    assert unsure.code == 2
    done = awaken("dead-letters", "discard", dispatch_id, "--yes", server=server)
    assert (done.code, done.out) == (0, f"{dispatch_id} is discarded\n")
    left = awaken("dead-letters", "ls", "--all", "--json", server=server).json
    assert dispatch_id not in {letter["dispatch_id"] for letter in left}
