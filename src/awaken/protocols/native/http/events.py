"""Pages of the event log."""

from __future__ import annotations

from awaken.domain.event import Entry
from awaken.protocols.native import encode, wire
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.params import EventsQuery
from awaken.protocols.native.http.services import Services

SEGMENTS_AT_ONCE = 64


async def event_page(
    services: Services, caller: Caller, thread_id: str, run_id: str | None, query: EventsQuery
) -> wire.EventPage:
    """Entries after `query.after` or the cursor, of one run if it is given."""
    filters = ("events", thread_id, run_id)
    key = cursors.unseal(query.cursor, *filters)
    after = query.after if key is None else int(key)
    found = await _entries(services, caller.tenant, thread_id, run_id, after, query.limit + 1)
    shown = found[: query.limit]
    more = len(found) > len(shown)
    return wire.EventPage(
        items=[wire.LogEntry(**encode.view(entry)) for entry in shown],
        next_cursor=cursors.seal(str(shown[-1].seq), *filters) if more else None,
        has_more=more,
    )


async def _entries(
    services: Services, tenant: str, thread_id: str, run_id: str | None, after: int, count: int
) -> list[Entry]:
    """The first `count` entries for clients after `after`."""
    found: list[Entry] = []
    while len(found) < count:
        segments = await services.store.segments(tenant, thread_id, after, SEGMENTS_AT_ONCE, run_id)
        for segment in segments:
            found += [
                entry
                for entry in segment.entries()
                if entry.seq > after and encode.is_told(entry.event)
            ]
        if len(segments) < SEGMENTS_AT_ONCE:
            break
        after = segments[-1].last_seq
    return found[:count]
