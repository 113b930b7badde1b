"""The client against a server in the same loop: each method, and what it makes of refusals."""

from __future__ import annotations

from typing import Any, get_type_hints

import httpx
import pytest

from awaken.client import Client, ClientError, Event, Fold, answers
from awaken.protocols.native import wire
from awaken.server.system import Agent
from tests.server.live import Live


async def folded(client: Client, *said: Any, **options: Any) -> tuple[Fold, str]:
    """The fold of a run, and its id."""
    fold = Fold()
    events = client.run(*said, **options)
    async for event in events:
        fold.add(event)
    assert events.run_id is not None
    assert fold.cursor == events.cursor
    return fold, events.run_id


async def test_a_run_is_its_events_from_first_to_last(client: Client) -> None:
    events = client.run("echo", "hello you", thread_id="t", metadata={"k": 1})
    seen = [event async for event in events]
    assert [event.type for event in seen][-1] == "run_finish"
    assert [e.data["delta"] for e in seen if e.type == "text_delta"] == ["hello ", "you"]
    assert {event.run_id for event in seen} == {events.run_id}
    assert events.thread_id == "t"
    assert events.cursor == seen[-1].id
    run = await client.get_run(events.run_id or "")
    assert run["metadata"] == {"k": 1}
    assert run["result"] == {"response": "hello you"}


async def test_messages_may_be_given_in_full(client: Client) -> None:
    said = [
        {"role": "user", "content": "one", "id": "m1"},
        {"role": "user", "content": [{"type": "text", "text": "two"}], "messageId": "m2"},
        {"role": "user", "content": "three"},
    ]
    await folded(client, "echo", said, thread_id="t")
    stored = await client.messages("t")
    assert [message["message_id"] for message in stored[:2]] == ["m1", "m2"]
    assert [message["role"] for message in stored] == ["user", "user", "user", "assistant"]
    assert [m["message_seq"] for m in await client.messages("t", after=1, limit=2)] == [2, 3]


