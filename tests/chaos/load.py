"""Clients that keep a server busy, survive its deaths, and remember all that they were told.

Each client is a thread with a random generator of its own, so a seed fixes what it asks for, though
not when. A client that was cut off waits until the server is up again, and resumes by the id of the
last frame it has. Nothing it does ends with an unanswered question: a request whose answer got lost
is neither counted as accepted nor sent again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.e2e.harness import SseEvent, Stream, run_body

CLIENTS: Final = 6
FOLLOW_SECONDS: Final = 60.0
"""How long a run may take to its end, restarts included."""
WORDS: Final = ("Once", "upon", "a", "time", "a", "server", "told", "an", "endless", "story")


def story(tokens: int) -> str:
    """What the storyteller says."""
    return " ".join(f"{WORDS[n % 10]}#{n + 1}" for n in range(tokens))


@dataclass
class Told:
    """What one client knows about a run that was accepted.

    `text` is what the run must have said if it came to its own end, `effects` are the labels that
    its tools were to write down. `events` are the frames that were seen, in order, over all
    connections; empty when nobody read its stream. `stopped` says that a stop was answered 202.
    """

    run_id: str
    text: str | None = None
    effects: tuple[str, ...] = ()
    events: list[SseEvent] = field(default_factory=list)
    read_to_the_end: bool = False
    stopped: bool = False


class Load:
    """The clients of one server, which may be away at times: see `away`."""

    def __init__(self, base_url: str, seed: int) -> None:
        self.seed = seed
        self.told: list[Told] = []
        self._base_url = base_url
        self._up = threading.Event()
        self._enough = threading.Event()
        self._seen = 0
        self._news = threading.Condition()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"client-{number}")
            for number in range(CLIENTS)
        ]

    def __enter__(self) -> Load:
        self._up.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server is away while the context lasts."""
        self._up.clear()
        try:
            yield
        finally:
            self._up.set()

    def wait_events(self, count: int, seconds: float = 10) -> None:
        """Until the clients have been told so many more events."""
        with self._news:
            wanted = self._seen + count
            enough = self._news.wait_for(lambda: self._seen >= wanted or self._errors, seconds)
        assert enough, f"seed {self.seed}: the server told {count} events in {seconds} s to nobody"

    # --- one client

    def _run(self, number: int) -> None:
        client = _Client(self, number)
        try:
            with httpx.Client(base_url=self._base_url, timeout=15, trust_env=False) as http:
                client.http = http
                while not self._enough.is_set() and not self._errors:
                    client.do_something()
                client.read_the_rest()
        except BaseException as error:  # noqa: BLE001  # it is raised where the load is left
            error.add_note(f"client {number}, seed {self.seed}")
            self._errors.append(error)
            with self._news:
                self._news.notify_all()

    def wait_up(self) -> None:
        assert self._up.wait(30), "the server did not come back"

    def count_event(self) -> None:
        with self._news:
            self._seen += 1
            self._news.notify_all()


