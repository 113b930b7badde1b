"""A real server in a process of its own, and what a client needs to talk to it.

    with Server(tmp_path) as server:
        with server.stream("POST", "/v1/runs", json=run_body("echo", "hello")) as stream:
            for event in stream: ...
        server.kill()      # SIGKILL
        server.start()     # again: same data directory, same port
        server.stop()      # SIGTERM, and wait for the end

Waiting is bounded and for events (a log line, the end of the process), never a sleep.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

AWAKEN = Path(sys.executable).with_name("awaken")
START_SECONDS = 60
STOP_SECONDS = 60


class SseEvent(NamedTuple):
    """One event of a stream, as a browser would see it."""

    id: str | None
    event: str
    data: str
    retry: int | None = None

    @property
    def entry(self) -> dict[str, Any]:
        """The log entry in `data`."""
        value: dict[str, Any] = json.loads(self.data)
        return value

    @property
    def payload(self) -> dict[str, Any]:
        """The event inside the entry."""
        value: dict[str, Any] = self.entry["event"]
        return value


def run_body(agent_id: str, text: str, **fields: Any) -> dict[str, Any]:
    """The body of a request that starts a run."""
    return {
        "agent_id": agent_id,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


def sse_events(lines: Iterator[str], comments: list[str] | None = None) -> Iterator[SseEvent]:
    """The events in the lines of a stream; what is incomplete at its end is no event."""
    fields: dict[str, str] = {}
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                retry = int(fields["retry"]) if "retry" in fields else None
                name = fields.get("event", "message")
                yield SseEvent(fields.get("id"), name, "\n".join(data), retry)
            fields, data = {}, []
        elif line.startswith(":"):
            if comments is not None:
                comments.append(line[1:].strip())
        else:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            else:
                fields[name] = value


def text_of(events: list[SseEvent]) -> str:
    """The text deltas, joined."""
    return "".join(e.payload["delta"] for e in events if e.event == "text_delta")


class Stream:
    """An open event stream; iterate it. A cut connection raises httpx.RemoteProtocolError."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.headers = response.headers
        self.comments: list[str] = []
        self._events = sse_events(response.iter_lines(), self.comments)

    def __iter__(self) -> Iterator[SseEvent]:
        return self._events

    def until(self, wanted: Callable[[SseEvent], bool]) -> list[SseEvent]:
        """The events up to the first one that is `wanted`, which must come."""
        seen = []
        for event in self._events:
            seen.append(event)
            if wanted(event):
                return seen
        raise AssertionError(f"the stream ended before: {[e.event for e in seen][-5:]}")


class _Log:
    """The lines a process writes, collected by a thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._pipe = process.stderr
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._collect, name="server-log")
        self._thread.start()

    def _collect(self) -> None:
        for line in self._pipe:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for(self, wanted: Callable[[str], bool], seconds: float) -> str:
        """The first line that is `wanted`."""

        def found() -> bool:
            return self._closed or any(wanted(line) for line in self.lines)

        with self._changed:
            self._changed.wait_for(found, seconds)
            for line in self.lines:
                if wanted(line):
                    return line
        raise AssertionError("the server did not say so; it said:\n" + "\n".join(self.lines))

    def close(self) -> None:
        self._thread.join(STOP_SECONDS)
        self._pipe.close()


class Server:
    """`awaken serve` on `data_dir`; the port is chosen once and kept over restarts."""

    def __init__(
        self,
        data_dir: Path,
        *args: str,
        target: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.base_url, timeout=15, trust_env=False)
        self.process: subprocess.Popen[str] | None = None
        self._args = args
        self._target = target
        self._env = env or {}
        self._log: _Log | None = None

    # --- the process

    def command(self) -> list[str]:
        """What is run."""
        target = [] if self._target is None else [self._target]
        place = ["--port", str(self.port), "--data-dir", str(self.data_dir)]
        return [str(AWAKEN), "serve", *target, *place, "--log-format", "json", *self._args]

    def start(self) -> None:
        """Start, and wait until requests are answered."""
        assert self.process is None, "it runs"
        self.process = subprocess.Popen(
            self.command(),
            env={**os.environ, **self._env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log = _Log(self.process)
        self._log.wait_for(lambda line: '"message": "serving"' in line, START_SECONDS)

    @property
    def pid(self) -> int:
        assert self.process is not None, "it does not run"
        return self.process.pid

    @property
    def log(self) -> list[str]:
        """What the process has logged so far."""
        return [] if self._log is None else list(self._log.lines)

    def wait_log(self, text: str, seconds: float = START_SECONDS) -> str:
        """The first log line that contains `text`."""
        assert self._log is not None
        return self._log.wait_for(lambda line: text in line, seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code, once the process has ended."""
        assert self.process is not None, "it does not run"
        assert self._log is not None
        code = self.process.wait(seconds)
        self._log.close()
        self.process = None
        return code

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self.http.close()
        if self.process is not None:
            self.kill()

    # --- talking to it

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer to a GET, which must succeed."""
        response = self.http.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON answer to a POST, which must succeed."""
        response = self.http.post(path, json=body)
        assert response.status_code < 300, response.text
        return response.json()

    @contextmanager
    def stream(
        self, method: str, path: str, *, last_event_id: str | None = None, **options: Any
    ) -> Iterator[Stream]:
        """An event stream, which must be answered with 200."""
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        with self.http.stream(method, path, headers=headers, **options) as response:
            if response.status_code != 200:
                response.read()
                raise AssertionError(f"{response.status_code}: {response.text}")
            assert response.headers["content-type"] == "text/event-stream"
            yield Stream(response)

    def run(self, agent_id: str, text: str, **fields: Any) -> list[SseEvent]:
        """All events of a run that is started and read to its end."""
        with self.stream("POST", "/v1/runs", json=run_body(agent_id, text, **fields)) as stream:
            return list(stream)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
