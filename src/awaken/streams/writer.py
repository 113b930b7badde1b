"""The writer of one attempt: batches, commits, and so publishes.

Rules of this file
1. An event is written before anyone sees it. The writer publishes nothing: readers are told by the
   hint of the commit that wrote it.
2. Each write is conditional on the claim (I2) and named (claim token, batch number), so one that is
   repeated after an ambiguous commit is answered from the record.
3. Writes happen in order, one at a time: batches, and commits that carry what is unwritten. A
   failed one is repeated, and nothing overtakes it.
4. The first event of a quiet stream is written at once; after a write the writer gathers for
   `flush_ms`, so a stream costs at most `1000 / flush_ms` writes a second.
5. What is unwritten is bounded. Beyond that `emit` waits for the store, never for a reader.

Design: streams.md section 2.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

import anyio
import msgspec
from msgspec.structs import replace

from awaken.domain.claim import Claim, holds
from awaken.domain.dispatch import Claimed, Refusal
from awaken.domain.event import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStreamDelta,
)
from awaken.domain.log import extend
from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.events import ClaimLost, Unwritten
from awaken.ports.store import Operation, Store, T, Transaction, operation

log = logging.getLogger(__name__)

FLUSH_MS: Final = 25
BATCH_EVENTS: Final = 256
BATCH_BYTES: Final = 64 * 1024
MAX_BATCHES: Final = 8
"""Batches unwritten, the one being written and the one being filled included."""

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.5

Deadline = Callable[[], float]
"""Until when the claim may be acted on: monotonic seconds, later after each renewal."""


async def append_batch(
    tx: Transaction, claim: Claim, batch_no: int, events: Sequence[Event]
) -> Refusal | None:
    """Write batch `batch_no` of the claim, or say why the claim may not (I2).

    A batch that was written before is not written again: the claim's record knows how far it is.
    """
    head = await tx.head(claim.tenant, claim.thread_id)
    dispatch = await tx.dispatch(claim.tenant, claim.dispatch_id)
    if head is None or dispatch is None:
        return Refusal.gone
    body = dispatch.body
    ours = isinstance(body, Claimed) and body.claim_token == claim.claim_token
    if isinstance(body, Claimed) and ours and body.batch_no >= batch_no:
        return None
    refusal = holds(dispatch, head, claim.claim_token)
    if refusal is not None:
        return refusal
    assert isinstance(body, Claimed)
    assert body.batch_no == batch_no - 1, "batches are written in order"
    head, segment = extend(head, claim.run_id, events, tx.now)
    tx.put_head(head)
    tx.put_dispatch(replace(dispatch, body=replace(body, batch_no=batch_no)))
    tx.append(segment)
    return None


class _Batch:
    """Events for one commit, and about how many bytes they have."""

    __slots__ = ("events", "size")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.size = 0


class LogWriter:
    """The `EventWriter` of a live attempt. Entered it writes; left it holds nothing, in no task.

    `deadline` says until when a failed write may be repeated; without one that is until five
    sixths of a lease have passed since the writer was made.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        claim: Claim,
        deadline: Deadline | None = None,
        *,
        flush_ms: int = FLUSH_MS,
    ) -> None:
        made_at = clock.monotonic()
        self._store = store
        self._clock = clock
        self._claim = claim
        self._deadline = deadline or (lambda: made_at + claim.lease_ms * 5 / 6 / 1000)
        self._flush_seconds = flush_ms / 1000
        self._batch_no = claim.batch_no  # of the last batch written
        self._batches: deque[_Batch] = deque()
        self._filling: _Batch | None = None  # the last of them, while it may grow
        self._failure: ClaimLost | StoreFault | None = None
        self._stopping = False
        self._work = anyio.Event()
        self._room = anyio.Event()
        self._ended = anyio.Event()
        self._writing = anyio.CancelScope()
        self._gathering: anyio.CancelScope | None = None
        self._tasks = anyio.create_task_group()
        self._turn = anyio.Lock()  # one write at a time, batches and commits alike

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._write_for_ever)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        self._stopping = True
        self._writing.cancel()
        # The group is told of a cancellation, which is its business too, but of no other error: it
        # would wrap it, and whoever opened the writer expects the error itself.
        if isinstance(error, anyio.get_cancelled_exc_class()):
            return await self._tasks.__aexit__(kind, error, tb)
        await self._tasks.__aexit__(None, None, None)
        return None

    async def emit(self, event: Event) -> None:
        """Add `event` to the run's log, in order; waits when too much is unwritten.

        Raises:
            ClaimLost: the claim is gone; nothing more can be written.
            StoreFault: the store refused for good.
        """
        size = _size(event)
        batch = self._filling
        if batch is None or batch.size + size > BATCH_BYTES:
            batch = await self._wait_room(size)
        batch.events.append(event)
        batch.size += size
        if len(batch.events) >= BATCH_EVENTS:
            self._filling = None

    async def commit(self, make: Callable[[Unwritten], Operation[T]]) -> T:
        """Run an operation that carries what is unwritten, between the batches around it.

        If there is something unwritten, the operation moves the claim's `batch_no` to its number.
        Once begun it is not cancelled, but repeated like a batch until its outcome is known.

        Raises:
            ClaimLost: the claim is gone: the store says so, the lease ran out, or the operation
                raised it.
            StoreFault: the store refused for good; what was unwritten still is.
        """
        async with self._turn:
            self._check()
            unwritten = self._unwritten()
            taken = len(self._batches)
            try:
                with anyio.CancelScope(shield=True):
                    answer = await self._insist(make(unwritten))
            except ClaimLost as lost:
                self._fail(lost)
                raise
            for _ in range(taken):
                self._batches.popleft()
            self._batch_no += bool(taken)
            self._make_room()
        return answer

    def hold(self) -> None:
        """Begin no more write; one in flight goes on."""
        self._stop()

    async def hand_over(self) -> Unwritten:
        """Stop writing and give out what is left, for the commit that ends the attempt.

        A write in flight is awaited first, its repetitions included. What the store refused for
        good was not written, so it is among what is left.

        Raises:
            ClaimLost: the claim is gone.
        """
        self._stop()
        await self._ended.wait()
        async with self._turn:
            if isinstance(self._failure, ClaimLost):
                raise ClaimLost(self._failure.why)
            return self._unwritten()

    # --- emitting

    async def _wait_room(self, size: int) -> _Batch:
        """A batch that takes `size` bytes more; one too large for any is given one of its own."""
        while True:
            self._check()
            filling = self._filling
            if filling is not None and filling.size + size <= BATCH_BYTES:
                return filling
            if len(self._batches) < MAX_BATCHES:
                return self._new_batch()
            await self._room.wait()

    def _new_batch(self) -> _Batch:
        self._filling = _Batch()
        self._batches.append(self._filling)
        self._work.set()
        return self._filling

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        assert not self._stopping, "nothing is written after hand_over"

    # --- writing

    async def _write_for_ever(self) -> None:
        try:
            with self._writing:
                while await self._wait_work():
                    async with self._turn:
                        await self._write_first()
                    await self._gather()
        finally:
            self._ended.set()
            self._make_room()

    async def _wait_work(self) -> bool:
        """True once there is a batch to write, False once there will be none any more."""
        while not self._batches and not self._stopping:
            self._work = anyio.Event()
            await self._work.wait()
        return not self._stopping

    async def _write_first(self) -> None:
        if not self._batches:  # a commit took them while this write waited for its turn
            return
        batch = self._batches[0]
        if batch is self._filling:
            self._filling = None  # what may have to be repeated must not grow
        append = operation(append_batch, self._claim, self._batch_no + 1, batch.events)
        try:
            refusal = await self._insist(append)
        except (ClaimLost, StoreFault) as failure:
            self._fail(failure)
            return
        if refusal is not None:
            self._fail(ClaimLost(refusal.value))
            return
        self._batches.popleft()
        self._batch_no += 1
        self._make_room()

    async def _insist(self, op: Operation[T]) -> T:
        """Run `op`, again while that can help and the claim may be acted on.

        Raises:
            ClaimLost: it failed until the deadline, or as `op` does.
            StoreFault: the store refused for good, and surely did nothing.
        """
        pause, doubtful = FIRST_PAUSE, False
        while True:
            try:
                return await self._store.transact(op)
            except StoreFault as fault:
                doubtful = doubtful or fault.unknown
                if not (fault.retryable or doubtful):
                    raise
                if self._clock.monotonic() + pause >= self._deadline():
                    log.warning("a write failed until the lease ran out: %s", fault.code)
                    raise ClaimLost(Refusal.lease_lost.value) from fault
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _gather(self) -> None:
        if not self._stopping:
            with anyio.CancelScope() as self._gathering:
                await self._clock.sleep(self._flush_seconds)
            self._gathering = None

    def _unwritten(self) -> Unwritten:
        """All that is unwritten, which from now on does not grow: it has its number."""
        self._filling = None
        events = tuple(event for batch in self._batches for event in batch.events)
        return Unwritten(batch_no=self._batch_no + 1, events=events)

    def _make_room(self) -> None:
        self._room.set()
        self._room = anyio.Event()

    def _fail(self, failure: ClaimLost | StoreFault) -> None:
        self._failure = failure
        self._filling = None
        self._stop()
        self._make_room()

    def _stop(self) -> None:
        self._stopping = True
        self._work.set()
        if self._gathering is not None:
            self._gathering.cancel()


class OpenLogWriter(Protocol):
    """`ports.events.OpenWriter`, with a deadline that renewals move."""

    def __call__(self, claim: Claim, deadline: Deadline | None = None) -> LogWriter: ...


def open_writer(store: Store, clock: Clock, *, flush_ms: int = FLUSH_MS) -> OpenLogWriter:
    """What makes the writers of claims."""
    return partial(LogWriter, store, clock, flush_ms=flush_ms)


def _size(event: Event) -> int:
    """About how many bytes `event` has in the log."""
    if isinstance(event, (TextDelta, ReasoningDelta, ToolCallStreamDelta)):
        text = event.delta
    elif isinstance(event, ToolCallDelta):
        text = event.args_delta
    else:
        return len(msgspec.json.encode(event))
    return len(text) + 48 if text.isascii() else len(text.encode()) + 48
