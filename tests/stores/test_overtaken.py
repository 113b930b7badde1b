"""A compaction that is under way while its log is deleted."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.domain.care import Deletion, Kept
from awaken.domain.event import TextDelta
from awaken.domain.run import RunStatus
from awaken.stores.sqlite import SqliteStore
from awaken.testing.conformance._records import (
    RUN,
    THREAD,
    A,
    grow,
    run_of,
    save,
    thread_of,
)

pytestmark = pytest.mark.anyio

EVENTS = (TextDelta(delta="x"),) * 100


@pytest.mark.parametrize("by", ["age", "deletion"])
@pytest.mark.parametrize("after", [1, 2])
async def test_a_log_that_is_deleted_while_it_is_compacted_stays_deleted(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, by: str, after: int
) -> None:
    """`after` says behind which of the commits of the compaction it is deleted."""
    await save(store, lambda tx: tx.put_thread(thread_of()))
    await save(store, lambda tx: tx.put_run(run_of(status=RunStatus.done, finished_at=1)))
    log = [await grow(store, events=EVENTS) for _ in range(60)]
    submit, calls = store._writer.submit, 0

    async def overtaken(operation: Any) -> Any:
        nonlocal calls
        answer = await submit(operation)
        calls += 1
        if calls == after:
            await delete()
        return answer

    async def delete() -> None:
        if by == "age":
            while await store.purge(Kept.logs, before=9, limit=1000):
                pass
        else:
            deletion = Deletion(tenant=A, thread_id=THREAD, begun_at=1)
            await save(store, lambda tx: tx.drop_thread(deletion))
            await store.transact(lambda tx: tx.erase(A, THREAD, 1000))

    monkeypatch.setattr(store._writer, "submit", overtaken)
    await store.compact(A, RUN, log)
    assert calls > after
    assert await store.segments(A, THREAD, 0, 9) == []
