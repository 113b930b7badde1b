"""AG-UI over HTTP: the rules of interrupts, repeated requests, attaching, and the JSON routes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from ag_ui.core import AgentCapabilities, MessagesSnapshotEvent
from anyio.abc import SocketStream
from msgspec.structs import replace
from pydantic import SecretStr

from awaken.domain.ids import DEFAULT_TENANT
from awaken.domain.ticket import Ticket
from awaken.ports.store import Transaction, operation
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.interop.ag_ui.agents import agents
from tests.protocols.ag_ui.client import Client
from tests.protocols.ag_ui.legal import check
from tests.server.conftest import BASE
from tests.server.keys import ALICE, API_KEYS, BOB, ONLY, bearer
from tests.server.live import Live, receive_until, request
from tests.server.support import assert_refused

Told = dict[str, Any]
PICK = {"name": "pick_color", "description": "", "parameters": {"type": "object"}}


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[App]:
    app = create_app(agents, settings)
    async with app.lifespan():
        yield app


def body(run_id: str, text: str | None = None, **fields: Any) -> Told:
    said = [] if text is None else [{"id": f"u-{run_id}", "role": "user", "content": text}]
    return {"threadId": "t", "runId": run_id, "messages": said, **fields}


def events_of(response: httpx.Response) -> list[Told]:
    """The events of a stream that has ended, which is legal."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"
    lines = response.text.split("\n")
    return check(json.loads(line[6:]) for line in lines if line.startswith("data: "))


async def run(client: httpx.AsyncClient, posted: Told) -> list[Told]:
    return events_of(await client.post("/v1/ag-ui/run", json=posted))


async def interrupted(client: httpx.AsyncClient, text: str = "refund") -> list[Told]:
    """The interrupts of a run that was just started."""
    told = await run(client, body("r1", text))
    found: list[Told] = told[-1]["outcome"]["interrupts"]
    return found


def answer(interrupt: Told, **payload: Any) -> Told:
    given = payload or {"approved": True}
    return {"interruptId": interrupt["id"], "status": "resolved", "payload": given}


def error_of(told: list[Told]) -> str:
    assert told[-1]["type"] == "RUN_ERROR", told
    return str(told[-1]["code"])


async def messages_of(client: httpx.AsyncClient, thread_id: str = "t") -> list[Told]:
    response = await client.get(f"/v1/ag-ui/threads/{thread_id}/messages")
    found: list[Told] = response.json()["messages"]
    MessagesSnapshotEvent.model_validate({"type": "MESSAGES_SNAPSHOT", "messages": found})
    return found


def plain(messages: list[Told]) -> list[Told]:
    return Client.with_messages(messages).plain()


async def open_tickets(client: httpx.AsyncClient) -> list[Told]:
    found: list[Told] = (await client.get("/v1/tickets")).json()["items"]
    return found


# --- starting ------------------------------------------------------------------------------------


async def test_a_repeated_request_starts_nothing_and_shows_the_run(
    client: httpx.AsyncClient,
) -> None:
    first = await run(client, body("r1", "hello there"))
    again = await run(client, body("r1", "hello there"))
    assert again[-1]["result"] == first[-1]["result"]
    assert len(await messages_of(client)) == 2
    one, other = (Client().read(told).plain() for told in (first, again))
    assert other == [{"id": "u-r1", "role": "user", "content": "hello there"}, *one]


async def test_a_thread_and_an_agent_can_be_named_in_the_path(client: httpx.AsyncClient) -> None:
    nowhere = await client.post("/v1/ag-ui/threads/t/runs", json=body("r1", "hi"))
    assert_refused(nowhere, 404, "thread_not_found")
    events_of(await client.post("/v1/ag-ui/agents/default/runs", json=body("r1", "hi")))
    elsewhere = {**body("r2", "more"), "threadId": "mine"}
    told = events_of(await client.post("/v1/ag-ui/threads/t/runs", json=elsewhere))
    assert told[0]["threadId"] == "mine"
    assert len(await messages_of(client)) == 4
    unknown = await client.post("/v1/ag-ui/agents/nobody/runs", json=body("r3", "hi"))
    assert_refused(unknown, 404, "agent_not_found")


