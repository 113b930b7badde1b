"""What a server finds wrong with itself, each time with the sickness made real."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import ValidationError

from awaken import Agent, ScriptedModel, demo, tool
from awaken.domain.message import ToolCall
from awaken.domain.run import RunStatus
from awaken.mailbox.sweep import Sweeper
from awaken.ports.clock import SystemClock
from awaken.server import findings
from awaken.server.app import App, create_app
from awaken.server.doctor import worst
from awaken.server.findings import Disk
from awaken.server.settings import Settings
from awaken.stores.sqlite import rows, statements
from awaken.testing.conformance._records import claim_of, dispatch_of, head_of, queued, run_of
from tests.server.conftest import BASE
from tests.server.live import wait_until
from tests.server.support import finished, start

HOUR_MS = 3_600_000
NOISE = {"event_loop", "store_round_trip"}
"""Warnings that a machine with too much to do earns by itself."""
TENANT = "default"


class SettableClock(SystemClock):
    """The machine's clock, off by as much as a test says."""

    off_ms = 0

    def now(self) -> int:
        return super().now() + self.off_ms


released = threading.Event()


@tool
def ignore_stops() -> str:
    """Goes on, whatever happens."""
    released.wait(20)
    return "done"


STUBBORN = Agent(
    "stubborn",
    model=ScriptedModel(
        lambda request: [ToolCall(id="call", name="ignore_stops", arguments={})], name="stubborn"
    ),
    tools=[ignore_stops],
)


