"""A claim is a value.

Whoever holds one may write for its run, and what needs ownership takes one.
"""

from __future__ import annotations

from awaken.domain.dispatch import CancelRequest, Claimed, Dispatch, Refusal
from awaken.domain.record import Record
from awaken.domain.thread import ThreadHead


class Claim(Record):
    """What a worker got when it claimed a dispatch.

    `claim_token` is the id of the attempt: the fence of everything it writes (I2). `attempt` counts
    failures before this one. `retry_reason` is set when the attempt follows another of the same
    activation. `lease_until` is on the store's clock; the holder measures its own deadline from the
    moment it asked. `turn` tells the settles of one claim apart (see `Claimed.turn`).
    """

    tenant: str
    thread_id: str
    run_id: str
    dispatch_id: str
    claim_token: str
    worker_id: str
    attempt: int
    lease_ms: int
    lease_until: int
    claimed_at: int
    eligible_at: int
    enqueued_at: int
    foreground: bool
    retry_reason: str | None = None
    batch_no: int = 0
    turn: int = 0

    @property
    def log_ids(self) -> dict[str, str]:
        """What a log line about this claim names."""
        return {
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "dispatch_id": self.dispatch_id,
            "attempt_id": self.claim_token,
        }


class Renewal(Record):
    """The answer to one renewal: the new end of the lease, or why there is none."""

    claim_token: str
    lease_until: int | None = None
    refused: str | None = None
    cancel_request: CancelRequest | None = None
    superseded_by: str | None = None


def holds(dispatch: Dispatch | None, head: ThreadHead, claim_token: str) -> Refusal | None:
    """None when the claim may write for its run (I2), else why not: the fence of every append."""
    if dispatch is None:
        return Refusal.gone
    if not isinstance(dispatch.body, Claimed):
        return Refusal.lease_lost
    if dispatch.body.claim_token != claim_token:
        return Refusal.not_the_owner
    return Refusal.superseded if dispatch.epoch < head.epoch else None
