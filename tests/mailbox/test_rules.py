"""Standing decisions: nobody is asked, and the log says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from awaken import Approval
from awaken.domain.event import ActivitySnapshot
from awaken.domain.rule import ApprovalRule, Effect, Equals
from awaken.domain.run import RunStatus
from awaken.domain.ticket import TicketStatus
from awaken.errors import Refusal, RequestError, StoreFault
from awaken.ports.store import Transaction
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault, FaultyStore

from .lab import TENANT, Lab, lab
from .test_approvals import asked, decide, open_ticket, payer, refused


@asynccontextmanager
async def jumping(clock: FakeClock) -> AsyncIterator[None]:
    """Retries wait on a clock that only we move: let the time of the next sleeper come."""

    async def jump() -> None:
        while True:
            await anyio.sleep(0.002)
            if clock.next_wake is not None:
                clock.advance(clock.next_wake)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(jump)
        yield
        tasks.cancel_scope.cancel()


async def make(here: Lab, **fields: Any) -> ApprovalRule:
    given = {"tool": "pay", "effect": Effect.allow, "created_by": "ann", **fields}
    tenant = given.pop("tenant", TENANT)
    rule = ApprovalRule(tenant=tenant, rule_id="", created_at=0, **given)
    return await here.mailbox.make_rule(rule)


async def ran(here: Lab, text: str = "pay") -> str:
    accepted = await here.submit(text, agent_id="payer")
    await here.work()
    return accepted.run_id


async def told(here: Lab, run_id: str) -> list[Any]:
    """What the log says about rules."""
    events = [entry.event for entry in await here.entries(run_id)]
    return [e.content for e in events if isinstance(e, ActivitySnapshot)]


async def test_a_call_that_a_rule_allows_runs_at_once_and_the_log_names_the_rule() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        rule = await make(here, arguments={"amount": Equals(value=5)})
        run_id = await ran(here)
        assert await here.done(run_id) == "natural_end"
        assert paid == [5]
        (content,) = await told(here, run_id)
        assert content == {
            "rule_id": rule.rule_id,
            "effect": "allow",
            "created_by": "ann",
            "tool_call_id": "call-1",
            "tool_name": "pay",
        }
        kinds = await here.types(run_id)
        assert "ticket_opened" not in kinds
        assert kinds.index("activity_snapshot") < kinds.index("tool_call_done")
        await here.check()


async def test_a_call_that_a_rule_denies_is_not_run_and_the_model_is_told() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        await make(here)
        rule = await make(here, effect=Effect.deny)
        run_id = await ran(here)
        run = await here.run(run_id)
        assert run.outcome is not None
        assert "a rule denies this call" in (run.outcome.text or "")
        assert paid == []
        assert [content["rule_id"] for content in await told(here, run_id)] == [rule.rule_id]
        await here.check()


async def test_a_rule_that_does_not_fit_or_is_gone_or_foreign_or_over_leaves_the_question() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        await make(here, arguments={"amount": Equals(value=6)})
        await make(here, tenant="other")
        await make(here, agent_id="somebody")
        await make(here, expires_at=here.clock.now() - 1)
        gone = await make(here)
        await here.mailbox.delete_rule(TENANT, gone.rule_id)
        ticket = await asked(here)
        assert paid == []
        assert await told(here, ticket.run_id) == []
        with pytest.raises(RequestError, match="no approval_rule"):
            await here.mailbox.delete_rule(TENANT, gone.rule_id)


async def test_who_may_not_decide_makes_no_rule_that_counts_and_a_quorum_is_kept() -> None:
    for approval, approvers in ((True, ["bob"]), (Approval(quorum=2), [])):
        agent, paid = payer(approval, approvers)
        async with lab([agent]) as here:
            await make(here, created_by="ann")
            ticket = await asked(here)
            assert ticket.status is TicketStatus.open
            assert paid == []


# --- remembering a decision -----------------------------------------------------------------------


@pytest.mark.parametrize(("action", "remember"), [("resume", "allow"), ("cancel", "deny")])
async def test_a_decision_that_is_remembered_answers_the_same_call_next_time(
    action: str, remember: str
) -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        for _ in range(2):  # repeating it makes no second rule
            await decide(here, ticket, action=action, decision_id="d", remember=Effect(remember))
        await here.work()
        before = list(paid)
        run_id = await ran(here, "again")
        assert (await here.run(run_id)).status is RunStatus.done
        assert len(paid) - len(before) == (remember == "allow")
        (content,) = await told(here, run_id)
        page = await here.store.approval_rule_page(TENANT, 10, None)
        (rule,) = page.items
        assert content["rule_id"] == rule.rule_id
        assert rule.arguments == {"amount": Equals(value=5)}
        assert (rule.created_by, rule.agent_id, rule.others) == ("ann", "payer", False)
        await here.check()


async def test_what_cannot_be_remembered_is_refused_and_the_ticket_stays_open() -> None:
    agent, _ = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        await refused("invalid_decision", here, ticket, action="cancel", remember=Effect.allow)
        await refused("invalid_decision", here, ticket, action="resume", remember=Effect.deny)
        edited = {"arguments": {"amount": 1}}
        await refused("invalid_decision", here, ticket, payload=edited, remember=Effect.allow)
        assert (await open_ticket(here, ticket.run_id)) == ticket
    agent, _ = payer(Approval(quorum=2))
    async with lab([agent]) as here:
        ticket = await asked(here)
        await refused("invalid_decision", here, ticket, remember=Effect.allow)


async def test_a_decision_that_loses_makes_no_rule() -> None:
    agent, _ = payer(True)
    async with lab([agent]) as here:
        ticket = await asked(here)
        await decide(here, ticket, "bob", action="cancel")
        await refused("ticket_closed", here, ticket, remember=Effect.allow)
        assert (await here.store.approval_rule_page(TENANT, 10, None)).items == ()


async def test_there_are_so_many_rules_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awaken.mailbox.rules.MAX_RULES", 2)
    agent, _ = payer(True)
    async with lab([agent]) as here:
        for _ in range(2):
            await make(here, tool="other")
        with pytest.raises(Refusal) as caught:
            await make(here)
        assert (caught.value.code, caught.value.status) == ("too_many_rules", 429)
        ticket = await asked(here)
        await refused("too_many_rules", here, ticket, remember=Effect.allow)
        assert (await open_ticket(here, ticket.run_id)) == ticket


# --- when things break ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", Fault)
async def test_whatever_call_of_the_store_fails_an_allowed_call_is_on_record(fault: Fault) -> None:
    """A call that ran without being asked about is named in the log, whatever broke."""
    for nth in range(1, 100):
        agent, paid = payer(True)
        async with lab([agent]) as here:
            rule = await make(here)
            accepted = await here.submit("pay", agent_id="payer")
            faulty = FaultyStore(here.store, fault, nth=nth)
            victim = Lab(faulty, here.clock, [agent], worker_id="w2", ids=here.ids)
            async with jumping(here.clock):
                try:
                    await victim.work()
                except StoreFault:
                    assert faulty.failed
                await here.settle_down()
            ended = (await here.run(accepted.run_id)).outcome
            assert await here.done(accepted.run_id) == "natural_end", (nth, ended)
            assert len(paid) <= 1
            if paid:
                assert rule.rule_id in {c["rule_id"] for c in await told(here, accepted.run_id)}
            await here.check()
        if not faulty.failed:
            assert nth > 5
            break


async def test_a_rule_that_cannot_be_read_allows_nothing() -> None:
    agent, paid = payer(True)
    async with lab([agent]) as here:
        await make(here)

        async def spoil(tx: Transaction) -> None:
            tx._write("update approval_rules set data = ?", (b"?",))  # type: ignore[attr-defined]  # of SQLite

        await here.store.transact(spoil)
        await ran(here)
        assert paid == []
