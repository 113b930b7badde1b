"""I4: a committed message is never rewritten, whatever happens to its thread; hidden at most."""

from __future__ import annotations

from awaken.domain.message import StoredMessage
from awaken.domain.submission import OnBusy
from awaken.ports.store import MessageFilter
from awaken.streams.care import compact_done_runs

from .agents import AGENTS
from .lab import TENANT, Lab, lab


async def shown(here: Lab) -> dict[int, StoredMessage]:
    """The messages of the thread that are not hidden, by their number."""
    page = await here.store.messages(TENANT, "t", MessageFilter(visibility="all"), 200, None)
    return {each.message_seq: each for each in page.items}


async def test_a_committed_message_is_never_rewritten() -> None:
    async with lab(AGENTS) as here:
        known: dict[int, StoredMessage] = {}

        async def look() -> None:
            now = await shown(here)
            assert {number: now[number] for number in known if number in now} == {
                number: message for number, message in known.items() if number in now
            }
            assert all(number > max(known) for number in now.keys() - known.keys() if known)
            known.update(now)

        await here.submit("hi")
        await here.work()
        await look()
        stopped = await here.submit("break:3")  # fails, and waits to be tried again
        await here.work()
        await look()
        await here.mailbox.cancel_run(TENANT, stopped.run_id, by="ada")
        await look()
        await here.submit("hi")
        owned = await here.claim()
        assert owned is not None
        await here.submit("instead", on_busy=OnBusy.rollback)  # hides what it ends
        await look()
        await here.execute(owned)
        await here.work()
        await look()
        await here.submit("always")  # five attempts, then a dead letter
        await here.settle_down()
        await look()
        await here.submit("hi")
        assert await here.claim() is not None  # a worker that dies
        here.clock.advance(31)
        await here.sweeper.sweep()
        await here.settle_down()
        await look()
        await compact_done_runs(here.store, done_before=here.clock.now() + 1, limit=50)
        await look()
        assert len(known) > 8
        assert known.keys() - (await shown(here)).keys(), "the rollback hid something"
