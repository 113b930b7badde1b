"""What a store does for messages to others; a part of `ports/store.py`."""

from __future__ import annotations

from typing import Protocol

from awaken.domain.outgoing import Outgoing


class OutboxRows(Protocol):
    """The part of a transaction. Who takes a message takes no thread's head."""

    async def outgoing(self, tenant: str, message_id: str) -> Outgoing | None:
        """The message, taken exclusively until the operation ends."""
        ...

    def put_outgoing(self, outgoing: Outgoing) -> None:
        """Insert or replace."""
        ...

    def delete_outgoing(self, tenant: str, message_id: str) -> None:
        """Delete the message, if there is one."""
        ...


class OutboxOfStore(Protocol):
    """The part of a store."""

    async def due_outgoing(self, limit: int) -> list[tuple[str, str]]:
        """(tenant, id) of messages with `due_at ≤ now`, of all tenants, earliest first."""
        ...

    async def next_outgoing_at(self) -> int | None:
        """The earliest `due_at` (ms), or None when there is no message."""
        ...

    async def outgoing_counts(self, limit: int) -> tuple[int, int]:
        """How many messages wait, and how many were given up; each counted to `limit`."""
        ...
