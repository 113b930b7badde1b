"""A thread with a claimed run in a real store, and entries in its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import anyio
from msgspec.structs import replace

from awaken.domain.claim import Claim
from awaken.domain.dispatch import (
    Applied,
    ClaimCommand,
    Claimed,
    Command,
    Dispatch,
    Mode,
    Queued,
    Refused,
    apply,
)
from awaken.domain.event import Event, Segment, TextDelta
from awaken.domain.log import extend
from awaken.domain.run import Run, RunStatus
from awaken.domain.thread import ThreadHead
from awaken.errors import StoreFault
from awaken.ports.events import EventSink
from awaken.ports.store import Operation, Store, Transaction, operation
from awaken.stores.sqlite import SqliteStore
from awaken.streams.delivered import Delivered
from awaken.testing.clock import FakeClock

TENANT, THREAD, RUN, DISPATCH, TOKEN = "acme", "thread", "run", "dispatch", "token"
LEASE_MS = 30_000

T = TypeVar("T")


class ProbedStore(SqliteStore):
    """The store, counting and failing calls as it is told to, and holding writes at `gate`.

    Each entry of `write_faults` fails one operation: `before` it is carried out, or `after`, as
    when the reply to COMMIT is lost; `for_good` before it, without hope.
    """

    reads = 0
    read_faults = 0
    writes = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.write_faults: list[str] = []
        self.gate: anyio.Event | None = None

    async def segments(
        self, tenant: str, thread_id: str, after: int, limit: int, run_id: str | None = None
    ) -> list[Segment]:
        self.reads += 1
        if self.read_faults:
            self.read_faults -= 1
            raise StoreFault("store_unreachable", "gone for a moment")
        return await super().segments(tenant, thread_id, after, limit, run_id)

    async def transact(self, operation: Operation[T]) -> T:
        self.writes += 1
        fault = self.write_faults.pop(0) if self.write_faults else None
        if self.gate is not None:
            await self.gate.wait()
        if fault in ("before", "for_good"):
            raise StoreFault("store_full", "no", retryable=fault == "before")
        answer = await super().transact(operation)
        if fault == "after":
            raise StoreFault("reply_lost", "who knows", retryable=False, unknown=True)
        return answer


def text(number: int) -> TextDelta:
    return TextDelta(delta=f"{number} ")


async def claimed(store: Store, *, thread_id: str = THREAD, run_id: str = RUN) -> Claim:
    """A running run whose dispatch is claimed by `TOKEN`."""
    return await store.transact(operation(_claim, thread_id, run_id))


async def _claim(tx: Transaction, thread_id: str, run_id: str) -> Claim:
    head = await tx.head(TENANT, thread_id) or ThreadHead(tenant=TENANT, thread_id=thread_id)
    queued = _dispatch(thread_id, run_id, head.epoch, tx.now)
    command = ClaimCommand(claim_token=TOKEN, worker_id="worker", lease_ms=LEASE_MS)
    answer = apply(queued, replace(head, queued_count=head.queued_count + 1), command, tx.now)
    assert isinstance(answer, Applied)
    tx.put_head(answer.head)
    tx.put_dispatch(answer.dispatch)
    tx.put_run(_run(thread_id, run_id, tx.now))
    return _claim_of(answer.dispatch)


def _dispatch(thread_id: str, run_id: str, epoch: int, now: int) -> Dispatch:
    return Dispatch(
        tenant=TENANT,
        dispatch_id=f"{DISPATCH}-{run_id}",
        thread_id=thread_id,
        run_id=run_id,
        mode=Mode.foreground,
        epoch=epoch,
        rank=now,
        eligible_at=now,
        created_at=now,
        updated_at=now,
        body=Queued(available_at=now),
    )


def _run(thread_id: str, run_id: str, now: int) -> Run:
    return Run(
        tenant=TENANT,
        run_id=run_id,
        thread_id=thread_id,
        agent_id="echo",
        resolution_id="resolution",
        created_at=now,
        updated_at=now,
        status=RunStatus.running,
        dispatch_id=f"{DISPATCH}-{run_id}",
    )


def _claim_of(dispatch: Dispatch) -> Claim:
    body = dispatch.body
    assert isinstance(body, Claimed)
    return Claim(
        tenant=dispatch.tenant,
        thread_id=dispatch.thread_id,
        run_id=dispatch.run_id,
        dispatch_id=dispatch.dispatch_id,
        claim_token=body.claim_token,
        worker_id=body.worker_id,
        attempt=dispatch.attempt,
        lease_ms=body.lease_ms,
        lease_until=body.lease_until,
        claimed_at=body.claimed_at,
        eligible_at=dispatch.eligible_at,
        enqueued_at=dispatch.created_at,
        foreground=dispatch.foreground,
    )


async def command(store: Store, claim: Claim, order: Command, *, epoch: int = 0) -> None:
    """Carry `order` to the claim's dispatch, and raise the thread's epoch by `epoch`."""
    await store.transact(operation(_command, claim, order, epoch))


async def _command(tx: Transaction, claim: Claim, order: Command, epoch: int) -> None:
    head = await tx.head(claim.tenant, claim.thread_id)
    dispatch = await tx.dispatch(claim.tenant, claim.dispatch_id)
    assert head is not None
    assert dispatch is not None
    answer = apply(dispatch, head, order, tx.now)
    assert not isinstance(answer, Refused), answer
    tx.put_head(replace(answer.head, epoch=answer.head.epoch + epoch))
    tx.put_dispatch(answer.dispatch)


async def append(
    store: Store,
    *events: Event,
    run_id: str | None = RUN,
    thread_id: str = THREAD,
    tenant: str = TENANT,
) -> int:
    """Append one segment, as any commit may; returns the log's new head."""
    return await store.transact(operation(_append, tenant, thread_id, run_id, events))


