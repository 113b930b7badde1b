"""Traffic on a busy thread: steering, rollback, what waits to be read, repeats, early stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from awaken.agent import Agent
from awaken.domain.delivery import Boundary, DeliveryMode, Granularity
from awaken.domain.dispatch import Mode
from awaken.domain.event import RunFinish
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.run import RunStatus
from awaken.domain.submission import Accepted, IdempotencyKey, OnBusy, Stop, Submission
from awaken.errors import Fault, Refusal, RequestError
from awaken.mailbox.config import MailboxConfig
from awaken.ports.model import Finish, ModelEvent, ModelRequest, TextChunk
from awaken.ports.store import MessageFilter

from .agents import AGENTS
from .lab import TENANT, Lab, lab
from .tools import Bench

Doing = Callable[[], Awaitable[Any]]


class BusyModel:
    """Does what it was told to do while it is asked for the nth time; then answers that number."""

    name = "test:busy"

    def __init__(self) -> None:
        self.doing: dict[int, Doing] = {}
        self.asked: list[tuple[str, ...]] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(tuple(m.text for m in request.messages if m.role is Role.user))
        number = len(self.asked)
        yield TextChunk(text=f"answer {number}")
        if number in self.doing:
            await self.doing[number]()
        yield Finish(reason="stop")


async def texts(here: Lab, thread_id: str = "t") -> list[str]:
    """What the thread shows, in order."""
    page = await here.store.messages(TENANT, thread_id, MessageFilter(), 200, None)
    return [stored.message.text for stored in page.items]


async def refused(code: str, doing: Awaitable[Any]) -> Refusal | RequestError:
    with pytest.raises((Refusal, RequestError)) as caught:
        await doing
    assert caught.value.code == code, caught.value.code
    assert isinstance(caught.value, Refusal | RequestError)
    return caught.value


# --- steering ------------------------------------------------------------------------------------


async def test_a_message_that_steers_is_read_at_the_next_step() -> None:
    made = Bench()
    steered: list[Accepted] = []

    async with lab([made.agent]) as here:
        run_id = (await here.submit("do(label=a)|do(label=b)", agent_id="tooled")).run_id
        claim = await here.claim()
        assert claim is not None
        steered.append(await here.submit("do(label=z)", agent_id="tooled", on_busy=OnBusy.steer))
        await here.execute(claim)
        assert steered[0].run_id == run_id
        assert steered[0].fallback_run_id not in (None, run_id)
        # The script model follows the last user message: after step a it was told to do z.
        assert made.effects == ["a", "z"]
        assert await here.done(run_id) == "natural_end"
        assert [m for m in await texts(here) if m.startswith("d")] == [
            "do(label=a)|do(label=b)",
            "did a",
            "do(label=z)",
            "did z",
            "done: did z",
        ]
        assert await here.store.run(TENANT, steered[0].fallback_run_id or "") is None
        await here.check()


async def test_a_message_that_comes_at_the_natural_end_is_answered_by_the_same_run() -> None:
    model = BusyModel()
    async with lab([Agent("busy", model=model)]) as here:

        async def steer() -> None:
            await here.submit("and this?", agent_id="busy", on_busy=OnBusy.steer)

        model.doing[1] = steer
        accepted = await here.submit("this?", agent_id="busy")
        await here.work()
        assert model.asked == [("this?",), ("this?", "and this?")]
        assert await texts(here) == ["this?", "answer 1", "and this?", "answer 2"]
        run = await here.run(accepted.run_id)
        assert run.outcome is not None
        assert run.outcome.text == "answer 2"
        assert run.activation == 1
        kinds = await here.types(accepted.run_id)
        assert kinds.count("run_start") == kinds.count("run_finish") == 1
        assert "run_retry" not in kinds
        await here.check()


async def test_a_run_can_be_steered_again_and_again() -> None:
    model = BusyModel()
    async with lab([Agent("busy", model=model)]) as here:
        for number in range(1, 6):

            async def steer(number: int = number) -> None:
                await here.submit(f"q{number}", agent_id="busy", on_busy=OnBusy.steer)

            model.doing[number] = steer
        accepted = await here.submit("q0", agent_id="busy")
        await here.work()
        assert len(model.asked) == 6
        assert (await here.run(accepted.run_id)).steps == 6
        await here.check()


async def test_what_a_failed_run_did_not_read_starts_the_run_that_was_named() -> None:
    class Broken(BusyModel):
        async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
            async for event in super().stream(request):
                if isinstance(event, Finish) and len(self.asked) == 1:
                    raise Fault("model_not_found", "gone", retryable=False)
                yield event

    model = Broken()
    answers: list[Accepted] = []
    async with lab([Agent("busy", model=model)]) as here:

        async def steer() -> None:
            answers.extend(
                [
                    await here.submit(text, agent_id="busy", on_busy=OnBusy.steer)
                    for text in ("one", "two")
                ]
            )

        model.doing[1] = steer
        accepted = await here.submit("q", agent_id="busy")
        await here.work()
        assert await here.done(accepted.run_id) == "error"
        for answer, text in zip(answers, ("one", "two"), strict=True):
            fallback = await here.run(answer.fallback_run_id or "")
            assert await here.done(fallback.run_id) == "natural_end"
            assert len(fallback.input.seqs) == 1
            assert text in await texts(here)
        await here.check()


async def test_a_stop_takes_back_what_was_to_steer() -> None:
    async with lab(AGENTS) as here:
        accepted = await here.submit("q")
        claim = await here.claim()
        steered = await here.submit("more", on_busy=OnBusy.steer)
        await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
        assert claim is not None
        await here.execute(claim)
        assert await here.done(accepted.run_id) == "cancelled"
        assert await here.store.run(TENANT, steered.fallback_run_id or "") is None
        assert "more" not in await texts(here)
        assert not await here.store.pending_entries(TENANT, "t")
        await here.check()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stop_that_comes_too_late_says_so_and_begins_nothing(fails: bool) -> None:
    """Whether the run completes or fails: what was to steer it starts no other one."""

    class Deaf(BusyModel):
        async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
            async for event in super().stream(request):
                if fails and isinstance(event, Finish):
                    raise Fault("model_not_found", "gone", retryable=False)
                yield event

    model = Deaf()
    async with lab([Agent("busy", model=model)]) as here:
        steered: list[Accepted] = []

        async def steer_and_stop() -> None:  # the laboratory tells no owner of a stop
            steered.append(await here.submit("more", agent_id="busy", on_busy=OnBusy.steer))
            await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
            assert not await here.store.pending_entries(TENANT, "t"), "at once"

        model.doing[1] = steer_and_stop
        accepted = await here.submit("q", agent_id="busy")
        await here.work()
        assert await here.done(accepted.run_id) == ("error" if fails else "natural_end")
        end = (await here.entries(accepted.run_id))[-1].event
        assert isinstance(end, RunFinish)
        assert end.cancel == "too_late"
        assert await here.store.run(TENANT, steered[0].fallback_run_id or "") is None
        assert len(model.asked) == 1
        await here.check()


async def test_an_interrupt_inherits_what_was_to_steer_before_its_own() -> None:
    async with lab(AGENTS) as here:
        await here.submit("q")
        claim = await here.claim()
        await here.submit("more", on_busy=OnBusy.steer)
        new = await here.submit("now this")
        assert claim is not None
        await here.execute(claim)
        await here.work()
        run = await here.run(new.run_id)
        assert len(run.input.seqs) == 2
        shown = await texts(here)
        assert shown[shown.index("more") :][:2] == ["more", "now this"]
        await here.check()


async def test_steering_an_idle_thread_starts_a_run() -> None:
    async with lab(AGENTS) as here:
        accepted = await here.submit("q", on_busy=OnBusy.steer)
        assert accepted.fallback_run_id is None
        await here.work()
        assert await here.done(accepted.run_id) == "natural_end"


async def test_steering_a_run_that_is_being_stopped_starts_a_run_behind_it() -> None:
    async with lab(AGENTS) as here:
        first = await here.submit("q")
        claim = await here.claim()
        await here.mailbox.cancel_run(TENANT, first.run_id, by="ada")
        second = await here.submit("more", on_busy=OnBusy.steer)
        assert second.run_id != first.run_id
        assert claim is not None
        await here.execute(claim)
        await here.work()
        assert await here.done(first.run_id) == "cancelled"
        assert await here.done(second.run_id) == "natural_end"


async def test_a_message_for_the_natural_end_waits_until_then() -> None:
    made = Bench()
    async with lab([made.agent]) as here:
        await here.submit("do(label=a)|do(label=b)", agent_id="tooled")
        claim = await here.claim()
        at_the_end = DeliveryMode(boundary=Boundary.on_natural_end)
        await here.submit(
            "do(label=z)", agent_id="tooled", on_busy=OnBusy.steer, delivery=at_the_end
        )
        assert claim is not None
        await here.execute(claim)
        assert made.effects == ["a", "b", "z"]
        await here.check()


async def test_messages_that_are_to_be_read_alone_are() -> None:
    model = BusyModel()
    alone = DeliveryMode(boundary=Boundary.next_step, granularity=Granularity.one)
    async with lab([Agent("busy", model=model)]) as here:

        async def steer() -> None:
            for text in ("a", "b"):
                await here.submit(text, agent_id="busy", on_busy=OnBusy.steer, delivery=alone)

        model.doing[1] = steer
        await here.submit("q", agent_id="busy")
        await here.work()
        assert model.asked == [("q",), ("q", "a"), ("q", "a", "b")]
        await here.check()


async def test_without_a_fallback_a_message_goes_with_its_target() -> None:
    async with lab(AGENTS) as here:
        first = await here.submit("permanent")
        claim = await here.claim()
        bound = DeliveryMode(boundary=Boundary.next_step, fallback=False)
        steered = await here.submit("more", on_busy=OnBusy.steer, delivery=bound)
        assert steered.fallback_run_id is None
        assert claim is not None
        await here.execute(claim)
        assert await here.done(first.run_id) == "error"
        assert not await here.store.pending_entries(TENANT, "t")
        assert "more" not in await texts(here)
        gone = DeliveryMode(boundary=Boundary.next_step, target_run=first.run_id, fallback=False)
        await refused("run_not_active", here.submit("x", on_busy=OnBusy.steer, delivery=gone))
        await here.check()


async def test_a_run_that_waits_reads_what_steers_it_when_it_goes_on() -> None:
    made = Bench()
    async with lab([made.agent]) as here:
        accepted = await here.submit("pay(amount=3)", agent_id="tooled")
        await here.work()
        run = await here.run(accepted.run_id)
        assert run.status is RunStatus.waiting
        await here.submit(
            "do(label=z)", agent_id="tooled", on_busy=OnBusy.steer, mode=Mode.background
        )
        assert run.waiting is not None
        await here.mailbox.decide(TENANT, run.waiting.ticket_ids[0], action="resume", by="ada")
        await here.work()
        assert made.effects == ["paid 3", "z"]
        await here.check()


async def test_an_answer_nobody_waits_for_is_refused() -> None:
    answer = DeliveryMode(boundary=Boundary.resume_input)
    async with lab(AGENTS) as here:
        await here.submit("q")
        doing = here.submit("42", on_busy=OnBusy.enqueue, delivery=answer)
        await refused("run_not_waiting", doing)
        assert len(await here.store.pending_entries(TENANT, "t")) == 1, "nothing was written"


async def test_a_steering_message_sent_twice_is_read_once() -> None:
    async with lab(AGENTS) as here:
        first = await here.submit("q")
        claim = await here.claim()
        once = await here.submit("more", on_busy=OnBusy.steer, message_id="m")
        twice = await here.submit("more", on_busy=OnBusy.steer, message_id="m")
        assert once.run_id == twice.run_id == first.run_id
        assert once.fallback_run_id == twice.fallback_run_id
        assert once.fallback_run_id is not None
        assert claim is not None
        await here.execute(claim)
        assert (await texts(here)).count("more") == 1
        await here.check()


# --- rollback ------------------------------------------------------------------------------------


async def test_a_rollback_hides_all_messages_of_the_run_it_stops() -> None:
    async with lab(AGENTS) as here:
        before = await here.submit("before")
        await here.work()
        old = await here.submit("old")
        claim = await here.claim()
        new = await here.submit("new", on_busy=OnBusy.rollback)
        assert claim is not None
        await here.execute(claim)
        await here.work()
        assert await here.done(old.run_id) == "superseded"
        assert await here.done(new.run_id) == "natural_end"
        shown = await texts(here)
        assert [text for text in shown if text in ("before", "old", "new")] == ["before", "new"]
        assert "messages_replaced" in await here.types(old.run_id)
        assert (await here.run(before.run_id)).outcome is not None
        await here.check()


async def test_a_rollback_hides_what_a_waiting_run_said() -> None:
    made = Bench()
    async with lab([made.agent]) as here:
        old = await here.submit("pay(amount=3)", agent_id="tooled")
        await here.work()
        await here.submit("do(label=a)", agent_id="tooled", on_busy=OnBusy.rollback)
        await here.work()
        assert await here.done(old.run_id) == "superseded"
        assert made.effects == ["a"]
        assert await texts(here) == ["do(label=a)", "", "did a", "done: did a"]
        await here.check()


async def test_a_rollback_hides_a_run_that_waits_to_be_retried() -> None:
    async with lab(AGENTS) as here:
        old = await here.submit("break:2")
        await here.work()
        new = await here.submit("new", on_busy=OnBusy.rollback)
        await here.settle_down()
        assert await here.done(old.run_id) == "superseded"
        assert await here.done(new.run_id) == "natural_end"
        assert (await texts(here))[0] == "new"
        assert "break:2" not in await texts(here)
        await here.check()


# --- what waits to be read -----------------------------------------------------------------------


async def queued(here: Lab, *names: str) -> list[Accepted]:
    """A run that is claimed, and one queued behind it for each name, which is its message's id."""
    await here.submit("running", message_id="running")
    await here.claim()
    return [
        await here.submit(name, message_id=name, on_busy=OnBusy.enqueue, mode=Mode.background)
        for name in names
    ]


