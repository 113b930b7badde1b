from __future__ import annotations

import anyio
import pytest

from awaken.domain.claim import Claim
from awaken.domain.dispatch import (
    Ack,
    ClaimCommand,
    Command,
    ExpireCommand,
    Refusal,
    SettleCommand,
    SupersedeCommand,
)
from awaken.domain.event import StepEnd, TextDelta
from awaken.errors import StoreFault
from awaken.ports.events import ClaimLost
from awaken.ports.store import operation
from awaken.streams.hub import Hub
from awaken.streams.writer import (
    BATCH_BYTES,
    BATCH_EVENTS,
    MAX_BATCHES,
    LogWriter,
    append_batch,
    open_writer,
)
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault, FaultyStore
from tests.streams.support import (
    LEASE_MS,
    TENANT,
    THREAD,
    TOKEN,
    ProbedStore,
    append,
    batch_no,
    command,
    emit_all,
    gathering,
    let_time_pass,
    logged,
    text,
    texts,
    wait_until,
)

FLUSH = 0.025


# --- when it writes


async def test_the_first_event_of_a_quiet_stream_is_written_at_once_and_the_next_are_gathered(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        assert await logged(store) == texts(1)
        await emit_all(writer, texts(2, 3, 4))
        clock.advance(FLUSH - 0.001)
        assert await logged(store) == texts(1)
        clock.advance(0.001)
        await gathering(clock)
        assert await logged(store) == texts(1, 2, 3, 4)
    assert [s.last_seq for s in await store.segments(TENANT, THREAD, 0, 10)] == [1, 4]


async def test_a_slow_stream_costs_one_write_an_event(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        for number in range(5):
            await writer.emit(text(number))
            await gathering(clock)
            clock.advance(1)
    assert len(await store.segments(TENANT, THREAD, 0, 100)) == 5


async def test_a_fast_stream_costs_at_most_forty_writes_a_second(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    before = store.writes
    async with open_writer(store, clock)(claim) as writer:
        for number in range(1000):
            await writer.emit(text(number))
            await gathering(clock)
            clock.advance(0.001)
        await gathering(clock)
        writes = store.writes - before
        unwritten = await writer.hand_over()
    assert 38 <= writes <= 41
    assert [*await logged(store), *unwritten.events] == texts(*range(1000))


async def test_events_of_several_tasks_keep_the_order_of_each(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    count = 2 * MAX_BATCHES * BATCH_EVENTS
    async with open_writer(store, clock, flush_ms=0)(claim) as writer:
        async with anyio.create_task_group() as tasks:
            for start in (0, count):
                tasks.start_soon(emit_all, writer, texts(*range(start, start + count)))
        unwritten = await writer.hand_over()
    written = [*await logged(store), *unwritten.events]
    numbers = [int(event.delta) for event in written if isinstance(event, TextDelta)]
    assert [n for n in numbers if n < count] == list(range(count))
    assert [n for n in numbers if n >= count] == list(range(count, 2 * count))


# --- bounds


async def test_emit_waits_for_the_store_when_too_many_events_are_unwritten(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    store.gate = anyio.Event()
    most = MAX_BATCHES * BATCH_EVENTS
    async with open_writer(store, clock, flush_ms=0)(claim) as writer:
        with anyio.move_on_after(0) as no_wait:
            await emit_all(writer, texts(*range(most)))
        assert not no_wait.cancelled_caught
        with anyio.move_on_after(0.01) as waited:
            await writer.emit(text(most))
        assert waited.cancelled_caught
        store.gate.set()
        await writer.emit(text(most))
        unwritten = await writer.hand_over()
    assert [*await logged(store), *unwritten.events] == texts(*range(most + 1))
    segments = await store.segments(TENANT, THREAD, 0, 100)
    assert max(len(segment.items) for segment in segments) <= BATCH_EVENTS


async def test_a_batch_is_bounded_in_bytes_and_a_huge_event_gets_one_of_its_own(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    huge, large = TextDelta(delta="x" * 2 * BATCH_BYTES), TextDelta(delta="é" * (BATCH_BYTES // 3))
    async with open_writer(store, clock, flush_ms=0)(claim) as writer:
        await emit_all(writer, [large, large, huge, StepEnd()])
        await wait_until(lambda: store.writes >= 5)
        await writer.hand_over()
    segments = await store.segments(TENANT, THREAD, 0, 100)
    assert [len(segment.items) for segment in segments] == [1, 1, 1, 1]


async def test_emit_never_waits_for_a_reader(
    store: ProbedStore, clock: FakeClock, hub: Hub, claim: Claim
) -> None:
    with hub.subscribe(TENANT, THREAD, 0):
        async with open_writer(store, clock, flush_ms=0)(claim) as writer:
            await emit_all(writer, texts(*range(3 * MAX_BATCHES * BATCH_EVENTS)))
            await writer.hand_over()


# --- trouble with the store


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("nth", range(1, 5))
@pytest.mark.parametrize("persistent", [False, True])
async def test_a_failed_write_is_repeated_in_order_and_nothing_is_doubled(
    store: ProbedStore, clock: FakeClock, claim: Claim, fault: Fault, nth: int, persistent: bool
) -> None:
    """The nth write fails, or all from the nth on until the store is well again."""
    faulty = FaultyStore(store, fault, nth=nth, persistent=persistent)
    async with open_writer(faulty, clock)(claim) as writer, anyio.create_task_group() as tasks:
        tasks.start_soon(let_time_pass, clock)
        for number in range(4):
            await writer.emit(text(number))
            await _tried(faulty)
        faulty.heal()
        unwritten = await writer.hand_over()
        tasks.cancel_scope.cancel()
    assert [*await logged(store), *unwritten.events] == texts(*range(4))
    assert await batch_no(store, claim) == unwritten.batch_no - 1
    assert faulty.failed > 0


async def _tried(faulty: FaultyStore) -> None:
    calls = faulty.calls
    await wait_until(lambda: faulty.calls > calls)


async def test_an_unknown_outcome_is_asked_again_even_if_the_fault_is_not_retryable(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        store.write_faults = ["after"]
        await writer.emit(text(1))
        await gathering(clock)
        clock.advance(1)
        unwritten = await writer.hand_over()
    assert unwritten.events == ()
    assert await logged(store) == texts(1)


async def test_a_write_that_fails_until_the_lease_runs_out_loses_the_claim(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    opened_at = clock.monotonic()
    async with open_writer(store, clock)(claim) as writer:
        store.write_faults = ["before"] * 1000
        await writer.emit(text(1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(let_time_pass, clock)
            with pytest.raises(ClaimLost, match="lease_lost"):
                await _emit_until_lost(writer)
            tasks.cancel_scope.cancel()
        assert LEASE_MS / 1000 / 2 < clock.monotonic() - opened_at <= LEASE_MS * 5 / 6 / 1000
        with pytest.raises(ClaimLost, match="lease_lost"):
            await writer.hand_over()
    store.write_faults.clear()
    assert await logged(store) == []


async def _emit_until_lost(writer: LogWriter) -> None:
    while True:
        await writer.emit(text(2))
        await anyio.lowlevel.checkpoint()


async def test_a_deadline_that_renewals_move_keeps_a_writer_trying(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim, lambda: clock.monotonic() + 10) as writer:
        store.write_faults = ["before"] * 200
        await writer.emit(text(1))
        while store.write_faults:
            await gathering(clock)
            clock.advance(0.5)
        await writer.hand_over()
    assert clock.monotonic() > LEASE_MS / 1000
    assert await logged(store) == texts(1)


async def test_what_the_store_refuses_for_good_is_told_and_handed_over(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        store.write_faults = ["for_good"]
        await writer.emit(text(1))
        with pytest.raises(StoreFault, match="no"):
            await _emit_until_lost(writer)
        unwritten = await writer.hand_over()
    assert unwritten.batch_no == 1
    assert unwritten.events[0] == text(1)
    assert await logged(store) == []


# --- the claim


SUPERSEDE = SupersedeCommand(by_run_id="newer", grace_ms=2_000)
LOSSES: list[tuple[Command, int, Refusal]] = [
    (SUPERSEDE, 1, Refusal.superseded),
    (ExpireCommand(owner_dead=True), 0, Refusal.lease_lost),
    (SettleCommand(claim_token=TOKEN, form=Ack()), 0, Refusal.lease_lost),
]


@pytest.mark.parametrize(("order", "epoch", "why"), LOSSES, ids=lambda v: type(v).__name__)
async def test_a_claim_that_is_gone_writes_nothing(
    store: ProbedStore,
    clock: FakeClock,
    claim: Claim,
    order: Command,
    epoch: int,
    why: Refusal,
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        await command(store, claim, order, epoch=epoch)
        clock.advance(FLUSH)
        await writer.emit(text(2))
        with pytest.raises(ClaimLost) as raised:
            await _emit_until_lost(writer)
        assert raised.value.why == why
        with pytest.raises(ClaimLost) as raised:
            await writer.hand_over()
        assert raised.value.why == why
    assert await logged(store) == texts(1)


async def test_a_claim_of_another_attempt_is_refused(store: ProbedStore, claim: Claim) -> None:
    await command(store, claim, ExpireCommand(owner_dead=True))
    await command(store, claim, _claim_again("another"))
    repeat = operation(append_batch, claim, 1, texts(1))
    assert await store.transact(repeat) is Refusal.not_the_owner


def _claim_again(token: str) -> Command:
    return ClaimCommand(claim_token=token, worker_id="other", lease_ms=LEASE_MS)


async def test_a_dispatch_that_is_gone_is_refused(store: ProbedStore, claim: Claim) -> None:
    await append(store, text(1), thread_id="elsewhere")
    for strange in (
        {"dispatch_id": "nothing"},
        {"thread_id": "nowhere"},
    ):
        other = Claim(**{**{n: getattr(claim, n) for n in claim.__struct_fields__}, **strange})
        assert await store.transact(operation(append_batch, other, 1, texts(1))) is Refusal.gone


async def test_a_repeated_batch_is_answered_from_the_record_even_when_superseded_since(
    store: ProbedStore, claim: Claim
) -> None:
    one = operation(append_batch, claim, 1, texts(1))
    assert await store.transact(one) is None
    await command(store, claim, SUPERSEDE, epoch=1)
    assert await store.transact(one) is None
    assert await store.transact(operation(append_batch, claim, 2, texts(2))) is Refusal.superseded
    assert await logged(store) == texts(1)


# --- the end


async def test_hand_over_gives_out_what_is_left_with_the_number_of_its_batch(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        await emit_all(writer, texts(*range(2, 600)))
        unwritten = await writer.hand_over()
        with pytest.raises(AssertionError):
            await writer.emit(text(0))
    assert (unwritten.batch_no, list(unwritten.events)) == (2, texts(*range(2, 600)))
    rest = operation(append_batch, claim, unwritten.batch_no, unwritten.events)
    assert await store.transact(rest) is None
    assert await logged(store) == texts(*range(1, 600))


async def test_hand_over_awaits_a_write_in_flight(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        writes = store.writes
        store.gate = anyio.Event()
        await writer.emit(text(1))
        await wait_until(lambda: store.writes > writes)
        await writer.emit(text(2))
        with anyio.move_on_after(0.01) as waited:
            await writer.hand_over()
        assert waited.cancelled_caught
        store.gate.set()
        unwritten = await writer.hand_over()
    assert (unwritten.batch_no, list(unwritten.events)) == (2, texts(2))
    assert await logged(store) == texts(1)


async def test_a_writer_that_wrote_nothing_hands_over_nothing(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        unwritten = await writer.hand_over()
    assert (unwritten.batch_no, unwritten.events) == (1, ())


async def test_leaving_without_a_hand_over_writes_nothing_more(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    async with open_writer(store, clock)(claim) as writer:
        await writer.emit(text(1))
        await gathering(clock)
        await writer.emit(text(2))
    clock.advance(1)
    assert await logged(store) == texts(1)


async def test_an_error_of_the_body_comes_out_as_it_is(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_writer(store, clock)(claim):
            _ = 1 // 0


async def test_a_body_that_is_cancelled_takes_the_writer_with_it(
    store: ProbedStore, clock: FakeClock, claim: Claim
) -> None:
    with anyio.CancelScope() as scope:
        async with open_writer(store, clock)(claim) as writer:
            await writer.emit(text(1))
            await gathering(clock)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert clock.next_wake is None