async def test_what_is_no_request_is_refused_by_field(client: httpx.AsyncClient) -> None:
    bad = await client.post("/v1/ag-ui/run", json={**body("r1", "hi"), "threadId": "a b"})
    assert_refused(bad, 422, "invalid_field", "threadId")
    nothing = await client.post("/v1/ag-ui/run", json=body("r1"))
    assert_refused(nothing, 422, "invalid_field", "messages")
    tool = {**PICK, "name": "pick color"}
    named = await client.post("/v1/ag-ui/run", json=body("r1", "hi", tools=[tool]))
    assert_refused(named, 422, "invalid_field", "tools[0].name")


async def test_the_state_of_a_thread_is_merged_and_told(client: httpx.AsyncClient) -> None:
    await run(client, body("r1", "count", state={"count": 1, "page": "cart"}))
    told = await run(client, body("r2", "count", state={"count": 5}))
    assert Client().read(told).state == {"count": 6, "page": "cart"}
    thread = (await client.get("/v1/threads/t")).json()
    assert "count" not in thread.get("custom", {}), "the state is no metadata"


# --- interrupts ----------------------------------------------------------------------------------


async def test_a_thread_with_open_interrupts_takes_no_other_request(
    client: httpx.AsyncClient,
) -> None:
    await interrupted(client)
    assert error_of(await run(client, body("r2", "something else"))) == "interrupts_open"
    assert len(await open_tickets(client)) == 1
    assert len(await messages_of(client)) == 2


async def test_a_request_whose_answer_was_lost_is_asked_again(client: httpx.AsyncClient) -> None:
    asked = await interrupted(client)
    again = await run(client, body("r1", "refund"))
    assert again[-1]["outcome"]["interrupts"] == asked
    assert len(await open_tickets(client)) == 1


async def test_the_name_of_a_run_alone_makes_no_repetition(client: httpx.AsyncClient) -> None:
    await interrupted(client)
    other = {**body("r1"), "messages": [{"id": "u-2", "role": "user", "content": "hi"}]}
    assert error_of(await run(client, other)) == "interrupts_open"


async def test_all_open_interrupts_must_be_answered(client: httpx.AsyncClient) -> None:
    one, other = await interrupted(client, "twice")
    half = await run(client, body("r2", resume=[answer(one)]))
    assert error_of(half) == "interrupts_open"
    assert other["id"] in half[-1]["message"]
    assert len(await open_tickets(client)) == 2
    whole = await run(client, body("r3", resume=[answer(other), answer(one)]))
    assert whole[-1]["outcome"] == {"type": "success"}


async def test_an_interrupt_of_another_thread_is_none(client: httpx.AsyncClient) -> None:
    (asked,) = await interrupted(client)
    other = {**body("r2", resume=[answer(asked)]), "threadId": "other"}
    assert error_of(await run(client, other)) == "interrupt_not_found"
    unknown = body("r3", resume=[{**answer(asked), "interruptId": "x"}])
    assert error_of(await run(client, unknown)) == "interrupt_not_found"


async def test_an_answer_that_is_none_decides_nothing(client: httpx.AsyncClient) -> None:
    one, other = await interrupted(client, "twice")
    for wrong in ({"approved": "yes"}, {"approved": True, "editedArgs": [1]}):
        told = await run(client, body("r2", resume=[answer(one), answer(other, **wrong)]))
        assert error_of(told) in ("invalid_field", "invalid_decision")
        assert len(await open_tickets(client)) == 2