async def test_a_message_can_be_edited_until_it_is_read() -> None:
    async with lab(AGENTS) as here:
        await queued(here, "a")
        edit = here.mailbox.edit_pending
        placed = await edit(TENANT, "t", "a", (TextBlock(text="better"),), 1)
        assert (placed.place, placed.entry.revision) == (1, 2)
        stale = await refused(
            "stale_revision", edit(TENANT, "t", "a", (TextBlock(text="worse"),), 1)
        )
        assert (stale.status, stale.details) == (412, {"revision": 2})
        await here.settle_down()
        shown = await texts(here)
        assert "better" in shown
        assert "a" not in shown
        await refused("already_consumed", edit(TENANT, "t", "a", (TextBlock(text="x"),), 2))
        await refused("message_not_found", edit(TENANT, "t", "none", (TextBlock(text="x"),), 1))
        await refused("thread_not_found", edit(TENANT, "no", "a", (TextBlock(text="x"),), 1))
        await here.check()


async def test_a_run_whose_only_message_is_taken_back_has_nothing_to_do() -> None:
    async with lab(AGENTS) as here:
        first, second = await queued(here, "a", "b")
        await here.mailbox.retract_pending(TENANT, "t", "a", 1)
        run = await here.run(first.run_id)
        assert run.outcome is not None
        assert await here.done(first.run_id) == "cancelled"
        assert run.outcome.termination.reason == "nothing_to_do"  # type: ignore[union-attr]  # cancelled
        await refused("message_not_found", here.mailbox.retract_pending(TENANT, "t", "a", 1))
        await here.settle_down()
        assert await here.done(second.run_id) == "natural_end"
        assert "a" not in await texts(here)
        await here.check()