class Patient:
    """A running application, and what can be done to it."""

    def __init__(self, app: App, client: httpx.AsyncClient, path: Path, clock: SettableClock):
        self.app = app
        self.client = client
        self.path = path
        self.clock = clock

    async def findings(self) -> dict[str, dict[str, Any]]:
        """The findings by check."""
        answer = await self.client.get("/v1/system/doctor")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found = {finding["check"]: finding for finding in body["findings"]}
        assert len(found) == len(body["findings"])
        statuses = [finding["status"] for finding in body["findings"]]
        assert body["status"] == max(statuses, key=["ok", "warning", "problem"].index)
        return found

    async def finding(self, check: str, status: str) -> dict[str, Any]:
        """The one finding that is not ok."""
        found = await self.findings()
        bad = {name: each for name, each in found.items() if each["status"] != "ok"}
        assert set(bad) - NOISE == {check} - NOISE
        assert bad[check]["status"] == status
        assert bad[check]["advice"]
        return bad[check]

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The store's file, behind the server's back."""
        with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            yield connection


async def stand_still(sweeper: Sweeper) -> None:
    """A sweeper that does not get to anything: it would mend what is made here."""


Open = Callable[..., Any]


@pytest.fixture
async def open_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    monkeypatch.setattr(Sweeper, "sweep", stand_still)
    async with AsyncExitStack() as stack:

        async def open_(**fields: Any) -> Patient:
            path, clock = tmp_path / "awaken.db", SettableClock()
            settings = Settings(**{"store": f"sqlite:///{path}", "drain_seconds": 0, **fields})
            app = create_app([*demo.make_agents(), STUBBORN], settings, clock=clock)
            await stack.enter_async_context(app.lifespan())
            transport = httpx.ASGITransport(app=app)
            client = httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10)
            await stack.enter_async_context(client)
            return Patient(app, client, path, clock)

        yield open_


@pytest.fixture
async def patient(open_patient: Open) -> Patient:
    opened: Patient = await open_patient()
    return opened


def give(patient: Patient, *, run: Any = None, dispatch: Any = None) -> None:
    """Rows by hand."""
    record = run or dispatch
    with patient.database() as connection:
        head = head_of(record.thread_id, record.tenant)
        connection.execute(statements.PUT_HEAD, rows.of_head(head))
        if run is not None:
            connection.execute(statements.PUT_RUN, rows.of_run(run))
        if dispatch is not None:
            # As written an hour ago: what was to come then is due now, and nobody has seen to it.
            row = rows.of_dispatch(dispatch, patient.clock.now() - 5 * HOUR_MS)
            connection.execute(statements.PUT_DISPATCH, row)


# --- in health -----------------------------------------------------------------------------------


async def test_a_healthy_server_finds_nothing(patient: Patient) -> None:
    await finished(patient.client, "echo", "hello")
    await start(patient.client, "clerk", "refund order 17 amount=20")
    await start(patient.client, "storyteller", "tokens=5000 delay_ms=20")
    found = await patient.findings()
    assert {name for name, each in found.items() if each["status"] != "ok"} <= NOISE
    assert set(found) >= {
        *("store_round_trip", "disk_space", "wal_size", "expired_leases", "overdue_work"),
        *("lost_runs", "stray_dispatches", "unasked_runs", "undecodable_rows", "dead_letters"),
        *("unclaimed_work", "clock", "draining", "slots", "abandoned_tools", "event_loop"),
    }


async def test_a_store_in_memory_has_no_files_to_look_at(open_patient: Open) -> None:
    found = await (await open_patient(store="sqlite://:memory:")).findings()
    assert "store_round_trip" in found
    assert not {"disk_space", "wal_size"} & set(found)


# --- rows ----------------------------------------------------------------------------------------


async def test_a_lease_that_nobody_swept_is_found(patient: Patient) -> None:
    long_ago = patient.clock.now() - 3 * HOUR_MS
    run = run_of("r", TENANT, status=RunStatus.running, dispatch_id="d")
    dispatch = dispatch_of("d", claim_of(long_ago, "worker-0"), TENANT, run_id="r")
    give(patient, run=run, dispatch=dispatch)
    found = await patient.finding("expired_leases", "problem")
    assert found["details"]["count"] == 1
    (first,) = found["details"]["first"]
    assert (first["id"], first["run_id"], first["at"]) == ("d", "r", long_ago)


async def test_work_that_is_due_and_not_in_line_is_found(patient: Patient) -> None:
    available_at = patient.clock.now() - 3 * HOUR_MS
    run = run_of("r", TENANT, dispatch_id="d")
    dispatch = queued("d", available_at=available_at, tenant=TENANT, run_id="r")
    give(patient, run=run, dispatch=dispatch)
    await patient.finding("overdue_work", "problem")


async def test_a_run_without_a_dispatch_is_found(patient: Patient) -> None:
    give(patient, run=run_of("r", TENANT, status=RunStatus.running, dispatch_id="d"))
    found = await patient.finding("lost_runs", "problem")
    assert found["details"]["first"][0]["id"] == "r"


async def test_a_dispatch_without_a_run_is_found(patient: Patient) -> None:
    later = patient.clock.now() + HOUR_MS
    give(patient, dispatch=queued("d", available_at=later, tenant=TENANT, run_id="r"))
    await patient.finding("stray_dispatches", "problem")


async def test_a_waiting_run_whose_ticket_is_gone_is_found(patient: Patient) -> None:
    run = await finished(patient.client, "clerk", "refund order 17 amount=20")
    with patient.database() as connection:
        connection.execute("delete from tickets")
    found = await patient.finding("unasked_runs", "problem")
    assert found["details"]["first"][0]["id"] == run["run_id"]


async def test_a_record_that_cannot_be_read_is_found(patient: Patient) -> None:
    await finished(patient.client, "clerk", "refund order 17 amount=20")
    with patient.database() as connection:
        connection.execute("update runs set data = 'no record'")
    found = await patient.finding("undecodable_rows", "problem")
    assert [each["kind"] for each in found["details"]["first"]] == ["run"]


async def test_ids_of_another_tenant_are_counted_and_not_told(patient: Patient) -> None:
    give(patient, run=run_of("theirs", "another", status=RunStatus.running))
    found = await patient.finding("lost_runs", "problem")
    assert found["details"] == {"count": 1, "of_this_tenant": 0, "first": []}


async def test_dead_letters_are_found(patient: Patient) -> None:
    await finished(patient.client, "flaky", "fail=permanent")
    found = await patient.finding("dead_letters", "warning")
    assert found["details"] == {"count": 1, "poison": 0}
    assert "awaken dead-letters" in found["advice"]


# --- the worker ----------------------------------------------------------------------------------


async def test_work_that_nobody_claims_is_found(open_patient: Open) -> None:
    patient = await open_patient(poll_ms=500)
    services = patient.app.services
    services.mailbox._worker.claiming = False  # it stands still, as if its task had died
    accepted = await start(patient.client, "echo", "hello")
    found = await patient.finding("unclaimed_work", "problem")
    assert found["details"]["first"][0]["id"] == accepted["dispatch_id"]
    services.mailbox._worker.claiming = True
    services.mailbox._worker.wake()
    await wait_until(lambda: services.mailbox.statistics().executing == 0)


async def test_full_slots_are_found_and_are_no_unclaimed_work(open_patient: Open) -> None:
    patient = await open_patient(max_concurrent_runs=1, foreground_slots=0)
    for _ in range(2):
        await start(patient.client, "storyteller", "tokens=5000 delay_ms=20")
    found = await patient.finding("slots", "warning")
    assert found["details"]["executing"] == 1
    assert "AWAKEN_MAX_CONCURRENT_RUNS" in found["advice"]


async def test_slots_are_never_all_kept_for_foreground(open_patient: Open) -> None:
    with pytest.raises(ValidationError, match="AWAKEN_FOREGROUND_SLOTS: expected less than"):
        Settings(max_concurrent_runs=2, foreground_slots=2)
    patient = await open_patient(max_concurrent_runs=2)
    assert (await patient.findings())["slots"]["status"] == "ok"
    await finished(patient.client, "echo", "hi")
    await start(patient.client, "echo", "hi")


async def test_a_server_that_is_being_stopped_is_found(patient: Patient) -> None:
    assert patient.app.services is not None
    await patient.app.services.mailbox.drain(0)
    await patient.finding("draining", "warning")


async def test_a_tool_that_ignores_its_stop_is_found(open_patient: Open) -> None:
    released.clear()
    patient = await open_patient(cancel_grace_seconds=0.1)
    try:
        run_id = (await start(patient.client, "stubborn", "go"))["run_id"]

        async def has_begun() -> bool:
            explained = await patient.client.get(f"/v1/runs/{run_id}/explain")
            return any(call["begun"] for call in explained.json()["tool_calls"])

        async def is_done() -> bool:
            run = await patient.client.get(f"/v1/runs/{run_id}")
            return bool(run.json()["status"] == "done")

        await eventually(has_begun)
        await patient.client.post(f"/v1/runs/{run_id}/cancel")
        await eventually(is_done)
        found = await patient.finding("abandoned_tools", "warning")
        assert found["details"]["threads"] == 1
    finally:
        released.set()

    async def is_well() -> bool:
        return bool((await patient.findings())["abandoned_tools"]["status"] == "ok")

    await eventually(is_well)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Look until it is so."""
    with anyio.fail_after(8):
        while True:
            if await condition():
                return
            await anyio.sleep(0.02)


