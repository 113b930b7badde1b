"""What the tests of foreign agents share: a laboratory, a death, and a client that reads along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from awaken.agent import foreign_agent
from awaken.domain.event import Event
from awaken.domain.message import Message, Role
from awaken.ports.store import MessageFilter
from awaken.protocols.native.encode import NativeEncoder
from tests.mailbox.lab import TENANT, Lab, lab
from tests.streams.client_fold import Fold

Enough = Callable[[list[Event]], bool]


def laboratory(*agents: Any) -> AbstractAsyncContextManager[Lab]:
    """A laboratory with these agents; the tests name them in `tell`."""
    return lab(cast(Any, agents))


@asynccontextmanager
async def serving(thing: Any, **options: Any) -> AsyncIterator[Lab]:
    """A laboratory that serves `thing` as the agent `it`."""
    async with laboratory(foreign_agent("it", thing, **options)) as here:
        yield here


async def tell(here: Lab, text: str, thread_id: str = "t", **fields: Any) -> str:
    accepted = await here.submit(text, thread_id, **{"agent_id": "it", **fields})
    return accepted.run_id


async def ask(here: Lab, text: str, thread_id: str = "t", **fields: Any) -> str:
    """Tell it, let it work, and return how its run ended: the text, or the failure's code."""
    run_id = await tell(here, text, thread_id, **fields)
    await here.settle_down()
    return await said(here, run_id)


async def said(here: Lab, run_id: str) -> str:
    run = await here.run(run_id)
    assert run.outcome is not None, run
    code = getattr(run.outcome.termination, "code", None)
    return f"{run.outcome.text or ''}" if code is None else f"[{code}] {run.outcome.text or ''}"


async def events(here: Lab, run_id: str) -> list[Event]:
    return [entry.event for entry in await here.entries(run_id)]


async def messages(here: Lab, role: Role, visibility: str = "external") -> list[Message]:
    """The messages of the thread with that role."""
    where = MessageFilter(visibility=visibility)
    page = await here.store.messages(TENANT, "t", where, 100, None)
    return [stored.message for stored in page.items if stored.message.role is role]


async def die(here: Lab, run_id: str, enough: Enough) -> None:
    """Execute one attempt in a process that dies once it has published `enough`."""
    claim = await here.claim()
    assert claim is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(here.execute, claim)
        await published(here, run_id, enough)
        tasks.cancel_scope.cancel()
    here.clock.advance(31)
    await here.sweeper.sweep()


async def published(here: Lab, run_id: str, enough: Enough) -> None:
    """Wait until the run's log has `enough`, time passing meanwhile."""
    with anyio.fail_after(5):
        while not enough(await events(here, run_id)):
            here.clock.advance(0.05)
            await checkpoint()


async def folded(here: Lab, run_id: str, *cuts: int) -> dict[str, Any]:
    """What a client shows that reads the run's log, disconnected behind each of the `cuts`."""
    fold, encoder = Fold(), NativeEncoder()
    entries = await here.entries(run_id)
    for cut in (*cuts, len(entries)):
        for entry in [entry for entry in entries if entry.seq > fold.cursor][:cut]:
            for frame in encoder.encode(entry):
                fold.feed(frame.id, msgspec.json.decode(frame.data))
    return fold.view()