async def test_runs_that_wait_are_served_in_the_order_their_messages_are_put_into() -> None:
    async with lab(AGENTS) as here:
        await queued(here, "a", "b", "c")
        queue = await here.mailbox.pending(TENANT, "t")
        reorder = here.mailbox.reorder_pending
        wrong = await refused("invalid_field", reorder(TENANT, "t", ("c", "a"), queue.revision))
        assert wrong.details["field"] == "message_ids"
        await refused("stale_revision", reorder(TENANT, "t", ("c", "a", "b"), queue.revision - 1))
        after = await reorder(TENANT, "t", ("c", "a", "b"), queue.revision)
        assert [e.message.message_id for e in after.entries] == ["c", "a", "b"]
        assert after.revision == queue.revision + 1
        await here.settle_down()
        shown = [text for text in await texts(here) if text in "abc"]
        assert shown == ["c", "a", "b"]
        again = reorder(TENANT, "t", ("c", "a", "b"), after.revision)
        await refused("already_consumed", again)
        await here.check()


# --- repeats, early stops, admission, fairness ---------------------------------------------------


def key(name: str, fingerprint: str = "f") -> IdempotencyKey:
    return IdempotencyKey(route="POST /v1/runs", key=name, fingerprint=fingerprint)


async def test_a_request_under_a_key_is_made_once() -> None:
    async with lab(AGENTS) as here:
        first = await here.submit("q", None, idempotency=key("k"))
        again = await here.submit("q", None, idempotency=key("k"))
        assert (again.run_id, again.thread_id) == (first.run_id, first.thread_id)
        reused = await refused(
            "idempotency_key_reused", here.submit("other", None, idempotency=key("k", "g"))
        )
        assert reused.status == 422
        other = await here.submit("q", None, idempotency=key("l"))
        assert other.run_id != first.run_id
        await here.work()
        late = await here.submit("q", None, idempotency=key("k"))
        assert (late.run_id, late.status) == (first.run_id, RunStatus.done)
        here.clock.advance(25 * 3600)
        fresh = await here.submit("q", None, idempotency=key("k"))
        assert fresh.run_id != first.run_id, "a key is kept for a day"