class _Client:
    """What a client does, one thing after the other."""

    http: httpx.Client

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._random = random.Random(f"{load.seed}/{number}")
        self._thread_id = f"private-{number}"
        self._unread: list[Told] = []
        self._requests = 0

    def do_something(self) -> None:
        weights: dict[Callable[[], None], int] = {
            self.read_a_story: 4,
            self.interrupt_a_story: 2,
            self.queue_in_the_background: 2,
            self.read_one_that_fails_at_first: 2,
            self.stop_a_story: 1,
            self.work_with_tools: 1,
        }
        (what,) = self._random.choices(list(weights), list(weights.values()))
        what()

    def read_a_story(self) -> None:
        told = self.start("storyteller", *self.some_story(), thread_id=self._thread_id)
        self.follow(told)

    def interrupt_a_story(self) -> None:
        """Two turns on one thread, the second while the first still talks."""
        first = self.start("storyteller", *self.some_story(), thread_id=self._thread_id, frames=3)
        second = self.start("storyteller", *self.some_story(), thread_id=self._thread_id)
        self.follow(first)
        self.follow(second)

    def queue_in_the_background(self) -> None:
        """Runs that nobody reads yet, on a thread that all clients share."""
        for _ in range(self._random.randint(1, 3)):
            question, text = self.some_story()
            body = run_body("storyteller", question, thread_id="shared", on_busy="enqueue")
            answer = self.ask("POST", "/v1/runs/background", body)
            if answer is not None:
                assert answer.status_code == 202, answer.text
                self._unread.append(self.accepted(answer.json()["run_id"], text))

    def read_one_that_fails_at_first(self) -> None:
        tokens = self._random.randint(4, 30)
        how = self._random.choice(["midstream", "transient:1"])
        question = f"fail={how} tokens={tokens} delay_ms=5"
        self.follow(self.start("flaky", question, story(tokens), thread_id=self._thread_id))

    def stop_a_story(self) -> None:
        told = self.start("storyteller", *self.some_story(100), frames=5)
        if told is not None:
            answer = self.ask("POST", f"/v1/runs/{told.run_id}/cancel", {})
            told.stopped = answer is not None and answer.status_code == 202
        self.follow(told)

    def work_with_tools(self) -> None:
        self._requests += 1
        labels = tuple(f"{self._thread_id}-{self._requests}-{step}" for step in "ab")
        told = self.start("worker", f"do={','.join(labels)} seconds=0.02", None)
        if told is not None:
            told.effects = labels
        self.follow(told)

    def read_the_rest(self) -> None:
        for told in self._unread:
            self.follow(told)

    def some_story(self, least: int = 1) -> tuple[str, str]:
        """A question, and the whole answer to it."""
        tokens = least + self._random.randint(0, 80)
        return f"tokens={tokens} delay_ms={self._random.choice([0, 2, 10])}", story(tokens)

    # --- how

    def start(
        self, agent: str, question: str, text: str | None, *, frames: int | None = None, **more: Any
    ) -> Told | None:
        """Start a run and read its stream: to its end, or so many frames; None: not accepted."""
        told: Told | None = None
        body = run_body(agent, question, **more)
        self._load.wait_up()
        try:
            with self.http.stream("POST", "/v1/runs", json=body) as response:
                if response.status_code == 503:  # draining
                    return None
                assert response.status_code == 200, response.read()
                told = self.accepted(response.headers["awaken-run-id"], text)
                self.take_in(told, response, frames)
        except httpx.TransportError:
            self.cut_off(told)
        return told

    def follow(self, told: Told | None) -> None:
        """Read the run's stream to its end, over as many connections as that takes."""
        until = time.monotonic() + FOLLOW_SECONDS
        while told is not None and not told.read_to_the_end:
            assert time.monotonic() < until, f"run {told.run_id} did not end"
            self._load.wait_up()
            headers = {"last-event-id": told.events[-1].id or ""} if told.events else {}
            path = f"/v1/runs/{told.run_id}/stream"
            try:
                with self.http.stream("GET", path, headers=headers) as response:
                    assert response.status_code in (200, 503), response.read()
                    if response.status_code == 200:
                        self.take_in(told, response)
            except httpx.TransportError:
                self.cut_off(told)

    def take_in(self, told: Told, response: httpx.Response, frames: int | None = None) -> None:
        """Frames from a connection; raises when it breaks, returns when it ends or is left."""
        for event in Stream(response):
            if event.event == "reconnect":
                continue
            told.events.append(event)
            self._load.count_event()
            if frames is not None and len(told.events) >= frames and event.id is not None:
                return
        last = told.events[-1] if told.events else None
        assert last is not None, "a stream ended cleanly without a frame"
        assert last.event == "run_finish", f"a stream ended cleanly behind {last.event}"
        told.read_to_the_end = True

    def cut_off(self, told: Told | None) -> None:
        """What came of an entry without its last frame, which has the id, will come again."""
        while told is not None and told.events and told.events[-1].id is None:
            told.events.pop()

    def ask(self, method: str, path: str, body: Any) -> httpx.Response | None:
        """The answer to a request, or None when there was none, or the server was going."""
        self._load.wait_up()
        try:
            answer = self.http.request(method, path, json=body)
        except httpx.TransportError:
            return None
        return None if answer.status_code == 503 else answer

    def accepted(self, run_id: str, text: str | None) -> Told:
        told = Told(run_id, text)
        self._load.told.append(told)
        return told
