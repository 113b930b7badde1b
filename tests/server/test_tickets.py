"""Tickets over HTTP: the inbox, deciding, and every refusal; what a waiting run shows of itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from awaken import Agent, ScriptedModel, ToolContext, demo, tool
from awaken.domain.ids import DEFAULT_TENANT
from awaken.domain.ticket import Ticket
from awaken.ports.model import CallChunk, CallEnd, CallStart, Finish, ModelRequest
from awaken.ports.store import Transaction, operation
from awaken.protocols.native.http.tickets import MAX_PAYLOAD_BYTES
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.e2e.harness import run_body
from tests.server.conftest import BASE
from tests.server.support import LONG, assert_refused, events_of, finished, start

REFUND = "refund order 17 amount=20"


async def waiting(client: httpx.AsyncClient, thread_id: str = "t") -> tuple[Any, Any]:
    """The clerk's run that waits for permission, and its ticket."""
    run = await finished(client, "clerk", REFUND, thread_id=thread_id)
    assert run["status"] == "waiting"
    (ticket,) = run["waiting"]["tickets"]
    return run, ticket


async def decide(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await client.post(f"{path}/decision", json={"action": "resume", **body})


async def ended(client: httpx.AsyncClient, run_id: str) -> Any:
    """The run, once it is done or waits again."""
    await client.get(f"/v1/runs/{run_id}/stream")
    return (await client.get(f"/v1/runs/{run_id}")).json()


async def put_ticket(app: App, ticket: Ticket) -> None:
    """Change a ticket behind everyone's back."""

    async def put(tx: Transaction) -> None:
        tx.put_ticket(DEFAULT_TENANT, ticket)

    assert app.services is not None
    await app.services.store.transact(operation(put))


async def stored(app: App, ticket_id: str) -> Ticket:
    assert app.services is not None
    ticket = await app.services.store.ticket(DEFAULT_TENANT, ticket_id)
    assert ticket is not None
    return ticket


# --- looking -------------------------------------------------------------------------------------


async def test_a_waiting_run_shows_what_it_asks(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    assert run["waiting"]["reason"] == "tool_permission"
    assert run["waiting"]["ticket_ids"] == [ticket["ticket_id"]]
    assert ticket["tool_name"] == "refund"
    assert ticket["arguments"] == {"order": "17", "amount": 20}
    assert ticket["message"] == "allow refund?"
    assert ticket["resume_mode"] == "replay_tool_call"
    assert ticket["arguments_hash"].startswith("sha256:")
    assert ticket["expires_at"] > ticket["opened_at"]
    assert (ticket["status"], ticket["decision"], ticket["closed_at"]) == ("open", None, None)
    shown = (await client.get(f"/v1/runs/{run['run_id']}")).json()
    listed = (await client.get("/v1/runs", params={"status": "waiting"})).json()["items"]
    active = (await client.get("/v1/threads/t/runs/active")).json()["active_run"]
    latest = (await client.get("/v1/threads/t/runs/latest")).json()
    assert shown == run
    assert [*listed, active, latest] == [run] * 3


async def test_the_inbox_has_the_same_ticket_as_the_run_and_its_event(
    client: httpx.AsyncClient,
) -> None:
    stream = await client.post("/v1/runs", json=run_body("clerk", REFUND))
    (told,) = [e.payload["ticket"] for e in events_of(stream) if e.event == "ticket_opened"]
    page = (await client.get("/v1/tickets")).json()
    (ticket,) = page["items"]
    assert page["has_more"] is False
    assert {name: ticket[name] for name in told} == told
    assert (await client.get(f"/v1/tickets/{ticket['ticket_id']}")).json() == ticket


async def test_the_inbox_can_be_filtered_and_paged(client: httpx.AsyncClient) -> None:
    ids = []
    for number in range(3):
        run, ticket = await waiting(client, f"t{number}")
        ids.append((run["run_id"], ticket["ticket_id"]))
    await decide(client, f"/v1/tickets/{ids[0][1]}", decision_id="d")

    async def shown(**params: Any) -> list[str]:
        items = (await client.get("/v1/tickets", params=params)).json()["items"]
        return [item["ticket_id"] for item in items]

    assert await shown() == [ids[2][1], ids[1][1]]
    assert await shown(status="answered") == [ids[0][1]]
    assert await shown(status="all") == [ids[2][1], ids[1][1], ids[0][1]]
    assert await shown(status="denied") == []
    assert await shown(thread_id="t1") == [ids[1][1]]
    assert await shown(run_id=ids[2][0]) == [ids[2][1]]
    first = (await client.get("/v1/tickets", params={"limit": 1})).json()
    assert first["has_more"] is True
    cursor = first["next_cursor"]
    assert await shown(limit=1, cursor=cursor) == [ids[1][1]]
    other = await client.get("/v1/tickets", params={"cursor": cursor, "status": "all"})
    assert_refused(other, 400, "invalid_cursor", "cursor")


async def test_a_run_that_does_not_wait_shows_no_tickets(client: httpx.AsyncClient) -> None:
    run = await finished(client, "echo", "hi")
    assert run["waiting"] is None


async def test_explain_shows_the_ledger_of_the_open_step_and_what_is_waited_for(
    client: httpx.AsyncClient,
) -> None:
    run, ticket = await waiting(client)
    told = (await client.get(f"/v1/runs/{run['run_id']}/explain")).json()
    assert told["waits_for"] == [ticket["ticket_id"]]
    assert told["tool_calls"] == [
        {
            "id": ticket["tool_call_id"],
            "name": "refund",
            "status": "suspended",
            "begun": 0,
            "ticket_id": ticket["ticket_id"],
            "succeeded": None,
        }
    ]
    await decide(client, f"/v1/tickets/{ticket['ticket_id']}")
    await ended(client, run["run_id"])
    done = (await client.get(f"/v1/runs/{run['run_id']}/explain")).json()
    assert (done["tool_calls"], done["waits_for"]) == ([], [])


async def test_a_run_that_was_decided_about_stands_in_line_and_waits_for_nobody() -> None:
    settings = Settings(
        store="sqlite://:memory:", drain_seconds=0, max_concurrent_runs=1, foreground_slots=0
    )
    app = create_app(demo.make_agents(), settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10) as client,
    ):
        run, ticket = await waiting(client)
        await start(client, "storyteller", LONG, thread_id="u")
        await decide(client, f"/v1/tickets/{ticket['ticket_id']}")
        told = (await client.get(f"/v1/runs/{run['run_id']}/explain")).json()
        shown = (await client.get(f"/v1/runs/{run['run_id']}")).json()
        assert (told["status"], told["waits_for"]) == ("waiting", [])
        assert (told["summary"], told["position"]) == ("it stands in line", 1)
        assert told["tool_calls"][0]["ticket_id"] == ticket["ticket_id"]
        assert shown["waiting"]["reason"] == "resuming"
        assert shown["waiting"]["tickets"] == []


# --- deciding ------------------------------------------------------------------------------------


async def test_an_approved_call_runs_and_the_run_ends(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    path = f"/v1/tickets/{ticket['ticket_id']}"
    response = await decide(client, path, arguments_hash=ticket["arguments_hash"])
    assert response.status_code == 202
    decided = response.json()
    assert decided["resumed"] is True
    assert decided["ticket"]["status"] == "answered"
    assert decided["ticket"]["decision"]["by"] == "user"
    run = await ended(client, run["run_id"])
    assert run["result"] == {"response": "I refunded 20.0 for order 17."}
    assert run["waiting"] is None
    assert (await client.get(path)).json() == decided["ticket"]


async def test_a_denied_call_does_not_run_and_the_reason_is_told(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    response = await decide(
        client,
        f"/v1/tickets/{ticket['ticket_id']}",
        action="cancel",
        payload={"reason": "too much"},
    )
    assert response.json()["ticket"]["status"] == "denied"
    run = await ended(client, run["run_id"])
    assert run["result"]["response"].startswith("I did not refund anything")
    assert "too much" in run["result"]["response"]


async def test_an_approver_may_change_the_arguments(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    edited = {"order": "17", "amount": 5}
    path = f"/v1/tickets/{ticket['ticket_id']}"
    assert (await decide(client, path, payload={"arguments": edited})).status_code == 202
    run = await ended(client, run["run_id"])
    assert run["result"] == {"response": "I refunded 5.0 for order 17."}
    messages = (await client.get("/v1/threads/t/messages")).json()["items"]
    (tool_message,) = [message for message in messages if message["role"] == "tool"]
    assert tool_message["metadata"] == {"edited_arguments": edited}


@pytest.mark.parametrize("kind", ["runs", "threads"])
@pytest.mark.parametrize("name", ["ticket_id", "tool_call_id"])
async def test_a_decision_may_name_its_ticket_within_a_run_or_a_thread(
    client: httpx.AsyncClient, kind: str, name: str
) -> None:
    run, ticket = await waiting(client)
    place = {"runs": run["run_id"], "threads": "t"}[kind]
    response = await decide(client, f"/v1/{kind}/{place}", **{name: ticket[name]})
    assert response.status_code == 202
    assert response.json()["ticket"]["ticket_id"] == ticket["ticket_id"]
    assert (await ended(client, run["run_id"]))["status"] == "done"


async def test_camel_case_is_understood(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    body = {"toolCallId": ticket["tool_call_id"], "action": "resume", "decisionId": "d"}
    response = await client.post(f"/v1/runs/{run['run_id']}/decision", json=body)
    assert response.status_code == 202
    assert response.json()["ticket"]["decision"]["decision_id"] == "d"


async def test_a_repeated_decision_is_answered_alike_and_counts_once(
    client: httpx.AsyncClient,
) -> None:
    run, ticket = await waiting(client)
    path = f"/v1/tickets/{ticket['ticket_id']}"
    first = await decide(client, path, decision_id="d1")
    await ended(client, run["run_id"])
    again = await decide(client, path, decision_id="d1")
    by_call = await decide(
        client, "/v1/threads/t", decision_id="d1", tool_call_id=ticket["tool_call_id"]
    )
    assert first.json() == again.json() == by_call.json()
    events = (await client.get(f"/v1/runs/{run['run_id']}/events")).json()["items"]
    kinds = [entry["event"]["event_type"] for entry in events]
    assert kinds.count("tool_call_done") == kinds.count("ticket_closed") == 1


async def test_a_waiting_run_can_be_waited_for_again_with_until_done(
    client: httpx.AsyncClient,
) -> None:
    run, ticket = await waiting(client)
    await decide(client, f"/v1/tickets/{ticket['ticket_id']}")
    stream = await client.get(f"/v1/runs/{run['run_id']}/stream", params={"until": "done"})
    assert [e.event for e in events_of(stream)].count("run_finish") == 2


# --- refusals ------------------------------------------------------------------------------------


async def test_what_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    _, other = await waiting(client, "u")
    here = f"/v1/runs/{run['run_id']}"
    assert_refused(await client.get("/v1/tickets/nope"), 404, "ticket_not_found")
    assert_refused(await decide(client, "/v1/tickets/nope"), 404, "ticket_not_found")
    assert_refused(await decide(client, "/v1/runs/nope", ticket_id="x"), 404, "run_not_found")
    assert_refused(await decide(client, "/v1/threads/nope", ticket_id="x"), 404, "thread_not_found")
    for place in (here, "/v1/threads/t"):
        foreign = await decide(client, place, ticket_id=other["ticket_id"])
        assert_refused(foreign, 404, "ticket_not_found")
        details = assert_refused(
            await decide(client, place, tool_call_id="nope"), 404, "ticket_not_found"
        )
        assert details == {"tool_call_id": "nope"}
    assert (await client.get(f"/v1/tickets/{ticket['ticket_id']}")).json() == ticket
    assert (await client.get(f"/v1/tickets/{other['ticket_id']}")).json() == other


async def test_a_closed_ticket_is_409_and_says_how_it_was_closed(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    path = f"/v1/tickets/{ticket['ticket_id']}"
    await decide(client, path)
    late = await decide(client, path, action="cancel")
    details = assert_refused(late, 409, "ticket_closed")
    assert details == {"ticket_id": ticket["ticket_id"]}
    assert "answered" in late.json()["error"]["message"]
    by_call = await decide(client, f"/v1/runs/{run['run_id']}", tool_call_id=ticket["tool_call_id"])
    assert_refused(by_call, 409, "ticket_closed")


async def test_the_tickets_of_a_stopped_run_are_closed(client: httpx.AsyncClient) -> None:
    run, ticket = await waiting(client)
    await client.post(f"/v1/runs/{run['run_id']}/cancel")
    path = f"/v1/tickets/{ticket['ticket_id']}"
    assert (await client.get(path)).json()["status"] == "cancelled"
    assert_refused(await decide(client, path), 409, "ticket_closed")


async def test_a_ticket_whose_time_is_over_is_409(client: httpx.AsyncClient, app: App) -> None:
    _, ticket = await waiting(client)
    record = await stored(app, ticket["ticket_id"])
    await put_ticket(app, replace(record, expires_at=record.opened_at - 1))
    response = await decide(client, f"/v1/tickets/{ticket['ticket_id']}")
    assert_refused(response, 409, "ticket_expired")


async def test_a_decision_about_other_arguments_is_409(client: httpx.AsyncClient) -> None:
    _, ticket = await waiting(client)
    path = f"/v1/tickets/{ticket['ticket_id']}"
    assert_refused(await decide(client, path, arguments_hash="sha256:0"), 409, "ticket_changed")
    assert (await client.get(path)).json() == ticket


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "maybe"}, "action"),
        ({"payload": {"arguments": "all of it"}}, "payload"),
        ({"payload": "yes"}, "payload"),
        ({"payload": "x" * MAX_PAYLOAD_BYTES}, "payload"),
    ],
)
async def test_a_decision_that_does_not_fit_names_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    _, ticket = await waiting(client)
    path = f"/v1/tickets/{ticket['ticket_id']}"
    assert_refused(await decide(client, path, **body), 422, "invalid_decision", field)
    assert (await client.get(path)).json() == ticket


async def test_an_answer_that_does_not_fit_the_schema_is_refused_and_a_fitting_one_taken(
    client: httpx.AsyncClient,
) -> None:
    run = await finished(client, "helper", "hi")
    (ticket,) = run["waiting"]["tickets"]
    assert ticket["resume_mode"] == "use_decision_as_tool_result"
    assert ticket["response_schema"]["required"] == ["color"]
    path = f"/v1/tickets/{ticket['ticket_id']}"
    for payload in (None, "red", {}, {"color": 5}):
        assert_refused(
            await decide(client, path, payload=payload), 422, "invalid_decision", "payload"
        )
    assert (await decide(client, path, payload={"color": "red"})).status_code == 202
    run = await ended(client, run["run_id"])
    assert run["result"] == {"response": "You picked red."}


@pytest.mark.parametrize("kind", ["runs", "threads"])
@pytest.mark.parametrize("names", [{}, {"ticket_id": "a", "tool_call_id": "b"}])
async def test_within_a_run_or_thread_exactly_one_name_is_needed(
    client: httpx.AsyncClient, kind: str, names: dict[str, str]
) -> None:
    run, _ = await waiting(client)
    place = {"runs": run["run_id"], "threads": "t"}[kind]
    response = await decide(client, f"/v1/{kind}/{place}", **names)
    assert_refused(response, 422, "invalid_decision", "ticket_id")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_field", "action"),
        ({"action": 5}, "invalid_field", "action"),
        ({"action": "resume", "result": 1}, "unknown_field", "result"),
        ({"action": "resume", "ticket_id": "x"}, "unknown_field", "ticket_id"),
        ({"action": "resume", "decision_id": ""}, "invalid_field", "decision_id"),
        ({"action": "resume", "decision_id": "ü"}, "invalid_field", "decision_id"),
        ({"action": "resume", "arguments_hash": 1}, "invalid_field", "arguments_hash"),
    ],
)
async def test_a_bad_field_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], code: str, field: str
) -> None:
    response = await client.post("/v1/tickets/x/decision", json=body)
    assert_refused(response, 422, code, field)


