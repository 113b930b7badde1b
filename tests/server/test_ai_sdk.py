"""The routes of the AI SDK over HTTP: what is accepted, refused, resumed and cut off.

Stock clients are driven in tests/interop/ai_sdk.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from awaken import Agent, ToolContext, demo, tool
from awaken.models.scripted import ScriptedModel, Step
from awaken.ports.model import CallChunk, CallEnd, CallStart, Finish, ModelRequest, TextChunk
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.protocols.ai_sdk.legal import Chunk, check
from tests.server.conftest import BASE
from tests.server.keys import API_KEYS, ONLY, bearer, client_of
from tests.server.live import Live, receive_all, receive_until, request
from tests.server.support import assert_refused

CHAT = "/v1/ai-sdk/chat"


def user(text: str, message_id: str = "m1", **fields: Any) -> dict[str, Any]:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}], **fields}


def body(agent: str, *messages: dict[str, Any], chat: str = "c", **fields: Any) -> dict[str, Any]:
    """What `useChat` posts."""
    said = {"id": chat, "agentId": agent, "messages": list(messages)}
    return {**said, "trigger": "submit-message", **fields}


def chunks_in(text: str, calls: Iterable[str] = ()) -> list[Chunk]:
    """The chunks of a whole stream, which must be legal and end with `[DONE]`."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(each) for each in data[:-1]]
    check(chunks, calls)
    return chunks


def text_in(chunks: list[Chunk]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


async def post(client: httpx.AsyncClient, what: dict[str, Any], path: str = CHAT) -> list[Chunk]:
    response = await client.post(path, json=what)
    assert response.status_code == 200, response.text
    last = (what.get("messages") or [{}])[-1]
    calls = [part["toolCallId"] for part in last.get("parts", ()) if "toolCallId" in part]
    return chunks_in(response.text, calls)


async def history(client: httpx.AsyncClient, chat: str = "c", **params: Any) -> Any:
    response = await client.get(f"/v1/ai-sdk/threads/{chat}/messages", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def asked(chunks: list[Chunk]) -> tuple[str, str]:
    """The approval that was asked for, and its call."""
    (found,) = [chunk for chunk in chunks if chunk["type"] == "tool-approval-request"]
    return found["approvalId"], found["toolCallId"]


def answered(
    run_id: str, state: str, call_id: str, kind: str = "tool-refund", **part: Any
) -> dict[str, Any]:
    """The assistant's message, as a client posts it back."""
    told = {"type": kind, "state": state, "toolCallId": call_id, "input": {}, **part}
    return {"id": run_id, "role": "assistant", "parts": [{"type": "step-start"}, told]}


# --- the head, and the ways in -------------------------------------------------------------------


async def test_a_stream_has_the_headers_that_clients_and_proxies_look_for(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(CHAT, json=body("echo", user("hi")))
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache"
    start = chunks_in(response.text)[0]
    assert start["messageId"] == response.headers["awaken-run-id"]
    assert response.headers["awaken-thread-id"] == "c"


async def test_there_are_three_ways_in(client: httpx.AsyncClient) -> None:
    assert text_in(await post(client, body("echo", user("one")))) == "one"
    by_agent = {"id": "other", "messages": [user("two", "m2")]}
    assert text_in(await post(client, by_agent, "/v1/ai-sdk/agents/echo/runs")) == "two"
    by_thread = {"messages": [user("three", "m3")]}
    assert text_in(await post(client, by_thread, "/v1/ai-sdk/threads/c/runs")) == "three"
    assert [each["role"] for each in (await history(client))["messages"]] == [
        "user",
        "assistant",
    ] * 2
    refused = await client.post("/v1/ai-sdk/threads/none/runs", json=by_thread)
    assert_refused(refused, 404, "thread_not_found")
    refused = await client.post("/v1/ai-sdk/agents/none/runs", json=by_agent)
    assert_refused(refused, 404, "agent_not_found")


async def test_a_client_that_sends_only_its_last_message_is_understood(
    client: httpx.AsyncClient,
) -> None:
    chat = {"id": "c", "agentId": "echo", "message": user("alone")}
    assert text_in(await post(client, chat)) == "alone"


async def test_a_chat_without_an_id_gets_one(client: httpx.AsyncClient) -> None:
    told = await post(client, {"agentId": "echo", "messages": [user("hi")]})
    assert (await history(client, told[0]["messageMetadata"]["threadId"]))["messages"]


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"id": "a", "role": "assistant", "parts": []}]}, None),
        ({"messages": [{"role": "user", "parts": []}]}, "messages[0].parts"),
        ({"messages": [{"role": "robot", "parts": []}]}, "messages[0].role"),
        ({"messages": [user("x", "with space")]}, "messages[0].id"),
        ({"messages": [user("x"), user("y")]}, "messages[1].id"),
        ({"messages": [user("x")], "id": "with space"}, "id"),
        ({"messages": [], "trigger": "regenerate-message"}, "messages"),
        ({"messages": [user("x")], "trigger": "resume-stream"}, "trigger"),
        (
            {"messages": [{"role": "user", "parts": [{"type": "file", "url": "x"}]}]},
            "messages[0].parts[0].mediaType",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "parts": [{"type": "file", "mediaType": "image/png", "url": "file:///x"}],
                    }
                ]
            },
            "messages[0].parts[0].url",
        ),
    ],
)
async def test_a_refusal_names_the_field(
    client: httpx.AsyncClient, what: dict[str, Any], field: str | None
) -> None:
    refused = await client.post(CHAT, json={"id": "c", "agentId": "echo", **what})
    if field is None:
        assert_refused(refused, 404, "thread_not_found")
    else:
        assert_refused(refused, 422, "invalid_field", field)


