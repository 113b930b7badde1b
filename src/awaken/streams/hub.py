"""All streams of a process: topics by (tenant, thread), fed by the store's hints.

Rules of this file
1. A topic exists while somebody subscribes; what nobody reads costs one look-up a commit.
2. Events reach the hub as hints of the commit that wrote them, so they are durable before anyone
   sees them. A missed hint costs one poll: one statement a second for all topics of the process,
   and only where other processes write to the store.
3. There is one timer for all heartbeats, and no task, queue or buffer for a reader.

Design: streams.md section 3.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import anyio

from awaken.domain.record import Record
from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.hints import Hint, LogGrew, ThreadDeleted
from awaken.ports.store import Store
from awaken.streams.subscription import Subscription
from awaken.streams.topic import Topic

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
HEARTBEAT_TICKS: Final = 15
LEFT_TICKS: Final = 60
"""How long it is remembered that a run lost its last reader."""

Key = tuple[str, str]


class HubStatistics(Record):
    """What a hub holds right now: all zero when nobody reads."""

    topics: int
    subscriptions: int
    waiters: int
    ring_bytes: int


class Hub:
    """The readers of one process. Give `deliver` to `store.listen`, and run `run` in a task group.

    `heartbeat_ticks` is how many seconds a reader may be idle before it is given a heartbeat.
    """

    def __init__(
        self, store: Store, clock: Clock, *, heartbeat_ticks: int = HEARTBEAT_TICKS
    ) -> None:
        self.store = store
        self.clock = clock
        self.ticks = 0
        self.closed = False
        self._heartbeat_ticks = heartbeat_ticks
        self._topics: dict[Key, Topic] = {}
        self._readers: dict[Key, int] = {}
        self._left: dict[Key, float] = {}

    def subscribe(
        self, tenant: str, thread_id: str, cursor: int | None, run_id: str | None = None
    ) -> Subscription:
        """A reader of the thread's log after `cursor`; with a `run_id`, of that run's entries.

        Nothing is held before the subscription is entered. With `cursor` None it can be entered
        ahead of a submit, so that the submit's own events are in its ring; `seek` before the
        first `next`.
        """
        return Subscription(self, tenant, thread_id, cursor, run_id)

    def deliver(self, hints: Sequence[Hint]) -> None:
        """The store's listener: take in what was committed."""
        for hint in hints:
            if isinstance(hint, LogGrew):
                topic = self._topics.get((hint.segment.tenant, hint.segment.thread_id))
                if topic is not None:
                    topic.push(hint.segment)
            elif isinstance(hint, ThreadDeleted):
                self._end_topic((hint.tenant, hint.thread_id))

    def close(self) -> None:
        """Drain: every reader gets what its ring still has, then `StreamsClosed`."""
        self.closed = True
        for topic in self._topics.values():
            for subscription in topic.subscriptions:
                subscription.wake_nowait()

    def readers(self, tenant: str, run_id: str) -> int:
        """How many subscriptions of this process are for that run."""
        return self._readers.get((tenant, run_id), 0)

    def last_reader_left(self, tenant: str, run_id: str) -> float | None:
        """When the run lost its last reader (monotonic seconds).

        None: it has one, never had one here, or lost it more than a minute ago.
        """
        return self._left.get((tenant, run_id))

    def unattended(self, seconds: float) -> list[Key]:
        """The (tenant, run id) of runs without a reader since at least `seconds`, longest first."""
        until = self.clock.monotonic() - seconds
        return [key for key, left in self._left.items() if left <= until]

    def statistics(self) -> HubStatistics:
        """What is held now."""
        topics = self._topics.values()
        return HubStatistics(
            topics=len(topics),
            subscriptions=sum(len(topic.subscriptions) for topic in topics),
            waiters=sum(sub.waiting for topic in topics for sub in topic.subscriptions),
            ring_bytes=sum(topic.ring_bytes for topic in topics),
        )

    async def run(self) -> None:
        """Heartbeats, and the poll for missed hints, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick_for_ever)
            if self.store.shared:
                tasks.start_soon(self._poll_for_ever)

    def tick(self) -> None:
        """A second has passed: give heartbeats, let go of idle rings and of old departures."""
        self.ticks += 1
        for topic in self._topics.values():
            for subscription in topic.subscriptions:
                subscription.tick_nowait(self.ticks, self._heartbeat_ticks)
        if self.ticks % self._heartbeat_ticks == 0:
            self._clear_idle_rings()
        self._forget_departures()

    async def poll(self) -> None:
        """Look once, in one statement, how far the log of every subscribed thread has come."""
        keys = list(self._topics)
        try:
            heads = await self.store.heads(keys) if keys else {}
        except StoreFault as fault:
            log.warning("poll for missed hints failed: %s", fault.code)
            return
        for key, seq in heads.items():
            topic = self._topics.get(key)
            if topic is not None:
                topic.learn(seq)
        for key in set(keys) - heads.keys():
            topic = self._topics.get(key)
            if topic is not None and topic.head:  # it had a log, so its thread was deleted
                self._end_topic(key)

    # --- for subscriptions

    def attach(self, subscription: Subscription) -> Topic:
        """Register a reader, and return its topic."""
        topic = self._topics.setdefault((subscription.tenant, subscription.thread_id), Topic())
        topic.subscriptions[subscription] = None
        self._reader_came(subscription)
        return topic

    def detach(self, subscription: Subscription) -> None:
        """Forget a reader; the topic goes with its last one."""
        key = subscription.tenant, subscription.thread_id
        topic = self._topics.get(key)
        if topic is not None and subscription in topic.subscriptions:
            del topic.subscriptions[subscription]
            if not topic.subscriptions:
                del self._topics[key]
        self._reader_left(subscription)

    def reads_run(self, subscription: Subscription, run_id: str) -> None:
        """A registered reader turns to another run."""
        self._reader_left(subscription)
        subscription.run_id = run_id
        self._reader_came(subscription)

    # --- how

    def _end_topic(self, key: Key) -> None:
        """The thread is gone. Who comes later begins with a topic of its own."""
        topic = self._topics.pop(key, None)
        if topic is not None:
            topic.end()

    def _reader_came(self, subscription: Subscription) -> None:
        if subscription.run_id is not None:
            key = subscription.tenant, subscription.run_id
            self._readers[key] = self._readers.get(key, 0) + 1
            self._left.pop(key, None)

    def _reader_left(self, subscription: Subscription) -> None:
        if subscription.run_id is None:
            return
        key = subscription.tenant, subscription.run_id
        count = self._readers.pop(key) - 1
        if count:
            self._readers[key] = count
        else:
            self._left[key] = self.clock.monotonic()

    async def _tick_for_ever(self) -> None:
        while True:
            await self.clock.sleep(TICK_SECONDS)
            self.tick()

    async def _poll_for_ever(self) -> None:
        while True:
            await self.clock.sleep(TICK_SECONDS)
            await self.poll()

    def _clear_idle_rings(self) -> None:
        for topic in self._topics.values():
            if not topic.moved:
                topic.clear()
            topic.moved = False

    def _forget_departures(self) -> None:
        until = self.clock.monotonic() - LEFT_TICKS * TICK_SECONDS
        for key in [key for key, left in self._left.items() if left <= until]:
            del self._left[key]
