"""The outbox: who sends a message takes it first, so that two senders do not send it at once."""

from __future__ import annotations

from awaken.domain.outgoing import Outgoing, failed, taken
from awaken.ports.store import Transaction


async def take(tx: Transaction, tenant: str, message_id: str) -> Outgoing | None:
    """Take a message that is due, for as long as its lease; None when it is not.

    One that was given up is forgotten when it is due.
    """
    found = await tx.outgoing(tenant, message_id)
    if found is None or found.due_at > tx.now:
        return None
    if found.given_up:
        tx.delete_outgoing(tenant, message_id)
        return None
    mine = taken(found, tx.now)
    tx.put_outgoing(mine)
    return mine


async def settle(
    tx: Transaction, mine: Outgoing, error: str | None, jitter: float
) -> Outgoing | None:
    """Record what came of sending; the message as it is then, None when it is gone.

    What was delivered is gone, whoever sent it. A failure counts only for the latest who took it.
    """
    found = await tx.outgoing(mine.tenant, mine.message_id)
    if error is None:
        tx.delete_outgoing(mine.tenant, mine.message_id)
        return None
    if found is None or found.attempts != mine.attempts:
        return found
    later = failed(found, error, tx.now, jitter)
    tx.put_outgoing(later)
    return later