async def test_a_refused_request_does_not_use_up_its_key() -> None:
    async with lab(AGENTS) as here:
        await here.submit("q")
        doing = here.submit("r", on_busy=OnBusy.reject, idempotency=key("k"))
        await refused("thread_busy", doing)
        await here.work()
        accepted = await here.submit("r", on_busy=OnBusy.reject, idempotency=key("k"))
        assert accepted.status is RunStatus.created


async def test_a_stop_that_comes_before_its_message_wins() -> None:
    async with lab(AGENTS) as here:
        running = await here.submit("running")
        claim = await here.claim()
        stop = await here.mailbox.cancel_message(TENANT, "t", "m", by="ada", reason="oops")
        assert stop is Stop.requested
        accepted = await here.submit("q", message_id="m")
        assert accepted.status is RunStatus.done
        run = await here.run(accepted.run_id)
        assert run.outcome is not None
        assert run.outcome.termination.by == "ada"  # type: ignore[union-attr]  # cancelled
        assert claim is not None
        await here.execute(claim)
        assert await here.done(running.run_id) == "natural_end", "it disturbed nobody"
        assert "q" not in await texts(here)
        await here.check()


async def test_an_early_stop_is_forgotten_after_a_minute() -> None:
    async with lab(AGENTS) as here:
        await here.mailbox.cancel_message(TENANT, "t", "m", by="ada")
        here.clock.advance(61)
        accepted = await here.submit("q", message_id="m")
        await here.work()
        assert await here.done(accepted.run_id) == "natural_end"


