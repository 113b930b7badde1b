"""Streams over a real socket, and a server that dies under them."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import Server, SseEvent, run_body, text_of

pytestmark = pytest.mark.xdist_group("e2e-recovery")

WORDS = ("Once", "upon", "a", "time", "a", "server", "told", "an", "endless", "story")


def story(tokens: int) -> str:
    """What the storyteller says."""
    return " ".join(f"{WORDS[n % 10]}#{n + 1}" for n in range(tokens))


def delta_number(event: SseEvent, number: int) -> bool:
    return event.event == "text_delta" and event.payload["delta"].endswith(f"#{number}")


def finishes(events: list[SseEvent]) -> int:
    return sum(event.event == "run_finish" for event in events)


def assert_ids_ascend(events: list[SseEvent]) -> None:
    ids = [int(event.id) for event in events if event.id is not None]
    assert ids == sorted(set(ids)), "an entry came twice, or out of order"


def test_a_killed_server_goes_on_with_the_same_stream(data_dir: Path) -> None:
    """Regression list of peers.md, 28."""
    body = run_body("storyteller", "tokens=120 delay_ms=10")
    with Server(data_dir) as server:
        with server.stream("POST", "/v1/runs", json=body) as stream:
            run_id = stream.headers["awaken-run-id"]
            before = stream.until(lambda event: delta_number(event, 40))
            server.kill()
        server.start()
        path = f"/v1/runs/{run_id}/stream"
        with server.stream("GET", path, last_event_id=before[-1].id) as stream:
            after = list(stream)

        both = before + after
        assert text_of(both) == story(120)
        assert finishes(before) == 0
        assert finishes(after) == 1
        assert after[-1].event == "run_finish"
        assert any(event.event == "run_retry" for event in after)
        assert_ids_ascend(both)

        run = server.get(f"/v1/runs/{run_id}")
        assert run["status"] == "done"
        assert run["result"] == {"response": story(120)}
        messages = server.get(f"/v1/threads/{run['thread_id']}/messages")["items"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert "".join(block["text"] for block in messages[1]["content"]) == story(120)
        assert messages[1]["interrupted"] is False


def test_a_stream_can_be_joined_at_every_frame_after_the_run_ended(data_dir: Path) -> None:
    with Server(data_dir) as server:
        events = server.run("storyteller", "tokens=12 delay_ms=0")
        run_id = events[0].entry["run_id"]
        path = f"/v1/runs/{run_id}/stream"
        for place, event in enumerate(events):
            with server.stream("GET", path, last_event_id=event.id) as stream:
                assert list(stream) == events[place + 1 :]
            with server.stream("GET", path, params={"after": event.id}) as stream:
                assert list(stream) == events[place + 1 :]
        with server.stream("GET", path) as stream:
            assert list(stream) == events


def test_a_stream_can_be_joined_at_every_frame_while_the_run_lives(data_dir: Path) -> None:
    """Regression list of peers.md, 2."""
    body = run_body("storyteller", "tokens=40 delay_ms=20")
    with Server(data_dir) as server:
        with server.stream("POST", "/v1/runs", json=body) as first:
            run_id = first.headers["awaken-run-id"]
            whole: list[SseEvent] = []
            joined: list[SseEvent] = []
            # A reader that is cut after each frame sees the same as one that never was.
            while not joined or joined[-1].event != "run_finish":
                last = joined[-1].id if joined else "0"
                path = f"/v1/runs/{run_id}/stream"
                with server.stream("GET", path, last_event_id=last) as stream:
                    joined.append(next(iter(stream)))
            whole = list(first)
        assert joined == whole
        assert text_of(joined) == story(40)


def test_sigterm_hands_a_long_run_over_and_breaks_its_stream_off(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=100 delay_ms=15")
    with Server(data_dir, env={"AWAKEN_DRAIN_SECONDS": "0.2"}) as server:
        with server.stream("POST", "/v1/runs", json=body) as stream:
            run_id = stream.headers["awaken-run-id"]
            before = stream.until(lambda event: delta_number(event, 20))
            server.signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                before.extend(stream)
        code = server.wait()
        log = server.log

        assert code == 0
        assert not any('"level": "error"' in line for line in log), log
        last = before.pop()
        assert (last.event, last.retry, last.id) == ("reconnect", 1000, None)
        assert finishes(before) == 0

        server.start()
        path = f"/v1/runs/{run_id}/stream"
        with server.stream("GET", path, last_event_id=before[-1].id) as stream:
            after = list(stream)
        assert text_of(before + after) == story(100)
        assert finishes(after) == 1
        assert_ids_ascend(before + after)
        retry = next(event for event in before + after if event.event == "run_retry")
        assert retry.payload["reason"] == "handoff"


def test_sigterm_lets_a_short_run_end(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=40 delay_ms=20")
    with Server(data_dir) as server:
        with server.stream("POST", "/v1/runs", json=body) as stream:
            events = stream.until(lambda event: delta_number(event, 5))
            server.signal(signal.SIGTERM)
            events.extend(stream)
        assert server.wait() == 0
        assert text_of(events) == story(40)
        assert events[-1].event == "run_finish"


def test_new_work_is_refused_while_the_server_drains(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=100 delay_ms=20")
    with Server(data_dir) as server:
        with server.stream("POST", "/v1/runs", json=body) as stream:
            events = stream.until(lambda event: delta_number(event, 5))
            server.signal(signal.SIGTERM)
            server.wait_log("stopping: running work may end first")
            refused = server.http.post("/v1/runs/background", json=run_body("echo", "hi"))
            ready = server.http.get("/health/ready")
            alive = server.http.get("/health/live")
            events.extend(stream)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) >= 1
        assert ready.status_code == 503
        assert alive.status_code == 200
        assert events[-1].event == "run_finish"
        assert server.wait() == 0


def test_a_second_signal_stops_at_once(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=1000 delay_ms=50")
    with Server(data_dir) as server, server.stream("POST", "/v1/runs", json=body) as stream:
        stream.until(lambda event: delta_number(event, 3))
        server.signal(signal.SIGINT)
        server.wait_log("stopping: running work may end first")
        server.signal(signal.SIGINT)
        assert server.wait(5) == 128 + signal.SIGINT


def test_a_run_whose_client_left_goes_on(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=40 delay_ms=20")
    with Server(data_dir) as server:
        with server.stream("POST", "/v1/runs", json=body) as stream:
            run_id = stream.headers["awaken-run-id"]
            stream.until(lambda event: delta_number(event, 3))
        with server.stream("GET", f"/v1/runs/{run_id}/stream") as stream:
            assert text_of(list(stream)) == story(40)


def test_a_run_that_asked_for_it_is_stopped_when_nobody_reads_it(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=2000 delay_ms=20", on_disconnect="cancel")
    with Server(data_dir, env={"AWAKEN_UNATTENDED_SECONDS": "0.5"}) as server:
        with server.stream("POST", "/v1/runs", json=body) as stream:
            run_id, thread_id = (stream.headers[f"awaken-{k}-id"] for k in ("run", "thread"))
            stream.until(lambda event: delta_number(event, 3))
        # The thread's stream is not a reader of the run.
        with server.stream("GET", f"/v1/threads/{thread_id}/stream") as stream:
            events = stream.until(lambda event: event.event == "run_finish")
        assert events[-1].payload["termination"]["type"] == "cancelled"
        assert server.get(f"/v1/runs/{run_id}")["status"] == "done"


def test_after_a_restart_a_reader_has_time_to_come_back(data_dir: Path) -> None:
    body = run_body("storyteller", "tokens=60 delay_ms=20", on_disconnect="cancel")
    env = {"AWAKEN_UNATTENDED_SECONDS": "0.5"}
    with Server(data_dir, env=env) as server:
        for come_back in (True, False):
            with server.stream("POST", "/v1/runs", json=body) as stream:
                run_id, thread_id = (stream.headers[f"awaken-{k}-id"] for k in ("run", "thread"))
                before = stream.until(lambda event: delta_number(event, 5))
                server.kill()
            server.start()
            path = f"/v1/runs/{run_id}/stream" if come_back else f"/v1/threads/{thread_id}/stream"
            with server.stream("GET", path, last_event_id=before[-1].id) as stream:
                after = stream.until(lambda event: event.event == "run_finish")
            ended = "natural_end" if come_back else "cancelled"
            assert after[-1].payload["termination"]["type"] == ended
