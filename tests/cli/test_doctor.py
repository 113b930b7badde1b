"""`awaken doctor` before servers that are well, that hang, that are full, or not there."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from awaken import __version__
from tests.cli.support import awaken, begin, process, settled
from tests.cli.test_output import answering
from tests.e2e.harness import Server, free_port, run_body

pytestmark = pytest.mark.xdist_group("cli-doctor")


NOISE = {"event_loop", "store_round_trip"}
"""Warnings that a machine with too much to do earns by itself."""
CODES = {"ok": 0, "warning": 1, "problem": 2}


def examined(server: Server) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings that are not ok by check; as if there was no noise."""
    done = awaken("doctor", "--json", server=server, AWAKEN_DATA_DIR=str(server.data_dir))
    document = done.json
    assert document["url"] == server.base_url
    assert done.code == CODES[document["status"]]
    bad = {each["check"]: each for each in document["findings"] if each["status"] != "ok"}
    assert (document["status"] == "ok") == (not bad)
    assert all(each["advice"] for each in bad.values())
    for noise in NOISE:
        if bad.get(noise, {}).get("status") == "warning":
            del bad[noise]
    return max((CODES[each["status"]] for each in bad.values()), default=0), bad


def test_a_healthy_server_is_well(server: Server) -> None:
    settled(server, "echo", "hello")
    assert examined(server) == (0, {})
    told = awaken("doctor", server=server)
    lines = told.out.splitlines()
    assert lines[0] == server.base_url
    marks = {line.split()[1]: line[0] for line in lines[1:-1] if line[0] != " "}
    assert {check for check, mark in marks.items() if mark != "✓"} <= NOISE
    if told.code == 0:
        assert lines[-1] == "all is well"
    assert {"answer", "store_round_trip"} <= set(marks)
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert {check for check in marks if f"`{check}`" not in page} == set()


def test_a_warning_is_told_with_advice_and_has_an_exit_code(server: Server) -> None:
    settled(server, "flaky", "fail=permanent")
    told = awaken("doctor", server=server)
    assert told.code == 1
    lines = told.out.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("! dead_letters")]
    assert "→ look at them with `awaken dead-letters ls`" in lines[at + 1]
    assert re.fullmatch(r"\d warnings?", lines[-1])


def test_a_process_that_hangs_is_named_and_told_how_to_wake(data_dir: Path) -> None:
    with Server(data_dir) as server:
        server.signal(signal.SIGSTOP)
        try:
            code, bad = examined(server)
        finally:
            server.signal(signal.SIGCONT)
        assert code == 2
        assert set(bad) == {"answer"}
        assert bad["answer"]["details"] == {"pid": server.pid, "state": "stopped"}
        assert f"process {server.pid}, stopped" in bad["answer"]["message"]
        assert f"kill -CONT {server.pid}" in bad["answer"]["advice"]
        assert examined(server) == (0, {})
        found = server.get("/v1/system/doctor")["findings"]
        (stood_still,) = [each for each in found if each["check"] == "event_loop"]
        assert stood_still["status"] == "warning"
        assert stood_still["details"]["longest_lag_ms"] >= 4_000


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc who listens")
def test_who_hangs_is_found_by_its_port_and_not_by_a_lock_of_somebody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.cli.examine.SILENT_SECONDS", 0.5)
    with answering(b"") as url:
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(server.data_dir))
    assert done.code == 2
    last = done.json["findings"][-1]
    assert "the process hangs" in last["message"]
    assert last["details"] == {"pid": os.getpid(), "state": None}
    assert f"kill -9 {os.getpid()}" in last["advice"]


def test_a_process_that_hangs_elsewhere_is_not_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.cli.examine.SILENT_SECONDS", 0.5)
    monkeypatch.setattr("awaken.cli.examine.is_local", lambda host: False)
    with answering(b"") as url:
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(server.data_dir))
    last = done.json["findings"][-1]
    assert last["details"] == {}
    assert "kill -9 loses nothing" in last["advice"]


def test_a_server_that_is_being_stopped_is_told(data_dir: Path) -> None:
    with Server(data_dir, env={"AWAKEN_DRAIN_SECONDS": "30"}) as server:
        begin(server, "storyteller", "tokens=5000 delay_ms=20")
        server.signal(signal.SIGTERM)
        server.wait_log("stopping: running work may end first")
        code, bad = examined(server)
        assert (code, set(bad)) == (1, {"ready", "draining"})
        assert "1 attempt may still end" in bad["draining"]["message"]


