"""The client against a real server that is killed with -9 under it."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from awaken.client import Client, ClientError, Event, Fold
from tests.e2e.harness import Server
from tests.e2e.test_recovery import story

pytestmark = pytest.mark.xdist_group("e2e-client")


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[Server]:
    server = Server(data_dir)
    try:
        await anyio.to_thread.run_sync(server.start)
        yield server
    finally:
        await anyio.to_thread.run_sync(server.close)


async def crash(server: Server, one_at_a_time: anyio.Lock) -> None:
    """Kill it with -9, and start it again."""
    async with one_at_a_time:
        await anyio.to_thread.run_sync(server.kill)
        await anyio.to_thread.run_sync(server.start)


def text_of(events: list[Event]) -> str:
    return "".join(event.data["delta"] for event in events if event.type == "text_delta")


def assert_each_once(events: list[Event]) -> None:
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers)), "an event came twice, or out of order"
    assert [event.type for event in events].count("run_finish") == 1
    assert events[-1].type == "run_finish"


@pytest.mark.parametrize(
    "count", [1, pytest.param(4, marks=[pytest.mark.slow, pytest.mark.timeout(90)])]
)
async def test_a_server_that_is_killed_in_the_middle_is_noticed_by_the_pause_alone(
    data_dir: Path, count: int
) -> None:
    kills = sorted(random.Random(count).sample(range(3, 90), count))
    troubles: list[str] = []
    lock = anyio.Lock()
    async with (
        running(data_dir) as server,
        Client(server.base_url, on_pause=lambda error, _: troubles.append(error.code)) as client,
        anyio.create_task_group() as tasks,
    ):
        seen: list[Event] = []
        fold = Fold()
        events = client.run("storyteller", "tokens=100 delay_ms=20")
        async for event in events:
            seen.append(event)
            fold.add(event)
            if text_of(seen).count("#") in kills and event.type == "text_delta":
                kills.pop(0)
                tasks.start_soon(crash, server, lock)
        assert text_of(seen) == story(100)
        assert_each_once(seen)
        assert fold.run(events.run_id or "").text == story(100)
        run = await client.get_run(events.run_id or "")
        assert run["result"] == {"response": story(100)}
    assert kills == []
    assert troubles


async def test_a_run_that_is_asked_for_while_there_is_no_server_starts_when_there_is(
    data_dir: Path,
) -> None:
    async with running(data_dir) as server, Client(server.base_url) as client:
        await anyio.to_thread.run_sync(server.kill)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, server.start)
            seen = [event async for event in client.run("echo", "hello again")]
        assert text_of(seen) == "hello again"
        assert_each_once(seen)


@pytest.mark.slow
async def test_a_server_that_is_stopped_in_order_is_followed_to_its_next_life(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWAKEN_DRAIN_SECONDS", "0.2")

    async def stop_and_start(server: Server) -> None:
        server.signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(server.wait)
        await anyio.to_thread.run_sync(server.start)

    async with (
        running(data_dir) as server,
        Client(server.base_url) as client,
        anyio.create_task_group() as tasks,
    ):
        seen: list[Event] = []
        async for event in client.run("storyteller", "tokens=80 delay_ms=10"):
            seen.append(event)
            if event.type == "text_delta" and event.data["delta"].endswith("#20"):
                tasks.start_soon(stop_and_start, server)
        assert text_of(seen) == story(80)
        assert_each_once(seen)
        assert "reconnect" not in {event.type for event in seen}


async def test_a_server_that_does_not_come_back_is_given_up_and_the_run_taken_up_later(
    data_dir: Path,
) -> None:
    async with running(data_dir) as server:
        seen: list[Event] = []
        async with Client(server.base_url, give_up_seconds=0.3) as client:
            events = client.run("storyteller", "tokens=60 delay_ms=40")
            async for event in events:
                seen.append(event)
                if event.type == "text_delta" and event.data["delta"].endswith("#15"):
                    break
            await anyio.to_thread.run_sync(server.kill)
            with pytest.raises(ClientError) as given_up:
                seen += [event async for event in events]
            assert given_up.value.code == "unreachable"
            assert events.run_id is not None
            await anyio.to_thread.run_sync(server.start)
            seen += [event async for event in client.stream(events.run_id, after=events.cursor)]
        assert text_of(seen) == story(60)
        assert_each_once(seen)


@pytest.mark.slow
async def test_all_requests_wait_for_a_restart_and_count_once(data_dir: Path) -> None:
    async with running(data_dir) as server, Client(server.base_url) as client:
        seen = [event async for event in client.run("clerk", "refund order 17 amount=20")]
        (ticket,) = await client.tickets()
        await anyio.to_thread.run_sync(server.kill)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, server.start)
            decided = await client.decide(ticket["ticket_id"])
        assert decided["ticket"]["status"] == "answered"
        run_id = seen[0].run_id or ""
        run = await client.wait(run_id, until="done")
        assert run["result"] == {"response": "I refunded 20.0 for order 17."}
        kinds = [event.type async for event in client.stream(run_id)]
        assert kinds.count("tool_call_done") == 1
