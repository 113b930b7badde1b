"""One run from its submission to its end: what is written, in which order, and by which commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from awaken.domain.dispatch import Finished, How, Mode
from awaken.domain.event import RunFinish, RunRetry, RunStart
from awaken.domain.run import RunStatus
from awaken.domain.submission import OnBusy, Stop
from awaken.domain.termination import Cancelled, Errored, NaturalEnd, Superseded
from awaken.errors import AwakenError, Refusal

from .agents import AGENTS, TEXT
from .lab import TENANT, Lab, lab


@pytest.fixture
async def here() -> AsyncIterator[Lab]:
    async with lab(AGENTS) as made:
        yield made


async def test_a_run_is_accepted_executed_and_finished(here: Lab) -> None:
    accepted = await here.submit("hi")
    assert (accepted.status, accepted.position) == (RunStatus.created, 1)
    await here.work()
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert run.outcome.termination == NaturalEnd()
    assert run.outcome.text == TEXT
    assert await here.types(accepted.run_id) == [
        "run_queued",
        "pending_changed",
        "message_committed",
        "pending_changed",
        "run_start",
        "step_start",
        *["text_delta"] * 4,
        "inference_complete",
        "message_committed",
        "step_end",
        "run_finish",
    ]
    await here.check()


async def test_a_stream_from_the_cursor_of_the_answer_sees_the_whole_run(here: Lab) -> None:
    await here.submit("first")
    second = await here.submit("second", on_busy=OnBusy.enqueue)
    await here.work()
    assert (await here.entries(second.run_id))[0].seq == second.cursor + 1


async def test_a_transient_failure_is_retried_with_a_pause_and_never_shown_as_an_end(
    here: Lab,
) -> None:
    """Regression list of peers.md, 3."""
    accepted = await here.submit("break:2")
    await here.work()
    assert (await here.run(accepted.run_id)).status is RunStatus.running
    assert await here.work() == 0, "the retry waits"
    await here.settle_down()
    types = await here.types(accepted.run_id)
    assert types.count("run_finish") == 1
    assert types.count("run_retry") == 1
    assert types.count("run_start") == 1
    assert types.count("step_start") == 1, "the open step goes on"
    assert (await here.run(accepted.run_id)).outcome.text == TEXT  # type: ignore[union-attr]
    await here.check()


async def test_reasoning_without_text_is_voided_and_said_again(here: Lab) -> None:
    accepted = await here.submit("think")
    await here.settle_down()
    types = await here.types(accepted.run_id)
    assert types.count("stream_reset") == types.count("reasoning_delta") - 1, "all but the last"
    assert await here.done(accepted.run_id) == "natural_end"
    await here.check()


async def test_a_run_that_always_fails_ends_in_the_dead_letters_after_five_attempts(
    here: Lab,
) -> None:
    accepted = await here.submit("always")
    await here.settle_down()
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert isinstance(run.outcome.termination, Errored)
    assert run.outcome.termination.code == "overloaded"
    dispatch = await here.store.dispatch(TENANT, accepted.dispatch_id)
    assert dispatch is not None
    assert isinstance(dispatch.body, Finished)
    assert dispatch.body.how is How.dead_letter
    attempts = [e.event for e in await here.entries(accepted.run_id)]
    assert [e.attempt for e in attempts if isinstance(e, RunRetry)] == [2, 3, 4, 5]
    await here.check()


async def test_a_permanent_failure_ends_at_once_with_its_public_text(here: Lab) -> None:
    accepted = await here.submit("permanent")
    await here.work()
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert run.outcome.termination == Errored(code="model_not_found", message="no such model")
    await here.check()


async def test_a_bug_in_an_agent_shows_no_internals_to_clients(here: Lab) -> None:
    accepted = await here.submit("bug")
    await here.work()
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert isinstance(run.outcome.termination, Errored)
    assert run.outcome.termination.code == "internal"
    assert "secret" not in run.outcome.termination.message
    assert "secret detail" in (run.outcome.internal_error or "")


async def test_a_dead_worker_is_followed_by_another_that_goes_on_where_it_stopped(
    here: Lab,
) -> None:
    accepted = await here.submit("hi")
    assert await here.claim() is not None
    here.clock.advance(31)
    await here.sweeper.sweep()
    await here.work()
    retries = [e.event for e in await here.entries(accepted.run_id)]
    assert [e.reason for e in retries if isinstance(e, RunRetry)] == ["lease_expired"]
    assert await here.done(accepted.run_id) == "natural_end"
    await here.check()


async def test_a_run_that_kills_its_workers_is_poison_and_does_not_live_for_ever(
    here: Lab,
) -> None:
    accepted = await here.submit("hi")
    for _ in range(10):
        assert await here.claim() is not None
        here.clock.advance(31)
        await here.sweeper.sweep()
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert isinstance(run.outcome.termination, Errored)
    assert run.outcome.termination.code == "poison"
    await here.check()


async def test_a_worker_that_lost_its_lease_writes_nothing(here: Lab) -> None:
    accepted = await here.submit("hi")
    stale = await here.claim()
    assert stale is not None
    here.clock.advance(31)
    await here.sweeper.sweep()
    fresh = await here.claim()
    assert fresh is not None
    before = await here.store.head(TENANT, "t")
    outcome, settled = await here.execute(stale)
    assert outcome.__struct_config__.tag == "lost"
    assert settled is None
    assert await here.store.head(TENANT, "t") == before
    await here.execute(fresh)
    assert await here.done(accepted.run_id) == "natural_end"
    await here.check()


# --- a busy thread -------------------------------------------------------------------------------


async def test_enqueued_runs_wait_their_turn_in_order(here: Lab) -> None:
    runs = [await here.submit(f"m{n}", on_busy=OnBusy.enqueue) for n in range(5)]
    await here.work()
    starts = [
        entry.run_id
        for segment in await here.store.segments(TENANT, "t", 0, 1000)
        for entry in segment.entries()
        if isinstance(entry.event, RunStart)
    ]
    assert starts == [run.run_id for run in runs]
    await here.check()


async def test_reject_names_the_run_in_the_way_and_writes_nothing(here: Lab) -> None:
    first = await here.submit("first")
    await here.claim()
    before = await here.store.head(TENANT, "t")
    with pytest.raises(Refusal) as refused:
        await here.submit("second", on_busy=OnBusy.reject)
    assert refused.value.code == "thread_busy"
    assert refused.value.details["run_id"] == first.run_id
    assert await here.store.head(TENANT, "t") == before


async def test_an_interrupt_ends_queued_runs_and_takes_over_their_unread_messages(
    here: Lab,
) -> None:
    first = await here.submit("first")
    second = await here.submit("second")
    await here.work()
    ended = await here.run(first.run_id)
    assert ended.outcome is not None
    assert ended.outcome.termination == Superseded(by_run_id=second.run_id)
    run = await here.run(second.run_id)
    assert run.input.seqs == (1, 2), "the unread message goes first"
    await here.check()


async def test_an_interrupted_claim_settles_as_superseded_and_keeps_what_was_published(
    here: Lab,
) -> None:
    first = await here.submit("break:2")
    await here.work()
    here.clock.advance(1)
    await here.sweeper.sweep()
    claim = await here.claim()
    assert claim is not None
    second = await here.submit("second")
    assert await here.claim() is None, "the thread is held until the old claim settles"
    await here.execute(claim)
    run = await here.run(first.run_id)
    assert run.outcome is not None
    assert run.outcome.termination == Superseded(by_run_id=second.run_id)
    assert run.outcome.text == "one two "
    await here.work()
    assert await here.done(second.run_id) == "natural_end"
    await here.check()


async def test_an_interrupted_owner_that_never_settles_is_given_two_seconds(here: Lab) -> None:
    first = await here.submit("first")
    assert await here.claim() is not None
    second = await here.submit("second")
    here.clock.advance(1.9)
    await here.sweeper.sweep()
    assert await here.work() == 0
    here.clock.advance(0.2)
    await here.sweeper.sweep()
    assert await here.done(first.run_id) == "superseded"
    assert await here.work() == 1
    assert await here.done(second.run_id) == "natural_end"
    await here.check()


async def test_an_interrupt_keeps_queued_background_runs_behind_itself(here: Lab) -> None:
    background = await here.submit("later", mode=Mode.background, on_busy=OnBusy.enqueue)
    here.clock.advance(3600)
    foreground = await here.submit("now")
    claim = await here.claim()
    assert claim is not None
    assert claim.run_id == foreground.run_id
    await here.execute(claim)
    await here.work()
    assert await here.done(background.run_id) == "natural_end"
    await here.check()


async def test_nothing_overtakes_a_run_that_waits_to_be_retried(here: Lab) -> None:
    failing = await here.submit("break:2")
    await here.work()
    other = await here.submit("next", on_busy=OnBusy.enqueue)
    assert await here.work() == 0, "the failing run has the thread during its pause"
    await here.settle_down()
    assert await here.done(failing.run_id) == "natural_end"
    assert await here.done(other.run_id) == "natural_end"
    await here.check()


async def test_an_interrupt_ends_a_run_that_waits_to_be_retried(here: Lab) -> None:
    failing = await here.submit("break:2")
    await here.work()
    other = await here.submit("next")
    assert await here.done(failing.run_id) == "superseded"
    await here.settle_down()
    assert await here.done(other.run_id) == "natural_end"
    await here.check()


async def test_a_delayed_run_starts_when_it_is_due_and_not_before(here: Lab) -> None:
    due = here.clock.now() + 60_000
    accepted = await here.submit(
        "later", mode=Mode.background, on_busy=OnBusy.enqueue, available_at=due
    )
    here.clock.advance(59)
    await here.sweeper.sweep()
    assert await here.work() == 0
    here.clock.advance(2)
    await here.sweeper.sweep()
    assert await here.work() == 1
    assert await here.done(accepted.run_id) == "natural_end"


async def test_a_dedupe_key_admits_one_live_run(here: Lab) -> None:
    first = await here.submit("a", mode=Mode.background, on_busy=OnBusy.enqueue, dedupe_key="k")
    with pytest.raises(Refusal) as refused:
        await here.submit("b", mode=Mode.background, on_busy=OnBusy.enqueue, dedupe_key="k")
    assert refused.value.code == "duplicate_dedupe_key"
    assert refused.value.details["run_id"] == first.run_id
    await here.work()
    await here.submit("c", mode=Mode.background, on_busy=OnBusy.enqueue, dedupe_key="k")


# --- repeats -------------------------------------------------------------------------------------


async def test_a_message_sent_twice_starts_one_run(here: Lab) -> None:
    first = await here.submit("hi", message_id="m1")
    again = await here.submit("hi", message_id="m1")
    assert again.run_id == first.run_id
    assert again.cursor == first.cursor
    await here.work()
    late = await here.submit("hi", message_id="m1")
    assert (late.run_id, late.status) == (first.run_id, RunStatus.done)


async def test_a_known_id_with_other_content_is_a_conflict(here: Lab) -> None:
    await here.submit("hi", message_id="m1")
    with pytest.raises(Refusal) as refused:
        await here.submit("ho", message_id="m1")
    assert refused.value.code == "message_conflict"


# --- stopping ------------------------------------------------------------------------------------


async def test_a_queued_run_is_stopped_at_once(here: Lab) -> None:
    accepted = await here.submit("hi")
    assert await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada") is Stop.requested
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert run.outcome.termination == Cancelled(by="ada")
    assert await here.work() == 0
    await here.check()


async def test_a_claimed_run_is_stopped_even_if_its_worker_dies_before_it_hears(
    here: Lab,
) -> None:
    """Regression list of peers.md, 4."""
    accepted = await here.submit("hi")
    await here.claim()
    await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada", reason="enough")
    here.clock.advance(31)
    await here.sweeper.sweep()
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert run.outcome.termination == Cancelled(by="ada", reason="enough")
    await here.check()


async def test_a_stop_between_claim_and_start_is_obeyed(here: Lab) -> None:
    accepted = await here.submit("hi")
    claim = await here.claim()
    assert claim is not None
    await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
    await here.execute(claim)
    assert await here.done(accepted.run_id) == "cancelled"
    assert "text_delta" not in await here.types(accepted.run_id)
    await here.check()


async def test_a_run_in_a_retry_pause_is_stopped_and_keeps_its_text(here: Lab) -> None:
    accepted = await here.submit("break:3")
    await here.work()
    await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
    run = await here.run(accepted.run_id)
    assert run.outcome is not None
    assert run.outcome.text == "one two three "
    await here.check()


async def test_a_stop_of_a_done_run_is_too_late(here: Lab) -> None:
    accepted = await here.submit("hi")
    await here.work()
    assert await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada") is Stop.too_late


async def test_a_run_that_completes_before_the_stop_acts_says_so(here: Lab) -> None:
    accepted = await here.submit("hi")
    claim = await here.claim()
    assert claim is not None
    here.leases.stop_asked = lambda *_, **__: None  # type: ignore[method-assign]  # a lost hint
    original = here.executor._attempt

    async def stop_at_the_end(held, writer):  # type: ignore[no-untyped-def]  # wraps a private step
        outcome = await original(held, writer)
        await here.mailbox.cancel_run(TENANT, accepted.run_id, by="ada")
        return outcome

    here.executor._attempt = stop_at_the_end  # type: ignore[method-assign]
    await here.execute(claim)
    finish = (await here.entries(accepted.run_id))[-1].event
    assert isinstance(finish, RunFinish)
    assert (finish.termination, finish.cancel) == (NaturalEnd(), "too_late")
    await here.check()


async def test_stopping_a_thread_ends_everything_on_it(here: Lab) -> None:
    runs = [await here.submit(f"m{n}", on_busy=OnBusy.enqueue) for n in range(4)]
    await here.claim()
    stop, count = await here.mailbox.cancel_thread(TENANT, "t", by="ada")
    assert (stop, count) == (Stop.requested, 4)
    here.clock.advance(31)
    await here.sweeper.sweep()
    assert {await here.done(run.run_id) for run in runs} == {"cancelled"}
    await here.check()


async def test_an_idle_thread_has_nothing_to_stop(here: Lab) -> None:
    await here.submit("hi")
    await here.work()
    assert await here.mailbox.cancel_thread(TENANT, "t", by="ada") == (Stop.nothing_to_stop, 0)


async def test_another_tenants_run_cannot_be_stopped_or_explained(here: Lab) -> None:
    accepted = await here.submit("hi")
    for call in (
        here.mailbox.cancel_run("other", accepted.run_id, by="eve"),
        here.mailbox.explain("other", accepted.run_id),
        here.mailbox.cancel_thread("other", "t", by="eve"),
    ):
        with pytest.raises(AwakenError) as refused:
            await call
        assert refused.value.status == 404


async def test_a_full_drain_refuses_new_work_with_a_time_to_come_back(here: Lab) -> None:
    await here.mailbox.drain(0)
    with pytest.raises(Refusal) as refused:
        await here.submit("hi")
    assert (refused.value.code, refused.value.status) == ("draining", 503)
    assert refused.value.retry_after_seconds


async def test_explain_names_what_happens_next(here: Lab) -> None:
    first = await here.submit("break:1")
    second = await here.submit("second", on_busy=OnBusy.enqueue)
    told = await here.mailbox.explain(TENANT, first.run_id)
    assert (told.dispatch_state, told.position) == ("queued", 1)
    await here.work()
    told = await here.mailbox.explain(TENANT, first.run_id)
    assert told.next_at is not None
    assert told.last_error == "stream_interrupted"
    told = await here.mailbox.explain(TENANT, second.run_id)
    assert told.blocked_by_run_id == first.run_id
    here.clock.advance(5)
    await here.sweeper.sweep()
    await here.claim()
    told = await here.mailbox.explain(TENANT, first.run_id)
    assert told.lease_holder == "w1"


async def test_what_is_said_without_a_pause_is_written_with_the_end_of_the_run() -> None:
    """A short run costs one commit after its claim: the writer must not be a moment faster."""
    async with lab(AGENTS) as here:
        await here.submit("hello")
        claim = await here.claim()
        assert claim is not None
        names: list[str] = []
        transact = here.store.transact

        async def noted(op: Any) -> Any:
            names.append(op.__name__)
            return await transact(op)

        here.store.transact = noted  # type: ignore[method-assign,assignment]  # notes names
        await here.execute(claim)
        assert names == ["settle"]
