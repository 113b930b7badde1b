"""What holds for every test: one event loop kind, nothing blocks it, nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

# A shared two-core machine is slow now and then: that is no property of the code under test.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Async tests run on plain asyncio; a test of uvloop overrides this fixture."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory of a server, gone with the test."""
    path = tmp_path / "awaken-data"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """Fail a test in which code of the package blocks a running event loop."""
    with blockbuster_ctx("awaken"):
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread of ours, or a task on its event loop."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("_no_tasks_left")
    before = set(threading.enumerate())
    yield
    started = [t for t in threading.enumerate() if t.name.startswith("awaken-") and t not in before]
    for thread in started:
        thread.join(timeout=1)
    left = [thread.name for thread in started if thread.is_alive()]
    assert not left, f"threads left behind: {left}"


@pytest.fixture
async def _no_tasks_left(anyio_backend: object) -> AsyncIterator[None]:
    """Set up before, and torn down after, every other fixture of the test that uses the loop."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # a task that was cancelled last may need another turn to end
        await anyio.lowlevel.checkpoint()
    left = [repr(task) for task in asyncio.all_tasks() - before if not _is_test_runner(task)]
    assert not left, f"tasks left behind: {left}"


def _is_test_runner(task: asyncio.Task[object]) -> bool:
    """Whether anyio's pytest plugin started `task` to run this very fixture."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")