async def test_bodies_methods_and_parameters_are_checked_as_everywhere(
    client: httpx.AsyncClient,
) -> None:
    path = "/v1/tickets/x/decision"
    assert_refused(
        await client.post(path, content=b"{", headers={"content-type": "application/json"}),
        400,
        "invalid_json",
    )
    plain = await client.post(path, content=b"{}", headers={"content-type": "text/plain"})
    assert_refused(plain, 415, "unsupported_media_type")
    for wrong, allowed in ((path, "POST"), ("/v1/runs/x/decision", "POST")):
        assert_refused(await client.get(wrong), 405, "method_not_allowed")
        assert (await client.get(wrong)).headers["allow"] == allowed
    for params, field in (({"status": "happy"}, "status"), ({"limit": "0"}, "limit")):
        response = await client.get("/v1/tickets", params=params)
        assert_refused(response, 422, "invalid_field", field)
    assert_refused(
        await client.get("/v1/tickets", params={"state": "open"}), 422, "unknown_field", "state"
    )


async def test_the_description_has_the_routes(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    routes = {(m.upper(), path) for path, ms in document["paths"].items() for m in ms}
    assert {
        ("GET", "/v1/tickets"),
        ("GET", "/v1/tickets/{ticket_id}"),
        ("POST", "/v1/tickets/{ticket_id}/decision"),
        ("POST", "/v1/runs/{run_id}/decision"),
        ("POST", "/v1/threads/{thread_id}/decision"),
    } <= routes
    schemas = document["components"]["schemas"]
    assert schemas["DecisionRequest"]["properties"]["action"]["enum"] == ["resume", "cancel"]
    decide = document["paths"]["/v1/tickets/{ticket_id}/decision"]["post"]
    assert {"202", "422", "default"} <= set(decide["responses"])


# --- a tool that asks more than once -------------------------------------------------------------


@tool
async def interview(context: ToolContext) -> str:
    """Ask twice."""
    first = await context.ask("first?")
    return f"{first} {await context.ask('second?', schema=int)}"


def _interviewing(request: ModelRequest) -> list[Any]:
    if request.messages[-1].role == "tool":
        return [request.messages[-1].text]
    return [
        CallStart(id="c", name="interview"),
        CallChunk(id="c", text="{}"),
        CallEnd(id="c"),
        Finish(reason="tool_calls"),
    ]


async def test_a_repeated_decision_about_a_call_never_answers_its_next_question(
    settings: Settings,
) -> None:
    model = ScriptedModel(_interviewing, name="interviewer")
    app = create_app([Agent("interviewer", model=model, tools=[interview])], settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10) as client,
    ):
        run = await finished(client, "interviewer", "hi", thread_id="t")
        path = f"/v1/runs/{run['run_id']}"
        assert run["waiting"]["reason"] == "user_input"
        answer = {"tool_call_id": "c", "decision_id": "d1", "payload": 5}
        first = await decide(client, path, **answer)
        run = await ended(client, run["run_id"])
        (second,) = run["waiting"]["tickets"]
        assert second["message"] == "second?"
        again = await decide(client, path, **answer)
        assert again.json()["ticket"]["ticket_id"] == first.json()["ticket"]["ticket_id"]
        assert (await client.get(path)).json()["waiting"] == run["waiting"]
        await decide(client, path, tool_call_id="c", payload=7)
        run = await ended(client, run["run_id"])
        assert run["result"] == {"response": "5 7"}
