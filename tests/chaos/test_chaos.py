"""Real servers that are killed, frozen and stopped under load.

Whatever happens to the process, each run that was accepted is done exactly once, all promises hold,
and clients that resume by the id of the last frame see each entry exactly once. A seed fixes what
the clients ask for and when trouble comes, counted in events; the rest is the machine's.
"""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path

import pytest

from awaken.domain.dispatch import Claimed, Finished
from awaken.domain.event import RunRetry
from awaken.testing.history import ThreadHistory
from tests.e2e.harness import Server

from .load import Load
from .verdict import check_all, dispatches, histories

pytestmark = pytest.mark.xdist_group("chaos")

LEASE_MS = 1_000
SHORT_LEASE = {
    "AWAKEN_LEASE_MS": str(LEASE_MS),
    "AWAKEN_LEASE_RENEWAL_MS": "300",
    "AWAKEN_SWEEP_MS": "100",
}


def killed_under_load(data_dir: Path, seed: int, kills: int) -> list[ThreadHistory]:
    """Kill the server so many times, then let it finish its work; what it left, checked."""
    chance = random.Random(seed)
    with Server(data_dir) as server:
        with Load(server.base_url, seed) as load:
            for _ in range(kills):
                load.wait_events(chance.choice([0, 10, 200, 500, 1_000]))
                with load.away():
                    server.kill()
                    server.start()
        assert server.stop() == 0
    found = check_all(data_dir, load.told)
    retries = [e.event for h in found for e in h.entries if isinstance(e.event, RunRetry)]
    assert "lease_expired" in {retry.reason for retry in retries}, "something was running"
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(
    data_dir: Path, seed: int
) -> None:
    killed_under_load(data_dir, seed, kills=5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_a_hundred_times_loses_and_doubles_nothing(data_dir: Path) -> None:
    killed_under_load(data_dir, seed=100, kills=100)


@pytest.mark.timeout(60)
def test_a_server_that_was_frozen_beyond_its_leases_doubles_nothing(data_dir: Path) -> None:
    """On waking it finds its own claims lapsed: it may go on or lose them, but not both."""
    with Server(data_dir, env=SHORT_LEASE) as server:
        with Load(server.base_url, seed=4) as load:
            for _ in range(3):
                load.wait_events(50)
                server.signal(signal.SIGSTOP)
                thaw = threading.Timer(2.5 * LEASE_MS / 1000, server.signal, [signal.SIGCONT])
                thaw.start()
                thaw.join()
        assert server.stop() == 0
    check_all(data_dir, load.told)


@pytest.mark.timeout(60)
def test_a_server_that_is_stopped_under_load_hands_its_work_over(data_dir: Path) -> None:
    """No attempt is counted, no claim left to its lease, and the next one finishes everything."""
    with Server(data_dir, env={"AWAKEN_DRAIN_SECONDS": "0.2"}) as server:
        with Load(server.base_url, seed=5) as load:
            for _ in range(3):
                load.wait_events(100)
                with load.away():
                    assert server.stop() == 0
                    left = dispatches(histories(data_dir))
                    assert not [d for d in left if isinstance(d.body, Claimed)]
                    unfinished = [d for d in left if not isinstance(d.body, Finished)]
                    assert all(d.retry_reason in (None, "handoff", "retry") for d in unfinished)
                    assert all(d.expiries == 0 for d in left)
                    server.start()
        assert server.stop() == 0
    found = check_all(data_dir, load.told)
    retries = [e.event for h in found for e in h.entries if isinstance(e.event, RunRetry)]
    handed_over = [retry for retry in retries if retry.reason == "handoff"]
    assert handed_over, "under load something was running at each stop"
    assert {retry.reason for retry in retries} <= {"handoff", "retry"}