async def _append(
    tx: Transaction, tenant: str, thread_id: str, run_id: str | None, events: Sequence[Event]
) -> int:
    head = await tx.head(tenant, thread_id) or ThreadHead(tenant=tenant, thread_id=thread_id)
    head, segment = extend(head, run_id, events, tx.now)
    tx.put_head(head)
    tx.append(segment)
    return head.seq


async def put_run(store: Store, run: Run) -> None:
    await store.transact(operation(_put_run, run))


async def _put_run(tx: Transaction, run: Run) -> None:
    tx.put_run(run)


async def logged(store: Store, thread_id: str = THREAD, tenant: str = TENANT) -> list[Event]:
    """The whole log of a thread; checks that its numbers have no gap."""
    segments = await store.segments(tenant, thread_id, 0, 100_000)
    items = [item for segment in segments for item in segment.items]
    assert [item.seq for item in items] == list(range(1, len(items) + 1))
    return [item.event for item in items]


def events(batch: Sequence[Delivered]) -> list[Event]:
    """The events of a batch."""
    return [entry.event for delivered in batch for entry in delivered.entries()]


async def wait_until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until `condition` holds."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


def texts(*numbers: int) -> list[Event]:
    return [text(number) for number in numbers]


async def emit_all(writer: EventSink, events: Iterable[Event]) -> None:
    for event in events:
        await writer.emit(event)


async def gathering(clock: FakeClock) -> None:
    """Wait until the writer has written what it had and gathers, or pauses after a fault."""
    await wait_until(lambda: clock.next_wake is not None)


async def let_time_pass(clock: FakeClock) -> None:
    while True:
        await gathering(clock)
        assert clock.next_wake is not None
        clock.advance(clock.next_wake)


async def batch_no(store: ProbedStore, claim: Claim) -> int:
    dispatch = await store.dispatch(claim.tenant, claim.dispatch_id)
    assert dispatch is not None
    assert isinstance(dispatch.body, Claimed)
    return dispatch.body.batch_no
