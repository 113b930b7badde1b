"""The command `awaken serve`, from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import AWAKEN, Server, free_port, text_of

pytestmark = pytest.mark.xdist_group("e2e-serve")

AGENTS = """
from awaken import Agent, ScriptedModel

parrot = Agent("parrot", model=ScriptedModel(lambda request: ["squawk"], name="parrot"))
"""


def serve(cwd: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [str(AWAKEN), "serve", *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


def test_the_start_page_tells_what_runs_and_how_to_use_it(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [str(AWAKEN), "serve", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip().startswith("stop"):
                break
        answer = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    page = "".join(lines)
    assert answer.status_code == 200
    assert f"http://127.0.0.1:{port}" in page
    assert "open to this machine only" in page
    assert "sqlite:///awaken-data/awaken.db" in page
    assert "storyteller" in page
    assert f"curl -N http://127.0.0.1:{port}/v1/runs" in page
    assert (tmp_path / "awaken-data" / "awaken.db").exists()


@pytest.mark.slow
def test_it_is_ready_in_two_seconds(data_dir: Path) -> None:
    def start() -> float:
        began = time.monotonic()
        with Server(data_dir):
            return time.monotonic() - began

    assert min(start() for _ in range(3)) < 2


def test_agents_of_a_file_are_served(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(AGENTS)
    with Server(tmp_path / "data", target=str(tmp_path / "mine.py")) as server:
        assert text_of(server.run("parrot", "hello")) == "squawk"
        assert [agent["agent_id"] for agent in server.get("/v1/agents")["items"]] == ["parrot"]


def test_a_port_in_use_is_explained(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = serve(tmp_path, "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_another_process_has_is_explained(data_dir: Path) -> None:
    with Server(data_dir) as server:
        done = serve(data_dir, "--port", "0", "--data-dir", str(data_dir))
        assert done.returncode == 1
        assert f"process {server.pid}" in done.stderr
        assert "--data-dir" in done.stderr
        assert "Traceback" not in done.stderr
        assert server.get("/health")["status"] == "healthy"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nowhere.py"], "there is no file nowhere.py"),
        (["nowhere"], "there is no module 'nowhere'"),
        (["empty.py"], "there are no agents in empty.py"),
        (["broken.py"], "broken.py cannot be imported: ZeroDivisionError"),
        (["twice.py"], "'parrot'"),
        (["--host", "0.0.0.0"], "AWAKEN_HOST: expected a loopback address"),
        (["--store", "mysql://x"], "AWAKEN_STORE: expected sqlite:///path"),
        (["--log-format", "xml"], "AWAKEN_LOG_FORMAT: expected `text` or `json`"),
        (["--port", "70000"], "AWAKEN_PORT: expected a whole number from 0 to 65535"),
        (["--data-dir", "empty.py/data"], "AWAKEN_DATA_DIR"),
        (["--store", "sqlite:///."], "the store sqlite:///. cannot be opened"),
    ],
)
def test_a_start_that_fails_says_what_to_do(tmp_path: Path, args: list[str], told: str) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "twice.py").write_text(f"{AGENTS}\nagents = [parrot, parrot]\n")
    port = [] if "--port" in args else ["--port", "0"]
    done = serve(tmp_path, *args, *port)
    assert done.returncode == 1, done
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_version_is_told() -> None:
    done = subprocess.run(
        [str(AWAKEN), "--version"], capture_output=True, text=True, timeout=15, check=True
    )
    assert done.stdout.startswith("awaken ")
