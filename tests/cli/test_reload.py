"""`awaken serve --reload`: changes are served, broken ones are told, runs survive."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import AWAKEN, free_port, run_body

pytestmark = pytest.mark.xdist_group("cli-reload")

SECONDS = 20

AGENTS = """
from awaken import Agent, ScriptedModel
from awaken.models.scripted import Pause

parrot = Agent("parrot", model=ScriptedModel(lambda request: ["WORD"], name="parrot"))
teller = Agent(
    "teller",
    model=ScriptedModel(
        lambda request: [piece for n in range(1, 201) for piece in (f"#{n} ", Pause(ms=20))],
        name="teller",
    ),
)
"""


class Developer:
    """Somebody with a file and a server that watches it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "mine.py"
        self.port = free_port()
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False
        )
        self.process: subprocess.Popen[str] | None = None
        self._told: list[str] = []

    def start(self) -> None:
        command = [str(AWAKEN), "serve", "mine.py", "--reload", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            cwd=self.file.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True, name="reload-log").start()

    def _listen(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        self._told.extend(iter(self.process.stderr.readline, ""))

    def write(self, word: str) -> None:
        self.file.write_text(AGENTS.replace("WORD", word))

    def wait_told(self, text: str) -> None:
        self._until(lambda: any(text in line for line in self._told), text)

    def wait_answer(self, word: str) -> None:
        self._until(lambda: self.answer() == word, word)

    def answer(self) -> str | None:
        """What the parrot says; None while nobody answers."""
        with suppress(httpx.TransportError):
            answer = self.http.post("/v1/runs/wait", json=run_body("parrot", "hello"))
            if answer.status_code == 200:
                return str(answer.json()["result"]["response"])
        return None

    def _until(self, condition: object, what: str) -> None:
        assert callable(condition)
        ends = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < ends, f"no {what!r} in:\n{''.join(self._told)}"
            time.sleep(0.05)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        self.http.close()
        if self.process is not None:
            if self.process.poll() is None:
                self.stop()
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture
def developer(tmp_path: Path) -> Iterator[Developer]:
    developer = Developer(tmp_path)
    try:
        yield developer
    finally:
        developer.close()


def test_changes_are_served_broken_ones_are_told_and_the_old_server_goes_on(
    developer: Developer,
) -> None:
    developer.write("one")
    developer.start()
    developer.wait_answer("one")
    developer.wait_told("watching")
    developer.write("two")
    developer.wait_answer("two")
    developer.file.write_text("def broken(:\n")
    developer.wait_told("the server before this change goes on")
    developer.wait_told("SyntaxError")
    assert developer.answer() == "two"
    developer.write("three")
    developer.wait_answer("three")
    assert developer.stop() == 0
    assert developer.answer() is None, "nothing is left behind"


def test_a_file_that_is_broken_at_first_is_waited_for(developer: Developer) -> None:
    developer.file.write_text("1 / 0\n")
    developer.start()
    developer.wait_told("ZeroDivisionError")
    developer.wait_told("the server has ended (1); waiting for the next change")
    developer.write("mended")
    developer.wait_answer("mended")


def test_a_run_survives_a_change(developer: Developer) -> None:
    developer.write("one")
    developer.start()
    developer.wait_answer("one")
    developer.wait_told("watching")
    body = run_body("teller", "go", thread_id="long")
    run_id = developer.http.post("/v1/runs/background", json=body).json()["run_id"]
    developer.write("two")
    developer.wait_answer("two")
    developer._until(lambda: status(developer, run_id) == "done", "done")
    run = developer.http.get(f"/v1/runs/{run_id}").json()
    assert run["termination"] == {"type": "natural_end"}
    numbers = [int(word.removeprefix("#")) for word in run["result"]["response"].split()]
    assert numbers == list(range(1, 201))


def status(developer: Developer, run_id: str) -> str | None:
    with suppress(httpx.TransportError):
        return str(developer.http.get(f"/v1/runs/{run_id}").json()["status"])
    return None
