"""From what was seen to findings: what each check says, how bad it is, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from awaken.domain.record import Record
from awaken.mailbox.service import MailboxStatistics
from awaken.ports.symptoms import Row, Symptoms
from awaken.server.pulse import Late, Step

Status = Literal["ok", "warning", "problem"]

SLOW_STORE_MS: Final = 250
LOW_DISK: Final = 1024**3
VERY_LOW_DISK: Final = 100 * 1024**2
LONG_WAL: Final = 128 * 1024**2
"""Twice the length at which the store empties its write-ahead log."""
LONG_LAG: Final = 1.0
LEASE_IN_FUTURE_MS: Final = 2 * 3_600_000
"""No lease is longer than an hour."""
MAX_IDS: Final = 20


class Finding(NamedTuple):
    """What one check has found."""

    check: str
    status: Status
    message: str
    advice: str | None = None
    details: dict[str, Any] = {}


class Disk(Record):
    """The file system of the store's file, and its write-ahead log; bytes."""

    free: int
    total: int
    free_files: int | None
    wal: int
    database: int


# --- the store -----------------------------------------------------------------------------------


def round_trip(ms: int, fault: str | None) -> Finding:
    """How long a durable write took; `fault` is the code of why there was none."""
    check = "store_round_trip"
    if fault == "store_full":
        advice = "free space on the disk of the store; nothing that was accepted is lost"
        return Finding(check, "problem", "the store cannot write: its disk is full", advice)
    if fault is not None:
        advice = "look at the server's log, and at the disk or database of the store"
        message = f"the store does not take a write ({fault})"
        return Finding(check, "problem", message, advice, {"code": fault})
    details = {"ms": ms}
    message = f"a durable write takes {ms} ms"
    if ms < SLOW_STORE_MS:
        return Finding(check, "ok", message, None, details)
    advice = "every step of every run waits for such writes; look at the load of the disk"
    return Finding(check, "warning", message, advice, details)


def webhooks(waiting: int, given_up: int) -> Finding:
    """Whether the receiver of webhooks takes them."""
    details = {"waiting": waiting, "given_up": given_up}
    if given_up:
        message = f"{given_up} webhooks were given up, {waiting} wait to be sent"
        advice = "look at the receiver, and for `webhook given up` in the server's log"
        return Finding("webhooks", "warning", message, advice, details)
    return Finding("webhooks", "ok", f"{waiting} webhooks wait to be sent", None, details)


def disk_space(disk: Disk) -> Finding:
    """Whether there is room."""
    check = "disk_space"
    details = {"free_bytes": disk.free, "total_bytes": disk.total, "free_files": disk.free_files}
    if disk.free_files == 0:
        return Finding(check, "problem", "no file can be made there", "delete files", details)
    message = f"{size(disk.free)} of {size(disk.total)} are free where the store is"
    if disk.free >= LOW_DISK:
        return Finding(check, "ok", message, None, details)
    advice = "free space: on a full disk new work is refused"
    status: Status = "warning" if disk.free >= VERY_LOW_DISK else "problem"
    return Finding(check, status, message, advice, details)


def wal_size(disk: Disk) -> Finding:
    """Whether the write-ahead log is emptied."""
    details = {"wal_bytes": disk.wal, "database_bytes": disk.database}
    message = f"the write-ahead log has {size(disk.wal)}"
    if disk.wal <= LONG_WAL:
        return Finding("wal_size", "ok", message, None, details)
    advice = "something keeps an old snapshot open: end other programs that read the file"
    return Finding("wal_size", "warning", message, advice, details)


# --- the rows ------------------------------------------------------------------------------------


def rows(found: Symptoms, tenant: str) -> list[Finding]:
    """What should not be in the rows; ids are told of the caller's tenant only (I10)."""
    return [
        _absent(
            "expired_leases",
            found.expired,
            tenant,
            "claims past their lease that were not ended",
            "the sweeper does not get to it: look for `sweep failed` in the server's log",
        ),
        _absent(
            "overdue_work",
            found.overdue,
            tenant,
            "dispatches that are due and do not stand in line",
            "the sweeper does not get to it: look for `sweep failed` in the server's log",
        ),
        _absent(
            "lost_runs",
            found.lost_runs,
            tenant,
            "unfinished runs without a live dispatch, which nothing will move",
            "end it with `awaken runs cancel`, and report it: this should not happen",
        ),
        _absent(
            "stray_dispatches",
            found.stray,
            tenant,
            "live dispatches without an unfinished run",
            "report it: this should not happen",
        ),
        _absent(
            "unasked_runs",
            found.unasked_runs,
            tenant,
            "runs that wait for an answer and ask nothing",
            "end it with `awaken runs cancel`, and report it: this should not happen",
        ),
        _absent(
            "undecodable_rows",
            found.undecodable,
            tenant,
            "stored records that cannot be read",
            "was the file written by a later version, or by hand? restore it from a backup",
        ),
        _letters(found),
    ]


