"""Agents with tools through the real mailbox: the effect ledger, approvals, questions, state."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from awaken.agent import Agent
from awaken.domain.agent import Limits
from awaken.domain.event import StateDelta, ToolCallDone
from awaken.domain.message import Role
from awaken.domain.run import RunStatus
from awaken.domain.submission import Stop
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.errors import AwakenError, Fault
from awaken.loop.threads import MAX_THREADS
from awaken.ports.model import ModelEvent, ModelRequest, TextChunk
from awaken.ports.store import MessageFilter, TicketFilter
from awaken.ports.tool import ToolArgumentsError
from awaken.redaction import know
from awaken.testing.history import read_history
from awaken.tools import THREADS, ToolError, tool

from .lab import TENANT, Lab, lab
from .tools import Bench, ScriptModel

Make = Callable[..., AbstractAsyncContextManager[tuple[Lab, Bench]]]


@asynccontextmanager
async def bench(**agent: Any) -> AsyncIterator[tuple[Lab, Bench]]:
    made = Bench(**agent)
    async with lab([made.agent]) as here:
        yield here, made


async def tell(here: Lab, text: str, thread_id: str = "t") -> str:
    accepted = await here.submit(text, thread_id, agent_id="tooled")
    return accepted.run_id


async def text_of(here: Lab, run_id: str) -> str:
    run = await here.run(run_id)
    assert run.outcome is not None, run
    return run.outcome.text or ""


async def open_tickets(here: Lab) -> list[Ticket]:
    page = await here.store.tickets(TENANT, TicketFilter(status=TicketStatus.open), 100, None)
    return sorted(page.items, key=lambda ticket: ticket.tool_call_id)


async def decide(here: Lab, ticket: Ticket, payload: Any = None, **given: Any) -> Any:
    return await here.mailbox.decide(
        TENANT, ticket.ticket_id, payload=payload, **{"action": "resume", "by": "ada", **given}
    )


# --- steps
# -----------------------------------------------------------------------------------------


async def test_calls_run_and_the_model_sees_their_results_in_call_order() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "do(label=a) do(label=b)|do(label=c)")
        await here.work()
        assert await text_of(here, run_id) == "done: did a; did b; did c"
        assert made.effects == ["a", "b", "c"]
        assert made.model.asked == 3
        assert (await here.run(run_id)).steps == 3
        await here.check()


async def test_parallel_calls_overlap_and_sequential_ones_do_not() -> None:
    many = " ".join(f"do(label=x{n})" for n in range(12))
    async with bench() as (here, made):
        await tell(here, many)
        await here.work()
        assert 2 <= made.most_at_once <= 8
    async with bench(sequential=True) as (here, made):
        await tell(here, many)
        await here.work()
        assert made.most_at_once == 1
        assert made.effects == [f"x{n}" for n in range(12)]


async def test_whatever_a_tool_does_wrong_is_told_to_the_model() -> None:
    async with bench() as (here, _):
        run_id = await tell(here, "crash() nothing() do(wrong=1) do(BROKEN) hang()")
        await here.work()
        text = await text_of(here, run_id)
        for part in (
            "ValueError: out of paper",
            "there is no tool named 'nothing'",
            "wrong: Extra inputs are not permitted",
            "must be a JSON object",
            "took longer than 0.01 s",
        ):
            assert part in text
        await here.check()


async def test_progress_output_and_state_are_told_and_kept() -> None:
    async with bench() as (here, _):
        run_id = await tell(here, "count(by=2) count(by=3)|count(by=5)")
        await here.work()
        events = [entry.event for entry in await here.entries(run_id)]
        deltas = [event.delta for event in events if isinstance(event, StateDelta)]
        assert deltas == [
            [{"op": "add", "path": "/count", "value": 5}],
            [{"op": "replace", "path": "/count", "value": 10}],
        ]
        types = await here.types(run_id)
        assert "activity_snapshot" in types
        assert "tool_call_stream_delta" in types
        again = await tell(here, "count(by=1)")
        await here.work()
        thread = await here.store.thread(TENANT, "t")
        assert thread is not None
        assert thread.state == {"count": 11}
        assert await here.done(again) == "natural_end"


# --- crashes
# ---------------------------------------------------------------------------------------


async def crash_after(here: Lab, commits: int, before: str | None = None) -> None:
    """Execute one attempt whose process dies behind its nth commit, or before one of that name."""
    claim = await here.claim()
    assert claim is not None
    original = here.store.transact
    left = commits

    class Died(BaseException):
        """Not an Exception, as a kill is not."""

    async def dying(op: Any) -> Any:
        nonlocal left
        if left == 0 or op.__name__ == before:
            raise Died
        left -= 1
        return await original(op)

    here.store.transact = dying  # type: ignore[method-assign,assignment]  # dies here
    try:
        await here.execute(claim)
    except (Died, BaseExceptionGroup):
        pass
    finally:
        here.store.transact = original  # type: ignore[method-assign]
    here.clock.advance(31)
    await here.sweeper.sweep()


@pytest.mark.parametrize("commits", range(8))
async def test_a_crash_between_any_two_commits_repeats_no_finished_call_and_no_inference(
    commits: int,
) -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "again(label=a) again(label=b)|again(label=c)")
        await crash_after(here, commits)
        results = [
            e.event.id for e in await here.entries(run_id) if isinstance(e.event, ToolCallDone)
        ]
        planned = (await here.types(run_id)).count("tool_call_ready")
        asked = made.model.asked
        await here.settle_down()
        assert await text_of(here, run_id) == "done: did a; did b; did c"
        done = [e.event.id for e in await here.entries(run_id) if isinstance(e.event, ToolCallDone)]
        assert len(done) == len(set(done)) == 3
        for call_id in results:
            assert done.count(call_id) == 1
        if planned:
            assert made.model.asked - asked <= 3 - planned // 2, "an open plan is continued"
        await here.check()


async def test_a_call_cut_off_by_a_crash_fails_clearly_by_default() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "do(label=a)")
        await crash_after(here, 99, before="store_result")
        assert made.effects == ["a"], "it had begun"
        await here.settle_down()
        assert made.effects == ["a"], "it is not repeated"
        assert "whether it happened is not known" in await text_of(here, run_id)
        await here.check()


async def test_a_call_cut_off_by_a_crash_asks_if_it_was_told_to() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "unsure(label=a)")
        await crash_after(here, 99, before="store_result")
        await here.work()
        [ticket] = await open_tickets(here)
        assert "did it happen" in (ticket.message or "")
        await decide(here, ticket, {"happened": True, "result": "I saw it"})
        await here.work()
        assert made.effects == ["a"]
        assert await text_of(here, run_id) == "done: I saw it"
        await here.check()


# --- approvals and questions
# -----------------------------------------------------------------------


async def test_a_call_that_needs_approval_waits_without_worker_or_lease() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "pay(amount=5)")
        await here.work()
        run = await here.run(run_id)
        assert run.status is RunStatus.waiting
        counts = await here.store.counts()
        assert (counts.queued, counts.claimed) == (0, 0)
        here.clock.advance(3 * 24 * 3600)
        await here.sweeper.sweep()
        [ticket] = await open_tickets(here)
        await decide(here, ticket)
        await here.work()
        assert made.effects == ["paid 5"]
        assert await text_of(here, run_id) == "done: paid 5"
        types = await here.types(run_id)
        assert types.count("run_start") == 2
        assert types.count("run_finish") == 2
        await here.check()


async def test_a_denied_call_does_not_run_and_the_model_is_told_why() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "pay(amount=5)")
        await here.work()
        [ticket] = await open_tickets(here)
        await decide(here, ticket, {"reason": "too much"}, action="cancel")
        await here.work()
        assert made.effects == []
        assert "denied this call: too much" in await text_of(here, run_id)
        await here.check()


async def test_several_questions_are_answered_in_any_order_and_only_those_calls_run_again() -> None:
    """Regression list of peers.md, 24."""
    async with bench() as (here, made):
        run_id = await tell(here, "do(label=x) pay(amount=1) pay(amount=2) pick()")
        await here.work()
        first, second, pick = await open_tickets(here)
        await decide(here, pick, {"color": "red"})
        await decide(here, second)
        assert (await here.run(run_id)).status is RunStatus.waiting
        assert await here.work() == 0, "one is still open"
        await decide(here, first, {"arguments": {"amount": 7}})
        await here.work()
        assert sorted(made.effects) == ["paid 2", "paid 7", "x"]
        assert await text_of(here, run_id) == 'done: did x; paid 7; paid 2; {"color":"red"}'
        page = await here.store.messages(TENANT, "t", MessageFilter(), 100, None)
        edited = [m.message.metadata for m in page.items if m.message.role is Role.tool]
        assert {"edited_arguments": {"amount": 7}} in edited
        await here.check()


async def test_a_tool_that_asks_gets_each_answer_and_begins_again_with_them() -> None:
    async with bench() as (here, _):
        run_id = await tell(here, "ask(what=age)")
        await here.work()
        [ticket] = await open_tickets(here)
        assert (ticket.message, ticket.response_schema) == ("age?", {"type": "integer"})
        await decide(here, ticket, 3)
        await here.work()
        [ticket] = await open_tickets(here)
        assert ticket.message == "age again?"
        await decide(here, ticket, 4)
        await here.work()
        assert await text_of(here, run_id) == "done: age is 7"
        await here.check()


async def test_an_answer_that_does_not_fit_is_refused_and_the_ticket_stays_open() -> None:
    async with bench() as (here, _):
        await tell(here, "ask(what=age)")
        await here.work()
        [ticket] = await open_tickets(here)
        with pytest.raises(AwakenError) as refused:
            await decide(here, ticket, "old")
        assert (refused.value.code, refused.value.status) == ("invalid_decision", 422)
        assert len(await open_tickets(here)) == 1


async def test_a_decision_made_twice_counts_once_and_another_one_is_too_late() -> None:
    async with bench() as (here, made):
        await tell(here, "pay(amount=5)")
        await here.work()
        [ticket] = await open_tickets(here)
        await decide(here, ticket, decision_id="d1")
        await decide(here, ticket, decision_id="d1")
        with pytest.raises(AwakenError) as refused:
            await decide(here, ticket, action="cancel", decision_id="d2")
        assert refused.value.code == "ticket_closed"
        await here.work()
        with pytest.raises(AwakenError):
            await decide(here, ticket, decision_id="d3")
        assert made.effects == ["paid 5"]
        await here.check()


async def test_a_decision_about_other_arguments_is_refused() -> None:
    async with bench() as (here, _):
        await tell(here, "pay(amount=5)")
        await here.work()
        [ticket] = await open_tickets(here)
        with pytest.raises(AwakenError) as refused:
            await decide(here, ticket, arguments_hash="sha256:0")
        assert refused.value.code == "ticket_changed"


async def test_nobody_decides_for_a_week_and_the_call_expires() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "pay(amount=5)")
        await here.work()
        here.clock.advance(8 * 24 * 3600)
        await here.sweeper.sweep()
        await here.work()
        assert made.effects == []
        assert "nobody decided in time" in await text_of(here, run_id)
        await here.check()


async def test_a_foreign_tenant_cannot_decide() -> None:
    async with bench() as (here, _):
        await tell(here, "pay(amount=5)")
        await here.work()
        [ticket] = await open_tickets(here)
        with pytest.raises(AwakenError) as refused:
            await here.mailbox.decide("other", ticket.ticket_id, action="resume", by="eve")
        assert refused.value.status == 404


async def test_stopping_a_waiting_run_closes_its_tickets_and_frees_the_thread() -> None:
    """Regression list of peers.md, 23."""
    async with bench() as (here, made):
        run_id = await tell(here, "do(label=x) pay(amount=5)")
        await here.work()
        assert await here.mailbox.cancel_run(TENANT, run_id, by="ada") is Stop.requested
        assert await open_tickets(here) == []
        page = await here.store.messages(TENANT, "t", MessageFilter(), 100, None)
        tools = [m.message.text for m in page.items if m.message.role is Role.tool]
        assert tools == ["did x", "[interrupted]"], "every call has a result"
        again = await tell(here, "do(label=y)")
        await here.work()
        assert await here.done(again) == "natural_end"
        assert made.effects == ["x", "y"]
        await here.check()


async def test_a_new_message_of_the_user_supersedes_a_run_that_waits_for_permission() -> None:
    """Regression list of peers.md, 22."""
    async with bench() as (here, made):
        waiting = await tell(here, "pay(amount=5)")
        await here.work()
        again = await tell(here, "do(label=y)")
        await here.work()
        assert await here.done(waiting) == "superseded"
        assert await here.done(again) == "natural_end"
        assert made.effects == ["y"]
        assert await open_tickets(here) == []
        await here.check()


async def test_other_work_queues_behind_a_run_that_waits_for_permission() -> None:
    from awaken.domain.dispatch import Mode
    from awaken.domain.submission import OnBusy

    async with bench() as (here, made):
        waiting = await tell(here, "pay(amount=5)")
        await here.work()
        behind = await here.submit(
            "do(label=y)", agent_id="tooled", mode=Mode.background, on_busy=OnBusy.enqueue
        )
        assert await here.work() == 0
        told = await here.mailbox.explain(TENANT, behind.run_id)
        assert told.blocked_by_run_id == waiting
        [ticket] = await open_tickets(here)
        await decide(here, ticket)
        await here.work()
        assert made.effects == ["paid 5", "y"]
        await here.check()


async def test_a_message_answers_a_run_that_waits_for_the_user() -> None:
    async with bench() as (here, _):
        run_id = await tell(here, "ask(what=age)")
        await here.work()
        answered = await here.submit("3", agent_id="tooled")
        assert answered.run_id == run_id
        await here.work()
        again = await here.submit("4", agent_id="tooled")
        assert again.run_id == run_id
        await here.work()
        assert await text_of(here, run_id) == "done: age is 7"
        await here.check()


# --- limits
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "text", "code"),
    [
        (Limits(max_rounds=2), "do(label=a)|do(label=b)|do(label=c)", "max_rounds"),
        (Limits(stop_on_tool="do"), "again(label=a)|do(label=b)|again(label=c)", "stop_on_tool"),
        (Limits(max_consecutive_errors=2), "crash()|crash()|crash()", "consecutive_errors"),
        (Limits(loop_window=3), "do(label=a)|do(label=a)|do(label=a)|do(label=a)", "loop_detected"),
    ],
)
async def test_a_run_is_stopped_by_its_limits(limits: Limits, text: str, code: str) -> None:
    async with bench(limits=limits) as (here, _):
        run_id = await tell(here, text)
        await here.work()
        run = await here.run(run_id)
        assert run.outcome is not None
        assert run.outcome.termination.__struct_config__.tag == "stopped"
        assert getattr(run.outcome.termination, "code", None) == code
        await here.check()


async def test_the_calls_of_the_last_round_do_not_run() -> None:
    async with bench(limits=Limits(max_rounds=2)) as (here, made):
        await tell(here, "do(label=a)|do(label=b)")
        await here.work()
        assert made.effects == ["a"]


async def test_a_tool_that_the_agent_lost_is_an_error_result_and_not_the_end() -> None:
    async with bench() as (here, made):
        run_id = await tell(here, "pay(amount=5)")
        await here.work()
        made.agent.tools.pop("pay")
        [ticket] = await open_tickets(here)
        await decide(here, ticket)
        await here.work()
        assert "there is no tool named 'pay'" in await text_of(here, run_id)
        await here.check()


# --- sync tools whose threads hang ---------------------------------------------------------------


async def test_a_sync_tool_is_not_begun_when_every_thread_hangs_and_the_model_is_told_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    let_go, begun = threading.Event(), []

    @tool(timeout_seconds=0.05)
    def fax(number: int) -> str:
        """Hang."""
        begun.append(number)
        let_go.wait(20)
        return "sent"

    @tool
    def scan() -> str:
        """Do not hang."""
        return "scanned"

    agent = Agent(
        "tooled",
        model=ScriptModel(),
        tools=[fax, scan],
        limits=Limits(max_rounds=50),
    )
    try:
        async with lab([agent]) as here:
            for _ in range(10 * MAX_THREADS):  # a call may be given up before its thread begins
                missing = min(8, MAX_THREADS - THREADS.given_up)
                if not missing:
                    break
                filling = await tell(here, "".join(f"fax(number={n})" for n in range(missing)))
                await here.work()
                assert "took longer than 0.05 s" in await text_of(here, filling)
            assert len(begun) == THREADS.used == THREADS.given_up == MAX_THREADS

            run_id = await tell(here, "scan() fax(number=8)|scan()")
            await here.work()
            text = await text_of(here, run_id)
            assert text.count('"code":"tool_unavailable"') == 3
            assert text.count(f"{MAX_THREADS} calls do not end, of fax ({MAX_THREADS})") == 3
            assert len(begun) == MAX_THREADS
            assert f"{MAX_THREADS} threads hang in fax ({MAX_THREADS})" in caplog.text

            let_go.set()
            with anyio.fail_after(10):
                while THREADS.used:
                    await checkpoint()
            again = await tell(here, "scan()")
            await here.work()
            assert await text_of(here, again) == "done: scanned"
            await here.check()
    finally:
        let_go.set()


# --- secrets in errors ---------------------------------------------------------------------------

CANARY = "c4n4ry"
TEXTS = [
    f"401 for authorization: Bearer {CANARY}-0123456789",
    f"cannot reach postgresql://shop:{CANARY}%40x@db/shop",
    f"Incorrect API key provided: sk-{CANARY}-0123456789abcdef.",
    f"GET /orders?access_token={CANARY}0123&limit=5",
    f"the vault said {CANARY}-known-to-this-process",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_a_secret_in_the_error_of_a_tool_is_told_to_nobody(text: str) -> None:
    know([f"{CANARY}-known-to-this-process"])

    @tool
    async def order() -> str:
        """Raise."""
        raise RuntimeError(text)

    @tool
    async def ask_for(number: int) -> str:
        """Refuse its arguments."""
        raise ToolArgumentsError(text)

    agent = Agent("tooled", model=ScriptModel(), tools=[order, ask_for])
    async with lab([agent]) as here:
        run_id = await tell(here, "order() ask_for(number=1)")
        await here.work()
        told = await text_of(here, run_id)
        assert told.count("[hidden]") == 2, told
        assert told.count("RuntimeError") == 1
        history = await read_history(here.store, TENANT, "t")
        assert CANARY not in repr(history)
        await here.check()


@pytest.mark.parametrize("public", [True, False])
async def test_a_secret_in_what_ends_a_run_is_told_to_nobody(public: bool) -> None:
    class Failing:
        name = "test:failing"

        async def stream(self, _: ModelRequest) -> AsyncIterator[ModelEvent]:
            await checkpoint()
            if public:
                raise Fault("bad_request", TEXTS[0], retryable=False, public=True)
            yield TextChunk(text="about to fail")
            raise RuntimeError(TEXTS[0])

    async with lab([Agent("tooled", model=Failing())]) as here:
        run_id = await tell(here, "?")
        await here.work()
        run = await here.run(run_id)
        assert run.outcome is not None
        assert "[hidden]" in (run.outcome.internal_error or "")
        assert CANARY not in repr(run)
        assert CANARY not in repr(await read_history(here.store, TENANT, "t"))


# --- approvers -----------------------------------------------------------------------------------


def guarded(**options: Any) -> Agent:
    @tool(**options)
    async def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    return Agent("tooled", model=ScriptModel(), tools=[pay])


async def test_only_an_approver_decides_and_the_ticket_stays_open_for_them() -> None:
    async with lab([guarded(approval=True, approvers=["alice", "bob"])]) as here:
        run_id = await tell(here, "pay(amount=5)")
        await here.work()
        [ticket] = await open_tickets(here)
        assert ticket.allowed_approvers == ("alice", "bob")
        for action in ("resume", "cancel"):
            for by in ("ada", "Alice", ""):
                with pytest.raises(AwakenError) as refused:
                    await decide(here, ticket, action=action, by=by, decision_id="d1")
                assert (refused.value.code, refused.value.status) == ("not_an_approver", 403)
        assert await open_tickets(here) == [ticket]
        await decide(here, ticket, by="bob", decision_id="d1")
        with pytest.raises(AwakenError) as refused:
            await decide(here, ticket, by="ada", decision_id="d1")
        assert refused.value.code == "not_an_approver", "not even a repetition"
        await here.work()
        assert await text_of(here, run_id) == "done: paid 5"
        await here.check()


async def test_whether_a_call_happened_is_for_approvers_to_say_too() -> None:
    async with lab([guarded(on_crash="ask", approvers=["alice"])]) as here:
        run_id = await tell(here, "pay(amount=5)")
        await crash_after(here, 99, before="store_result")
        await here.work()
        [ticket] = await open_tickets(here)
        with pytest.raises(AwakenError) as refused:
            await decide(here, ticket, {"happened": True}, by="ada")
        assert refused.value.code == "not_an_approver"
        await decide(here, ticket, {"happened": True}, by="alice")
        await here.work()
        assert await here.done(run_id) == "natural_end"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"approvers": ["alice"]}, "approvers decide nothing"),
        ({"approvers": "alice", "approval": True}, "a list of names"),
    ],
)
def test_approvers_that_would_not_be_asked_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        guarded(**options)
