"""What the lifecycle of a dispatch promises. All its cells: `test_dispatch_table.py`."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain.claim import holds
from awaken.domain.dispatch import (
    MAX_EXPIRIES,
    MAX_EXPIRIES_IN_LIFE,
    Ack,
    Applied,
    CancelCommand,
    CancelRequest,
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
    RetryAt,
    StopNow,
    SupersedeCommand,
    apply,
)
from awaken.domain.thread import ThreadHead
from tests.domain.situations import (
    LEASE_MS,
    NOW,
    STOP,
    TOKEN,
    Situation,
    a_claim,
    a_dispatch,
    a_head,
    claimed,
    settle,
)

CLAIM = ClaimCommand(claim_token="token-2", worker_id="w2", lease_ms=LEASE_MS)
RETRY = RetryAt(available_at=NOW + 500, error="overloaded")


def applied(dispatch: Dispatch, head: ThreadHead, command: Command, now: int = NOW) -> Applied:
    answer = apply(dispatch, head, command, now)
    assert isinstance(answer, Applied), answer
    return answer


def refused(dispatch: Dispatch, head: ThreadHead, command: Command, now: int = NOW) -> Refusal:
    answer = apply(dispatch, head, command, now)
    assert isinstance(answer, Refused), answer
    return answer.why


def stop_of(answer: Applied) -> CancelRequest:
    body = answer.dispatch.body
    assert isinstance(body, Claimed)
    assert body.cancel_request is not None
    return body.cancel_request


# --- claim -------------------------------------------------------------------------------------


def test_a_claim_holds_the_lease_it_asked_for_from_the_stores_now() -> None:
    body = applied(a_dispatch(), a_head(), CLAIM).dispatch.body
    assert body == Claimed(
        claim_token="token-2",
        worker_id="w2",
        lease_until=NOW + LEASE_MS,
        lease_ms=LEASE_MS,
        claimed_at=NOW,
    )


def test_a_dispatch_can_be_claimed_at_the_very_millisecond_it_becomes_available() -> None:
    dispatch = a_dispatch(body=Queued(available_at=NOW))
    assert refused(dispatch, a_head(), CLAIM, NOW - 1) is Refusal.not_yet_available
    assert applied(dispatch, a_head(), CLAIM, NOW).effect is Effect.start_run


@pytest.mark.parametrize("mode", [Mode.background, Mode.wake])
def test_queued_background_work_survives_an_interrupt_and_is_restamped_by_its_claim(
    mode: Mode,
) -> None:
    answer = applied(a_dispatch(mode=mode, epoch=1), a_head(epoch=3), CLAIM)
    assert answer.effect is Effect.start_run
    assert answer.dispatch.epoch == 3


@pytest.mark.parametrize("mode", [Mode.foreground, Mode.resume])
def test_a_claim_that_finds_a_stale_foreground_dispatch_supersedes_it(mode: Mode) -> None:
    answer = applied(a_dispatch(mode=mode, epoch=2), a_head(epoch=3), CLAIM)
    assert answer.effect is Effect.supersede_run
    assert answer.head == a_head(epoch=3, queued_count=0)


def test_no_other_run_can_be_claimed_while_one_is_in_backoff() -> None:
    answer = applied(*claimed()[:2], settle(RETRY))
    other = a_dispatch(dispatch_id="d2", run_id="r2")
    assert refused(other, answer.head, CLAIM) is Refusal.thread_busy
    assert applied(answer.dispatch, answer.head, CLAIM, NOW + 500).effect is Effect.start_run


def test_a_run_that_is_claimed_cannot_be_claimed_by_a_second_dispatch() -> None:
    head = a_head(claimed_dispatch="d0", active_run="r1")
    assert refused(a_dispatch(), head, CLAIM) is Refusal.thread_busy


def test_nothing_is_claimed_before_the_dispatch_in_front() -> None:
    """A resumed run, or an interrupt's, is its thread's next whatever the ranks (F3)."""
    head = a_head(front="d2", queued_count=2)
    assert refused(a_dispatch(), head, CLAIM) is Refusal.thread_busy
    first = a_dispatch(dispatch_id="d2", run_id="r2", mode=Mode.resume)
    answer = applied(first, head, CLAIM)
    assert (answer.head.active_run, answer.head.front) == ("r2", None)


def test_the_run_that_has_the_thread_goes_even_before_the_dispatch_in_front() -> None:
    head = a_head(front="d2", active_run="r1", queued_count=2)
    assert applied(a_dispatch(), head, CLAIM).head.front == "d2"


# --- lease -------------------------------------------------------------------------------------


def test_a_renewal_uses_the_lease_time_of_the_row() -> None:
    dispatch, head, renew = claimed(lease_ms=9_000)
    body = applied(dispatch, head, renew).dispatch.body
    assert isinstance(body, Claimed)
    assert body.lease_until == NOW + 9_000


def test_a_renewal_brings_the_cancel_request_to_the_owner() -> None:
    assert stop_of(applied(*claimed(cancel_request=STOP))) == STOP


def test_a_lapsed_claim_nobody_took_can_still_be_renewed_and_settled() -> None:
    dispatch, head, renew = claimed(lease_until=NOW - 1)
    assert applied(dispatch, head, renew).effect is None
    assert applied(dispatch, head, settle(Ack())).effect is Effect.complete_run


def test_a_lease_has_not_lapsed_at_its_last_millisecond() -> None:
    dispatch, head, _ = claimed(lease_until=NOW)
    assert refused(dispatch, head, ExpireCommand(), NOW) is Refusal.not_expired
    assert applied(dispatch, head, ExpireCommand(), NOW + 1).effect is Effect.requeue_run


def test_the_claim_of_a_dead_owner_is_ended_before_its_lease_lapses() -> None:
    dispatch, head, _ = claimed(lease_until=NOW + 20_000)
    answer = applied(dispatch, head, ExpireCommand(owner_dead=True))
    assert answer.effect is Effect.requeue_run
    assert answer.dispatch.body == Queued(available_at=NOW)
    assert answer.dispatch.retry_reason == "lease_expired"


# --- settle ------------------------------------------------------------------------------------


def test_a_retry_counts_an_attempt_and_waits_until_its_time() -> None:
    answer = applied(*claimed(dispatch={"attempt": 1})[:2], settle(RETRY))
    after = answer.dispatch
    assert (after.attempt, after.last_error, after.retry_reason) == (2, "overloaded", "retry")
    assert (after.body, after.eligible_at) == (Queued(available_at=NOW + 500), NOW + 500)


def test_the_last_attempt_becomes_a_dead_letter_with_its_error() -> None:
    answer = applied(*claimed(dispatch={"attempt": 4})[:2], settle(RETRY))
    assert answer.effect is Effect.fail_run
    assert answer.dispatch.attempt == answer.dispatch.max_attempts
    assert answer.dispatch.body == Finished(
        how=How.dead_letter, finished_at=NOW, reason="overloaded"
    )


def test_attempts_never_pass_their_limit_even_if_it_was_lowered_meanwhile() -> None:
    answer = applied(*claimed(dispatch={"attempt": 4, "max_attempts": 2})[:2], settle(RETRY))
    assert answer.effect is Effect.fail_run
    assert answer.dispatch.attempt == 2


def test_a_release_counts_nothing_and_can_be_taken_at_once() -> None:
    before = claimed(dispatch={"attempt": 2, "expiries": 3, "life_expiries": 4})
    after = applied(*before[:2], settle(Release())).dispatch
    assert (after.attempt, after.expiries, after.life_expiries) == (2, 3, 4)
    assert (after.body, after.retry_reason) == (Queued(available_at=NOW), "handoff")


def test_a_requeued_dispatch_keeps_its_place_in_the_queue() -> None:
    before = claimed()
    for command in (settle(RETRY), settle(Release()), ExpireCommand(owner_dead=True)):
        assert applied(*before[:2], command).dispatch.rank == before.dispatch.rank


def test_the_record_tells_which_attempt_settled_last() -> None:
    for form in (Ack(), Ack(suspended=True), RETRY, Release(), Fail(error="e"), StopNow()):
        assert applied(*claimed()[:2], settle(form)).dispatch.settled_by == TOKEN
    assert applied(*claimed()[:2], ExpireCommand(owner_dead=True)).dispatch.settled_by is None


def test_a_token_settles_once() -> None:
    answer = applied(*claimed()[:2], settle(Release()))
    assert refused(answer.dispatch, answer.head, settle(Ack())) is Refusal.lease_lost
    again = applied(answer.dispatch, answer.head, CLAIM)
    assert refused(again.dispatch, again.head, settle(Ack())) is Refusal.not_the_owner


def test_a_suspended_run_is_active_no_more_and_its_thread_waits_for_it() -> None:
    head = applied(*claimed()[:2], settle(Ack(suspended=True))).head
    assert (head.active_run, head.claimed_dispatch, head.waiting_run) == (None, None, "r1")


def test_only_its_own_resume_is_claimed_while_a_run_waits() -> None:
    head = a_head(waiting_run="r1", queued_count=2)
    other = a_dispatch(dispatch_id="d2", run_id="r2", mode=Mode.background)
    assert refused(other, head, CLAIM) is Refusal.thread_busy
    answer = applied(a_dispatch(mode=Mode.resume), head, CLAIM)
    assert (answer.head.active_run, answer.head.waiting_run) == ("r1", None)


# --- counting expiries -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expiries", "life", "effect"),
    [
        (MAX_EXPIRIES - 2, MAX_EXPIRIES_IN_LIFE - 2, Effect.requeue_run),
        (MAX_EXPIRIES - 1, 0, Effect.fail_run),
        (0, MAX_EXPIRIES_IN_LIFE - 1, Effect.fail_run),
    ],
)
def test_a_run_that_keeps_losing_its_owner_is_poison(
    expiries: int, life: int, effect: Effect
) -> None:
    counts = {"expiries": expiries, "life_expiries": life}
    answer = applied(*claimed(dispatch=counts)[:2], ExpireCommand(owner_dead=True))
    assert answer.effect is effect
    assert answer.dispatch.expiries == expiries + 1
    assert answer.dispatch.life_expiries == life + 1
    assert answer.dispatch.attempt == 0
    if effect is Effect.fail_run:
        assert answer.dispatch.body == Finished(
            how=How.dead_letter, finished_at=NOW, reason="poison"
        )


# --- cancel ------------------------------------------------------------------------------------


def test_cancelling_a_queued_dispatch_ends_it_with_the_reason() -> None:
    answer = applied(a_dispatch(), a_head(), CancelCommand(by="user", reason="changed my mind"))
    assert answer.dispatch.body == Finished(
        how=How.cancelled, finished_at=NOW, reason="changed my mind"
    )


def test_cancelling_a_run_in_backoff_frees_its_thread() -> None:
    answer = applied(a_dispatch(), a_head(active_run="r1"), CancelCommand(by="user"))
    assert answer.head.active_run is None


def test_cancelling_a_queued_run_leaves_the_run_that_has_the_thread_alone() -> None:
    head = a_head(active_run="r0", claimed_dispatch="d0")
    answer = applied(a_dispatch(), head, CancelCommand(by="user"))
    assert (answer.head.active_run, answer.head.claimed_dispatch) == ("r0", "d0")


def test_the_first_stop_gives_the_reason() -> None:
    first = applied(*claimed()[:2], CancelCommand(by="user", reason="first"))
    second = applied(first.dispatch, first.head, CancelCommand(by="api", reason="second"), NOW + 9)
    assert stop_of(second) == CancelRequest(by="user", reason="first", requested_at=NOW)


def test_a_stop_is_not_replaced_by_a_later_interrupt() -> None:
    supersede = SupersedeCommand(by_run_id="r2", grace_ms=2_000)
    answer = applied(*claimed(cancel_request=STOP)[:2], supersede)
    assert stop_of(answer) == STOP


@pytest.mark.parametrize(
    "rollback",
    [
        CancelCommand(by="user", reason="rollback", hide=True),
        SupersedeCommand(by_run_id="r2", grace_ms=2_000, hide=True),
    ],
    ids=["cancel", "supersede"],
)
def test_a_rollback_after_a_stop_still_hides_the_messages(rollback: Command) -> None:
    answer = applied(*claimed(cancel_request=STOP)[:2], rollback)
    assert stop_of(answer) == replace(STOP, hide=True)


def test_a_stop_after_a_rollback_does_not_show_the_messages_again() -> None:
    hidden = replace(STOP, hide=True)
    answer = applied(*claimed(cancel_request=hidden)[:2], CancelCommand(by="user"))
    assert stop_of(answer) == hidden


@pytest.mark.parametrize("form", [Ack(suspended=True), RETRY, Release(), StopNow()], ids=repr)
def test_what_would_go_on_after_an_accepted_stop_is_cancelled(
    form: Ack | RetryAt | Release | StopNow,
) -> None:
    answer = applied(*claimed(cancel_request=STOP)[:2], settle(form))
    assert answer.effect is Effect.cancel_run
    assert answer.dispatch.body == Finished(
        how=How.cancelled, finished_at=NOW, reason="stop button"
    )


def test_a_stop_that_comes_after_completion_is_reported_as_too_late() -> None:
    answer = applied(*claimed(cancel_request=STOP)[:2], settle(Ack()))
    assert answer.effect is Effect.complete_run_cancel_too_late


def test_a_stop_whose_owner_died_is_carried_out_by_the_expiry() -> None:
    answer = applied(*claimed(cancel_request=STOP)[:2], ExpireCommand(owner_dead=True))
    assert answer.effect is Effect.cancel_run
    assert answer.dispatch.expiries == 0


def test_a_stop_that_raised_the_epoch_without_a_new_run_ends_as_cancelled() -> None:
    """Interrupting a thread without a message: nobody takes over, so nobody superseded it."""
    dispatch, head, _ = claimed(cancel_request=STOP)
    head = replace(head, epoch=head.epoch + 1)
    for command in (settle(StopNow()), settle(RETRY), ExpireCommand(owner_dead=True)):
        answer = applied(dispatch, head, command)
        assert answer.effect is Effect.cancel_run
        assert answer.dispatch.body == Finished(
            how=How.cancelled, finished_at=NOW, reason="stop button"
        )


# --- supersede ---------------------------------------------------------------------------------


def interrupted(now: int = NOW) -> Situation:
    """`d1` claimed, then superseded by run r2 at `now` with a grace of two seconds."""
    supersede = SupersedeCommand(by_run_id="r2", grace_ms=2_000)
    answer = applied(*claimed(lease_until=NOW + LEASE_MS)[:2], supersede, now)
    head = replace(answer.head, epoch=answer.head.epoch + 1)
    return Situation(answer.dispatch, head, ExpireCommand())


def test_an_interrupt_gives_the_owner_a_deadline_and_names_the_successor() -> None:
    body = interrupted().dispatch.body
    assert isinstance(body, Claimed)
    assert (body.interrupt_deadline, body.superseded_by) == (NOW + 2_000, "r2")
    assert body.cancel_request == CancelRequest(by="system", reason="superseded", requested_at=NOW)


def test_a_second_interrupt_does_not_prolong_the_deadline() -> None:
    dispatch, head, _ = interrupted()
    later = SupersedeCommand(by_run_id="r3", grace_ms=2_000)
    assert refused(dispatch, head, later, NOW + 1_500) is Refusal.superseded


@pytest.mark.parametrize("form", [Ack(), RETRY, Release(), Fail(error="e"), StopNow()], ids=repr)
def test_whatever_a_superseded_owner_settles_is_recorded_as_superseded(
    form: Ack | RetryAt | Release | Fail | StopNow,
) -> None:
    dispatch, head, _ = interrupted()
    answer = applied(dispatch, head, settle(form), NOW + 1_000)
    assert answer.effect is Effect.supersede_run
    assert answer.head.active_run is None


def test_the_thread_is_taken_from_a_silent_owner_just_past_the_deadline() -> None:
    dispatch, head, expire = interrupted()
    assert refused(dispatch, head, expire, NOW + 2_000) is Refusal.not_expired
    assert applied(dispatch, head, expire, NOW + 2_001).effect is Effect.supersede_run


def test_superseding_a_queued_dispatch_names_its_successor() -> None:
    supersede = SupersedeCommand(by_run_id="r2", grace_ms=2_000)
    body = applied(a_dispatch(), a_head(), supersede).dispatch.body
    assert body == Finished(how=How.superseded, finished_at=NOW, reason="superseded by r2")


# --- the fence ---------------------------------------------------------------------------------


def test_a_claim_holds_for_its_owner_and_for_nobody_else() -> None:
    dispatch, head, _ = claimed()
    assert holds(dispatch, head, TOKEN) is None
    assert holds(dispatch, head, "token-0") is Refusal.not_the_owner
    assert holds(None, head, TOKEN) is Refusal.gone


def test_a_claim_stops_to_hold_when_it_is_over_or_a_newer_turn_came() -> None:
    dispatch, head, _ = claimed()
    assert holds(dispatch, replace(head, epoch=head.epoch + 1), TOKEN) is Refusal.superseded
    for form in (Release(), Ack()):
        answer = applied(dispatch, head, settle(form))
        assert holds(answer.dispatch, answer.head, TOKEN) is Refusal.lease_lost


def test_a_cancel_request_leaves_the_claim_its_right_to_write() -> None:
    dispatch, head, _ = claimed(cancel_request=STOP)
    assert holds(dispatch, head, TOKEN) is None


# --- records -----------------------------------------------------------------------------------


def test_a_dispatch_survives_its_stored_form_in_each_body() -> None:
    finished = Finished(how=How.acked, finished_at=NOW)
    for body in (Queued(available_at=NOW), a_claim(cancel_request=STOP), finished):
        dispatch = a_dispatch(body=body)
        assert msgspec.json.decode(msgspec.json.encode(dispatch), type=Dispatch) == dispatch


def test_a_body_without_its_fields_cannot_be_decoded() -> None:
    stored = msgspec.to_builtins(a_dispatch())
    with pytest.raises(msgspec.ValidationError, match="claim_token"):
        msgspec.convert({**stored, "body": {"type": "claimed", "lease_until": 1}}, Dispatch)
