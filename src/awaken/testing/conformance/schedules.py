"""What schedules need of a store."""

from __future__ import annotations

from typing import Any

from awaken.domain.schedule import Schedule
from awaken.ports.store import Store, Transaction
from awaken.testing.conformance._records import A, B, PassTime, message_of, now_of, save


def _schedule_of(schedule_id: str = "s", tenant: str = A, **fields: Any) -> Schedule:
    given = {
        "cron": "0 9 * * *",
        "agent_id": "agent-1",
        "messages": (message_of("0"),),
        "created_by": "ada",
        "created_at": 1,
        "updated_at": 1,
        **fields,
    }
    return Schedule(tenant=tenant, schedule_id=schedule_id, **given)


async def a_schedule_is_kept_by_tenant_and_id(store: Store, _: PassTime) -> None:
    """It is read as it was written, by operations too; putting it again replaces it."""
    mine = _schedule_of(thread_id="t", next_at=5, metadata={"n": 1}, enabled=True)
    theirs = _schedule_of(tenant=B, cron="1 1 * * *")
    await save(store, lambda tx: tx.put_schedule(mine), lambda tx: tx.put_schedule(theirs))
    assert await store.schedule(A, "s") == mine
    assert await store.schedule(B, "s") == theirs
    assert await store.schedule(A, "other") is None
    changed = _schedule_of(next_at=None, enabled=False, last_at=5, last_run_id="r")

    async def replace_it(tx: Transaction) -> Schedule | None:
        assert await tx.schedule(A, "s") == mine
        tx.put_schedule(changed)
        return await tx.schedule(A, "s")

    assert await store.transact(replace_it) == changed
    assert await store.schedule(A, "s") == changed


async def schedules_are_due_by_their_next_time(store: Store, _: PassTime) -> None:
    """Of all tenants, earliest first, no more than asked for; a time that has just come counts."""
    now = await now_of(store)
    given = [
        _schedule_of("late", next_at=now - 10),
        _schedule_of("later", B, next_at=now - 20),
        _schedule_of("now", next_at=now),
        _schedule_of("soon", next_at=now + 1_000_000),
        _schedule_of("never"),
    ]
    await save(store, *(lambda tx, s=s: tx.put_schedule(s) for s in given))
    assert await store.due_schedules(10) == [(B, "later"), (A, "late"), (A, "now")]
    assert await store.due_schedules(1) == [(B, "later")]
    assert await store.next_due_at() == now - 20


async def the_next_tick_is_a_due_time(store: Store, pass_time: PassTime) -> None:
    """`next_due_at` knows of it, and it is due when that time has come."""
    at = await now_of(store) + 200
    await save(store, lambda tx: tx.put_schedule(_schedule_of(next_at=at)))
    assert await store.next_due_at() == at
    assert await store.due_schedules(10) == []
    await pass_time(300)
    assert await store.due_schedules(10) == [(A, "s")]


async def schedules_are_listed_newest_first(store: Store, _: PassTime) -> None:
    """By created_at, then id, in pages, of one tenant."""
    given = [_schedule_of(f"s{n}", created_at=1 + n // 2) for n in range(5)]
    await save(store, *(lambda tx, s=s: tx.put_schedule(s) for s in given))
    await save(store, lambda tx: tx.put_schedule(_schedule_of("other", B)))
    found: list[str] = []
    key: str | None = None
    for _round in range(5):
        page = await store.schedules(A, 2, key)
        found += [schedule.schedule_id for schedule in page.items]
        key = page.next_key
        if key is None:
            break
    assert found == ["s4", "s3", "s2", "s1", "s0"]


async def a_schedule_can_be_deleted_once(store: Store, _: PassTime) -> None:
    """Whether there was one is told; that of another tenant stays."""
    mine, theirs = _schedule_of(next_at=1), _schedule_of(tenant=B, next_at=1)
    await save(store, lambda tx: tx.put_schedule(mine), lambda tx: tx.put_schedule(theirs))

    async def delete(tx: Transaction) -> bool:
        return await tx.delete_schedule(A, "s")

    assert await store.transact(delete) is True
    assert await store.transact(delete) is False
    assert await store.schedule(A, "s") is None
    assert await store.due_schedules(10) == [(B, "s")]


async def a_buried_schedule_is_due_no_more(store: Store, _: PassTime) -> None:
    """Its record stays as it is."""
    schedule = _schedule_of(next_at=1)
    await save(store, lambda tx: tx.put_schedule(schedule))
    await save(store, lambda tx: tx.bury_schedule(A, "s"))
    assert await store.due_schedules(10) == []
    assert await store.schedule(A, "s") == schedule


CASES = (
    a_schedule_is_kept_by_tenant_and_id,
    schedules_are_due_by_their_next_time,
    the_next_tick_is_a_due_time,
    schedules_are_listed_newest_first,
    a_schedule_can_be_deleted_once,
    a_buried_schedule_is_due_no_more,
)
