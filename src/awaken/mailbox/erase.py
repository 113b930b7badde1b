"""Deleting threads: one commit takes a thread away from everybody, slices delete its rows.

Invariants
E1. A deleted thread leaves no row anywhere, whoever was executing it and whatever was queued.
E2. Its runs end by `finish`, in the commit that takes it away, so every stream of them ends (I6).
E3. Who executes it is fenced: its dispatch is over and the thread has no head, so each later write
    is refused as lost, and nothing of the thread is made anew.
E4. A deletion that was begun goes on after a crash: whoever finds its record continues it.

`begin` marks; from then on the thread is not found. `carry_out` deletes what is left in slices,
each a commit of its own, and may be done by several at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from awaken.domain import dispatch as rules
from awaken.domain.care import Children, Deletion, Erased
from awaken.domain.dispatch import Applied, Claimed, Dispatch
from awaken.domain.outcome import Failed
from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.errors import Refusal, not_found
from awaken.mailbox.bury import bury_in, readable_run
from awaken.mailbox.control import SLICE
from awaken.mailbox.early import Stopper
from awaken.mailbox.finish import finish
from awaken.mailbox.settle import POISON
from awaken.mailbox.settle import carry_out as end_claim
from awaken.mailbox.unit import ThreadUnit
from awaken.ports.store import Operation, Store, Transaction, operation

ROWS: Final = 500
"""Rows that one commit deletes."""
CHILDREN: Final = 100
"""Threads below a thread that are looked at in one commit."""

REASON: Final = "thread_deleted"

Transact = Callable[[Operation[Any]], Awaitable[Any]]
"""How an operation is carried out: by a store, or by somebody who insists."""


class Begun(Record):
    """What `begin` came to.

    `deletion` is None while there is more to stop (`begin` again), or while the threads in
    `children` are in the way.
    """

    deletion: Deletion | None = None
    children: tuple[str, ...] = ()


async def begin(tx: Transaction, tenant: str, thread_id: str, children: Children, by: str) -> Begun:
    """Stop the thread's runs and take it away; a deletion that was begun before is answered again.

    A queue of more than `SLICE` runs takes several calls, of which the last takes the thread away.

    Raises:
        RequestError: `thread_not_found`.
        Refusal: `thread_has_children`, only with `Children.reject`.
    """
    begun = await tx.deletion(tenant, thread_id)
    if begun is not None:
        return Begun(deletion=begun)
    unit = await ThreadUnit.open(tx, tenant, thread_id)
    if unit is None:
        raise not_found("thread", thread_id)
    if children is not Children.cascade:
        below = await tx.children(tenant, thread_id, CHILDREN)
        if below and children is Children.reject:
            raise has_children(thread_id, below)
        if below:
            return Begun(children=tuple(below))
    more = await _stop_all(unit, Stopper(by=by, reason=REASON))
    await unit.save()
    if more:
        return Begun()
    deletion = Deletion(
        tenant=tenant,
        thread_id=thread_id,
        begun_at=tx.now,
        cascade=children is Children.cascade,
    )
    tx.drop_thread(deletion)
    return Begun(deletion=deletion)


def has_children(thread_id: str, below: list[str]) -> Refusal:
    """A thread with threads below it is not deleted unless that is asked for."""
    return Refusal(
        "thread_has_children",
        f"there are threads below {thread_id!r}; expected children=detach or children=cascade",
        details={"field": "children", "thread_id": thread_id, "children": below[:20]},
    )


async def erase_slice(tx: Transaction, deletion: Deletion) -> tuple[Erased, bool]:
    """Delete some rows of a thread that was taken away, and whether there are more.

    The last slice forgets the deletion.
    """
    erased = await tx.erase(deletion.tenant, deletion.thread_id, ROWS)
    more = erased.total - erased.specs >= ROWS
    ended = not more and await tx.deletion(deletion.tenant, deletion.thread_id) is not None
    if ended:
        tx.end_deletion(deletion.tenant, deletion.thread_id)
    return erased + Erased(threads=int(ended)), more


async def threads_of(tx: Transaction, tenant: str, resource_id: str) -> list[str]:
    """Some of the threads of a resource."""
    return await tx.threads_of(tenant, resource_id, CHILDREN)


async def children_of(tx: Transaction, tenant: str, thread_id: str) -> list[str]:
    """Some of the threads below a thread."""
    return await tx.children(tenant, thread_id, CHILDREN)


async def carry_out(transact: Transact, deletion: Deletion) -> Erased:
    """Delete all that is left of a thread whose deletion was begun, with `cascade` below it too.

    Threads below are taken away first: they are found by their parent, whose deletion is the record
    that they are to go.
    """
    erased = Erased()
    if deletion.cascade:
        async for below in _begin_below(transact, deletion):
            erased += await carry_out(transact, below)
    more = True
    while more:
        gone, more = await transact(operation(erase_slice, deletion))
        erased += gone
    return erased


async def _begin_below(transact: Transact, deletion: Deletion) -> AsyncIterator[Deletion]:
    tenant = deletion.tenant
    while below := await transact(operation(children_of, tenant, deletion.thread_id)):
        for thread_id in below:
            begun = Begun()
            while begun.deletion is None:
                op = operation(begin, tenant, thread_id, Children.cascade, "system")
                begun = await transact(op)
            yield begun.deletion


async def carry_out_all(store: Store, limit: int) -> None:
    """Go on with deletions that were begun and not ended, in this life of the process or before."""
    for deletion in await store.deletions(limit):
        await carry_out(store.transact, deletion)


# --- stopping ------------------------------------------------------------------------------------


async def _stop_all(unit: ThreadUnit, stopper: Stopper) -> bool:
    """End what has the thread, what waits, and some of what is queued; whether there is more."""
    tenant, thread_id = unit.head.tenant, unit.head.thread_id
    for run_id in (unit.head.active_run, unit.head.waiting_run):
        run = run_id and await readable_run(unit.tx, tenant, run_id)
        if run:
            await _stop(unit, run, stopper)
    if unit.head.claimed_dispatch is not None:
        await _bury(unit, unit.head.claimed_dispatch)
    queued = await unit.tx.queued(tenant, thread_id, SLICE)
    for dispatch in queued:
        run = await readable_run(unit.tx, tenant, dispatch.run_id)
        if run is None:
            await _bury(unit, dispatch.dispatch_id)
        else:
            await _stop(unit, run, stopper)
    return len(queued) == SLICE


async def _bury(unit: ThreadUnit, dispatch_id: str) -> None:
    """Let go of a dispatch whose run cannot be read."""
    found = await unit.tx.delivery(unit.head.tenant, dispatch_id)
    if found is not None:
        await bury_in(unit, found)


async def _stop(unit: ThreadUnit, run: Run, stopper: Stopper) -> None:
    """End the run now. An owner is not waited for: its claim ends as if it were dead (E3)."""
    dispatch = await unit.tx.dispatch(run.tenant, run.dispatch_id or "")
    if dispatch is not None:
        unit.apply(dispatch, rules.CancelCommand(by=stopper.by, reason=stopper.reason))
        asked = await unit.tx.dispatch(run.tenant, dispatch.dispatch_id)
        if asked is not None and isinstance(asked.body, Claimed):
            await _end_claim(unit, run, asked, asked.body)
            return
    await finish(unit, run, stopper.termination)


async def _end_claim(unit: ThreadUnit, run: Run, dispatch: Dispatch, body: Claimed) -> None:
    answer = unit.apply(dispatch, rules.ExpireCommand(owner_dead=True))
    assert isinstance(answer, Applied), "the claim of a dead owner ends"
    await end_claim(unit, run, body, answer, Failed(failure=POISON))