# --- the machine ---------------------------------------------------------------------------------


async def test_an_event_loop_that_stood_still_is_found(patient: Patient) -> None:
    await anyio.sleep(0.01)
    time.sleep(1.6)  # noqa: ASYNC251  # that is the sickness
    pulse = patient.app._metrics.pulse
    await wait_until(lambda: pulse.longest_lag is not None)
    found = await patient.finding("event_loop", "warning")
    assert found["details"]["longest_lag_ms"] >= 1_000


async def test_a_clock_that_was_set_is_found(patient: Patient) -> None:
    pulse = patient.app._metrics.pulse
    pulse.beat(0.0)
    patient.clock.off_ms = 90_000
    pulse.beat(0.0)
    found = await patient.finding("clock", "warning")
    assert found["details"]["steps_ms"] == pytest.approx([90_000], abs=500)


async def test_a_lease_of_a_clock_that_was_set_back_is_found(patient: Patient) -> None:
    tomorrow = patient.clock.now() + 24 * HOUR_MS
    run = run_of("r", TENANT, status=RunStatus.running, dispatch_id="d")
    dispatch = dispatch_of("d", claim_of(tomorrow, "worker-0"), TENANT, run_id="r")
    give(patient, run=run, dispatch=dispatch)
    found = await patient.finding("clock", "problem")
    assert found["details"]["latest_lease_in_ms"] > 23 * HOUR_MS


async def test_a_log_that_an_old_reader_keeps_long_is_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "LONG_WAL", 100_000)
    with closing(sqlite3.connect(patient.path)) as reader:
        reader.execute("begin")
        reader.execute("select * from runs").fetchall()
        await finished(patient.client, "storyteller", "tokens=500 delay_ms=0 " + "x" * 200_000)
        found = await patient.finding("wal_size", "warning")
    assert found["details"]["wal_bytes"] > 100_000


async def test_a_store_that_cannot_be_read_is_a_finding_and_not_an_error(patient: Patient) -> None:
    with patient.database() as connection:
        connection.execute("drop table line")
    found = await patient.findings()
    assert found["rows"]["status"] == "problem"
    assert found["slots"]["status"] == "ok"


@pytest.mark.parametrize(
    ("free", "files", "status"),
    [
        (2 * 1024**3, 5, "ok"),
        (2 * 1024**3, None, "ok"),
        (500 * 1024**2, 5, "warning"),
        (5 * 1024**2, 5, "problem"),
        (2 * 1024**3, 0, "problem"),
    ],
)
def test_little_room_is_a_warning_and_hardly_any_a_problem(
    free: int, files: int | None, status: str
) -> None:
    disk = Disk(free=free, total=10 * 1024**3, free_files=files, wal=0, database=0)
    assert findings.disk_space(disk).status == status
    assert worst([findings.disk_space(disk)]) == status


def test_a_slow_store_is_a_warning_and_a_silent_one_a_problem() -> None:
    assert findings.round_trip(3, None).status == "ok"
    assert findings.round_trip(300, None).status == "warning"
    assert findings.round_trip(5_000, "timeout").status == "problem"
