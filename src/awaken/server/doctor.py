"""`GET /v1/system/doctor`: what the server finds wrong with itself.

Every look has a time limit, and one that fails is a finding: a server that is not well must still
be able to say so. Nothing is changed but the row of the readiness probe.
"""

from __future__ import annotations

import os
from typing import Any, Final, Literal, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel

from awaken.errors import StoreFault
from awaken.leftovers import LEFTOVERS
from awaken.ports.symptoms import Examinable, Row, Symptoms
from awaken.protocols.native.http.params import ERRORS
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.server import findings
from awaken.server.findings import Disk, Status
from awaken.server.findings import Finding as Found
from awaken.server.metrics import METRICS_KEY, MachineMetrics, Metrics
from awaken.tools import THREADS

T = TypeVar("T")

LOOK_SECONDS: Final = 5.0
"""How long one look may take."""
MAX_ROWS: Final = 1_000
"""Rows that each look at the store reads at most."""
STILL_SECONDS: Final = 2.0
"""The first in line is taken within milliseconds, at the latest at the next poll."""
LONGEST_STILL_SECONDS: Final = 10.0

router = APIRouter(tags=["system"], responses=ERRORS)


class Finding(BaseModel):
    """What one check has found; `advice` says what to do. What `details` has depends on `check`."""

    check: str
    status: Literal["ok", "warning", "problem"]
    message: str
    advice: str | None
    details: dict[str, Any]


class Examination(BaseModel):
    """All findings, and the worst status among them."""

    status: Literal["ok", "warning", "problem"]
    version: str
    worker_id: str
    checked_at: int
    findings: list[Finding]


@router.get("/v1/system/doctor")
async def examine_server(request: Request, services: Served, caller: Asking) -> Examination:
    """What is wrong with the server, and what to do about it."""
    metrics: Metrics = request.scope[METRICS_KEY]
    found = await examine(services, metrics, caller.tenant)
    return Examination(
        status=worst(found),
        version=request.app.version,
        worker_id=services.mailbox.statistics().worker_id,
        checked_at=services.clock.now(),
        findings=[Finding.model_validate(each._asdict()) for each in found],
    )


def worst(found: list[Found]) -> Status:
    """The worst status of all."""
    order: list[Status] = ["ok", "warning", "problem"]
    return max((each.status for each in found), key=order.index, default="ok")


async def examine(services: Services, metrics: Metrics, tenant: str) -> list[Found]:
    """All checks; ids of rows are told of `tenant` only."""
    statistics = services.mailbox.statistics()
    tasks = max(0, LEFTOVERS.count() - THREADS.given_up)
    return [
        await _round_trip(services),
        *await _files(metrics.machine),
        *await _rows(services, metrics, tenant),
        *await _webhooks(services),
        findings.draining(statistics),
        findings.slots(statistics, services.mailbox.config.foreground_slots),
        findings.left_behind(THREADS.given_up, tasks),
        findings.event_loop(metrics.pulse.longest_lag),
    ]


# --- the store -----------------------------------------------------------------------------------


async def _round_trip(services: Services) -> Found:
    began = services.clock.monotonic()
    fault: str | None = None
    try:
        with anyio.fail_after(LOOK_SECONDS):
            await services.store.check()
    except StoreFault as error:
        fault = error.code
    except TimeoutError:
        fault = "timeout"
    return findings.round_trip(round((services.clock.monotonic() - began) * 1000), fault)


async def _files(machine: MachineMetrics) -> list[Found]:
    """The disk, where the store is a file."""
    files = dict(machine.files)
    if "database" not in files:
        return []
    try:
        disk = await anyio.to_thread.run_sync(look_at_disk, files["database"])
    except OSError as error:
        message = f"the store's file cannot be looked at: {error.strerror}"
        return [Found("disk_space", "problem", message, "was it moved or deleted?")]
    return [findings.disk_space(disk), findings.wal_size(disk)]


def look_at_disk(path: str) -> Disk:
    """The room for the file `path`. Blocks.

    Raises:
        OSError: the file is not there.
    """
    database = os.stat(path).st_size
    wal = os.stat(f"{path}-wal").st_size if os.path.exists(f"{path}-wal") else 0
    if not hasattr(os, "statvfs"):
        import shutil

        usage = shutil.disk_usage(path)
        return Disk(free=usage.free, total=usage.total, free_files=None, wal=wal, database=database)
    place = os.statvfs(path)
    return Disk(
        free=place.f_bavail * place.f_frsize,
        total=place.f_blocks * place.f_frsize,
        free_files=place.f_favail if place.f_files else None,
        wal=wal,
        database=database,
    )


# --- the rows ------------------------------------------------------------------------------------


async def _rows(services: Services, metrics: Metrics, tenant: str) -> list[Found]:
    if not isinstance(services.store, Examinable):
        return [Found("rows", "ok", "not looked at: this kind of store cannot be looked into")]
    symptoms = await _symptoms(services)
    if symptoms is None:
        message = "the rows of the store could not be looked at"
        return [Found("rows", "problem", message, "look at the server's log")]
    steps, now = metrics.pulse.steps, services.clock.now()
    return [
        *findings.rows(symptoms, tenant),
        await _unclaimed(services, symptoms.front, tenant),
        findings.clock(steps, symptoms.latest_lease, now),
        *_cut(symptoms),
    ]


async def _webhooks(services: Services) -> list[Found]:
    try:
        with anyio.fail_after(LOOK_SECONDS):
            waiting, given_up = await services.store.outgoing_counts(MAX_ROWS)
    except (StoreFault, TimeoutError):
        return []  # the store has a finding of its own
    return [findings.webhooks(waiting, given_up)]


def _cut(symptoms: Symptoms) -> list[Found]:
    if symptoms.complete:
        return []
    message = f"there is much in the store: only {MAX_ROWS} rows of each kind were looked at"
    return [Found("completeness", "ok", message)]


async def _symptoms(services: Services) -> Symptoms | None:
    store = services.store
    assert isinstance(store, Examinable), "asked before"
    late_before = services.clock.now() - 2 * services.mailbox.config.sweep_ms - 1_000
    try:
        with anyio.fail_after(LOOK_SECONDS):
            return await store.symptoms(late_before=late_before, limit=MAX_ROWS)
    except (StoreFault, TimeoutError):
        return None


async def _unclaimed(services: Services, first: Row | None, tenant: str) -> Found:
    """Whether the first in line stays there although somebody could take it."""
    poll_seconds = services.mailbox.config.poll_ms / 1000
    pause = min(max(STILL_SECONDS, 2 * poll_seconds), LONGEST_STILL_SECONDS)
    stuck: Row | None = None
    if first is not None and _could_claim(services):
        await anyio.sleep(pause)
        later = await _symptoms(services)
        same = later is not None and later.front is not None and later.front.id == first.id
        stuck = first if same and _could_claim(services) else None
    return findings.unclaimed_work(stuck, pause, tenant)


def _could_claim(services: Services) -> bool:
    now = services.mailbox.statistics()
    free = now.slots - services.mailbox.config.foreground_slots - now.executing
    return free > 0 and not now.draining