async def test_the_fold_of_a_run_with_tools_has_everything(client: Client) -> None:
    fold, run_id = await folded(client, "assistant", "weather in Paris and 6 * 7")
    run = fold.run(run_id)
    assert (run.status, run.agent_id) == ("done", "assistant")
    assert run.termination == {"type": "natural_end"}
    assert run.response == run.text
    assert "42" in run.text
    calls = [(call.name, call.arguments, call.outcome) for call in run.calls.values()]
    assert calls == [
        ("get_weather", {"city": "Paris"}, "succeeded"),
        ("calculate", {"expression": "6 * 7"}, "succeeded"),
    ]
    assert [m["role"] for m in fold.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert run.parts() == []


async def test_the_fold_shows_what_is_being_said(client: Client) -> None:
    fold = Fold()
    events = client.run("assistant", "6 * 7")
    thoughts, texts = "", ""
    async for event in events:
        fold.add(event)
        assert events.run_id is not None
        run = fold.run(events.run_id)
        if event.type == "reasoning_delta":
            thoughts += event.data["delta"]
            assert (run.reasoning, run.text) == (thoughts, "")
        if event.type == "text_delta":
            texts += event.data["delta"]
            assert run.text == texts
    assert thoughts.startswith("Let me")
    assert texts


async def test_a_background_run_can_be_waited_for_and_streamed_later(client: Client) -> None:
    accepted = await client.start("storyteller", "tokens=5 delay_ms=1", thread_id="t")
    run = await client.wait(accepted["run_id"])
    assert run["status"] == "done"
    events = [event async for event in client.stream(accepted["run_id"])]
    behind = [e async for e in client.stream(accepted["run_id"], after=events[3].id)]
    assert behind == events[4:]
    assert [e async for e in client.stream(accepted["run_id"], after=events[-1].seq)] == []


async def test_a_run_is_stopped_and_its_fold_has_what_was_kept(client: Client) -> None:
    events = client.run("storyteller", "tokens=1000 delay_ms=5")
    fold = Fold()
    async for event in events:
        fold.add(event)
        assert events.run_id is not None
        if event.type == "text_delta" and event.data["delta"].endswith("#5"):
            assert await client.cancel(events.run_id, reason="enough") == "cancel_requested"
    run = fold.run(events.run_id or "")
    assert run.termination == {"type": "cancelled", "by": "user", "reason": "enough"}
    assert run.kept is not None
    assert run.kept["interrupted"] is True
    assert run.text.startswith("Once#1 upon#2 a#3 time#4 a#5")
    assert await client.cancel(events.run_id or "") == "already_finished"


async def test_a_ticket_is_found_and_decided(client: Client) -> None:
    fold, run_id = await folded(client, "clerk", "refund order 17 amount=20", thread_id="t")
    assert fold.run(run_id).status == "waiting"
    (seen,) = fold.run(run_id).open_tickets
    (ticket,) = await client.tickets(thread_id="t")
    assert {name: ticket[name] for name in seen} == seen  # type: ignore[literal-required]
    active = await client.active_run("t")
    assert active is not None
    assert active["waiting"] is not None
    assert active["waiting"]["tickets"] == [ticket]
    decided = await client.decide(ticket["ticket_id"], arguments_hash=ticket["arguments_hash"])
    assert decided["resumed"] is True
    async for event in client.stream(run_id, after=fold.cursor):
        fold.add(event)
    assert fold.run(run_id).open_tickets == []
    assert fold.run(run_id).text == "I refunded 20.0 for order 17."
    assert await client.active_run("t") is None
    assert await client.active_run("never heard of") is None


async def test_a_repeated_decision_is_the_same_and_another_one_is_refused(client: Client) -> None:
    _, run_id = await folded(client, "clerk", "refund order 17")
    (ticket,) = await client.tickets(run_id=run_id)
    first = await client.decide(ticket["ticket_id"], "cancel", "no", decision_id="d")
    assert await client.decide(ticket["ticket_id"], "cancel", "no", decision_id="d") == first
    with pytest.raises(ClientError) as refused:
        await client.decide(ticket["ticket_id"])
    assert (refused.value.code, refused.value.status) == ("ticket_closed", 409)
    assert refused.value.details == {"ticket_id": ticket["ticket_id"]}
    assert not refused.value.retryable


async def test_lists_are_read_to_their_end(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awaken.client.management._PAGE", 2)
    for number in range(5):
        await folded(client, "clerk", "refund order 1", thread_id=f"t{number}")
    assert len(await client.tickets()) == 5
    assert len(await client.tickets(limit=3)) == 3
    assert await client.tickets(limit=0) == []


async def test_refusals_of_the_server_come_through(client: Client) -> None:
    with pytest.raises(ClientError) as refused:
        await client.get_run("a/b c")
    assert (refused.value.code, refused.value.status) == ("run_not_found", 404)
    assert refused.value.details == {"run_id": "a/b c"}
    with pytest.raises(ClientError) as refused:
        await anext(client.run("ecko", "hi"))
    assert refused.value.code == "agent_not_found"
    assert "echo" in refused.value.details["available"]
    with pytest.raises(ClientError) as refused:
        await anext(client.stream("nope"))
    assert refused.value.code == "run_not_found"


async def test_agents_are_listed(client: Client) -> None:
    assert {"assistant", "clerk", "echo"} <= {agent["agent_id"] for agent in await client.agents()}


async def test_no_server_is_told_at_once_without_patience(live: Live) -> None:
    async with Client("http://127.0.0.1:9", give_up_seconds=0) as client:
        with pytest.raises(ClientError) as refused:
            await client.agents()
    assert refused.value.code == "unreachable"
    assert refused.value.status is None
    assert refused.value.retryable


async def test_a_client_that_leaves_a_stream_leaves_nothing_behind(live: Live) -> None:
    async with Client(live.base_url) as client:
        async with client.run("storyteller", "tokens=1000 delay_ms=5") as events:
            async for event in events:
                if event.type == "text_delta":
                    break
        assert events.run_id is not None
        await client.cancel(events.run_id)
        await client.wait(events.run_id)
    await live.wait_quiet()


# --- answers that were lost ----------------------------------------------------------------------


class Losing(httpx.AsyncHTTPTransport):
    """Loses the answers of the first `count` POSTs, after the server has given them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.method == "POST" and self.left:
            self.left -= 1
            await response.aclose()
            raise httpx.ReadError("lost")
        return response


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_run_whose_acceptance_was_not_heard_of_is_one_run(live: Live, lost: int) -> None:
    async with Client(live.base_url, transport=Losing(lost)) as client:
        seen = [event async for event in client.run("storyteller", "tokens=20 delay_ms=5")]
        accepted = await client.start("echo", "hi", thread_id="u")
        assert (await client.wait(accepted["run_id"]))["status"] == "done"
    assert [event.type for event in seen].count("text_delta") == 20
    assert [event.type for event in seen].count("run_start") == 1
    assert len({event.seq for event in seen}) == len(seen)
    assert live.app.services is not None
    counts = await live.app.services.store.counts()
    assert counts.acked == 2


async def test_a_decision_whose_answer_was_lost_counts_once(live: Live) -> None:
    async with Client(live.base_url) as client:
        _, run_id = await folded(client, "clerk", "refund order 17")
        (ticket,) = await client.tickets()
    async with Client(live.base_url, transport=Losing(1)) as client:
        decided = await client.decide(ticket["ticket_id"])
        assert decided["ticket"]["status"] == "answered"
        assert (await client.wait(run_id, until="done"))["status"] == "done"
        events: list[Event] = [event async for event in client.stream(run_id)]
    kinds = [event.type for event in events]
    assert kinds.count("ticket_closed") == kinds.count("tool_call_done") == 1


# --- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("Accepted", "Decision", "Ticket", "Decided", "Waiting", "Result", "Usage", "Run"),
        "Message",
    ],
)
def test_the_types_of_answers_are_those_of_the_wire(name: str) -> None:
    here = get_type_hints(getattr(answers, name))
    assert list(here) == list(getattr(wire, name).model_fields)


def test_an_agent_is_described_as_the_server_does() -> None:
    assert list(get_type_hints(answers.Agent)) == list(Agent.model_fields)


async def test_a_message_steers_a_run(client: Client) -> None:
    accepted = await client.start("storyteller", "tokens=40 delay_ms=20", thread_id="s")
    async with client.stream(accepted["run_id"]) as events:
        async for event in events:
            if event.type == "text_delta":
                break
        steered = await client.steer(accepted["run_id"], "tokens=2")
        assert steered["run_id"] == accepted["run_id"]
        assert steered["fallback_run_id"]
    run = await client.wait(accepted["run_id"])
    assert run["steps"] == 2
    said = [message["role"] for message in await client.messages("s")]
    assert said == ["user", "assistant", "user", "assistant"]