async def test_the_same_answer_again_is_harmless_and_another_one_is_refused(
    client: httpx.AsyncClient,
) -> None:
    (asked,) = await interrupted(client)
    first = await run(client, body("r2", resume=[answer(asked)]))
    again = await run(client, body("r3", resume=[answer(asked)]))
    assert again[0]["runId"] == "r3"
    assert again[-1]["result"] == first[-1]["result"]
    other = await run(client, body("r4", resume=[answer(asked, approved=False)]))
    assert error_of(other) == "interrupt_closed"
    assert len(await messages_of(client)) == 4


async def test_an_interrupt_that_has_expired_cannot_be_answered(
    app: App, client: httpx.AsyncClient
) -> None:
    (asked,) = await interrupted(client)
    await expire(app, asked["id"])
    assert error_of(await run(client, body("r2", resume=[answer(asked)]))) == "interrupt_expired"


async def expire(app: App, ticket_id: str) -> None:
    """Let the time to answer be over, without the sweep that would close the ticket."""
    assert app.services is not None
    ticket = await app.services.store.ticket(DEFAULT_TENANT, ticket_id)
    assert ticket is not None
    over: Ticket = replace(ticket, expires_at=1)

    async def put(tx: Transaction) -> None:
        tx.put_ticket(DEFAULT_TENANT, over)

    await app.services.store.transact(operation(put))


async def test_an_abandoned_question_is_not_answered(client: httpx.AsyncClient) -> None:
    (asked,) = await interrupted(client)
    entry = {"interruptId": asked["id"], "status": "cancelled"}
    told = await run(client, body("r2", resume=[entry]))
    assert "abandoned" in str(told[-1]["result"])


async def test_what_is_approved_elsewhere_goes_on_and_can_be_watched(
    client: httpx.AsyncClient,
) -> None:
    (asked,) = await interrupted(client)
    decided = await client.post(f"/v1/tickets/{asked['id']}/decision", json={"action": "resume"})
    assert decided.status_code == 202
    told = events_of(await client.get("/v1/ag-ui/threads/t/connect"))
    assert told[-1]["outcome"] == {"type": "success"}
    assert Client().read(told).plain() == plain(await messages_of(client))


async def test_interrupts_are_answered_only_by_who_may_approve() -> None:
    settings = Settings(store="sqlite://:memory:", drain_seconds=0, api_keys=SecretStr(API_KEYS))
    app = create_app(agents, settings)
    async with app.lifespan():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            client.headers.update(bearer(ONLY["invoke"]))
            (asked,) = await interrupted(client)
            refused = await client.post("/v1/ag-ui/run", json=body("r2", resume=[answer(asked)]))
            assert_refused(refused, 403, "insufficient_scope")
            client.headers.update(bearer(BOB))
            told = await run(client, body("r3", resume=[answer(asked)]))
            assert error_of(told) == "interrupt_not_found", "of another tenant"
            client.headers.update(bearer(ALICE))
            told = await run(client, body("r4", resume=[answer(asked)]))
            assert told[-1]["outcome"] == {"type": "success"}


# --- the client's own tools ----------------------------------------------------------------------


def result(call_id: str, content: str = '{"color":"red"}') -> list[Told]:
    said = {"id": "u-r1", "role": "user", "content": "pick"}
    called = {"id": "a", "role": "assistant", "content": ""}
    return [said, called, {"id": "tm", "role": "tool", "toolCallId": call_id, "content": content}]


async def test_a_result_has_the_id_of_its_client_and_is_taken_once(
    client: httpx.AsyncClient,
) -> None:
    told = await run(client, body("r1", "pick", tools=[PICK]))
    (call_id,) = told[-1]["outcome"]["pendingToolCallIds"]
    first = await run(client, {**body("r2"), "messages": result(call_id)})
    again = await run(client, {**body("r3"), "messages": result(call_id)})
    assert again[-1]["result"] == first[-1]["result"]
    history = await messages_of(client)
    assert [each["id"] for each in history if each["role"] == "tool"] == ["tm"]


