"""Readers of a thread that is deleted."""

from __future__ import annotations

import anyio
import pytest

from awaken.ports.hints import ThreadDeleted
from awaken.streams.hub import Hub
from awaken.streams.subscription import Subscription, ThreadGone
from tests.streams.support import TENANT, THREAD, ProbedStore, append, text, texts, wait_until
from tests.streams.test_hub import NOTHING, read, waiting

GONE = ThreadDeleted(tenant=TENANT, thread_id=THREAD)


async def _is_gone(subscription: Subscription) -> None:
    with pytest.raises(ThreadGone) as raised:
        await subscription.next()
    assert (raised.value.code, raised.value.status) == ("thread_not_found", 404)


async def test_readers_of_a_deleted_thread_get_what_is_in_the_ring_and_end(
    store: ProbedStore, hub: Hub
) -> None:
    with hub.subscribe(TENANT, THREAD, None) as behind, hub.subscribe(TENANT, THREAD, 0) as idle:
        behind.seek(0)
        await append(store, text(1))
        assert await read(idle, 1) == texts(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_is_gone, idle)
            await wait_until(waiting(hub))
            hub.deliver([GONE])
        assert await read(behind, 1) == texts(1)
        await _is_gone(behind)
    assert hub.statistics() == NOTHING


async def test_a_new_thread_of_the_same_id_has_readers_of_its_own(
    store: ProbedStore, hub: Hub
) -> None:
    with hub.subscribe(TENANT, THREAD, 0) as old:
        hub.deliver([GONE])
        with hub.subscribe(TENANT, THREAD, 0) as new:
            await append(store, text(1))
            assert await read(new, 1) == texts(1)
            await _is_gone(old)
            assert hub.statistics().subscriptions == 1
    assert hub.statistics() == NOTHING


async def test_a_poll_finds_out_that_a_thread_was_deleted(
    store: ProbedStore, deaf_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object) -> dict[tuple[str, str], int]:
        return {}

    await append(store, text(1))
    fresh = deaf_hub.subscribe(TENANT, "not made yet", 0)
    with deaf_hub.subscribe(TENANT, THREAD, 0) as reader, fresh:
        await deaf_hub.poll()
        assert await read(reader, 1) == texts(1)
        monkeypatch.setattr(store, "heads", none)
        await deaf_hub.poll()
        await _is_gone(reader)
        assert deaf_hub.statistics().topics == 1, "a thread that has no log yet was not deleted"
