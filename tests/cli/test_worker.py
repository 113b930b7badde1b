"""`awaken worker`: runs are executed without HTTP; one process has a SQLite file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.support import SECONDS, begin, process
from tests.e2e.harness import AWAKEN, Server

pytestmark = pytest.mark.xdist_group("cli-worker")


def start(data_dir: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(AWAKEN), "worker", *args, "--data-dir", str(data_dir)],
        cwd=data_dir,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_says_what_it_does_goes_on_with_what_was_accepted_and_drains(data_dir: Path) -> None:
    with Server(data_dir) as server:
        run_id = begin(server, "worker", "do=a,b seconds=0.5")["run_id"]
        until_effects(data_dir, ["a"])
        server.kill()
        with start(data_dir) as worker:
            assert worker.stdout is not None
            first = worker.stdout.readline()
            assert first.startswith("Awaken ")
            assert f":{worker.pid}:" in first
            assert "executes runs; Ctrl-C stops it" in first
            assert "awaken.db" in worker.stdout.readline()
            until_effects(data_dir, ["a", "b"])
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(SECONDS) == 0
        server.start()
        run = server.get(f"/v1/runs/{run_id}")
        assert run["status"] == "done"
        assert run["termination"] == {"type": "natural_end"}


def until_effects(data_dir: Path, effects: list[str]) -> None:
    """Look until the steps were taken, each once or, the last, again after a crash."""
    log = data_dir / "effects.log"
    ends = time.monotonic() + SECONDS
    while not log.exists() or not set(effects) <= set(log.read_text().split()):
        assert time.monotonic() < ends, "it never did"
        time.sleep(0.02)


def test_programs_are_told_in_a_line_of_the_log(data_dir: Path) -> None:
    with start(data_dir, "--log-format", "json") as worker:
        assert worker.stderr is not None
        line = json.loads(worker.stderr.readline())
        worker.send_signal(signal.SIGINT)
        assert worker.wait(SECONDS) == 0
    assert line["message"] == "working"
    assert f":{worker.pid}:" in line["worker_id"]
    assert "echo" in line["agents"]


def test_a_file_that_a_server_has_is_explained(data_dir: Path) -> None:
    with Server(data_dir) as server:
        refused = process("worker", "--data-dir", str(data_dir), cwd=data_dir)
        assert (refused.code, refused.out) == (1, "")
        assert f"process {server.pid}" in refused.err
        assert "executes its runs itself" in refused.err
        assert "PostgreSQL" in refused.err
        assert len(refused.err.splitlines()) == 1
        assert server.get("/health")["status"] == "healthy"


def test_what_cannot_be_loaded_is_explained(tmp_path: Path) -> None:
    refused = process("worker", "nowhere.py", cwd=tmp_path, HOME=os.environ.get("HOME", "/"))
    assert (refused.code, refused.out) == (1, "")
    assert "there is no file nowhere.py" in refused.err
