"""Deleting and trying again in the midst of everything else, in orders that nobody thought of."""

from __future__ import annotations

from contextlib import suppress

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from awaken.domain.care import Children, retry_id
from awaken.domain.claim import Claim
from awaken.domain.dispatch import Mode
from awaken.domain.submission import OnBusy
from awaken.errors import Refusal, RequestError
from awaken.ports.store import MessageFilter, RunFilter, TicketFilter
from awaken.testing.history import read_history, violations
from tests.mailbox.agents import AGENTS
from tests.mailbox.lab import TENANT, Lab, lab
from tests.mailbox.test_retry import retry

THREADS = ("a", "b")
WORDS = ("hello", "permanent", "break:2 always", "think")

thread = st.sampled_from(THREADS)
STEP = st.one_of(
    st.tuples(st.just("submit"), thread, st.sampled_from(WORDS)),
    st.tuples(st.just("interrupt"), thread, st.sampled_from(WORDS)),
    st.tuples(st.just("claim"), thread, st.just("")),
    st.tuples(st.just("execute"), thread, st.just("")),
    st.tuples(st.just("cancel"), thread, st.just("")),
    st.tuples(st.just("delete"), thread, st.just("")),
    st.tuples(st.just("retry"), thread, st.just("")),
    st.tuples(st.just("wait"), thread, st.just("")),
)


class Play:
    """What is done to a mailbox, and what must hold whatever it was."""

    def __init__(self, here: Lab) -> None:
        self.here = here
        self.claims: list[Claim] = []

    async def step(self, name: str, thread_id: str, words: str) -> None:
        here, keeper = self.here, self.here.mailbox.keeper
        match name:
            case "submit":
                await here.submit(words, thread_id, on_busy=OnBusy.enqueue, mode=Mode.background)
            case "interrupt":
                await here.submit(words, thread_id)
            case "claim":
                claim = await here.claim()
                self.claims += [] if claim is None else [claim]
            case "execute" if self.claims:
                await here.execute(self.claims.pop(0))
            case "cancel":
                with suppress(RequestError):
                    await here.mailbox.cancel_thread(TENANT, thread_id, by="ada")
            case "delete":
                with suppress(RequestError):
                    await keeper.delete_thread(
                        TENANT, thread_id, children=Children.reject, by="ada"
                    )
                await self.nothing_of(thread_id)
            case "retry":
                await self.retry_all(thread_id)
            case "wait":
                here.clock.advance(31)
                await here.sweeper.sweep()

    async def retry_all(self, thread_id: str) -> None:
        runs = await self.here.store.runs(TENANT, RunFilter(thread_id=thread_id), 99, None)
        for run in runs.items:
            with suppress(Refusal):
                again = await retry(self.here, run.run_id)
                assert again.run_id == retry_id(run.run_id)

    async def nothing_of(self, thread_id: str) -> None:
        store = self.here.store
        assert await store.head(TENANT, thread_id) is None
        assert await store.segments(TENANT, thread_id, 0, 9) == []
        everything = MessageFilter(visibility="everything")
        for page in (
            await store.runs(TENANT, RunFilter(thread_id=thread_id), 9, None),
            await store.dispatches(TENANT, thread_id, 9, None),
            await store.messages(TENANT, thread_id, everything, 9, None),
            await store.tickets(TENANT, TicketFilter(thread_id=thread_id), 9, None),
        ):
            assert page.items == ()

    async def check(self, *, quiescent: bool = False) -> None:
        for thread_id in THREADS:
            if await self.here.store.head(TENANT, thread_id) is None:
                await self.nothing_of(thread_id)
            else:
                history = await read_history(self.here.store, TENANT, thread_id)
                assert violations(history, quiescent=quiescent) == []


async def play(steps: list[tuple[str, str, str]]) -> None:
    async with lab(AGENTS) as here:
        game = Play(here)
        for step in steps:
            await game.step(*step)
            await game.check()
        for claim in game.claims:
            await here.execute(claim)
        await here.settle_down()
        await game.check(quiescent=True)
        for thread_id in THREADS:
            await game.step("delete", thread_id, "")
        counts = await here.store.counts()
        assert (counts.queued, counts.claimed, counts.in_line) == (0, 0, 0)


@given(steps=st.lists(STEP, max_size=30))
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_the_records_agree_and_what_is_deleted_stays_so(
    steps: list[tuple[str, str, str]],
) -> None:
    anyio.run(play, steps)