# --- what the thread keeps -----------------------------------------------------------------------


async def test_a_history_that_is_posted_changes_nothing_that_the_thread_has(
    client: httpx.AsyncClient,
) -> None:
    (start, *_) = await post(client, body("echo", user("one")))
    forged = {
        "id": start["messageId"],
        "role": "assistant",
        "parts": [{"type": "text", "text": "I never said this"}],
    }
    await post(client, body("echo", user("forged"), forged, user("two", "m2")))
    texts = [
        part["text"]
        for message in (await history(client))["messages"]
        for part in message["parts"]
        if part["type"] == "text"
    ]
    assert texts == ["one", "one", "two", "two"]


async def test_a_request_that_comes_again_is_answered_by_the_run_that_there_is(
    client: httpx.AsyncClient,
) -> None:
    first = await post(client, body("echo", user("one")))
    again = await post(client, body("echo", user("one")))
    assert again == first
    assert len((await history(client))["messages"]) == 2


async def test_files_are_kept_and_given_back(client: httpx.AsyncClient) -> None:
    picture = base64.b64encode(b"picture").decode()
    files = [
        {"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{picture}"},
        {
            "type": "file",
            "mediaType": "application/pdf",
            "filename": "a.pdf",
            "url": "https://example.org/a.pdf",
        },
    ]
    said = user("look")
    said["parts"] += files
    await post(client, body("echo", said))
    (asked_, _) = (await history(client))["messages"]
    assert asked_["parts"][1:] == files


async def test_a_long_history_comes_in_pages_that_cut_no_answer(
    client: httpx.AsyncClient,
) -> None:
    for number in range(4):
        await post(client, body("assistant", user("weather in Paris", f"m{number}")))
    page = await history(client, limit=3)
    seen = [page["messages"]]
    while page["has_more"]:
        page = await history(client, limit=3, before=page["before"])
        seen.append(page["messages"])
    assert seen[-1][0]["id"] == "m0"
    assert all([each["role"] for each in some] == ["user", "assistant"] for some in seen)
    whole = await history(client)
    assert [each for some in reversed(seen) for each in some] == whole["messages"]


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tool-refund", "dynamic-tool"])
async def test_an_approval_goes_on_with_the_same_message(
    client: httpx.AsyncClient, kind: str
) -> None:
    question = user("refund order 17 amount=20")
    first = await post(client, body("clerk", question))
    approval, call = asked(first)
    run_id = first[0]["messageId"]
    yes = {"id": approval, "approved": True}
    answer = answered(run_id, "approval-responded", call, kind, approval=yes)
    rest = await post(client, body("clerk", question, answer, messageId=run_id))
    assert rest[0]["messageId"] == run_id
    assert text_in(rest) == "I refunded 20.0 for order 17."
    again = await post(client, body("clerk", question, answer, messageId=run_id))
    assert again == rest, "a reply that was lost is given again"