async def test_a_tool_that_failed_in_the_client_is_a_failed_call(client: httpx.AsyncClient) -> None:
    told = await run(client, body("r1", "pick", tools=[PICK]))
    (call_id,) = told[-1]["outcome"]["pendingToolCallIds"]
    posted = result(call_id, "")
    posted[-1]["error"] = "no screen"
    first = await run(client, {**body("r2"), "messages": posted})
    assert "no screen" in first[-1]["result"]["response"]
    again = await run(client, {**body("r3"), "messages": posted})
    assert again[-1]["result"] == first[-1]["result"]


async def test_a_result_whose_id_is_taken_gets_one_of_ours(client: httpx.AsyncClient) -> None:
    told = await run(client, body("r1", "pick", tools=[PICK]))
    (call_id,) = told[-1]["outcome"]["pendingToolCallIds"]
    posted = result(call_id)
    posted[-1]["id"] = "u-r1"
    answered = await run(client, {**body("r2"), "messages": posted})
    assert answered[-1]["outcome"] == {"type": "success"}
    history = await messages_of(client)
    assert len({each["id"] for each in history}) == len(history) == 4


async def test_what_a_user_says_beside_a_result_is_read_by_the_run_or_behind_it(
    client: httpx.AsyncClient,
) -> None:
    told = await run(client, body("r1", "pick", tools=[PICK]))
    (call_id,) = told[-1]["outcome"]["pendingToolCallIds"]
    more = {"id": "u-2", "role": "user", "content": "and be quick"}
    await run(client, {**body("r2"), "messages": [*result(call_id), more]})
    await client.get("/v1/ag-ui/threads/t/connect")
    said = [each["content"] for each in await messages_of(client) if each["role"] == "user"]
    assert said == ["pick", "and be quick"]
    assert len(await open_tickets(client)) == 0


async def test_a_user_who_goes_on_instead_of_answering_is_heard(client: httpx.AsyncClient) -> None:
    await run(client, body("r1", "pick", tools=[PICK]))
    told = await run(client, body("r2", "never mind"))
    assert told[-1]["outcome"] == {"type": "success"}
    assert "never mind" in told[-1]["result"]["response"]


async def test_tools_belong_to_their_run(client: httpx.AsyncClient) -> None:
    await run(client, body("r1", "hello", tools=[PICK]))
    told = await run(client, body("r2", "pick"))
    assert "unknown_tool" in str(told[-1]["result"])


async def test_a_tool_of_the_client_does_not_replace_one_that_asks(
    client: httpx.AsyncClient,
) -> None:
    theirs = {"name": "refund", "description": "", "parameters": {}}
    told = await run(client, body("r1", "refund", tools=[theirs]))
    assert told[-1]["outcome"]["type"] == "interrupt"


# --- attaching -----------------------------------------------------------------------------------


async def test_attaching_begins_legally_and_ends_as_the_run_did(client: httpx.AsyncClient) -> None:
    await run(client, body("r1", "weather", parentRunId="p0"))
    told = events_of(await client.get("/v1/ag-ui/threads/t/connect"))
    assert [each["type"] for each in told] == [
        "RUN_STARTED",
        "STATE_SNAPSHOT",
        "MESSAGES_SNAPSHOT",
        "RUN_FINISHED",
    ]
    assert (told[0]["runId"], told[0]["parentRunId"]) == ("r1", "p0")
    assert told[2]["messages"] == await messages_of(client)
    named = events_of(await client.get("/v1/ag-ui/threads/t/connect?runId=again"))
    assert named[0]["runId"] == "again"


async def test_attaching_to_a_run_that_waits_tells_its_interrupts(
    client: httpx.AsyncClient,
) -> None:
    asked = await interrupted(client, "mixed")
    told = events_of(await client.get("/v1/ag-ui/threads/t/connect"))
    assert told[-1]["outcome"]["interrupts"] == asked
    assert Client().read(told).plain() == Client().read([told[2]]).plain()


