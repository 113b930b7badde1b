"""Everything that is held of a thread, piece by piece: never more than one page in memory.

Pages are read one after another, so what happens meanwhile may be in some of them and not in
others. The last line has the type `end`: an export without it is not whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from awaken.domain.run import Run
from awaken.domain.thread import Thread
from awaken.errors import not_found
from awaken.ports.store import MessageFilter, Page, RunFilter, Store, TicketFilter
from awaken.protocols.native import encode, views
from awaken.protocols.native.http.services import Services

PAGE: Final = 100
SEGMENTS: Final = 32
EVERYTHING: Final = MessageFilter(visibility="everything")

Item = tuple[str, dict[str, Any]]
"""What kind of thing it is, and the thing."""


async def json_lines(items: AsyncIterator[Item]) -> AsyncIterator[bytes]:
    """`items` as lines, and one more that says that this was all."""
    count = 0
    async for kind, data in items:
        count += 1
        yield _line(kind, data)
    yield _line("end", {"items": count})


def _line(kind: str, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "data": data}) + b"\n"


async def of_resource(services: Services, tenant: str, resource_id: str) -> AsyncIterator[Item]:
    """The items of all threads of a resource and of those below them.

    Raises:
        RequestError: `resource_not_found`: it has no thread.
    """
    threads = services.mailbox.keeper.threads_of_resource(tenant, resource_id)
    first = await anext(threads, None)
    if first is None:
        raise not_found("resource", resource_id)

    async def items() -> AsyncIterator[Item]:
        async for item in of_thread(services.store, first):
            yield item
        async for thread in threads:
            async for item in of_thread(services.store, thread):
                yield item

    return items()


async def of_thread(store: Store, thread: Thread) -> AsyncIterator[Item]:
    """The thread with its state, its runs, dispatches, tickets, messages, pending ones, events."""
    tenant, thread_id = thread.tenant, thread.thread_id
    yield "thread", {**views.thread(thread).model_dump(), "state": thread.state}
    of_thread = RunFilter(thread_id=thread_id)
    async for run in _all(lambda key: store.runs(tenant, of_thread, PAGE, key)):
        yield "run", _run(run)
    async for dispatch in _all(lambda key: store.dispatches(tenant, thread_id, PAGE, key)):
        yield "dispatch", views.dispatch(dispatch).model_dump()
    tickets = TicketFilter(thread_id=thread_id)
    async for ticket in _all(lambda key: store.tickets(tenant, tickets, PAGE, key)):
        yield "ticket", views.ticket(ticket).model_dump()
    async for message in _all(lambda key: store.messages(tenant, thread_id, EVERYTHING, PAGE, key)):
        yield "message", views.message(message).model_dump()
    for entry in await store.pending_entries(tenant, thread_id):
        yield "pending", _without_tenant(entry)
    async for event in _events(store, tenant, thread_id):
        yield "event", event


def _run(run: Run) -> dict[str, Any]:
    """The run, with its state and its open step; what went wrong inside is not told (I11)."""
    told = views.run(replace(run, waiting=None), []).model_dump()
    waiting = None if run.waiting is None else msgspec.to_builtins(run.waiting)
    plan = None if run.plan is None else msgspec.to_builtins(run.plan)
    return {**told, "waiting": waiting, "state": run.state, "plan": plan}


def _without_tenant(record: msgspec.Struct) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(record)
    told.pop("tenant", None)
    return told


async def _events(store: Store, tenant: str, thread_id: str) -> AsyncIterator[dict[str, Any]]:
    after = 0
    while segments := await store.segments(tenant, thread_id, after, SEGMENTS):
        for segment in segments:
            for entry in segment.entries():
                if encode.is_told(entry.event):
                    yield encode.view(entry)
        after = segments[-1].last_seq


async def _all(page_after: Callable[[str | None], Awaitable[Page]]) -> AsyncIterator[Any]:
    key: str | None = None
    while True:
        page = await page_after(key)
        for item in page.items:
            yield item
        key = page.next_key
        if key is None:
            return
