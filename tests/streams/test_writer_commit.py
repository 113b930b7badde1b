from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from awaken.domain.claim import Claim
from awaken.domain.dispatch import (
    Refusal,
)
from awaken.domain.event import Event, StepEnd, TextDelta
from awaken.domain.log import extend
from awaken.errors import StoreFault
from awaken.ports.events import ClaimLost, Unwritten
from awaken.ports.store import Transaction, operation
from awaken.streams.writer import (
    LogWriter,
    append_batch,
    open_writer,
)
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault, FaultyStore
from tests.streams.support import (
    ProbedStore,
    batch_no,
    emit_all,
    gathering,
    let_time_pass,
    logged,
    text,
    texts,
    wait_until,
)

FLUSH = 0.025


def with_more(
    claim: Claim, more: Event
) -> Callable[[Unwritten], Callable[[Transaction], Awaitable[Refusal | None]]]:
    """A commit of `more` behind what is unwritten; it is answered from the record, like any."""
    return lambda unwritten: operation(_commit, claim, unwritten, more)


async def _commit(
    tx: Transaction, claim: Claim, unwritten: Unwritten, more: Event
) -> Refusal | None:
    if unwritten.events:
        return await append_batch(tx, claim, unwritten.batch_no, (*unwritten.events, more))
    written = await tx.segments_of(claim.tenant, claim.run_id, 0)
    if more not in [item.event for segment in written for item in segment.items]:
        head = await tx.head(claim.tenant, claim.thread_id)
        assert head is not None
        head, segment = extend(head, claim.run_id, [more], tx.now)
        tx.put_head(head)
        tx.append(segment)
    return None


async def test_a_commit_takes_what_is_unwritten_and_does_not_wait_for_the_gathering(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        await emit_all(writer, texts(2, 3))
        assert await writer.commit(with_more(claim, StepEnd())) is None
        assert await logged(store) == [*texts(1, 2, 3), StepEnd()]
        await writer.emit(text(4))
        clock.advance(FLUSH)
        await gathering(clock)
        unwritten = await writer.hand_over()
    assert [*await logged(store), *unwritten.events] == [*texts(1, 2, 3), StepEnd(), text(4)]
    assert await batch_no(store, claim) == unwritten.batch_no - 1


async def test_a_commit_without_anything_unwritten_uses_up_no_number(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    seen: list[Unwritten] = []

    def make(unwritten: Unwritten) -> Callable[[Transaction], Awaitable[None]]:
        seen.append(unwritten)
        return operation(_nothing)

    async with open_writer(store, clock)(claim) as writer:
        await writer.commit(make)
        await writer.commit(make)
        unwritten = await writer.hand_over()
    assert seen == [Unwritten(batch_no=1, events=())] * 2
    assert unwritten.batch_no == 1


async def _nothing(tx: Transaction) -> None:
    pass


async def test_commits_of_several_tasks_and_what_they_emit_keep_the_order_of_each(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async def work(writer: LogWriter, start: int) -> None:
        for number in range(start, start + 30, 3):
            await emit_all(writer, texts(number, number + 1))
            await writer.commit(with_more(claim, text(number + 2)))

    async with open_writer(store, clock)(claim) as writer:
        async with anyio.create_task_group() as tasks:
            for start in (0, 100, 200):
                tasks.start_soon(work, writer, start)
        unwritten = await writer.hand_over()
    written = [*await logged(store), *unwritten.events]
    numbers = [int(event.delta) for event in written if isinstance(event, TextDelta)]
    for start in (0, 100, 200):
        own = range(start, start + 30)
        assert [number for number in numbers if number in own] == list(own)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("nth", range(1, 4))
async def test_a_commit_that_fails_is_repeated_and_nothing_is_doubled(
    store: ProbedStore, clock: FakeClock, claim: Claim, fault: Fault, nth: int
) -> None:
    faulty = FaultyStore(store, fault, nth=nth)
    async with open_writer(faulty, clock)(claim) as writer, anyio.create_task_group() as tasks:
        tasks.start_soon(let_time_pass, clock)
        for number in (1, 3, 5):
            await writer.emit(text(number))
            assert await writer.commit(with_more(claim, text(number + 1))) is None
        unwritten = await writer.hand_over()
        tasks.cancel_scope.cancel()
    assert [*await logged(store), *unwritten.events] == texts(1, 2, 3, 4, 5, 6)
    assert faulty.failed == 1


async def test_a_commit_that_was_begun_is_carried_out_even_if_its_caller_is_cancelled(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        await writer.emit(text(2))
        store.gate, writes = anyio.Event(), store.writes
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.commit, with_more(claim, StepEnd()))
            await wait_until(lambda: store.writes > writes)
            tasks.cancel_scope.cancel()
            await writer.emit(text(3))
            store.gate.set()
        unwritten = await writer.hand_over()
    assert await logged(store) == [*texts(1, 2), StepEnd()]
    assert (unwritten.batch_no, list(unwritten.events)) == (3, texts(3))


async def test_a_commit_that_finds_the_claim_gone_ends_the_writer(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async def refuse(tx: Transaction) -> None:
        raise ClaimLost(Refusal.superseded.value)

    async with open_writer(store, clock)(claim) as writer:
        with pytest.raises(ClaimLost, match="superseded"):
            await writer.commit(lambda _: refuse)
        for use in (writer.emit(text(1)), writer.commit(lambda _: refuse), writer.hand_over()):
            with pytest.raises(ClaimLost, match="superseded"):
                await use
    assert await logged(store) == []


async def test_a_commit_the_store_refuses_for_good_leaves_the_writer_as_it_was(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        await writer.emit(text(2))
        store.write_faults = ["for_good"]
        with pytest.raises(StoreFault):
            await writer.commit(with_more(claim, StepEnd()))
        await writer.emit(text(3))
        unwritten = await writer.hand_over()
    assert (unwritten.batch_no, list(unwritten.events)) == (2, texts(2, 3))


async def test_a_commit_in_doubt_is_asked_again_though_the_store_refuses_more_for_good(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer, anyio.create_task_group() as tasks:
        tasks.start_soon(let_time_pass, clock)
        store.write_faults = ["after", "for_good"]
        await writer.emit(text(1))
        await wait_until(lambda: not store.write_faults)
        unwritten = await writer.hand_over()
        tasks.cancel_scope.cancel()
    assert (unwritten.batch_no, unwritten.events) == (2, ())
    assert await logged(store) == texts(1)