async def test_attaching_to_a_run_under_way_goes_on_in_the_middle(live: Live) -> None:
    stream = await live.connect()
    await stream.send(request("POST", "/v1/ag-ui/run", body("r1", "slow")))
    started = await receive_until(stream, b'"delta":"5 "')
    seen = int(started.rsplit(b"\nid: ", 1)[1].split(b"\n")[0])
    await stream.aclose()
    async with httpx.AsyncClient(base_url=live.base_url, timeout=15, trust_env=False) as client:
        after = events_of(await client.get(f"/v1/ag-ui/threads/t/connect?after={seen}"))
        whole = events_of(await client.get("/v1/ag-ui/threads/t/connect"))
        history = await messages_of(client)
    assert Client().read(after).plain() == Client().read(whole).plain() == plain(history)
    assert after[2]["messages"][-1]["content"].startswith("0 1 2 3 4 5 ")
    await live.wait_quiet()


async def test_what_cannot_be_attached_to_is_refused(client: httpx.AsyncClient) -> None:
    assert_refused(await client.get("/v1/ag-ui/threads/x/connect"), 404, "thread_not_found")
    await run(client, body("r1", "hi"))
    ahead = await client.get("/v1/ag-ui/threads/t/connect?after=999")
    assert_refused(ahead, 409, "cursor_ahead")
    name = await client.get("/v1/ag-ui/threads/t/connect?runId=a%20b")
    assert_refused(name, 422, "invalid_field", "runId")


async def test_a_thread_without_runs_is_shown(client: httpx.AsyncClient) -> None:
    await client.post("/v1/threads", json={"thread_id": "t"})
    told = events_of(await client.get("/v1/ag-ui/threads/t/connect"))
    assert told[-1]["outcome"] == {"type": "success"}
    assert told[2]["messages"] == []


# --- the JSON routes -----------------------------------------------------------------------------


async def test_history_comes_in_pages(client: httpx.AsyncClient) -> None:
    await run(client, body("r1", "parallel"))
    whole = await messages_of(client)
    found: list[Told] = []
    cursor = None
    while True:
        params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/ag-ui/threads/t/messages", params=params)).json()
        found += page["messages"]
        cursor = page.get("next_cursor")
        if not page["has_more"]:
            break
    assert found == whole
    assert len(whole) == 5


async def test_a_stop_ends_the_stream_as_cancelled(live: Live) -> None:
    stream: SocketStream = await live.connect()
    await stream.send(request("POST", "/v1/ag-ui/run", body("r1", "slow")))
    await receive_until(stream, b'"delta":"2 "')
    async with httpx.AsyncClient(base_url=live.base_url, trust_env=False) as client:
        stopped = await client.post("/v1/ag-ui/threads/t/cancel")
        assert stopped.status_code == 202
        assert stopped.json() == {"status": "cancel_requested", "thread_id": "t", "runs": 1}
        await receive_until(stream, b'"outcome":{"type":"cancelled"}')
        await stream.aclose()
        idle = await client.post("/v1/ag-ui/threads/t/cancel")
        assert (idle.status_code, idle.json()["status"]) == (200, "nothing_to_stop")


async def test_capabilities_are_those_of_the_official_models(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/ag-ui/capabilities")).json()
    found = AgentCapabilities.model_validate(told)
    assert not found.__pydantic_extra__
    assert found.human_in_the_loop is not None
    assert found.human_in_the_loop.approve_with_edits
    assert found.transport is not None
    assert found.transport.resumable
    assert {tool["name"] for tool in told["tools"]["items"]} >= {"refund", "count"}
    unknown = await client.get("/v1/ag-ui/capabilities?agentId=nobody")
    assert_refused(unknown, 404, "agent_not_found")
