"""The mailbox's numbers, with the defaults of the design (dispatch.md, section 6)."""

from __future__ import annotations

from awaken.domain.record import Record


class MailboxConfig(Record):
    """Times in ms or seconds as named; counts per process.

    `foreground_slots` of the `max_concurrent_runs` are kept for runs a client waits for.
    `interrupt_grace_ms` is how long a superseded claim may take to settle.
    """

    lease_ms: int = 30_000
    renewal_ms: int = 10_000
    sweep_ms: int = 5_000
    gc_ms: int = 60_000
    poll_ms: int = 1_000
    finished_retention_ms: int = 24 * 3_600_000
    dead_letter_retention_ms: int = 30 * 24 * 3_600_000
    max_concurrent_runs: int = 256
    foreground_slots: int = 32
    max_attempts: int = 5
    interrupt_grace_ms: int = 2_000
    unattended_seconds: float = 10.0
    release_seconds: float = 5.0
    batch: int = 100
