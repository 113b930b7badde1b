"""Random histories of one thread: whatever is sent to its dispatches, the invariants hold.

The machine does what the mailbox does (enqueue, interrupt, resume, credit progress) and sends
commands to dispatches at random, also with tokens that are long over. Beside the records it keeps
its own small account of who has the thread, and looks up in `TABLE` what each command must answer.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from awaken.domain.claim import holds
from awaken.domain.dispatch import (
    Ack,
    Applied,
    CancelCommand,
    ClaimCommand,
    Claimed,
    Command,
    Dispatch,
    Effect,
    ExpireCommand,
    Fail,
    Finished,
    How,
    Mode,
    Queued,
    Refusal,
    Refused,
    Release,
    RenewCommand,
    RetryAt,
    SettleCommand,
    StopNow,
    SupersedeCommand,
    apply,
)
from awaken.domain.dispatch_table import Move, row_of, state_of, verb_of
from awaken.domain.line import LineRow, line_row, rank
from awaken.domain.thread import ThreadHead
from tests.domain.situations import Form, facts_of

LEASE_MS = 1_000
GRACE_MS = 300
ENDS_THE_RUN = {
    Effect.complete_run,
    Effect.complete_run_cancel_too_late,
    Effect.fail_run,
    Effect.cancel_run,
    Effect.supersede_run,
}
ENDS_THE_HOLD = ENDS_THE_RUN | {Effect.suspend_run}
picks = st.integers(0, 5)
delays_ms = st.sampled_from([0, 0, 0, 250, 5_000])
forms: st.SearchStrategy[Form] = st.one_of(
    st.builds(Ack, suspended=st.booleans()),
    st.builds(RetryAt, available_at=delays_ms, error=st.just("overloaded")),
    st.builds(Release),
    st.builds(Fail, error=st.just("bad")),
    st.builds(StopNow),
)


class OneThread(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.head = ThreadHead(tenant="acme", thread_id="t")
        self.dispatches: dict[str, Dispatch] = {}
        self.over: dict[str, Dispatch] = {}
        self.tokens: list[str] = []
        self.settled: set[str] = set()
        self.waiting: Dispatch | None = None
        self.holder: str | None = None

    # --- what the mailbox and its workers do

    @rule(
        mode=st.sampled_from(Mode),
        delay=delays_ms,
        priority=st.sampled_from([0, 127, 128, 255]),
        limit=st.sampled_from([1, 2, 5]),
        expiries=st.sampled_from([0, 9]),
    )
    def enqueue(self, mode: Mode, delay: int, priority: int, limit: int, expiries: int) -> None:
        self.add(mode=mode, delay=delay, priority=priority, max_attempts=limit, expiries=expiries)

    @precondition(lambda self: self.holder)
    @rule(hide=st.booleans(), limit=st.integers(0, 2))
    def interrupt(self, hide: bool, limit: int) -> None:
        """A newer run takes the thread: the active one is to go, queued foreground ones end.

        Those beyond `limit` are left for the claim that will find them stale.
        """
        new_run = f"r{len(self.dispatches)}"
        self.head = replace(self.head, epoch=self.head.epoch + 1)
        command = SupersedeCommand(by_run_id=new_run, grace_ms=GRACE_MS, hide=hide)
        active = [d for d in self.live() if d.run_id == self.head.active_run]
        queued = [d for d, _ in self.queued() if d.foreground and d not in active]
        for dispatch in (*active, *queued[:limit]):
            self.send(dispatch.dispatch_id, command)
        self.add(mode=Mode.foreground, in_front=True)

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule()
    def interrupt_without_a_message(self) -> None:
        """Stop the thread: what runs is asked to stop, and is stale from then on."""
        self.send(self.claimed().dispatch_id, CancelCommand(by="user"))
        self.head = replace(self.head, epoch=self.head.epoch + 1)

    @precondition(lambda self: self.waiting)
    @rule()
    def resume(self) -> None:
        """The last ticket of a waiting run is closed: the same run gets its next dispatch."""
        assert self.waiting is not None
        run_id, life = self.waiting.run_id, self.waiting.life_expiries
        self.waiting = None
        self.add(mode=Mode.resume, run_id=run_id, life_expiries=life, in_front=True)

    @precondition(lambda self: self.waiting)
    @rule()
    def end_the_waiting_run(self) -> None:
        """It is cancelled, or its thread is taken by the user's next message."""
        self.waiting = None
        self.head = replace(self.head, waiting_run=None)

    @precondition(lambda self: self.line())
    @rule()
    def claim_what_the_line_offers(self) -> None:
        row = self.line()
        assert row is not None
        answer = self.claim(row.dispatch_id)
        assert isinstance(answer, Applied), "the line offers only what can be claimed"

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule()
    def finish_a_step(self) -> None:
        self.save(replace(self.claimed(), attempt=0, expiries=0))

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule()
    def renew_as_owner(self) -> None:
        self.send(self.claimed().dispatch_id, RenewCommand(claim_token=self.tokens[-1]))

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule()
    def complete_as_owner(self) -> None:
        self.settle(self.claimed().dispatch_id, self.tokens[-1], Ack())

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule()
    def suspend_as_owner(self) -> None:
        self.settle(self.claimed().dispatch_id, self.tokens[-1], Ack(suspended=True))

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule(form=forms)
    def settle_as_owner(self, form: Form) -> None:
        self.settle(self.claimed().dispatch_id, self.tokens[-1], form)

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule()
    def stop_the_active_run(self) -> None:
        self.send(self.claimed().dispatch_id, CancelCommand(by="user"))

    @precondition(lambda self: self.head.claimed_dispatch)
    @rule(owner_dead=st.booleans())
    def sweep(self, owner_dead: bool) -> None:
        self.send(self.claimed().dispatch_id, ExpireCommand(owner_dead=owner_dead))

    @rule(ms=st.sampled_from([1, GRACE_MS + 1, LEASE_MS, 6_000]))
    def let_time_pass(self, ms: int) -> None:
        self.now += ms

    # --- anything at all

    @precondition(lambda self: self.dispatches)
    @rule(pick=picks)
    def claim_anything(self, pick: int) -> None:
        self.claim(self.any_dispatch(pick))

    @precondition(lambda self: self.tokens)
    @rule(pick=picks, which=picks, form=forms)
    def settle_anything_with_any_token(self, pick: int, which: int, form: Form) -> None:
        self.settle(self.any_dispatch(pick), self.tokens[-1 - which % len(self.tokens)], form)

    @precondition(lambda self: len(self.tokens) > 1 and self.head.claimed_dispatch)
    @rule(which=picks)
    def renew_as_a_former_owner(self, which: int) -> None:
        old = self.tokens[:-1]
        command = RenewCommand(claim_token=old[-1 - which % len(old)])
        self.send(self.claimed().dispatch_id, command)

    @precondition(lambda self: self.dispatches)
    @rule(pick=picks, hide=st.booleans(), what=st.sampled_from(["cancel", "expire"]))
    def end_anything(self, pick: int, hide: bool, what: str) -> None:
        cancel = CancelCommand(by="user", reason="stop", hide=hide)
        command = cancel if what == "cancel" else ExpireCommand(owner_dead=hide)
        self.send(self.any_dispatch(pick), command)

    # --- how

    def add(
        self,
        *,
        mode: Mode,
        run_id: str | None = None,
        delay: int = 0,
        priority: int = 128,
        in_front: bool = False,
        **fields: int,
    ) -> None:
        number = len(self.dispatches)
        dispatch = Dispatch(
            tenant="acme",
            dispatch_id=f"d{number}",
            thread_id="t",
            run_id=run_id or f"r{number}",
            mode=mode,
            epoch=self.head.epoch,
            rank=rank(self.now, priority),
            priority=priority,
            eligible_at=self.now + delay,
            created_at=self.now,
            updated_at=self.now,
            body=Queued(available_at=self.now + delay),
        )
        front = dispatch.dispatch_id if in_front else self.head.front
        self.head = replace(self.head, queued_count=self.head.queued_count + 1, front=front)
        self.save(replace(dispatch, **fields))

    def claim(self, dispatch_id: str) -> Applied | Refused:
        token = f"token-{len(self.tokens)}"
        command = ClaimCommand(claim_token=token, worker_id="w", lease_ms=LEASE_MS)
        answer = self.send(dispatch_id, command)
        if isinstance(answer, Applied) and answer.effect is Effect.start_run:
            self.tokens.append(token)
        return answer

    def settle(self, dispatch_id: str, token: str, form: Form) -> None:
        if isinstance(form, RetryAt):
            form = RetryAt(available_at=self.now + form.available_at, error=form.error)
        answer = self.send(dispatch_id, SettleCommand(claim_token=token, form=form))
        if isinstance(answer, Applied):
            assert token not in self.settled, "a token settles once"
            assert answer.dispatch.settled_by == token
            self.settled.add(token)

    def send(self, dispatch_id: str, command: Command) -> Applied | Refused:
        before = self.dispatches[dispatch_id]
        facts = facts_of(before, self.head, command, self.now)
        row = row_of(state_of(before), verb_of(command), facts)
        answer = apply(before, self.head, command, self.now)
        if isinstance(answer, Refused):
            assert answer.why is row.answer
            return answer
        assert isinstance(row.answer, Move)
        assert (state_of(answer.dispatch), answer.effect) == (row.answer.to, row.answer.effect)
        self.check_move(before, answer)
        self.head = answer.head
        if answer.effect in ENDS_THE_RUN and self.head.waiting_run == before.run_id:
            self.head = replace(self.head, waiting_run=None)  # as `finish` does
        self.save(answer.dispatch)
        return answer

    def check_move(self, before: Dispatch, answer: Applied) -> None:
        after = answer.dispatch
        assert after.epoch >= before.epoch
        assert answer.head.epoch == self.head.epoch
        if answer.effect is Effect.start_run:
            assert self.holder in (None, after.run_id), "nothing overtakes the run that has it"
            assert self.head.waiting_run in (None, after.run_id), "nothing overtakes who waits"
            if self.holder is None:
                first = {None, after.dispatch_id}
                assert self.head.front in first, "nothing overtakes a resume or an interrupt"
            self.holder = after.run_id
        elif answer.effect in ENDS_THE_HOLD and self.holder == after.run_id:
            self.holder = None
        if answer.effect is Effect.suspend_run:
            self.waiting = after
        if isinstance(before.body, Claimed) and before.body.cancel_request is not None:
            check_stop_survives(before, answer)

    def save(self, dispatch: Dispatch) -> None:
        self.dispatches[dispatch.dispatch_id] = dispatch
        if isinstance(dispatch.body, Finished):
            self.over[dispatch.dispatch_id] = dispatch

    def any_dispatch(self, pick: int) -> str:
        """One of the latest few, so that commands meet."""
        recent = list(self.dispatches)[-6:]
        return recent[pick % len(recent)]

    def claimed(self) -> Dispatch:
        assert self.head.claimed_dispatch is not None
        return self.dispatches[self.head.claimed_dispatch]

    def live(self) -> list[Dispatch]:
        return [d for d in self.dispatches.values() if not isinstance(d.body, Finished)]

    def queued(self) -> list[tuple[Dispatch, Queued]]:
        return [(d, d.body) for d in self.live() if isinstance(d.body, Queued)]

    def line(self) -> LineRow | None:
        queued = self.queued()
        due = sorted((d.rank, d.dispatch_id) for d, body in queued if body.available_at <= self.now)
        wanted = [d for d, _ in queued if d.run_id == self.head.active_run]
        if self.head.active_run is None:
            wanted = [d for d, _ in queued if d.dispatch_id == self.head.front]
        first_due = self.dispatches[due[0][1]] if due else None
        return line_row(self.head, wanted[0] if wanted else None, first_due, self.now)

    # --- what holds at any time

    @invariant()
    def all_of_this_holds(self) -> None:
        """One invariant for Hypothesis, so that the history it prints can be read."""
        self.at_most_one_dispatch_is_claimed_and_the_head_names_it()
        self.a_run_has_the_thread_from_its_first_claim_until_it_is_done_or_waits()
        self.the_run_that_has_the_thread_is_claimed_or_will_be()
        self.a_thread_waits_for_the_run_that_was_suspended_last_or_is_resumed()
        self.the_head_counts_what_is_queued()
        self.a_front_dispatch_is_queued()
        self.what_is_finished_stays_as_it_is()
        self.attempts_stay_within_their_limit()
        self.no_epoch_is_ahead_of_the_threads()
        self.a_settled_token_may_write_nothing()
        self.whatever_is_due_and_could_be_claimed_keeps_the_thread_in_line()

    def at_most_one_dispatch_is_claimed_and_the_head_names_it(self) -> None:
        claimed = [d.dispatch_id for d in self.live() if isinstance(d.body, Claimed)]
        assert claimed == ([self.head.claimed_dispatch] if self.head.claimed_dispatch else [])

    def a_run_has_the_thread_from_its_first_claim_until_it_is_done_or_waits(self) -> None:
        assert self.head.active_run == self.holder

    def the_run_that_has_the_thread_is_claimed_or_will_be(self) -> None:
        live = {d.run_id for d in self.live()}
        assert self.holder is None or self.holder in live

    def a_thread_waits_for_the_run_that_was_suspended_last_or_is_resumed(self) -> None:
        assert self.waiting is None or self.head.waiting_run == self.waiting.run_id
        if self.head.waiting_run is not None:
            assert self.head.active_run is None
            live = {d.run_id for d in self.live()}
            assert self.waiting is not None or self.head.waiting_run in live

    def the_head_counts_what_is_queued(self) -> None:
        assert self.head.queued_count == len(self.queued())

    def a_front_dispatch_is_queued(self) -> None:
        assert self.head.front in {None, *(d.dispatch_id for d, _ in self.queued())}

    def what_is_finished_stays_as_it_is(self) -> None:
        assert all(self.dispatches[key] == record for key, record in self.over.items())

    def attempts_stay_within_their_limit(self) -> None:
        assert all(0 <= d.attempt <= d.max_attempts for d in self.dispatches.values())

    def no_epoch_is_ahead_of_the_threads(self) -> None:
        assert all(d.epoch <= self.head.epoch for d in self.dispatches.values())

    def a_settled_token_may_write_nothing(self) -> None:
        for token in self.settled:
            for dispatch in self.live():
                assert holds(dispatch, self.head, token) is not None

    def whatever_is_due_and_could_be_claimed_keeps_the_thread_in_line(self) -> None:
        command = ClaimCommand(claim_token="probe", worker_id="w", lease_ms=LEASE_MS)
        due = [d for d, body in self.queued() if body.available_at <= self.now]
        answers = [apply(d, self.head, command, self.now) for d in due]
        possible = any(isinstance(answer, Applied) for answer in answers)
        assert possible == (self.line() is not None)


