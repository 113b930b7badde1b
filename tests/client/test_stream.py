"""The stream of a run against a scripted server: every way in which a connection can end."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from awaken.client import ClientError, EventStream
from awaken.client.client import Client
from tests.client.fake import (
    CUT,
    REFUSED,
    Answer,
    FakeServer,
    answer,
    entry,
    finish,
    refusal,
    stream,
    text,
)


async def read(events: EventStream) -> list[int]:
    """The numbers of all events, to the end of the stream."""
    return [event.seq async for event in events]


async def run_against(*script: Answer, **options: Any) -> tuple[list[int], FakeServer]:
    server = FakeServer(*script)
    async with server.client(**options) as client:
        return await read(client.run("a", "hi", thread_id="t")), server


async def test_a_stream_that_is_not_cut_is_one_request() -> None:
    seqs, server = await run_against(stream(text(1, "a"), text(2, "b"), finish(3)))
    assert seqs == [1, 2, 3]
    assert server.asked() == ["POST /v1/runs"]
    assert server.bodies() == [
        {
            "agent_id": "a",
            "thread_id": "t",
            "messages": [{"role": "user", "content": "hi", "id": "id-000001"}],
        }
    ]


async def test_a_key_is_sent_with_every_request() -> None:
    server = FakeServer(stream(text(1, "a"), CUT), stream(finish(2)))
    async with server.client(api_key="secret") as client:
        await read(client.run("a", "hi"))
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer secret"] * 2


async def test_a_cut_stream_goes_on_behind_the_last_id() -> None:
    seqs, server = await run_against(
        stream(text(1, "a"), text(2, "b"), CUT),
        REFUSED,
        REFUSED,
        stream(text(3, "c"), text(4, "d")[:20], CUT),
        stream(text(4, "d"), finish(5)),
    )
    assert seqs == [1, 2, 3, 4, 5]
    again = "GET /v1/runs/r/stream"
    assert server.asked() == [
        "POST /v1/runs",
        f"{again} 2",
        f"{again} 2",
        f"{again} 2",
        f"{again} 3",
    ]
    assert [code for code, _ in server.pauses] == ["unreachable"] * 4
    assert server.pauses[3][1] < server.pauses[2][1], "what was heard ends the row"


async def test_a_cut_behind_the_end_is_the_end() -> None:
    seqs, server = await run_against(stream(text(1, "a"), finish(2), CUT))
    assert seqs == [1, 2]
    assert len(server.requests) == 1


async def test_a_cut_before_the_first_event_joins_the_run_at_its_beginning() -> None:
    seqs, server = await run_against(stream(CUT), stream(text(1, "a"), finish(2)))
    assert seqs == [1, 2]
    assert server.asked() == ["POST /v1/runs", "GET /v1/runs/r/stream"]


@pytest.mark.parametrize(
    "lost", [REFUSED, CUT, httpx.ReadTimeout("slow"), refusal(503, "draining"), refusal(502, "")]
)
async def test_a_submission_that_was_not_answered_is_repeated_with_the_same_ids(
    lost: Answer,
) -> None:
    server = FakeServer(lost, stream(), stream(text(1, "a"), finish(2)))
    async with server.client() as client:
        assert await read(client.run("a", "hi")) == [1, 2]
    assert server.asked() == ["POST /v1/runs", "POST /v1/runs", "GET /v1/runs/r/stream"]
    first, second = server.bodies()
    assert first == second
    assert first["thread_id"], "a new thread is named here, or the repeat would make another"


async def test_a_server_that_is_stopped_in_order_is_waited_for_as_long_as_it_asks() -> None:
    advice = b"event: reconnect\nretry: 1500\ndata: {}\n\n"
    seqs, server = await run_against(
        stream(text(1, "a"), advice, CUT),
        refusal(503, "draining", **{"retry-after": "2"}),
        stream(text(2, "b"), finish(3)),
    )
    assert seqs == [1, 2, 3]
    assert [pause for _, pause in server.pauses] == [1.5, 2]


async def test_a_polite_end_in_the_middle_is_not_believed() -> None:
    seqs, server = await run_against(
        stream(text(1, "a")),
        answer(200, {"status": "running", "waiting": None}),
        stream(text(2, "b"), finish(3)),
    )
    assert seqs == [1, 2, 3]
    assert server.asked()[1:] == ["GET /v1/runs/r", "GET /v1/runs/r/stream 1"]


@pytest.mark.parametrize(
    ("record", "until", "over"),
    [
        ({"status": "done", "waiting": None}, "settled", True),
        ({"status": "waiting", "waiting": {"reason": "tool_permission"}}, "settled", True),
        ({"status": "waiting", "waiting": {"reason": "resuming"}}, "settled", False),
        ({"status": "waiting", "waiting": {"reason": "tool_permission"}}, "done", False),
        ({"status": "done", "waiting": None}, "done", True),
    ],
)
async def test_an_end_without_an_event_is_believed_when_the_record_says_so(
    record: Any, until: Any, over: bool
) -> None:
    server = FakeServer(stream(), answer(200, record), stream(text(9, "x"), finish(10)))
    async with server.client() as client:
        seqs = await read(client.stream("r", after=8, until=until))
    assert seqs == ([] if over else [9, 10])


async def test_a_run_that_waits_ends_its_stream_unless_it_is_followed_to_its_end() -> None:
    waits = (text(1, "a"), finish(2, "suspended"))
    seqs, server = await run_against(stream(*waits))
    assert seqs == [1, 2]
    assert len(server.requests) == 1
    server = FakeServer(
        stream(*waits),
        answer(200, {"status": "waiting", "waiting": {"reason": "tool_permission"}}),
        stream(entry(3, "run_queued"), finish(4)),
    )
    async with server.client() as client:
        assert await read(client.stream("r", until="done")) == [1, 2, 3, 4]
    assert server.asked()[0] == "GET /v1/runs/r/stream?until=done"


async def test_an_event_without_an_id_does_not_move_the_cursor() -> None:
    reset = entry(3, "stream_reset", from_seq=1, reason="compacted").replace(b"id: 3\n", b"")
    server = FakeServer(stream(text(1, "a"), reset, CUT), stream(reset, text(3, "abc"), finish(4)))
    async with server.client() as client:
        events = client.stream("r")
        assert await read(events) == [1, 3, 3, 3, 4]
    assert server.asked()[1].endswith("stream 1")
    assert events.cursor == "4"


async def test_a_stream_that_falls_silent_is_opened_anew_and_not_given_up() -> None:
    silent = [stream(httpx.ReadTimeout("silent")) for _ in range(20)]
    seqs, server = await run_against(
        stream(text(1, "a"), httpx.ReadTimeout("silent")),
        *silent,
        stream(finish(2)),
        give_up_seconds=0.5,
    )
    assert seqs == [1, 2]
    assert sum(pause for _, pause in server.pauses) > 1


async def test_it_gives_up_after_its_time_and_can_be_taken_up_again() -> None:
    server = FakeServer(stream(text(1, "a"), CUT), REFUSED)
    async with server.client(give_up_seconds=5) as client:
        events = client.run("a", "hi")
        began = server.clock.monotonic()
        with pytest.raises(ClientError) as raised:
            await read(events)
        assert raised.value.code == "unreachable"
        assert raised.value.status is None
        assert server.clock.monotonic() - began == pytest.approx(5)
        server._script = [stream(text(2, "b"), finish(3))]
        assert await read(events) == [2, 3]


@pytest.mark.parametrize(
    ("given", "code", "status"),
    [
        (refusal(404, "agent_not_found"), "agent_not_found", 404),
        (refusal(409, "thread_busy"), "thread_busy", 409),
        (refusal(500, "internal"), "internal", 500),
        (httpx.Response(404, text="<html>"), "unexpected_answer", 404),
        (httpx.Response(200, text="<html>"), "unexpected_answer", 200),
        (answer(200, []), "unexpected_answer", 200),
        (stream(b"data: {}\n\n"), "unexpected_answer", 200),
        (stream(b"data: nope\n\n"), "unexpected_answer", 200),
        (stream(**{"content-type": "text/html"}), "unexpected_answer", 200),
    ],
)
async def test_a_refusal_and_a_stranger_are_told_at_once(
    given: Answer, code: str, status: int
) -> None:
    server = FakeServer(given)
    async with server.client() as client:
        with pytest.raises(ClientError) as raised:
            await read(client.run("a", "hi"))
    assert (raised.value.code, raised.value.status) == (code, status)
    assert len(server.requests) == 1
    assert server.pauses == []


async def test_a_reader_that_leaves_closes_its_connection() -> None:
    response = stream(text(1, "a"), text(2, "b"))
    server = FakeServer(response)
    async with server.client() as client:
        async with client.run("a", "hi") as events:
            async for event in events:
                assert event.data["delta"] == "a"
                break
        assert response.is_closed
        assert [event async for event in events] == []


async def test_a_reader_that_is_cancelled_can_read_on() -> None:
    server = FakeServer(stream(text(1, "a"), None), stream(text(2, "b"), finish(3)))
    async with server.client() as client:
        events = client.run("a", "hi")
        assert (await anext(events)).seq == 1
        with anyio.move_on_after(0.01):
            await anext(events)
        assert await read(events) == [2, 3]
        assert server.asked()[1].endswith("stream 1")


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ClientError) as raised:
        Client(url)
    assert raised.value.code == "invalid_url"
