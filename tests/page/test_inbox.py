"""The inbox: allowing, denying, editing, answering, and who was faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.harness import Server
from tests.page.webdriver import Tab

pytestmark = [pytest.mark.xdist_group("page-inbox"), pytest.mark.timeout(180)]

At = Callable[[str], Tab]


@pytest.fixture
def ask(server: Server) -> Callable[..., dict[str, Any]]:
    """Has an agent ask something; gives the ticket. Whatever was open before is declined."""

    def asked(agent_id: str = "clerk", text: str = "refund order 17 amount=20") -> dict[str, Any]:
        for ticket in server.get("/v1/tickets")["items"]:
            server.post(f"/v1/tickets/{ticket['ticket_id']}/decision", {"action": "cancel"})
        run_id = server.run(agent_id, text)[0].entry["run_id"]
        (ticket,) = server.get("/v1/tickets", run_id=run_id)["items"]
        return dict(ticket)

    return asked


def outcome(server: Server, ticket: dict[str, Any]) -> str:
    """What the agent said in the end."""
    with server.stream("GET", f"/v1/runs/{ticket['run_id']}/stream") as stream:
        last = list(stream)[-1]
    return str(last.payload["result"]["response"])


def card(ticket: dict[str, Any], inside: str = "") -> str:
    return f"[data-ticket='{ticket['ticket_id']}'] {inside}".strip()


def test_a_refund_is_approved(at: At, server: Server, ask: Callable[..., dict[str, Any]]) -> None:
    ticket = ask()
    tab = at("#/inbox")
    tab.wait_text(card(ticket, ".origin"), "clerk")
    tab.wait_text(card(ticket, ".json"), '"amount": 20')
    tab.wait_text(".badge", "1")
    tab.click(card(ticket, "button"), "Approve")
    tab.wait_text(card(ticket), "answered")
    tab.wait_gone(card(ticket, "button"))
    tab.wait_gone(".badge")
    assert outcome(server, ticket) == "I refunded 20.0 for order 17."


def test_a_refund_is_denied_with_a_reason(
    at: At, server: Server, ask: Callable[..., dict[str, Any]]
) -> None:
    ticket = ask()
    tab = at("#/inbox")
    tab.click(card(ticket, "button"), "Deny")
    tab.type(card(ticket, ".denial input"), "the order is <b>fine</b>")
    tab.click(card(ticket, "button"), "Deny it")
    tab.wait_text(card(ticket), "denied")
    tab.wait_text(card(ticket), "“the order is <b>fine</b>”")
    assert "the order is <b>fine</b>" in outcome(server, ticket)
    tab.click(".tabs a", "Decided")
    tab.wait_text(card(ticket), "denied")
    tab.wait_text(card(ticket), "“the order is <b>fine</b>”")


def test_saying_no_takes_two_presses(
    at: At, server: Server, ask: Callable[..., dict[str, Any]]
) -> None:
    ticket = ask()
    tab = at("#/inbox")
    tab.click(card(ticket, "button"), "Deny")
    tab.wait_text(card(ticket, "button"), "Deny it")
    assert server.get(f"/v1/tickets/{ticket['ticket_id']}")["status"] == "open"


def test_arguments_are_edited_and_checked_before_they_are_allowed(
    at: At, server: Server, ask: Callable[..., dict[str, Any]]
) -> None:
    ticket = ask()
    tab = at("#/inbox")
    tab.click(card(ticket, "button"), "Edit arguments")
    area = card(ticket, ".editor textarea")
    for wrong, told in (
        ('{"order": "17"', "this is not JSON"),
        ("[1]", "arguments are a JSON object"),
        ('{"order": "17", "amount": "lots"}', "amount must be a number"),
    ):
        tab.clear(area)
        tab.type(area, wrong)
        tab.wait_text(card(ticket, ".editor .trouble"), told)
        tab.click(card(ticket, "button"), "Approve edited")
        assert server.get(f"/v1/tickets/{ticket['ticket_id']}")["status"] == "open"
    tab.clear(area)
    tab.type(area, '{"order": "18", "amount": 5}')
    tab.wait_gone(card(ticket, ".editor .trouble"))
    tab.click(card(ticket, "button"), "Approve edited")
    tab.wait_text(card(ticket), "answered")
    assert outcome(server, ticket) == "I refunded 5.0 for order 18."


def test_what_somebody_types_survives_the_refreshing_of_the_list(
    at: At, ask: Callable[..., dict[str, Any]], server: Server
) -> None:
    ticket = ask("helper", "hello")
    tab = at("#/inbox")
    tab.type(card(ticket, "input"), "dark re")
    other = server.run("clerk", "refund order 3 amount=4")[0].entry["run_id"]
    tab.wait_text(f".origin a[href='#/runs/{other}']", "")
    tab.type(card(ticket, "input"), "d")
    tab.click(card(ticket, "button"), "Send the result")
    tab.wait_text(card(ticket), "answered")
    assert outcome(server, ticket) == "You picked dark red."


def test_a_tool_of_the_client_can_be_declined(
    at: At, server: Server, ask: Callable[..., dict[str, Any]]
) -> None:
    ticket = ask("helper", "hello")
    tab = at("#/inbox")
    tab.click(card(ticket, "button"), "Decline")
    tab.click(card(ticket, "button"), "Decline it")
    tab.wait_text(card(ticket), "denied")
    assert outcome(server, ticket) == "You picked nothing."


def test_who_comes_late_is_told_what_was_decided(
    at: At, server: Server, ask: Callable[..., dict[str, Any]]
) -> None:
    ticket = ask()
    tab = at("#/inbox")
    tab.click(card(ticket, "button"), "Edit arguments")
    # Between the decision of another and our next look: as if that look had not come yet.
    tab.run("Object.defineProperty(document, 'hidden', { value: true })")
    place = f"/v1/tickets/{ticket['ticket_id']}/decision"
    server.post(place, {"action": "cancel", "payload": {"reason": "too late"}})
    if "denied" not in tab.text(card(ticket)):
        tab.click(card(ticket, "button"), "Approve edited")
    tab.wait_text(card(ticket), "denied")
    tab.wait_text(card(ticket), "too late")
    tab.errors()  # the refusal is one


def test_a_decision_of_another_shows_without_a_reload(
    at: At, server: Server, ask: Callable[..., dict[str, Any]]
) -> None:
    ticket = ask()
    tab = at("#/inbox")
    tab.find(card(ticket, "button"), "Approve")
    server.post(f"/v1/tickets/{ticket['ticket_id']}/decision", {"action": "resume"})
    tab.wait_text(card(ticket), "answered")
    tab.wait_gone(card(ticket, "button"))