def test_a_server_that_does_not_run_is_told(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = process("doctor", "--url", url, cwd=tmp_path)
    assert (done.code, done.err) == (2, "")
    assert "✗ port" in done.out
    assert "→ start a server with: awaken serve" in done.out
    assert done.out.splitlines()[-1] == "1 problem"


def test_a_process_that_has_the_store_and_listens_elsewhere_is_named(data_dir: Path) -> None:
    with Server(data_dir) as server:
        url = f"http://127.0.0.1:{free_port()}"
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(data_dir))
        (found,) = done.json["findings"]
        assert found["details"] == {"pid": server.pid}
        assert "listens elsewhere" in found["advice"]
        server.kill()
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(data_dir))
        assert done.json["findings"][0]["details"] == {}


# --- full disks ----------------------------------------------------------------------------------

Trouble = Callable[[Server], AbstractContextManager[None]]


@contextmanager
def no_room(server: Server) -> Iterator[None]:
    """No file of the server may grow."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, so Linux")
def test_a_store_that_may_not_grow_is_found(data_dir: Path) -> None:
    with Server(data_dir) as server:
        with no_room(server):
            code, bad = examined(server)
        assert code == 2
        assert set(bad) == {"ready", "store_round_trip"}
        until_well(server)


def until_well(server: Server, *but: str) -> None:
    """Look until nothing is told but what is named."""
    ends = time.monotonic() + 15
    while set(examined(server)[1]) - set(but):
        assert time.monotonic() < ends, "it never recovered"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes; only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(file: Path) -> None:
    """Leave no byte on the file system of `file`."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 4096):
            pass


def test_a_full_disk_is_found(small_disk: Path) -> None:
    with Server(small_disk / "data") as server:
        code, bad = examined(server)
        assert (code, set(bad)) == (2, {"disk_space"}), "eight megabytes are hardly any"
        fill(small_disk / "filler")
        # What the log has left of its file is used up.
        body = run_body("echo", "x" * 100_000)
        assert server.http.post("/v1/runs/background", json=body).status_code == 503
        code, bad = examined(server)
        assert code == 2
        assert {"disk_space", "store_round_trip", "ready"} <= set(bad)
        assert bad["disk_space"]["details"]["free_bytes"] < 65_536
        (small_disk / "filler").unlink()
        until_well(server, "disk_space")


# --- others, and other times ---------------------------------------------------------------------


def http(date: str, body: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {len(body)}\r\nconnection: close"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("ahead", "status"), [(0, None), (20, "warning"), (-20, "warning"), (600, "problem")]
)
def test_clocks_that_are_apart_are_found(ahead: int, status: str | None, tmp_path: Path) -> None:
    info = f'{{"version": "{__version__}"}}'
    with answering(http(formatdate(time.time() + ahead, usegmt=True), info)) as url:
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(tmp_path))
    found = {each["check"]: each for each in done.json["findings"]}["clock_difference"]
    assert found["status"] == (status or "ok")
    assert found["details"]["seconds"] == pytest.approx(abs(ahead), abs=3)


def test_another_version_and_another_program_are_found(tmp_path: Path) -> None:
    with answering(http("", '{"version": "9.9.9"}')) as url:
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(tmp_path))
    found = {each["check"]: each for each in done.json["findings"]}
    assert found["version"]["status"] == "warning"
    assert found["version"]["details"] == {"server": "9.9.9", "here": __version__}
    with answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n") as url:
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(tmp_path))
    assert done.json["findings"][-1]["message"] == "status 404: no Awaken"
    with answering(b"SSH-2.0-OpenSSH\r\n") as url:
        done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(tmp_path))
    assert "is it HTTP" in done.json["findings"][-1]["advice"]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "nonsense", "http://"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    done = awaken("doctor", "--url", url)
    assert done.code == 2
    assert "✗ address" in done.out


def test_the_pid_of_a_lock_that_nobody_holds_is_not_believed(data_dir: Path) -> None:
    (data_dir / "awaken.db.lock").write_text(
        f'{{"pid": {os.getpid()}, "started_at": 1, "worker": "old"}}'
    )
    url = f"http://127.0.0.1:{free_port()}"
    done = awaken("doctor", "--json", "--url", url, AWAKEN_DATA_DIR=str(data_dir))
    assert done.json["findings"][0]["details"] == {}