async def test_a_stop_by_message_stops_its_run_and_no_other() -> None:
    async with lab(AGENTS) as here:
        first, second = await queued(here, "a", "b")
        assert await here.mailbox.cancel_message(TENANT, "t", "a", by="x") is Stop.requested
        assert await here.done(first.run_id) == "cancelled"
        steered = await here.submit("s", message_id="s", on_busy=OnBusy.steer)
        assert await here.mailbox.cancel_message(TENANT, "t", "s", by="x") is Stop.requested
        assert (await here.run(steered.run_id)).status is RunStatus.running
        await here.settle_down()
        assert await here.done(second.run_id) == "natural_end"
        assert await here.done(steered.run_id) == "natural_end"
        assert await here.mailbox.cancel_message(TENANT, "t", "b", by="x") is Stop.too_late
        await here.check()


async def test_more_than_a_thread_may_hold_is_refused_with_its_place() -> None:
    async with lab(AGENTS) as here:
        small = Lab(here.store, here.clock, AGENTS, config=MailboxConfig(max_queued_per_thread=2))
        background = {"on_busy": OnBusy.enqueue, "mode": Mode.background}
        later = here.clock.now() + 1_000_000
        await small.submit("undue", **background, available_at=later)
        await small.submit("a", **background)
        await small.submit("b", **background)
        full = await refused("thread_queue_full", small.submit("c", **background))
        assert (full.status, full.details["position"]) == (429, 3)
        assert isinstance(full, Refusal)
        assert full.retry_after_seconds
        await small.submit("undue too", **background, available_at=later)
        await small.submit("elsewhere", "u", **background)


