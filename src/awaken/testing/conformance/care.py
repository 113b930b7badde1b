"""Cases: purging, compaction and the readiness check."""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.care import Kept
from awaken.domain.dispatch import Finished, How
from awaken.domain.event import LogItem, TextDelta
from awaken.domain.run import RunStatus
from awaken.ports.store import Store
from awaken.testing.conformance._records import (
    RUN,
    THREAD,
    A,
    B,
    PassTime,
    claim_of,
    dispatch_of,
    grow,
    queued,
    run_of,
    save,
    save_dispatches,
)


async def finished_dispatches_are_purged_by_age(store: Store, _: PassTime) -> None:
    """Dead letters have a time of their own, and what is not finished stays whatever its age."""
    kept = ("acked-9", "cancelled-9", "superseded-9", "dead_letter-5", "dead_letter-9")
    for how in How:
        for at in (1, 5, 9):
            body = Finished(how=how, finished_at=at)
            await save_dispatches(store, dispatch_of(f"{how.value}-{at}", body))
    await save_dispatches(store, queued("queued"), dispatch_of("claimed", claim_of(1)))
    assert await store.purge(Kept.finished_dispatches, before=9, limit=100) == 6
    assert await store.purge(Kept.dead_letters, before=5, limit=100) == 1
    left = await store.dispatches(A, THREAD, 100, None)
    assert sorted(d.dispatch_id for d in left.items) == sorted((*kept, "queued", "claimed"))
    counts = await store.counts()
    assert (counts.acked, counts.dead_letter, counts.queued, counts.claimed) == (1, 2, 1, 1)
    assert await store.purge(Kept.finished_dispatches, before=9, limit=100) == 0
    assert await store.purge(Kept.dead_letters, before=5, limit=100) == 0


async def a_purge_deletes_no_more_than_it_may(store: Store, _: PassTime) -> None:
    """`limit` holds over tenants and states, above the size of a slice too."""
    body = Finished(how=How.acked, finished_at=1)
    other = Finished(how=How.superseded, finished_at=1)
    many = [dispatch_of(f"d-{n}", body, tenant=A if n % 2 else B) for n in range(1200)]
    await save_dispatches(store, *many, *(dispatch_of(f"x-{n}", other) for n in range(50)))
    assert await store.purge(Kept.finished_dispatches, before=2, limit=7) == 7
    assert await store.purge(Kept.finished_dispatches, before=2, limit=1100) == 1100
    assert await store.purge(Kept.finished_dispatches, before=2, limit=1100) == 143


async def done_runs_can_be_compacted_once(store: Store, _: PassTime) -> None:
    """`compactable` has done runs that finished before a time, oldest first, until they are."""
    runs = [run_of(f"run-{n}", status=RunStatus.done, finished_at=9 - n) for n in range(4)]
    unfinished = run_of("unfinished", status=RunStatus.running)
    await save(store, *(lambda tx, r=r: tx.put_run(r) for r in (*runs, unfinished)))
    assert await store.compactable(done_before=9, limit=10) == runs[:0:-1]
    assert await store.compactable(done_before=9, limit=2) == [runs[3], runs[2]]
    segment = await grow(store, run_id="run-3")
    await store.compact(A, "run-3", [segment])
    await save(store, lambda tx: tx.put_run(replace(runs[3], steps=7)))
    assert await store.compactable(done_before=9, limit=10) == [runs[2], runs[1]]


async def compaction_keeps_the_first_and_last_numbers(store: Store, _: PassTime) -> None:
    """A run's segments are replaced by the given ones; those of other runs stay as they are."""
    await save(store, lambda tx: tx.put_run(run_of(status=RunStatus.done, finished_at=1)))
    delta = TextDelta(delta="x")
    old = [await grow(store, events=(delta, delta)) for _ in range(2)]
    other = await grow(store, run_id="run-2")
    last = await grow(store, events=(delta,))
    items = (LogItem(seq=4, event=TextDelta(delta="xxxx"), first=1),)
    merged = replace(old[0], last_seq=4, items=items)
    await store.compact(A, RUN, [merged, last])
    assert await store.segments(A, THREAD, 0, 10) == [merged, other, last]
    assert await store.segments(A, THREAD, 3, 10, RUN) == [merged, last]
    assert await store.segments(A, THREAD, 4, 10, RUN) == [last]
    assert await store.heads([(A, THREAD)]) == {(A, THREAD): 6}


async def a_long_log_is_compacted_whole(store: Store, _: PassTime) -> None:
    """However long a run's log is, nothing is left of the old segments, and nothing is missing."""
    await save(store, lambda tx: tx.put_run(run_of(status=RunStatus.done, finished_at=1)))
    events = (TextDelta(delta="x"),) * 100
    old = [await grow(store, events=events) for _ in range(60)]
    new = [
        replace(first, last_seq=last.last_seq, items=(*first.items, *last.items))
        for first, last in zip(old[::2], old[1::2], strict=True)
    ]
    await store.compact(A, RUN, new)
    assert await store.segments(A, THREAD, 0, 100, RUN) == new
    assert await store.compactable(done_before=9, limit=10) == []


async def an_empty_log_can_be_compacted(store: Store, _: PassTime) -> None:
    """A run that wrote nothing is compacted by nothing, and not found again."""
    await save(store, lambda tx: tx.put_run(run_of(status=RunStatus.done, finished_at=1)))
    await store.compact(A, RUN, [])
    assert await store.compactable(done_before=9, limit=10) == []


async def the_check_passes(store: Store, _: PassTime) -> None:
    """`check` goes through, more than once, and leaves nothing that others see."""
    await store.check()
    await store.check()
    assert await store.next_due_at() is None


CASES = (
    finished_dispatches_are_purged_by_age,
    a_purge_deletes_no_more_than_it_may,
    done_runs_can_be_compacted_once,
    compaction_keeps_the_first_and_last_numbers,
    a_long_log_is_compacted_whole,
    an_empty_log_can_be_compacted,
    the_check_passes,
)