@pytest.mark.parametrize(
    "part",
    [
        {"state": "approval-responded", "approval": {"id": "another", "approved": True}},
        {"state": "output-available", "output": {"refunded": True}},
        {"state": "output-available", "output": 1, "providerExecuted": True},
        {"state": "approval-requested", "approval": {"id": "another"}},
    ],
)
async def test_what_no_ticket_asked_for_answers_nothing(
    client: httpx.AsyncClient, part: dict[str, Any]
) -> None:
    first = await post(client, body("clerk", user("refund order 17 amount=20")))
    _, call = asked(first)
    run_id = first[0]["messageId"]
    message = answered(run_id, part.pop("state"), call, **part)
    assert_refused(await client.post(CHAT, json=body("clerk", message)), 409, "nothing_to_answer")
    (ticket,) = (await client.get("/v1/tickets")).json()["items"]
    assert ticket["status"] == "open"


async def test_the_ticket_of_another_thread_is_not_answered(client: httpx.AsyncClient) -> None:
    theirs = await post(client, body("clerk", user("refund order 1"), chat="theirs"))
    mine = await post(client, body("clerk", user("refund order 2"), chat="mine"))
    approval, call = asked(theirs)
    yes = {"id": approval, "approved": True}
    for run_id in (theirs[0]["messageId"], mine[0]["messageId"]):
        message = answered(run_id, "approval-responded", call, approval=yes)
        refused = await client.post(CHAT, json=body("clerk", message, chat="mine"))
        assert_refused(refused, 409, "nothing_to_answer")
    assert len((await client.get("/v1/tickets")).json()["items"]) == 2


async def test_an_output_that_the_tool_cannot_have_is_refused(client: httpx.AsyncClient) -> None:
    first = await post(client, body("helper", user("pick")))
    (call,) = [each for each in first if each["type"] == "tool-input-available"]
    wrong = answered(
        first[0]["messageId"], "output-available", call["toolCallId"], output={"colour": "red"}
    )
    assert_refused(await client.post(CHAT, json=body("helper", wrong)), 422, "invalid_decision")


async def test_a_call_that_failed_at_the_client_is_told_to_the_model(
    client: httpx.AsyncClient,
) -> None:
    first = await post(client, body("helper", user("pick")))
    (call,) = [each for each in first if each["type"] == "tool-input-available"]
    failed = answered(
        first[0]["messageId"], "output-error", call["toolCallId"], errorText="no colours"
    )
    rest = await post(client, body("helper", failed))
    assert text_in(rest) == "You picked nothing."
    (result,) = [each for each in rest if each["type"] == "tool-output-error"]
    assert "no colours" in result["errorText"]


async def test_a_message_instead_of_an_answer_takes_the_place_of_the_run(
    client: httpx.AsyncClient,
) -> None:
    await post(client, body("clerk", user("refund order 17")))
    told = await post(client, body("echo", user("never mind", "m2")))
    assert text_in(told) == "never mind"
    assert (await client.get("/v1/tickets")).json()["items"] == []


async def test_an_answer_that_waits_for_approval_is_made_anew(client: httpx.AsyncClient) -> None:
    question = user("refund order 17")
    first = await post(client, body("clerk", question))
    old, _ = asked(first)
    again = await post(client, body("clerk", question, trigger="regenerate-message"))
    new, _ = asked(again)
    (ticket,) = (await client.get("/v1/tickets")).json()["items"]
    assert ticket["ticket_id"] == new != old
    (said, answer) = (await history(client))["messages"]
    assert (said["id"], answer["id"]) == ("m1", again[0]["messageId"])
    assert answer["parts"][1]["approval"] == {"id": new}


