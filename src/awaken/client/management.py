"""The routes for whoever looks after a server: lists, dead letters, exports, deletions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal
from urllib.parse import quote

from awaken.client.answers import (
    Accepted,
    DeadLetter,
    Examination,
    Explanation,
    Run,
    SystemInfo,
    Thread,
    Ticket,
)
from awaken.client.http import Http, streamed

_PAGE: Final = 200

Children = Literal["detach", "reject", "cascade"]


class Management:
    """The part of `Client` that manages what is there. All methods raise `ClientError`."""

    _http: Http

    # --- runs and threads

    async def runs(
        self,
        *,
        status: str | None = None,
        agent_id: str | None = None,
        thread_id: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, newest first."""
        where = {"status": status, "agent_id": agent_id, "thread_id": thread_id}
        return await self._all("/v1/runs", where, limit)

    async def explain(self, run_id: str) -> Explanation:
        """Why a run is where it is, and what happens next."""
        told: Explanation = await self._http.json("GET", f"/v1/runs/{segment(run_id)}/explain")
        return told

    async def retry_run(self, run_id: str) -> Accepted:
        """A failed run again, as a new run with `retry_of`; asking twice gives the same one."""
        path = f"/v1/runs/{segment(run_id)}/retry"
        accepted: Accepted = await self._http.json("POST", path)
        return accepted

    async def threads(
        self, *, resource_id: str | None = None, limit: int | None = None
    ) -> list[Thread]:
        """Threads, latest change first."""
        return await self._all("/v1/threads", {"resource_id": resource_id}, limit)

    async def pending(self, thread_id: str) -> dict[str, Any]:
        """The messages of a thread that wait to be read: `revision`, and `items` in order."""
        path = f"/v1/threads/{segment(thread_id)}/pending"
        queue: dict[str, Any] = await self._http.json("GET", path)
        return queue

    async def schedules(self) -> list[dict[str, Any]]:
        """All schedules."""
        return await self._all("/v1/schedules", {}, None)

    async def trigger_schedule(self, schedule_id: str) -> Accepted:
        """Submit the messages of a schedule now, besides its ticks."""
        path = f"/v1/schedules/{segment(schedule_id)}/trigger"
        accepted: Accepted = await self._http.json("POST", path)
        return accepted

    async def change_schedule(self, schedule_id: str, **changes: Any) -> dict[str, Any]:
        """Change fields of a schedule, as `PATCH /v1/schedules/{id}` names them."""
        path = f"/v1/schedules/{segment(schedule_id)}"
        changed: dict[str, Any] = await self._http.json("PATCH", path, body=changes)
        return changed

    async def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule; its runs stay."""
        await self._http.json("DELETE", f"/v1/schedules/{segment(schedule_id)}")

    async def thread(self, thread_id: str) -> Thread:
        """A thread, without its messages."""
        thread: Thread = await self._http.json("GET", f"/v1/threads/{segment(thread_id)}")
        return thread

    async def cancel_thread(self, thread_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Stop what runs, waits and is queued in a thread: `status`, `superseded_dispatches`."""
        body = {} if reason is None else {"reason": reason}
        path = f"/v1/threads/{segment(thread_id)}/cancel"
        stopped: dict[str, Any] = await self._http.json("POST", path, body=body)
        return stopped

    async def delete_thread(
        self, thread_id: str, *, children: Children | None = None
    ) -> dict[str, Any]:
        """Delete a thread: `deleted` counts what went. `children`: what becomes of those below."""
        path = f"/v1/threads/{segment(thread_id)}"
        return await self._http.json("DELETE", path, params={"children": children}) or {}

    @asynccontextmanager
    async def export_thread(self, thread_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """All that is held of a thread, JSON lines in pieces; the last line has the type `end`."""
        path = f"/v1/threads/{segment(thread_id)}/export"
        async with streamed(self._http, path) as pieces:
            yield pieces

    # --- tickets and dead letters

    async def ticket(self, ticket_id: str) -> Ticket:
        """A ticket, open or closed."""
        ticket: Ticket = await self._http.json("GET", f"/v1/tickets/{segment(ticket_id)}")
        return ticket

    async def dead_letters(self, *, limit: int | None = None) -> list[DeadLetter]:
        """Dispatches that were given up, latest first."""
        return await self._all("/v1/mailbox/dead-letters", {}, limit)

    async def requeue(self, dispatch_id: str) -> Accepted:
        """The run of a dead letter once more, as a new run; asking twice gives the same one."""
        path = f"/v1/mailbox/dead-letters/{segment(dispatch_id)}/requeue"
        accepted: Accepted = await self._http.json("POST", path)
        return accepted

    async def discard(self, dispatch_id: str) -> dict[str, Any]:
        """Forget a dead letter: `dispatch_id`, `discarded`."""
        path = f"/v1/mailbox/dead-letters/{segment(dispatch_id)}/discard"
        discarded: dict[str, Any] = await self._http.json("POST", path)
        return discarded

    # --- resources, and the server

    @asynccontextmanager
    async def export_resource(self, resource_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """All that is held of the threads of a resource, likewise."""
        path = f"/v1/resources/{segment(resource_id)}/export"
        async with streamed(self._http, path) as pieces:
            yield pieces

    async def delete_resource(self, resource_id: str) -> dict[str, Any]:
        """Delete all threads of a resource and those below them: `deleted` counts what went."""
        return await self._http.json("DELETE", f"/v1/resources/{segment(resource_id)}") or {}

    async def system_info(self) -> SystemInfo:
        """What is running, since when."""
        info: SystemInfo = await self._http.json("GET", "/v1/system/info")
        return info

    async def examine(self) -> Examination:
        """What the server finds wrong with itself."""
        examination: Examination = await self._http.json("GET", "/v1/system/doctor")
        return examination

    # --- how

    async def _all(self, path: str, where: Mapping[str, Any], limit: int | None) -> list[Any]:
        """The items of all pages of a list, at most `limit`."""
        found: list[Any] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = await self._http.json(
                "GET", path, params={**where, "limit": size, "cursor": cursor}
            )
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found


def segment(identifier: str) -> str:
    """An id as one segment of a path."""
    return quote(identifier, safe="")
