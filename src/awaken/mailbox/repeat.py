"""Requests that come again: a submission under the key that its client gave it is made once.

The answer is noted in the commit that accepts it, and kept for a day; a refusal is not kept, so a
request that was refused may be tried again under its key.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain.claim import Claim
from awaken.domain.note import Note, NoteKind
from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.domain.submission import Accepted, IdempotencyKey, Submission
from awaken.errors import RequestError
from awaken.ports.store import Transaction

KEPT_MS: Final = 24 * 3_600_000


class Submitted(Record):
    """What was accepted, and the claim if it was claimed at once."""

    accepted: Accepted
    claim: Claim | None = None


async def repeated(tx: Transaction, sub: Submission) -> Submitted | None:
    """The answer to the request that had this key; None when there was none.

    Raises:
        RequestError: `idempotency_key_reused`, that request was another one.
    """
    given = sub.idempotency
    note = None
    if given is not None:
        note = await tx.note(sub.tenant, NoteKind.idempotency, _name(given))
    if given is None or note is None or note.expires_at <= tx.now:
        return None
    if note.data["fingerprint"] != given.fingerprint:
        raise RequestError(
            "idempotency_key_reused",
            "Idempotency-Key: was used for another request; choose a new one",
            status=422,
            details={"field": "Idempotency-Key"},
        )
    before = msgspec.convert(note.data["accepted"], Accepted)
    run = await tx.run(sub.tenant, before.run_id)
    return None if run is None else Submitted(accepted=replace(before, status=run.status))


def remember(tx: Transaction, sub: Submission, accepted: Accepted) -> None:
    """Note what the request came to, if it has a key."""
    given = sub.idempotency
    if given is None:
        return
    note = Note(
        tenant=sub.tenant,
        kind=NoteKind.idempotency,
        key=_name(given),
        expires_at=tx.now + KEPT_MS,
        data={"fingerprint": given.fingerprint, "accepted": msgspec.to_builtins(accepted)},
    )
    tx.put_note(note)


def _name(given: IdempotencyKey) -> str:
    return f"{given.route}\n{given.key}"


async def describe(tx: Transaction, run: Run, dispatch_id: str) -> Accepted:
    """What was answered when the run was accepted, with its status as it is now."""
    segments = await tx.segments_of(run.tenant, run.run_id, 0)
    return Accepted(
        run_id=run.run_id,
        dispatch_id=dispatch_id,
        thread_id=run.thread_id,
        cursor=segments[0].first_seq - 1 if segments else 0,
        status=run.status,
    )
