"""The lifecycle of a dispatch as data: what `dispatch.apply` answers, cell by cell.

A *cell* is a state, a verb (a command, or one form of settle) and the facts that hold just then.
`TABLE` has exactly one row for each cell. It decides nothing: the tables and the diagram in
`docs/lifecycle.md` are generated from it, and tests compare it with `apply`, so that neither can
change alone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, assert_never

from awaken.domain.dispatch import (
    Ack,
    CancelCommand,
    ClaimCommand,
    Claimed,
    Command,
    Dispatch,
    Effect,
    ExpireCommand,
    Fail,
    Finished,
    Queued,
    Refusal,
    Release,
    RenewCommand,
    RetryAt,
    SettleCommand,
    StopNow,
    SupersedeCommand,
)
from awaken.domain.record import Record


class State(StrEnum):
    """Where a dispatch is: its body, or how it finished."""

    queued = "queued"
    claimed = "claimed"
    acked = "acked"
    cancelled = "cancelled"
    superseded = "superseded"
    dead_letter = "dead_letter"


class Verb(StrEnum):
    """A command; each form of settle is a verb of its own."""

    claim = "claim"
    renew = "renew"
    ack = "ack"
    suspend = "ack suspended"
    retry = "retry"
    release = "release"
    fail = "fail"
    stop = "stop"
    cancel = "cancel"
    supersede = "supersede"
    expire = "expire"


class Fact(StrEnum):
    """What decides between rows; `MEANING` says when each holds. `~fact` is its absence."""

    busy = "busy"
    stale = "stale"
    due = "due"
    owner = "owner"
    asked = "asked"
    last_attempt = "last attempt"
    lapsed = "lapsed"
    poison = "poison"
    interrupted = "interrupted"
    overdue = "overdue"

    def __invert__(self) -> Absent:
        return Absent(fact=self)


class Absent(Record):
    """The condition that `fact` does not hold."""

    fact: Fact


MEANING: Final[dict[Fact, str]] = {
    Fact.busy: "of the same thread, a dispatch is claimed, or another run is active or waiting, "
    "or, if none is, another dispatch is in front",
    Fact.stale: "its epoch is older than its thread's; queued background work is never stale",
    Fact.due: "`available_at ≤ now`",
    Fact.owner: "the command carries the token of the claim",
    Fact.asked: "a cancel request is stored on the claim",
    Fact.last_attempt: "with one more failure `attempt` reaches `max_attempts`",
    Fact.lapsed: "`lease_until < now`, or the owner is known to be dead",
    Fact.poison: "one more expiry is the 10th without progress, or the 25th of the run",
    Fact.interrupted: "a newer run superseded it: it has an `interrupt_deadline`",
    Fact.overdue: "`interrupt_deadline < now`",
}


class Counter(StrEnum):
    """What a move counts up by one; `expiries` stands for `life_expiries` too."""

    attempt = "attempt"
    expiries = "expiries"


class Move(Record):
    """The command is carried out: the dispatch gets to `to`, its caller carries out `effect`."""

    to: State
    effect: Effect | None = None
    counts: Counter | None = None


class Row(Record):
    """One line: for `states` and `verbs`, if all of `when` and none of `unless` hold."""

    states: tuple[State, ...]
    verbs: tuple[Verb, ...]
    when: tuple[Fact, ...]
    unless: tuple[Fact, ...]
    answer: Move | Refusal

    def covers(self, state: State, verb: Verb, facts: frozenset[Fact]) -> bool:
        """Whether this is the row of that cell."""
        return (
            state in self.states
            and verb in self.verbs
            and facts.issuperset(self.when)
            and facts.isdisjoint(self.unless)
        )


SETTLE: Final = (Verb.ack, Verb.suspend, Verb.retry, Verb.release, Verb.fail, Verb.stop)
FINISHED: Final = (State.acked, State.cancelled, State.superseded, State.dead_letter)


def _on(
    states: State | tuple[State, ...],
    verbs: Verb | tuple[Verb, ...],
    answer: Move | Refusal,
    *conditions: Fact | Absent,
) -> Row:
    return Row(
        states=(states,) if isinstance(states, State) else states,
        verbs=(verbs,) if isinstance(verbs, Verb) else verbs,
        when=tuple(it for it in conditions if isinstance(it, Fact)),
        unless=tuple(it.fact for it in conditions if isinstance(it, Absent)),
        answer=answer,
    )


S, V, F, E, R = State, Verb, Fact, Effect, Refusal

START: Final = Move(to=S.claimed, effect=E.start_run)
KEEP: Final = Move(to=S.claimed)
ASK: Final = Move(to=S.claimed, effect=E.ask_owner)
REQUEUE: Final = Move(to=S.queued, effect=E.requeue_run)
RETRY: Final = Move(to=S.queued, effect=E.requeue_run, counts=Counter.attempt)
RECLAIM: Final = Move(to=S.queued, effect=E.requeue_run, counts=Counter.expiries)
COMPLETE: Final = Move(to=S.acked, effect=E.complete_run)
COMPLETE_TOO_LATE: Final = Move(to=S.acked, effect=E.complete_run_cancel_too_late)
SUSPEND: Final = Move(to=S.acked, effect=E.suspend_run)
CANCEL: Final = Move(to=S.cancelled, effect=E.cancel_run)
SUPERSEDE: Final = Move(to=S.superseded, effect=E.supersede_run)
FAIL: Final = Move(to=S.dead_letter, effect=E.fail_run)
GIVE_UP: Final = Move(to=S.dead_letter, effect=E.fail_run, counts=Counter.attempt)
POISON: Final = Move(to=S.dead_letter, effect=E.fail_run, counts=Counter.expiries)

TABLE: Final[tuple[Row, ...]] = (
    _on(S.queued, V.claim, R.thread_busy, F.busy),
    _on(S.queued, V.claim, SUPERSEDE, F.stale, ~F.busy),
    _on(S.queued, V.claim, R.not_yet_available, ~F.busy, ~F.stale, ~F.due),
    _on(S.queued, V.claim, START, F.due, ~F.busy, ~F.stale),
    _on(S.queued, (V.renew, *SETTLE), R.lease_lost),
    _on(S.queued, V.cancel, CANCEL),
    _on(S.queued, V.supersede, SUPERSEDE),
    _on(S.queued, V.expire, R.not_expired),
    # The owner of a claim, and whoever says it is.
    _on(S.claimed, (V.renew, *SETTLE), R.not_the_owner, ~F.owner),
    _on(S.claimed, V.renew, R.superseded, F.owner, F.stale),
    _on(S.claimed, V.renew, KEEP, F.owner, ~F.stale),
    _on(S.claimed, SETTLE, SUPERSEDE, F.owner, F.stale, ~F.asked),
    _on(S.claimed, SETTLE, SUPERSEDE, F.owner, F.stale, F.asked, F.interrupted),
    _on(S.claimed, SETTLE, CANCEL, F.owner, F.stale, F.asked, ~F.interrupted),
    _on(S.claimed, V.ack, COMPLETE, F.owner, ~F.stale, ~F.asked),
    _on(S.claimed, V.ack, COMPLETE_TOO_LATE, F.owner, F.asked, ~F.stale),
    _on(S.claimed, V.suspend, SUSPEND, F.owner, ~F.stale, ~F.asked),
    _on(S.claimed, V.retry, RETRY, F.owner, ~F.stale, ~F.asked, ~F.last_attempt),
    _on(S.claimed, V.retry, GIVE_UP, F.owner, F.last_attempt, ~F.stale, ~F.asked),
    _on(S.claimed, V.release, REQUEUE, F.owner, ~F.stale, ~F.asked),
    _on(S.claimed, (V.suspend, V.retry, V.release), CANCEL, F.owner, F.asked, ~F.stale),
    _on(S.claimed, V.fail, FAIL, F.owner, ~F.stale),
    _on(S.claimed, V.stop, CANCEL, F.owner, ~F.stale),
    # Everybody else.
    _on(S.claimed, V.claim, R.thread_busy),
    _on(S.claimed, V.cancel, ASK),
    _on(S.claimed, V.supersede, ASK, ~F.interrupted),
    _on(S.claimed, V.supersede, R.superseded, F.interrupted),
    _on(S.claimed, V.expire, R.not_expired, ~F.stale, ~F.lapsed),
    _on(S.claimed, V.expire, RECLAIM, F.lapsed, ~F.stale, ~F.asked, ~F.poison),
    _on(S.claimed, V.expire, POISON, F.lapsed, F.poison, ~F.stale, ~F.asked),
    _on(S.claimed, V.expire, CANCEL, F.lapsed, F.asked, ~F.stale),
    _on(S.claimed, V.expire, R.not_expired, F.stale, ~F.lapsed, ~F.overdue),
    _on(S.claimed, V.expire, SUPERSEDE, F.stale, F.overdue),
    _on(S.claimed, V.expire, SUPERSEDE, F.stale, F.lapsed, ~F.asked, ~F.overdue),
    _on(S.claimed, V.expire, SUPERSEDE, F.stale, F.lapsed, F.asked, F.interrupted, ~F.overdue),
    _on(S.claimed, V.expire, CANCEL, F.stale, F.lapsed, F.asked, ~F.interrupted),
    _on(FINISHED, tuple(V), R.already_finished),
)


def state_of(dispatch: Dispatch) -> State:
    """The state `dispatch` is in."""
    match dispatch.body:
        case Queued():
            return State.queued
        case Claimed():
            return State.claimed
        case Finished(how=how):
            return State(how.value)
        case _ as never:
            assert_never(never)


def verb_of(command: Command) -> Verb:
    """The verb of `command`."""
    match command:
        case ClaimCommand():
            return Verb.claim
        case RenewCommand():
            return Verb.renew
        case SettleCommand(form=form):
            return _settle_verb(form)
        case CancelCommand():
            return Verb.cancel
        case SupersedeCommand():
            return Verb.supersede
        case ExpireCommand():
            return Verb.expire
        case _ as never:
            assert_never(never)


def _settle_verb(form: Ack | RetryAt | Release | Fail | StopNow) -> Verb:
    match form:
        case Ack(suspended=suspended):
            return Verb.suspend if suspended else Verb.ack
        case RetryAt():
            return Verb.retry
        case Release():
            return Verb.release
        case Fail():
            return Verb.fail
        case StopNow():
            return Verb.stop
        case _ as never:
            assert_never(never)


def row_of(state: State, verb: Verb, facts: frozenset[Fact]) -> Row:
    """The row of a cell."""
    (row,) = (row for row in TABLE if row.covers(state, verb, facts))
    return row