# --- scopes --------------------------------------------------------------------------------------


@pytest.fixture
async def guarded() -> AsyncIterator[App]:
    settings = Settings(store="sqlite://:memory:", drain_seconds=0, api_keys=SecretStr(API_KEYS))
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


async def test_to_approve_needs_the_scope_and_to_execute_a_call_does_not(guarded: App) -> None:
    async with client_of(guarded, ONLY["invoke"]) as client:
        first = await post(client, body("clerk", user("refund order 17")))
        approval, call = asked(first)
        yes = {"id": approval, "approved": True}
        message = answered(first[0]["messageId"], "approval-responded", call, approval=yes)
        refused = await client.post(CHAT, json=body("clerk", message))
        details = assert_refused(refused, 403, "insufficient_scope")
        assert details["scopes"] == ["approve"]
        picked = await post(client, body("helper", user("pick"), chat="d"))
        (call_,) = [each for each in picked if each["type"] == "tool-input-available"]
        output = answered(
            picked[0]["messageId"],
            "output-available",
            call_["toolCallId"],
            output={"color": "red"},
        )
        assert "red" in text_in(await post(client, body("helper", output, chat="d")))
        tickets = await client.get("/v1/tickets", headers=bearer(ONLY["approve"]))
        assert len(tickets.json()["items"]) == 1


# --- attaching -----------------------------------------------------------------------------------


@asynccontextmanager
async def streaming(live: Live, what: dict[str, Any], path: str = CHAT) -> AsyncIterator[Any]:
    stream = await live.connect()
    async with stream:
        await stream.send(request("POST", path, what))
        yield stream


LONG = "tokens=3000 delay_ms=5"


async def test_a_run_under_way_is_told_from_its_beginning_or_behind_a_cursor(live: Live) -> None:
    async with (
        httpx.AsyncClient(base_url=live.base_url, trust_env=False) as client,
        streaming(live, body("storyteller", user("tokens=150 delay_ms=5"))) as stream,
    ):
        await receive_until(stream, b'#20"')
        for path in (
            f"{CHAT}/c/stream",
            "/v1/ai-sdk/threads/c/stream",
            "/v1/ai-sdk/agents/storyteller/runs/c/stream",
        ):
            head = await client.head(path)
            assert (head.status_code, head.headers["awaken-thread-id"]) == (200, "c")
        tail = await client.get(f"{CHAT}/c/stream", headers={"last-event-id": "12"})
        whole = await client.get("/v1/runs")
        assert whole.status_code == 200
    async with httpx.AsyncClient(base_url=live.base_url, trust_env=False) as client:
        again = await client.post(CHAT, json=body("storyteller", user("tokens=150 delay_ms=5")))
        cut = again.text.index("id: 12\n")
        assert again.text[again.text.index("\n\n", cut) + 2 :] == tail.text
        idle = await client.get(f"{CHAT}/c/stream", headers={"last-event-id": "12"})
        assert idle.status_code == 204, "nothing is under way any more"
        refused = await client.get(f"{CHAT}/c/stream", headers={"last-event-id": "x"})
        assert_refused(refused, 400, "invalid_cursor", "Last-Event-ID")
    await live.wait_quiet()


async def test_a_chat_that_is_new_has_no_messages(client: httpx.AsyncClient) -> None:
    path = f"{CHAT}/c/messages"
    assert (await client.get(path)).json() == {"messages": [], "has_more": False}
    await post(client, body("echo", user("hi")))
    assert (await client.get(path)).json() == await history(client)
    missing = await client.get("/v1/ai-sdk/threads/none/messages")
    assert_refused(missing, 404, "thread_not_found")


