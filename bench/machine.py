"""What the machine is, as far as figures depend on it. No names, no paths."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bench.stats import percentile

PACKAGES: Final = ("uvicorn", "uvloop", "httptools", "fastapi", "anyio", "msgspec")
BLOCK: Final = 8 * 1024
SYNCS: Final = 200
ADDITIONS: Final = 1_000_000


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`sync_p50_us`, `sync_p99_us`: writing 8 KiB and waiting for the disk, where databases go.

    `additions_ms`: how long Python takes for a million additions.
    """

    cores: int
    cpu: str
    memory_gib: float
    system: str
    file_system: str
    python: str
    sqlite: str
    packages: dict[str, str]
    sync_p50_us: float
    sync_p99_us: float
    additions_ms: float


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; `changed` says that the tree differed from the commit."""

    commit: str
    changed: bool


class Bystander:
    """Watches what the machine does besides us and the servers we start.

    A server counts as ours once it has ended, so read it when none runs.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._others = _others_seconds()

    def cores(self) -> float:
        """How many cores were busy with other work, on average since this was made."""
        seconds = time.perf_counter() - self._began
        return max(0.0, _others_seconds() - self._others) / seconds


def _others_seconds() -> float:
    """Processor time of everybody else, and what a hypervisor gave to other machines."""
    times = psutil.cpu_times()
    all_of_it = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    # Linux counts guests among `user` already.
    all_of_it -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(all_of_it - sum(used.ru_utime + used.ru_stime for used in ours))


def describe(directory: Path) -> Machine:
    """This machine; `directory` is where databases go."""
    syncs = _sync_times(directory)
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        cpu=_cpu(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        # What follows the first dash names whoever built the kernel.
        system=f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        file_system=_file_system(directory),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        packages={name: _version(name) for name in PACKAGES},
        sync_p50_us=round(percentile(syncs, 50), 1),
        sync_p99_us=round(percentile(syncs, 99), 1),
        additions_ms=round(_additions_ms(), 1),
    )


def revision(root: Path) -> Revision:
    """The commit of the tree at `root`."""
    commit = _git(root, "rev-parse", "HEAD")
    return Revision(
        commit=commit or "none",
        changed=bool(_git(root, "status", "--porcelain", "--", "src", "pyproject.toml")),
    )


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cores() -> int:
    return os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(directory: Path) -> str:
    """The type of the file system: on one in memory a sync costs nothing and proves nothing."""
    place = directory.resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[up] for up in (place, *place.parents) if up in mounts), "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _sync_times(directory: Path) -> list[float]:
    """µs of each write with a sync."""
    sync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(SYNCS):
            os.write(file.fileno(), b"x" * BLOCK)
            began = time.perf_counter()
            sync(file.fileno())
            times.append((time.perf_counter() - began) * 1e6)
    return times


def _additions_ms() -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        total = 0
        for number in range(ADDITIONS):
            total += number
        best = min(best, time.perf_counter() - began)
    return best * 1000
