"""Notes: small records that are kept until a time and then forgotten.

What must be remembered for a while and belongs to no run: the answer to a request that may be
repeated, and a stop that came before what it stops.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from awaken.domain.record import Record


class NoteKind(StrEnum):
    """What a note is about.

    idempotency: a submission that was accepted, under the key its client gave it.
    early_stop: a stop of a message that has not come yet.
    """

    idempotency = "idempotency"
    early_stop = "early_stop"


class Note(Record):
    """Kept under (tenant, kind, key) until `expires_at` (ms); the same key again replaces it."""

    tenant: str
    kind: NoteKind
    key: str
    expires_at: int
    data: dict[str, Any] = {}
