"""The mailbox's numbers, with the defaults of the design (dispatch.md, section 6)."""

from __future__ import annotations

from typing import Final

from awaken.domain.care import Kept
from awaken.domain.record import Record
from awaken.leftovers import CANCEL_GRACE_SECONDS

DAY_MS: Final = 24 * 3_600_000


class MailboxConfig(Record):
    """Times in ms or seconds as named; counts per process.

    `foreground_slots` of the `max_concurrent_runs` are kept for runs a client waits for.
    `interrupt_grace_ms` is how long a superseded claim may take to settle. A stop waits
    `cancel_grace_seconds` for code that does not end, and a drain `release_seconds` more for what
        is settled then. What has a retention of 0 is kept for ever.
    """

    lease_ms: int = 30_000
    renewal_ms: int = 10_000
    sweep_ms: int = 5_000
    gc_ms: int = 60_000
    poll_ms: int = 1_000
    finished_retention_ms: int = DAY_MS
    dead_letter_retention_ms: int = 30 * DAY_MS
    ticket_retention_ms: int = 30 * DAY_MS
    event_retention_ms: int = 30 * DAY_MS
    run_retention_ms: int = 90 * DAY_MS
    max_concurrent_runs: int = 256
    foreground_slots: int = 32
    max_queued: int = 10_000
    max_queued_per_thread: int = 1_000
    max_attempts: int = 5
    interrupt_grace_ms: int = 2_000
    cancel_grace_seconds: float = CANCEL_GRACE_SECONDS
    unattended_seconds: float = 10.0
    release_seconds: float = 5.0
    batch: int = 100

    @property
    def kept(self) -> dict[Kept, int]:
        """How long each kind is kept, ms; 0 is for ever."""
        return {
            Kept.finished_dispatches: self.finished_retention_ms,
            Kept.dead_letters: self.dead_letter_retention_ms,
            Kept.closed_tickets: self.ticket_retention_ms,
            Kept.logs: self.event_retention_ms,
            Kept.runs: self.run_retention_ms,
        }
