"""Connections that come and go leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from awaken.server.app import App
from tests.e2e.harness import run_body
from tests.server.live import Live, receive_all, receive_until, request, serving

AT_ONCE = 50
STORY = run_body("storyteller", "tokens=100000 delay_ms=20", thread_id="story", on_busy="enqueue")

Client = Callable[[Live, SocketStream], Awaitable[None]]


@pytest.fixture
def settings(settings: Any) -> Any:
    return settings.model_copy(update={"heartbeat_seconds": 1})


async def start_story(live: Live) -> str:
    """A run that outlives the test; its id."""
    async with await live.connect() as stream:
        await stream.send(request("POST", "/v1/runs", STORY))
        answer = await receive_until(stream, b"text_delta")
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return head.partition(b"awaken-run-id: ")[2].split(b"\r\n")[0].decode()


async def read_thread(live: Live, stream: SocketStream) -> None:
    await stream.send(request("GET", "/v1/threads/story/stream"))
    await receive_until(stream, b"text/event-stream")


async def read_from_the_start(live: Live, stream: SocketStream) -> None:
    await stream.send(request("GET", "/v1/threads/story/stream?from=start"))
    await receive_until(stream, b"text_delta")


async def start_a_run(live: Live, stream: SocketStream) -> None:
    await stream.send(request("POST", "/v1/runs", run_body("storyteller", "tokens=9 delay_ms=1")))
    await receive_until(stream, b"run_queued")


async def wait_for_a_run(live: Live, stream: SocketStream) -> None:
    body = run_body("storyteller", "tokens=9 delay_ms=1")
    await stream.send(request("POST", "/v1/runs/wait", body))


async def send_half_a_request(live: Live, stream: SocketStream) -> None:
    await stream.send(request("POST", "/v1/runs", STORY)[:-20])


async def leave_at_once(live: Live, stream: SocketStream) -> None:
    await stream.send(request("GET", "/v1/threads/story/stream?snapshot=true"))


CLIENTS: list[Client] = [
    read_thread,
    read_from_the_start,
    start_a_run,
    wait_for_a_run,
    send_half_a_request,
    leave_at_once,
]


async def come_and_go(live: Live, count: int) -> None:
    """`count` clients of all kinds, some at a time."""
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def visit(client: Client) -> None:
        async with limit, await live.connect() as stream:
            await client(live, stream)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(visit, CLIENTS[number % len(CLIENTS)])


async def assert_nothing_is_left(live: Live, count: int) -> None:
    await start_story(live)
    await live.wait_quiet()
    await anyio.lowlevel.checkpoint()
    before = len(asyncio.all_tasks())
    await come_and_go(live, count)
    await live.wait_quiet(60)
    services = live.app.services
    assert services is not None
    with anyio.fail_after(60):
        while services.mailbox.statistics().executing > 1:  # the runs that were started
            await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    left = [repr(task) for task in asyncio.all_tasks()]
    assert len(left) <= before, left
    gc.collect()
    kept = [kept for kept in gc.get_objects() if type(kept).__name__ == "Subscription"]
    assert not kept


async def test_500_clients_come_and_go_and_leave_nothing(live: Live) -> None:
    await assert_nothing_is_left(live, 500)


@pytest.mark.slow
async def test_10_000_clients_come_and_go_and_leave_nothing(live: Live) -> None:
    """Regression list of peers.md, 17."""
    await assert_nothing_is_left(live, 10_000)


async def test_an_idle_stream_is_sent_comments(live: Live) -> None:
    async with await live.connect() as stream:
        await stream.send(request("POST", "/v1/threads", {"thread_id": "t"}))
        await receive_until(stream, b'"t"')
        await stream.send(request("GET", "/v1/threads/t/stream"))
        await receive_until(stream, b": heartbeat\n\n")
        await receive_until(stream, b": heartbeat\n\n")


async def test_a_waiting_request_is_sent_spaces(live: Live) -> None:
    body = run_body("storyteller", "tokens=30 delay_ms=50")
    async with await live.connect() as stream:
        await stream.send(request("POST", "/v1/runs/wait", body))
        answer = await receive_until(stream, b"0\r\n\r\n")
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert content.startswith(b"1\r\n \r\n")
    assert b'"status":"done"' in content


async def test_a_waiting_request_whose_time_ends_after_a_space_tells_by_its_status(
    live: Live,
) -> None:
    body = run_body("storyteller", "tokens=1000 delay_ms=50")
    async with await live.connect() as stream:
        await stream.send(request("POST", "/v1/runs/wait?timeout_ms=1500", body))
        answer = await receive_until(stream, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"status":"running"' in answer


async def test_a_run_whose_waiting_client_left_goes_on(live: Live) -> None:
    body = run_body("storyteller", "tokens=20 delay_ms=5", thread_id="t")
    async with await live.connect() as stream:
        await stream.send(request("POST", "/v1/threads", {"thread_id": "t"}))
        await receive_until(stream, b'"t"')
        await stream.send(request("GET", "/v1/threads/t/stream?from=start"))
        async with await live.connect() as waiting:
            await waiting.send(request("POST", "/v1/runs/wait", body))
            await receive_until(stream, b"text_delta")
        await receive_until(stream, b'"natural_end"')


async def test_a_new_reader_gets_a_snapshot_and_what_is_open(live: Live) -> None:
    async with await live.connect() as stream:
        body = run_body("echo", "first", thread_id="t")
        await stream.send(request("POST", "/v1/runs/wait", body))
        await receive_until(stream, b'"natural_end"')
        body = run_body("storyteller", "tokens=60 delay_ms=20", thread_id="t")
        await stream.send(request("POST", "/v1/runs", body))
        await receive_until(stream, b"#20")
        async with await live.connect() as reader:
            await reader.send(request("GET", "/v1/threads/t/stream?snapshot=true"))
            received = await receive_until(reader, b"run_finish")
    snapshot, *rest = received.partition(b"\r\n\r\n")[2].split(b"\n\n")
    assert b"event: thread_snapshot" in snapshot
    assert snapshot.count(b'"role":"user"') == 2
    assert snapshot.count(b'"role":"assistant"') == 1
    told = re.findall(rb'"delta":" ?[A-Za-z]+#(\d+)"', b"".join(rest))
    assert [int(number) for number in told] == list(range(1, 61)), "the open step, every token once"


@pytest.mark.parametrize(
    "path", ["/v1/threads/t/stream", "/v1/threads/t/stream?from=start", "/v1/runs/{run}/stream"]
)
async def test_a_drain_tells_readers_to_come_back_and_breaks_off(live: Live, path: str) -> None:
    """Regression list of peers.md, 16."""
    async with await live.connect() as stream:
        body = run_body("storyteller", "tokens=1000 delay_ms=20", thread_id="t")
        await stream.send(request("POST", "/v1/runs", body))
        head = await receive_until(stream, b"text_delta")
        run = head.lower().partition(b"awaken-run-id: ")[2].split(b"\r\n")[0].decode()
        async with await live.connect() as reader:
            await reader.send(request("GET", path.format(run=run)))
            await receive_until(reader, b"text_delta")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(live.app.drain)
                rest = await receive_all(reader)
    assert b"event: reconnect\nretry: 1000\ndata: {}\n\n" in rest
    assert not rest.endswith(b"0\r\n\r\n"), "an unfinished stream has no clean end"


async def test_a_drain_answers_those_who_wait(live: Live) -> None:
    body = run_body("storyteller", "tokens=1000 delay_ms=20", thread_id="t")
    async with await live.connect() as stream, await live.connect() as other:
        await other.send(request("POST", "/v1/threads", {"thread_id": "t"}))
        await receive_until(other, b'"t"')
        await other.send(request("GET", "/v1/threads/t/stream?from=start"))
        await stream.send(request("POST", "/v1/runs/wait", body))
        await receive_until(other, b"text_delta")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live.app.drain)
            answer = await receive_until(stream, b"}}")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    assert b'"run_id"' in answer


async def test_a_reader_that_does_not_read_slows_nobody(app: App) -> None:
    body = run_body("storyteller", "tokens=5000 delay_ms=0")
    async with (
        serving(app, send_buffer=64 * 1024) as live,
        await live.connect() as slow,
        await live.connect() as quick,
    ):
        raw = slow.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        await slow.send(request("POST", "/v1/runs", body))
        head = await receive_until(slow, b"text_delta")
        run = head.lower().partition(b"awaken-run-id: ")[2].split(b"\r\n")[0].decode()
        await quick.send(request("GET", f"/v1/runs/{run}/stream"))
        whole = await receive_until(quick, b'"natural_end"')
        rest = await receive_until(slow, b'"natural_end"')
    assert len(deltas(whole)) == 5000
    assert deltas(head + rest) == deltas(whole)


def deltas(received: bytes) -> list[bytes]:
    """The text deltas in chunks of a stream; one that is torn by a chunk's edge is mended."""
    return re.findall(rb'"delta":"([^"]*)"', re.sub(rb"\r\n[0-9a-f]+\r\n", b"", received))
