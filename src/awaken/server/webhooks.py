"""Webhooks: sends what is in the outbox, signed as Standard Webhooks says.

A message is sent until its receiver answers 2xx, at least once and always under the same id. The
addresses go through the guard each time, redirects are not followed, and what is answered is not
read. A sender that dies leaves its message to the next one when its lease is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import anyio
import msgspec

from awaken.domain.outgoing import Outgoing, announced
from awaken.errors import Fault, RequestError, StoreFault
from awaken.mailbox.outbox import settle, take
from awaken.net.fetch import Fetcher
from awaken.ports.clock import Clock, Ids
from awaken.ports.hints import Hint, LogGrew
from awaken.ports.store import Store, operation
from awaken.server.webhook_signature import signature

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Messages that are sent at a time."""
BATCH: Final = 100
POLL_SECONDS: Final = 30.0
"""How often the outbox is looked at for what no hint told of."""
SHORTEST_PAUSE: Final = 0.05

Result = Literal["delivered", "failed", "given_up"]
Report = Callable[[Result], None]


def body_of(outgoing: Outgoing) -> bytes:
    """What is sent; the same each time."""
    at = datetime.fromtimestamp(outgoing.at / 1000, UTC).isoformat(timespec="milliseconds")
    told = {"type": outgoing.type, "timestamp": at, "data": outgoing.data}
    return msgspec.json.encode(told)


class Deliverer:
    """Sends messages to `url` until cancelled. One per process; several share the work."""

    def __init__(
        self,
        *,
        store: Store,
        fetcher: Fetcher,
        url: str,
        key: bytes,
        clock: Clock,
        ids: Ids,
        report: Report,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._url = url
        self._key = key
        self._clock = clock
        self._ids = ids
        self._report = report
        self._wake = anyio.Event()
        store.listen(self._hear)

    async def run(self) -> None:
        """Send what is due, and wait for more."""
        while True:
            self._wake = anyio.Event()
            try:
                while await self.deliver_due():
                    pass
                pause = await self._pause()
            except StoreFault as fault:
                log.warning("the outbox was not looked at: %s", fault.code)
                pause = POLL_SECONDS
            with anyio.move_on_after(pause):
                await self._wake.wait()

    async def deliver_due(self) -> int:
        """Send what is due now, once each; how many there were.

        Raises:
            StoreFault: some may have been sent, and will be again.
        """
        found = await self._store.due_outgoing(BATCH)
        limiter = anyio.CapacityLimiter(AT_ONCE)
        trouble: list[StoreFault] = []

        async def deliver(tenant: str, message_id: str) -> None:
            try:
                async with limiter:
                    await self._deliver(tenant, message_id)
            except StoreFault as fault:  # of this one alone, or of all: the caller looks again
                trouble.append(fault)

        async with anyio.create_task_group() as tasks:
            for key in found:
                tasks.start_soon(deliver, *key)
        if trouble:
            raise trouble[0]
        return len(found)

    async def _deliver(self, tenant: str, message_id: str) -> None:
        mine = await self._store.transact(operation(take, tenant, message_id))
        if mine is None:
            return
        error = await self._send(mine)
        jitter = self._ids.jitter()
        later = await self._store.transact(operation(settle, mine, error, jitter))
        if error is None:
            self._report("delivered")
            return
        given_up = later is not None and later.given_up
        self._report("given_up" if given_up else "failed")
        words = "given up" if given_up else "failed, to be sent again"
        log.warning("webhook %s: %s", words, error, extra={"webhook_id": message_id})

    async def _send(self, outgoing: Outgoing) -> str | None:
        """None when it was taken, else a code."""
        body, timestamp = body_of(outgoing), self._clock.now() // 1000
        headers = {
            "content-type": "application/json",
            "user-agent": "awaken-webhooks",
            "webhook-id": outgoing.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, outgoing.message_id, timestamp, body),
        }
        try:
            answer = await self._fetcher.post(self._url, body, headers)
        except (Fault, RequestError) as error:
            return error.code
        return None if 200 <= answer.status < 300 else f"status_{answer.status}"

    async def _pause(self) -> float:
        at = await self._store.next_outgoing_at()
        if at is None:
            return POLL_SECONDS
        return min(max((at - self._clock.now()) / 1000, SHORTEST_PAUSE), POLL_SECONDS)

    def _hear(self, hints: Sequence[Hint]) -> None:
        if any(isinstance(hint, LogGrew) and any(announced(hint.segment)) for hint in hints):
            self._wake.set()
