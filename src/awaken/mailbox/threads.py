"""Threads made and changed by their users; a run makes its thread by itself."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.event import ThreadChanged
from awaken.domain.record import Record
from awaken.domain.thread import Thread
from awaken.errors import Refusal, RequestError, not_found
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.store import Transaction

MAX_DEPTH = 64
"""How deep threads may be nested; also what ends the search for a cycle."""


class ThreadFields(Record):
    """What a user may say about a new thread."""

    title: str | None = None
    resource_id: str | None = None
    parent_thread_id: str | None = None
    custom: dict[str, Any] = {}


async def create_thread(
    tx: Transaction, tenant: str, thread_id: str, fields: ThreadFields
) -> Thread:
    """Make a thread; 409 `thread_exists` when there is one with that id."""
    if await tx.thread(tenant, thread_id) is not None:
        raise Refusal(
            "thread_exists",
            f"there is a thread {thread_id!r} already",
            details={"thread_id": thread_id},
        )
    await _check_parent(tx, tenant, thread_id, fields.parent_thread_id)
    thread = Thread(
        tenant=tenant,
        thread_id=thread_id,
        title=fields.title,
        resource_id=fields.resource_id,
        parent_thread_id=fields.parent_thread_id,
        custom=fields.custom,
        created_at=tx.now,
        updated_at=tx.now,
    )
    unit = await ThreadUnit.open_or_make(tx, tenant, thread_id)
    tx.put_thread(thread)
    await unit.save()
    return thread


async def update_thread(
    tx: Transaction, tenant: str, thread_id: str, changes: dict[str, Any]
) -> Thread:
    """Change `title`, `resource_id`, `parent_thread_id`.

    Merge `custom` (a key set to None goes).
    """
    unit = await ThreadUnit.open(tx, tenant, thread_id)
    thread = await tx.thread(tenant, thread_id)
    if unit is None or thread is None:
        raise not_found("thread", thread_id)
    if changes.get("parent_thread_id") is not None:
        await _check_parent(tx, tenant, thread_id, changes["parent_thread_id"])
    fields = dict(changes)
    if "custom" in fields:
        merged = {**thread.custom, **(fields["custom"] or {})}
        fields["custom"] = {key: value for key, value in merged.items() if value is not None}
    thread = replace(thread, **fields, updated_at=tx.now)
    tx.put_thread(thread)
    unit.emit(None, ThreadChanged(changes=changes))
    await unit.save()
    return thread


async def _check_parent(
    tx: Transaction, tenant: str, thread_id: str, parent_id: str | None
) -> None:
    """The parent exists and the thread does not become its own ancestor."""
    ancestor = parent_id
    for _ in range(MAX_DEPTH):
        if ancestor is None:
            return
        if ancestor == thread_id:
            raise _bad_parent("thread_cycle", "a thread cannot be its own ancestor")
        parent = await tx.thread(tenant, ancestor)
        if parent is None:
            raise _bad_parent("parent_thread_not_found", f"no thread with the id {ancestor!r}")
        ancestor = parent.parent_thread_id
    raise _bad_parent("thread_too_deep", f"threads nest at most {MAX_DEPTH} deep")


def _bad_parent(code: str, message: str) -> RequestError:
    return RequestError(code, message, status=422, details={"field": "parent_thread_id"})
