"""Webhooks that are to be sent: what others are told, and when it is tried again.

An outgoing message is written in the commit that makes it true and deleted when its receiver has
answered. Between the two it is sent again and again, under the same id: at least once.

    due --take--> due again after a lease, with an attempt more --sent--> gone
                                                                --failed--> due later, or given up
    given up --its time is over--> gone
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from awaken.domain.event import Event, RunFinish, Segment, TicketOpened
from awaken.domain.ids import derived_id
from awaken.domain.record import Record
from awaken.domain.termination import SuspendedEnd

LEASE_MS: Final = 60_000
"""How long who took a message has to send it, before another may."""
FIRST_DELAY_MS: Final = 60_000
LAST_DELAY_MS: Final = 24 * 3_600_000
MAX_ATTEMPTS: Final = 14
"""One minute, two, four …: the last is sent about three days after the first."""
GIVEN_UP_KEPT_MS: Final = 30 * 24 * 3_600_000


class Outgoing(Record):
    """A message for the receiver of webhooks.

    `data` holds ids and a status, never what was said or called. `due_at` is when it is sent next,
    or, once it was given up, forgotten. `last_error` is a code.
    """

    tenant: str
    message_id: str
    type: str
    at: int
    due_at: int
    data: dict[str, Any]
    attempts: int = 0
    given_up: bool = False
    last_error: str | None = None


def announced(segment: Segment) -> Iterator[Outgoing]:
    """What a segment of the log holds that others are told."""
    for entry in segment.entries():
        told = _told(entry.event)
        if told is None or segment.run_id is None:
            continue
        kind, data = told
        yield Outgoing(
            tenant=segment.tenant,
            message_id=derived_id(segment.run_id, "webhook", str(entry.seq)),
            type=kind,
            at=segment.at,
            due_at=segment.at,
            data={
                "tenant": segment.tenant,
                "thread_id": segment.thread_id,
                "run_id": segment.run_id,
                "seq": entry.seq,
                **data,
            },
        )


def _told(event: Event) -> tuple[str, dict[str, Any]] | None:
    match event:
        case TicketOpened(ticket=ticket):
            return "ticket.opened", {
                "ticket_id": ticket.ticket_id,
                "tool_call_id": ticket.tool_call_id,
                "tool_name": ticket.tool_name,
                "reason": ticket.reason.value,
                "expires_at": ticket.expires_at,
            }
        case RunFinish(termination=SuspendedEnd()):
            return None
        case RunFinish(termination=termination):
            return "run.finished", {"status": str(termination.__struct_config__.tag)}
        case _:
            return None


def taken(outgoing: Outgoing, now: int) -> Outgoing:
    """For who sends it now."""
    return replace(outgoing, attempts=outgoing.attempts + 1, due_at=now + LEASE_MS)


def failed(outgoing: Outgoing, error: str, now: int, jitter: float) -> Outgoing:
    """Tried later, or given up; `jitter` is a number in [½, 1)."""
    if outgoing.attempts >= MAX_ATTEMPTS:
        return replace(outgoing, given_up=True, last_error=error, due_at=now + GIVEN_UP_KEPT_MS)
    return replace(outgoing, last_error=error, due_at=now + delay_ms(outgoing.attempts, jitter))


def delay_ms(attempts: int, jitter: float) -> int:
    """How long to wait after that many attempts, 1 or more."""
    whole: int = min(FIRST_DELAY_MS * 2 ** (attempts - 1), LAST_DELAY_MS)
    return round(jitter * whole)
