"""Approvals that expire by policy, need several, or are attacked; the thread stays usable."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest

from awaken import Agent, Approval, tool
from awaken.domain.run import RunStatus
from awaken.domain.termination import Cancelled
from awaken.domain.ticket import OnExpiry, Ticket, TicketStatus
from awaken.errors import Refusal, RequestError
from awaken.mailbox.decide import EXPIRED, Decided
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    TextChunk,
)
from awaken.ports.store import TicketFilter
from awaken.tools import ToolError

from .lab import TENANT, Lab, lab

DAY = 24 * 3_600


class Paying:
    """Pays once for each message of the user, and then says what came of it."""

    name = "test:paying"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        last = request.messages[-1]
        if last.tool_call_id is None:
            call_id = f"call-{len(request.messages)}"
            yield CallStart(id=call_id, name="pay")
            yield CallChunk(id=call_id, text='{"amount": 5}')
            yield CallEnd(id=call_id)
            yield Finish(reason="tool_calls")
            return
        yield TextChunk(text=f"so: {last.text}")
        yield Finish(reason="stop")


def payer(approval: bool | Approval, approvers: Sequence[str] = ()) -> tuple[Agent, list[int]]:
    """An agent that pays when it was allowed to, and what it paid."""
    paid: list[int] = []

    @tool(approval=approval, approvers=approvers)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    return Agent("payer", model=Paying(), tools=[pay]), paid


payer(True)  # pydantic looks for plug-ins with its first model: not on an event loop


async def asked(here: Lab) -> Ticket:
    """The ticket of a run that waits."""
    accepted = await here.submit("pay", agent_id="payer")
    await here.work()
    return await open_ticket(here, accepted.run_id)


async def open_ticket(here: Lab, run_id: str) -> Ticket:
    where = TicketFilter(run_id=run_id, status=TicketStatus.open)
    (ticket,) = (await here.store.tickets(TENANT, where, 10, None)).items
    assert isinstance(ticket, Ticket)
    return ticket


async def decide(here: Lab, ticket: Ticket, by: str = "ann", **fields: Any) -> Decided:
    given = {"action": "resume", **fields}
    return await here.mailbox.decide(TENANT, ticket.ticket_id, by=by, **given)


async def refused(code: str, here: Lab, ticket: Ticket, by: str = "ann", **fields: Any) -> None:
    with pytest.raises((Refusal, RequestError)) as caught:
        await decide(here, ticket, by, **fields)
    assert caught.value.code == code


async def usable(here: Lab, paid: list[int]) -> None:
    """The thread takes a further message, asks again, and goes on when it is allowed."""
    before = len(paid)
    accepted = await here.submit("again", agent_id="payer")
    await here.work()
    ticket = await open_ticket(here, accepted.run_id)
    for number in range(ticket.quorum):
        await decide(here, ticket, f"p{number}" if not ticket.allowed_approvers else "ann")
    await here.work()
    assert await here.done(accepted.run_id) == "natural_end"
    assert len(paid) == before + 1
    await here.check()


# --- expiry --------------------------------------------------------------------------------------


async def test_by_default_a_call_nobody_decides_about_is_denied_after_a_week() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        assert (ticket.expires_at or 0) - ticket.opened_at == 7 * DAY * 1000
        here.clock.advance(7 * DAY + 1)
        await here.sweeper.sweep()
        await here.work()
        run = await here.run(ticket.run_id)
        assert run.outcome is not None
        assert "nobody decided in time" in (run.outcome.text or "")
        assert paid == []
        await usable(here, paid)


async def test_the_time_to_decide_can_be_set() -> None:
    agent, paid = payer(Approval(expires_seconds=60))
    async with lab([agent]) as here:
        ticket = await asked(here)
        here.clock.advance(60)
        await here.sweeper.sweep()
        assert (await here.run(ticket.run_id)).status is RunStatus.waiting
        here.clock.advance(1)
        await refused("ticket_expired", here, ticket)  # before any sweep
        await here.sweeper.sweep()
        await here.work()
        assert await here.done(ticket.run_id) == "natural_end"
        await refused("ticket_closed", here, ticket)
        await usable(here, paid)


async def test_an_expired_ticket_can_stop_its_run() -> None:
    agent, paid = payer(Approval(expires_seconds=60, on_expiry="cancel"))
    async with lab([agent]) as here:
        ticket = await asked(here)
        assert ticket.on_expiry is OnExpiry.cancel
        here.clock.advance(61)
        await here.sweeper.sweep()
        run = await here.run(ticket.run_id)
        assert run.outcome is not None
        assert run.outcome.termination == Cancelled(by="system", reason=EXPIRED)
        closed = await here.store.ticket(TENANT, ticket.ticket_id)
        assert closed is not None
        assert closed.status is TicketStatus.expired
        assert (await here.types(run.run_id)).count("ticket_closed") == 1
        await here.sweeper.sweep()
        await refused("ticket_closed", here, ticket)
        await here.check()
        await usable(here, paid)


async def test_a_ticket_can_be_left_open_for_as_long_as_it_takes() -> None:
    agent, paid = payer(Approval(on_expiry="leave"))
    async with lab([agent]) as here:
        ticket = await asked(here)
        assert ticket.expires_at is None
        here.clock.advance(400 * DAY)
        await here.sweeper.sweep()
        await decide(here, ticket)
        await here.work()
        assert paid == [5]
        await usable(here, paid)


async def test_the_policy_is_part_of_what_a_run_is_pinned_to() -> None:
    pinned = set()
    for policy in (
        True,
        Approval(quorum=2),
        Approval(expires_seconds=9),
        Approval(on_expiry="leave"),
    ):
        async with lab([payer(policy)[0]]) as here:
            pinned.add((await here.run((await asked(here)).run_id)).resolution_id)
    assert len(pinned) == 4


@pytest.mark.parametrize(
    ("approval", "approvers", "words"),
    [
        (Approval(on_expiry="explode"), (), "on_expiry is deny, cancel or leave"),
        (Approval(on_expiry="leave", expires_seconds=5), (), "does not expire"),
        (Approval(expires_seconds=0), (), "expires_seconds is more than 0"),
        (Approval(quorum=0), (), "quorum is 1 to 20"),
        (Approval(quorum=3), ("ann", "bob", "ann"), "needs as many approvers"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused_where_it_is_written(
    approval: Approval, approvers: Sequence[str], words: str
) -> None:
    with pytest.raises(ToolError, match=words):
        payer(approval, approvers)


# --- several people ------------------------------------------------------------------------------


async def test_a_quorum_allows_only_together_and_each_counts_once() -> None:
    agent, paid = payer(Approval(quorum=2))
    async with lab([agent]) as here:
        ticket = await asked(here)
        first = await decide(here, ticket, "ann", decision_id="a")
        assert (first.resumed, first.ticket.status) == (False, TicketStatus.open)
        assert [vote.by for vote in first.ticket.votes] == ["ann"]
        again = await decide(here, ticket, "ann", decision_id="a")
        assert (again.ticket, again.resumed) == (first.ticket, False)
        await refused("already_approved", here, ticket, "ann", decision_id="b")
        await here.work()
        assert paid == []
        second = await decide(here, ticket, "bob")
        assert (second.resumed, second.ticket.status) == (True, TicketStatus.answered)
        await here.work()
        assert paid == [5]
        await usable(here, paid)


async def test_one_denial_is_enough_even_of_somebody_who_had_allowed_it() -> None:
    for denier in ("bob", "ann"):
        agent, paid = payer(Approval(quorum=2))
        async with lab([agent]) as here:
            ticket = await asked(here)
            await decide(here, ticket, "ann")
            denied = await decide(here, ticket, denier, action="cancel")
            assert denied.ticket.status is TicketStatus.denied
            await here.work()
            assert paid == []
            await usable(here, paid)


async def test_a_quorum_counts_only_those_who_may_decide_and_edits_nothing() -> None:
    agent, paid = payer(Approval(quorum=2), ["ann", "bob"])
    async with lab([agent]) as here:
        ticket = await asked(here)
        await refused("not_an_approver", here, ticket, "eve")
        await refused("invalid_decision", here, ticket, payload={"arguments": {"amount": 500}})
        await decide(here, ticket, "ann")
        await decide(here, ticket, "bob")
        await here.work()
        assert paid == [5]


async def test_votes_that_were_not_enough_expire_with_their_ticket() -> None:
    agent, paid = payer(Approval(quorum=2, expires_seconds=60))
    async with lab([agent]) as here:
        ticket = await asked(here)
        await decide(here, ticket, "ann")
        here.clock.advance(61)
        await here.sweeper.sweep()
        await here.work()
        assert paid == []
        await usable(here, paid)


# --- under attack, and in races ------------------------------------------------------------------


async def all_at_once(here: Lab, ticket: Ticket, decisions: Sequence[dict[str, Any]]) -> list[str]:
    """What came of each: a status, or the code of its refusal."""
    came: list[str] = []

    async def one(fields: dict[str, Any]) -> None:
        try:
            came.append((await decide(here, ticket, **fields)).ticket.status.value)
        except (Refusal, RequestError) as error:
            came.append(error.code)

    async with anyio.create_task_group() as tasks:
        for fields in decisions:
            tasks.start_soon(one, fields)
    return came


async def test_of_many_decisions_at_once_one_counts() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        decisions = [{"by": f"p{n}", "action": ("resume", "cancel")[n % 2]} for n in range(20)]
        came = Counter(await all_at_once(here, ticket, decisions))
        assert came["ticket_closed"] == 19
        assert came["answered"] + came["denied"] == 1
        await here.work()
        assert len(paid) == came["answered"]
        assert (await here.types(ticket.run_id)).count("ticket_closed") == 1
        await usable(here, paid)


async def test_a_decision_that_comes_many_times_counts_once() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        came = await all_at_once(here, ticket, [{"decision_id": "d"}] * 10)
        assert came == ["answered"] * 10
        await here.work()
        assert paid == [5]
        await usable(here, paid)


async def test_a_quorum_in_a_race_is_reached_by_as_many_as_it_needs() -> None:
    agent, paid = payer(Approval(quorum=3))
    async with lab([agent]) as here:
        ticket = await asked(here)
        came = Counter(await all_at_once(here, ticket, [{"by": f"p{n % 5}"} for n in range(10)]))
        assert came["open"] == 2
        assert came["answered"] == 1
        assert came["already_approved"] + came["ticket_closed"] == 7
        await here.work()
        assert paid == [5]
        await usable(here, paid)


async def test_what_is_tampered_with_foreign_or_late_changes_nothing() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        await refused("ticket_changed", here, ticket, arguments_hash="sha256:other")
        with pytest.raises(RequestError) as caught:
            await here.mailbox.decide("other", ticket.ticket_id, by="eve", action="resume")
        assert caught.value.code == "ticket_not_found"
        await refused("invalid_decision", here, ticket, action="explode")
        assert await here.store.ticket(TENANT, ticket.ticket_id) == ticket
        await here.mailbox.cancel_run(TENANT, ticket.run_id, by="ann")
        await refused("ticket_closed", here, ticket)
        assert paid == []
        await usable(here, paid)


@pytest.mark.parametrize("on_expiry", ["deny", "cancel"])
async def test_a_decision_and_the_expiry_at_once_end_in_one_of_both(on_expiry: str) -> None:
    agent, paid = payer(Approval(expires_seconds=60, on_expiry=on_expiry))
    async with lab([agent]) as here:
        ticket = await asked(here)
        here.clock.advance(60)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.sweeper.sweep)
            tasks.start_soon(all_at_once, here, ticket, [{"by": "ann"}])
            here.clock.advance(0.002)
            tasks.start_soon(here.sweeper.sweep)
        await here.sweeper.sweep()
        await here.work()
        kinds = await here.types(ticket.run_id)
        assert kinds.count("ticket_closed") == 1
        assert (await here.run(ticket.run_id)).status is RunStatus.done
        await usable(here, paid)
