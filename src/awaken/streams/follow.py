"""Following a log to where its stream ends.

A run's stream ends after a `run_finish` that is final, or that is the run's newest entry and
leaves no live dispatch. A `suspended` one that is followed by more is passed on. So the log says
*that* the run may be over, and only then the run's record is asked whether it is; what it says is
believed once nothing newer is found in the log. Design: streams.md section 4.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Final, Literal

import anyio

from awaken.domain.dispatch import Finished
from awaken.domain.event import RunFinish
from awaken.domain.run import RunStatus
from awaken.domain.termination import SuspendedEnd
from awaken.domain.thread import ThreadHead
from awaken.errors import Refusal, StoreFault
from awaken.ports.store import Store
from awaken.streams.delivered import Delivered
from awaken.streams.subscription import Subscription

Until = Literal["settled", "done", "activation"]
"""Where a run's stream ends.

settled: when the run is done, or waits with nothing queued for it.
done: when the run is done.
activation: like settled, and at the first `run_finish`.
"""

SLICE: Final = 1000
"""How many entries are given at once: encoding more would hold the event loop too long."""


def check_cursor(cursor: int, head: ThreadHead | None) -> None:
    """Refuse a cursor that the log has not reached.

    Raises:
        Refusal: `cursor_ahead` (409).
    """
    last = 0 if head is None else head.seq
    if cursor > last:
        raise Refusal(
            "cursor_ahead",
            f"the log ends at {last}, before the cursor {cursor}",
            details={"cursor": cursor, "head": last},
        )


async def follow_thread(subscription: Subscription) -> AsyncGenerator[Sequence[Delivered], None]:
    """Everything of the thread after the subscription's cursor, for ever.

    An empty batch is a heartbeat. Raises what `Subscription.next` does.
    """
    part: Sequence[Delivered]
    while True:
        for index, part in enumerate(_slices(await subscription.next())):
            if index:
                await anyio.lowlevel.checkpoint()
            yield part
        part = ()  # an idle stream does not keep what it gave last


async def follow_run(
    store: Store, subscription: Subscription, until: Until = "settled"
) -> AsyncGenerator[Sequence[Delivered], None]:
    """What comes after the subscription's cursor of the run it is for, to the end of its stream.

    An empty batch is a heartbeat. Raises what `Subscription.next` does.
    """
    end = _End(until)
    part: Sequence[Delivered]
    batch: Sequence[Delivered]
    while not end.reached:
        batch = subscription.next_nowait()
        if not batch and end.to_be_asked and await _settled(store, subscription, end):
            batch = await subscription.catch_up()
            if not batch:
                subscription.check_thread()
                return
        batch = end.upto(batch or await subscription.next())
        for index, part in enumerate(_slices(batch)):
            if index:
                await anyio.lowlevel.checkpoint()
            yield part
        part = batch = ()  # an idle stream does not keep what it gave last


class _End:
    """What the log has told about whether the run goes on.

    At first that is unknown, and after a suspension too: then the run's record is to be asked. Once
    it says that the run goes on, the log will tell when it does no more.
    """

    def __init__(self, until: Until) -> None:
        self.until = until
        self.to_be_asked = True
        self.reached = False

    def upto(self, batch: Sequence[Delivered]) -> Sequence[Delivered]:
        """`batch`, cut after the end if that is in it."""
        for index, delivered in enumerate(batch):
            turn = delivered.turn()
            if turn is None:
                continue
            self.to_be_asked = isinstance(turn, RunFinish)
            if isinstance(turn, RunFinish) and self._ends(turn):
                self.reached = True
                return batch[: index + 1]
        return batch

    def _ends(self, finish: RunFinish) -> bool:
        return self.until == "activation" or not isinstance(finish.termination, SuspendedEnd)


async def _settled(store: Store, subscription: Subscription, end: _End) -> bool:
    """Whether the run's record says that, as things are, nothing will be added to its log."""
    assert subscription.run_id is not None, "a subscription of a run"
    try:
        answer = await _ask(store, subscription.tenant, subscription.run_id, end.until)
    except StoreFault as fault:
        if not fault.retryable:
            raise
        return False  # asked again with the next batch or heartbeat
    end.to_be_asked = answer
    return answer


async def _ask(store: Store, tenant: str, run_id: str, until: Until) -> bool:
    run = await store.run(tenant, run_id)
    if run is None or run.status is RunStatus.done:
        return True
    if until == "done" or run.status is not RunStatus.waiting:
        return False
    dispatch = await store.dispatch(tenant, run.dispatch_id) if run.dispatch_id else None
    return dispatch is None or isinstance(dispatch.body, Finished)


def _slices(batch: Sequence[Delivered]) -> Iterator[Sequence[Delivered]]:
    """`batch` in pieces of at most about `SLICE` entries; a small or empty one as it is."""
    if len(batch) <= 1:
        yield batch
        return
    start = count = 0
    for index, delivered in enumerate(batch):
        count += len(delivered.segment.items)
        if count >= SLICE:
            yield batch[start : index + 1]
            start, count = index + 1, 0
    if start < len(batch):
        yield batch[start:]
