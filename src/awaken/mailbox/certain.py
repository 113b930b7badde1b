"""Repeating a named operation until it is known what became of it.

Every write has a name (dispatch.md, section 3): a caller that does not know whether COMMIT happened
repeats the same call and is answered from the record. So all of recovery from an ambiguous commit
is here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.store import Operation, Store

T = TypeVar("T")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


async def insist(store: Store, clock: Clock, op: Operation[T], until: float) -> T:
    """Run `op`, again after each retryable fault, until it is answered or `until` is past.

    `until` is in monotonic seconds.
    """
    return await repeat(partial(store.transact, op), clock, until)


async def repeat(call: Callable[[], Awaitable[T]], clock: Clock, until: float) -> T:
    """The answer of `call`, made again after each retryable fault until `until` is past."""
    pause = FIRST_PAUSE
    while True:
        try:
            return await call()
        except StoreFault as fault:
            if not fault.retryable or clock.monotonic() + pause >= until:
                raise
        await clock.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def ascertain(
    store: Store, clock: Clock, op: Operation[T], until: float, again: Operation[T] | None = None
) -> T:
    """Run `op` once, and again (as `again`, if given) only while it is unknown whether it happened.

    Raises:
        StoreFault: with `unknown`, nobody could say until `until`; without, it did not happen.
    """
    try:
        return await store.transact(op)
    except StoreFault as fault:
        if not fault.unknown:
            raise
        first = fault
    try:
        return await insist(store, clock, again or op, until)
    except StoreFault as fault:
        raise first from fault