def check_stop_survives(before: Dispatch, answer: Applied) -> None:
    """A stop that was accepted is still stored, was carried out, or came too late (I9)."""
    body = answer.dispatch.body
    if isinstance(body, Claimed):
        assert body.cancel_request is not None
        return
    assert isinstance(body, Finished), "a run that shall stop is never queued again"
    if body.how is How.acked:
        assert answer.effect is Effect.complete_run_cancel_too_late
    elif body.how is How.superseded:
        assert isinstance(before.body, Claimed)
        assert before.body.superseded_by is not None, "only a newer run supersedes"
    else:
        assert body.how in (How.cancelled, How.dead_letter)


long = pytest.mark.timeout(120)  # when it fails, finding the shortest history takes a while


@long
def test_no_history_of_commands_breaks_a_thread() -> None:
    run_state_machine_as_test(OneThread, settings=settings(max_examples=100))


@pytest.mark.slow
def test_no_long_history_of_commands_breaks_a_thread() -> None:
    run_state_machine_as_test(
        OneThread, settings=settings(max_examples=1_000, stateful_step_count=100)
    )


@long
def test_the_histories_reach_every_effect_and_every_refusal() -> None:
    """Guards the test above: a machine that cannot get somewhere proves nothing about it."""
    seen: set[Effect | Refusal | None] = set()

    class Recording(OneThread):
        def send(self, dispatch_id: str, command: Command) -> Applied | Refused:
            answer = super().send(dispatch_id, command)
            seen.add(answer.effect if isinstance(answer, Applied) else answer.why)
            return answer

    run_state_machine_as_test(Recording, settings=settings(max_examples=150, derandomize=True))
    assert seen - {None} == {*Effect, *Refusal} - {Refusal.gone}