async def test_more_than_the_server_may_hold_is_refused() -> None:
    async with lab(AGENTS) as here:
        small = Lab(here.store, here.clock, AGENTS, config=MailboxConfig(max_queued=3))
        for number in range(3):
            await small.submit("q", f"t{number}")
        later = here.clock.now() + 1_000_000
        await small.submit("undue", "t8", available_at=later, mode=Mode.background)
        assert (await refused("too_much_queued", small.submit("q", "t9"))).status == 429
        await small.work()
        for number in range(3):
            await small.submit("undue", f"u{number}", available_at=later, mode=Mode.background)
        here.clock.advance(1.1)
        for number in range(3):
            await small.submit("q", f"v{number}")  # what is not due does not count


async def test_a_long_queue_of_one_thread_lets_others_pass() -> None:
    """Threads are served in turn, also when there is a single slot."""
    async with lab(AGENTS) as here:
        for number in range(10):
            await here.submit(f"long {number}", "long", on_busy=OnBusy.enqueue)
        here.clock.advance(1)
        await here.submit("short", "short")
        here.clock.advance(0.1)
        served = []
        for _ in range(4):
            claim = await here.claim()
            assert claim is not None
            served.append(claim.thread_id)
            here.clock.advance(1)
            await here.execute(claim)
        assert served[:3] == ["long", "short", "long"]


async def test_a_tenant_with_a_long_queue_lets_others_pass() -> None:
    async with lab(AGENTS) as here:
        for number in range(50):
            await here.submit(f"q{number}", f"a{number}")
        here.clock.advance(0.5)
        question = Message(message_id="q", role=Role.user, content=(TextBlock(text="q"),))
        await here.mailbox.submit(
            Submission(
                tenant="small",
                run_id=here.ids.new(),
                thread_id="s",
                agent_id="echo",
                messages=(question,),
            )
        )
        tenants = []
        for _ in range(20):
            claim = await here.claim()
            assert claim is not None
            tenants.append(claim.tenant)
        assert "small" in tenants[:10]


async def test_an_interrupted_thread_is_free_again_after_the_grace_though_its_owner_hangs() -> None:
    """A stop of a thread that raises the epoch sets a deadline, as a new message does."""
    async with lab(AGENTS) as here:
        hung = await here.submit("q")
        await here.claim()
        stop, count = await here.mailbox.interrupt_thread(TENANT, "t", by="ada")
        assert (stop, count) == (Stop.requested, 1)
        here.clock.advance(2.1)
        await here.sweeper.sweep()
        assert await here.done(hung.run_id) == "cancelled"
        await here.check()


async def test_what_nobody_can_move_does_not_keep_the_sweeper_busy() -> None:
    """A ticket that is due and cannot be read stays due: it waits for the next regular pass."""
    async with lab(AGENTS) as here:
        passes = 0

        async def always_due() -> int:
            nonlocal passes
            passes += 1
            return here.clock.now() - 1_000

        here.store.next_due_at = always_due  # type: ignore[method-assign]  # a row that is stuck
        with anyio.move_on_after(0.3):
            await here.sweeper.run()
        assert passes == 2, "at once, once more, and then at the pace of the sweeps"


async def test_what_was_accepted_while_the_worker_ended_is_left_to_its_lease() -> None:
    """The caller is told that it was accepted, which it was, and another worker goes on."""
    async with lab(AGENTS) as here:
        committed, ended = anyio.Event(), anyio.Event()
        transact = here.store.transact

        async def late(op: Any) -> Any:
            answer = await transact(op)
            if getattr(op, "__name__", "") == "submit":
                committed.set()
                await ended.wait()
            return answer

        here.store.transact = late  # type: ignore[method-assign,assignment]  # a slow answer
        accepted: list[Accepted] = []

        async def ask() -> None:
            accepted.append(await here.submit("q"))

        async with anyio.create_task_group() as clients:
            async with anyio.create_task_group() as server:
                await server.start(here.mailbox.run)
                clients.start_soon(ask)
                await committed.wait()
                server.cancel_scope.cancel()
            ended.set()
        assert accepted[0].status is RunStatus.running
        assert here.mailbox.statistics().executing == 0
        here.clock.advance(31)
        await here.sweeper.sweep()
        await here.work()
        assert await here.done(accepted[0].run_id) == "natural_end"
        await here.check()
