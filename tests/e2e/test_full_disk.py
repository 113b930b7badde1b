"""A disk that fills up under a running server.

New work is refused, nothing is lost, and it recovers.

The limit on file size (RLIMIT_FSIZE) of the live process is lowered and raised from outside: the
kernel then refuses writes. Where mounting is allowed, a small file system is filled and emptied as
well.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import Server, run_body, text_of

pytestmark = [
    pytest.mark.xdist_group("e2e-recovery"),
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, so Linux"),
]

Trouble = Callable[[Server], AbstractContextManager[None]]


def until(found: Callable[[], bool], seconds: float = 20) -> None:
    """Look until it is so."""
    ends = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < ends, "it never became so"
        time.sleep(0.05)


@contextmanager
def no_room(server: Server) -> Iterator[None]:
    """No file of the server may grow."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No byte is left on the file system of `folder`."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        yield
    finally:
        filler.unlink()


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


def submit(server: Server) -> httpx.Response:
    body = run_body("echo", "hello")
    return httpx.post(f"{server.base_url}/v1/runs/background", json=body, timeout=30)


def assert_refused(server: Server) -> None:
    refused = submit(server)
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert error["code"] in {"store_full", "store_io", "commit_unknown"}
    assert "retry-after" in refused.headers
    for secret in ("sqlite", ".db", "insert", "/"):
        assert secret not in error["message"].lower()
    assert httpx.get(f"{server.base_url}/health/ready", timeout=30).status_code == 503
    assert httpx.get(f"{server.base_url}/health/live", timeout=30).status_code == 200


def story_through(server: Server, trouble: Trouble) -> None:
    """A story is told; in the middle there is no room for a while; it is told to its end."""
    body = run_body("storyteller", "tokens=60 delay_ms=20")
    with server.stream("POST", "/v1/runs", json=body) as stream:
        run_id = stream.headers["awaken-run-id"]
        before = stream.until(lambda event: event.event == "text_delta")
        with trouble(server):
            assert_refused(server)
        after = list(stream)
    assert text_of(before + after).count("#") == 60
    assert sum(event.event == "run_finish" for event in before + after) == 1
    assert server.get(f"/v1/runs/{run_id}")["status"] == "done"


def check(server: Server, trouble: Trouble) -> None:
    accepted = submit(server)
    assert accepted.status_code == 202
    story_through(server, trouble)
    until(lambda: submit(server).status_code == 202)
    assert httpx.get(f"{server.base_url}/health/ready", timeout=30).status_code == 200
    run_id = accepted.json()["run_id"]
    until(lambda: server.get(f"/v1/runs/{run_id}")["status"] == "done")


def test_a_disk_without_room_refuses_new_work_loses_nothing_and_recovers(data_dir: Path) -> None:
    with Server(data_dir) as server:
        check(server, no_room)


def test_a_full_file_system_refuses_new_work_loses_nothing_and_recovers(
    small_disk: Path,
) -> None:
    with Server(small_disk / "data") as server:
        check(server, lambda _: filled(small_disk))