def _absent(check: str, found: Sequence[Row], tenant: str, what: str, advice: str) -> Finding:
    if not found:
        return Finding(check, "ok", "none")
    message = f"{what}: {len(found)}"
    return Finding(check, "problem", message, advice, counted(found, tenant))


def counted(found: Sequence[Row], tenant: str) -> dict[str, Any]:
    """How many there are, and which of them are the tenant's own."""
    own = [row for row in found if row.tenant == tenant]
    return {"count": len(found), "of_this_tenant": len(own), "first": _told(own[:MAX_IDS])}


def _told(found: Iterable[Row]) -> list[dict[str, Any]]:
    return [{"kind": row.kind, "id": row.id, "run_id": row.run_id, "at": row.at} for row in found]


def _letters(found: Symptoms) -> Finding:
    details = {"count": found.dead_letters, "poison": found.poison}
    if not found.dead_letters:
        return Finding("dead_letters", "ok", "none", None, details)
    message = f"{found.dead_letters} were given up"
    if found.poison:
        message += f", {found.poison} of them poison: the workers that had them kept dying"
    advice = "look at them with `awaken dead-letters ls`; requeue or discard them"
    return Finding("dead_letters", "warning", message, advice, details)


# --- the worker ----------------------------------------------------------------------------------


def unclaimed_work(stuck: Row | None, seconds: float, tenant: str) -> Finding:
    """`stuck` stayed the first in line for that long although slots were free."""
    if stuck is None:
        return Finding("unclaimed_work", "ok", "none")
    message = f"work stands in line, slots are free, and nothing was claimed for {seconds:.1f} s"
    advice = "look for `claim failed` in the server's log; if there is nothing, restart the server"
    return Finding("unclaimed_work", "problem", message, advice, counted([stuck], tenant))


def slots(now: MailboxStatistics, kept: int) -> Finding:
    """Whether more can run."""
    details = {"executing": now.executing, "slots": now.slots, "kept_for_foreground": kept}
    if kept >= now.slots:
        message = f"all {now.slots} slots are kept for foreground runs: no other run ever starts"
        advice = "lower AWAKEN_FOREGROUND_SLOTS, or raise AWAKEN_MAX_CONCURRENT_RUNS"
        return Finding("slots", "problem", message, advice, details)
    message = f"{now.executing} of {now.slots} are in use"
    if now.executing < now.slots - kept:
        return Finding("slots", "ok", message, None, details)
    advice = "what comes waits its turn: raise AWAKEN_MAX_CONCURRENT_RUNS, or look for long runs"
    return Finding("slots", "warning", message, advice, details)


def draining(now: MailboxStatistics) -> Finding:
    """Whether the server is being stopped."""
    if not now.draining:
        return Finding("draining", "ok", "no")
    attempts = "1 attempt" if now.executing == 1 else f"{now.executing} attempts"
    message = f"the server is being stopped; {attempts} may still end"
    return Finding("draining", "warning", message, "it takes no new work: wait for its successor")


def left_behind(threads: int, others: int) -> Finding:
    """Code that ignored its stop and still runs."""
    details = {"threads": threads, "tasks": others}
    if not threads and not others:
        return Finding("abandoned_tools", "ok", "none", None, details)
    message = f"{threads} threads and {others} tasks ignored their stop and still run"
    advice = "the log names them: give such tools and models a time limit of their own"
    return Finding("abandoned_tools", "warning", message, advice, details)


# --- the machine ---------------------------------------------------------------------------------


def event_loop(longest: Late | None) -> Finding:
    """How long everything had to wait for one thing."""
    if longest is None:
        return Finding("event_loop", "ok", "it keeps time", None, {"longest_lag_ms": 0})
    details = {"longest_lag_ms": round(longest.lag * 1000)}
    message = f"it stood still for {longest.lag:.1f} s in the last ten minutes"
    if longest.lag < LONG_LAG:
        return Finding("event_loop", "ok", message, None, details)
    advice = (
        "the process was stopped, the machine slept or is overloaded, or a tool blocks: make it a "
        "plain function, which runs in a thread"
    )
    return Finding("event_loop", "warning", message, advice, details)


def clock(steps: Sequence[Step], latest_lease: int | None, now: int) -> Finding:
    """Whether the wall clock was set, or has been wrong."""
    ahead = 0 if latest_lease is None else latest_lease - now
    details = {"steps_ms": [step.by_ms for step in steps][-MAX_IDS:], "latest_lease_in_ms": ahead}
    if ahead > LEASE_IN_FUTURE_MS:
        message = f"a lease ends in {ahead // 60_000} min: the clock was set back since it began"
        advice = "set the clock right by a time server; a restart of the server ends the lease"
        return Finding("clock", "problem", message, advice, details)
    if steps:
        message = f"the clock jumped by {steps[-1].by_ms / 1000:+.1f} s while the server ran"
        advice = "did the machine sleep? if not, let a time server keep the clock: leases follow it"
        return Finding("clock", "warning", message, advice, details)
    return Finding("clock", "ok", "it goes evenly", None, details)


def size(count: int) -> str:
    """Bytes, for people."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