async def test_a_run_of_tomorrow_is_not_attached_to(client: httpx.AsyncClient) -> None:
    await post(client, body("echo", user("hi")))
    later = {
        "agent_id": "echo",
        "thread_id": "c",
        "messages": [{"role": "user", "content": "later"}],
        "available_at": 4_000_000_000_000,
    }
    assert (await client.post("/v1/runs/background", json=later)).status_code == 202
    assert (await client.get(f"{CHAT}/c/stream")).status_code == 204
    assert len((await history(client))["messages"]) == 2


async def test_a_client_that_goes_leaves_the_run_alone(live: Live) -> None:
    async with streaming(live, body("storyteller", user("tokens=100 delay_ms=5"))) as stream:
        await receive_until(stream, b'#5"')
    async with httpx.AsyncClient(base_url=live.base_url, trust_env=False) as client:
        told = chunks_in((await client.get(f"{CHAT}/c/stream")).text)
        assert text_in(told).endswith("#100")
    await live.wait_quiet()


async def test_a_drain_in_the_middle_of_an_answer_cuts_the_connection(live: Live) -> None:
    async with streaming(live, body("storyteller", user(LONG))) as stream:
        received = await receive_until(stream, b'#5"')
        with anyio.fail_after(10):
            await live.app.drain()
        received += await receive_all(stream)
    assert b"[DONE]" not in received
    assert b'"finish"' not in received
    assert not received.endswith(b"0\r\n\r\n"), "an end of the body would make it a whole answer"


@pytest.mark.parametrize("path", [f"{CHAT}/c/cancel", "/v1/ai-sdk/threads/c/cancel"])
async def test_a_stop_ends_the_stream_as_an_abort(live: Live, path: str) -> None:
    async with (
        httpx.AsyncClient(base_url=live.base_url, trust_env=False) as client,
        streaming(live, body("storyteller", user(LONG))) as stream,
    ):
        await receive_until(stream, b'#5"')
        stopped = await client.post(path)
        assert (stopped.status_code, stopped.json()) == (
            202,
            {"status": "cancel_requested", "thread_id": "c", "runs": 1},
        )
        rest = await receive_until(stream, b"[DONE]")
        assert b'{"type":"abort"}' in rest
        idle = await client.post(path)
        assert (idle.status_code, idle.json()["status"]) == (200, "nothing_to_stop")
        (_, answer) = (await history(client))["messages"]
        assert answer["metadata"]["interrupted"] is True


async def test_while_a_run_is_under_way_history_and_stream_make_one_conversation(
    live: Live,
) -> None:
    async with (
        httpx.AsyncClient(base_url=live.base_url, trust_env=False) as client,
        streaming(live, body("storyteller", user(LONG))) as stream,
    ):
        await receive_until(stream, b'#5"')
        assert [each["id"] for each in (await history(client))["messages"]] == ["m1"]
        await client.post(f"{CHAT}/c/cancel")


# --- questions that a message answers ------------------------------------------------------------


@tool
async def order(context: ToolContext) -> str:
    """Order something."""
    return f"ordered {await context.ask('Which one?')}"


def _waiter(request_: ModelRequest) -> Iterator[Step]:
    last = request_.messages[-1]
    if last.role.value == "tool":
        yield TextChunk(text=last.text)
        yield Finish(reason="stop")
        return
    yield CallStart(id="c1", name="order")
    yield CallChunk(id="c1", text="{}")
    yield CallEnd(id="c1")
    yield Finish(reason="tool_calls")


async def test_a_message_that_answers_a_question_goes_on_behind_it() -> None:
    agent = Agent("waiter", model=ScriptedModel(_waiter), tools=[order])
    settings = Settings(store="sqlite://:memory:", drain_seconds=0)
    app = create_app([agent], settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10) as client,
    ):
        first = await post(client, body("waiter", user("hi")))
        (question,) = [chunk for chunk in first if chunk["type"] == "data-question"]
        assert question["data"]["message"] == "Which one?"
        second = await post(client, body("waiter", user("the red one", "m2")))
        assert text_in(second) == "ordered the red one"
        told = (await history(client))["messages"]
        assert [each["id"] for each in told] == [
            "m1",
            first[0]["messageId"],
            "m2",
            second[0]["messageId"],
        ]
