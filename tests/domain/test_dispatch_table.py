"""`apply` and `TABLE` say the same about every cell."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from msgspec.structs import asdict

from awaken.domain.dispatch import Applied, Command, Dispatch, Effect, Mode, Refusal, Refused, apply
from awaken.domain.dispatch_table import (
    FINISHED,
    MEANING,
    SETTLE,
    TABLE,
    Counter,
    Fact,
    Move,
    Row,
    State,
    Verb,
    row_of,
    state_of,
    verb_of,
)
from awaken.domain.thread import ThreadHead
from tests.domain.situations import NOW, Situation, fact_sets, facts_of, situations

CELLS = list(product(State, Verb))
cells = pytest.mark.parametrize(("state", "verb"), CELLS, ids=[f"{s}-{v}" for s, v in CELLS])

MAY_CHANGE = {"body", "epoch", "eligible_at", "updated_at", "attempt", "expiries"} | {
    "life_expiries",
    "last_error",
    "retry_reason",
    "settled_by",
}


@cells
def test_every_cell_has_exactly_one_row(state: State, verb: Verb) -> None:
    for facts in fact_sets(state):
        rows = [row for row in TABLE if row.covers(state, verb, facts)]
        assert len(rows) == 1, f"{sorted(facts)}: {rows}"


def test_every_row_is_needed_by_some_cell() -> None:
    used = {
        TABLE.index(row_of(state, verb, facts))
        for state, verb in CELLS
        for facts in fact_sets(state)
    }
    assert used == set(range(len(TABLE)))


@cells
def test_apply_answers_every_cell_as_the_table_says(state: State, verb: Verb) -> None:
    seen = 0
    for facts in fact_sets(state):
        row = row_of(state, verb, facts)
        for situation in situations(state, verb, facts):
            check(situation, row)
            seen += 1
    assert seen


@cells
def test_the_situations_of_a_cell_show_its_facts(state: State, verb: Verb) -> None:
    for facts in fact_sets(state):
        for dispatch, head, command in situations(state, verb, facts):
            assert state_of(dispatch) is state
            assert verb_of(command) is verb
            shown = facts_of(dispatch, head, command, NOW)
            irrelevant = {Fact.owner} if verb not in (Verb.renew, *SETTLE) else set()
            if state not in FINISHED:
                assert shown - irrelevant == facts - irrelevant


def check(situation: Situation, row: Row) -> None:
    dispatch, head, command = situation
    answer = apply(dispatch, head, command, NOW)
    if isinstance(row.answer, Refusal):
        assert answer == Refused(why=row.answer), situation
        return
    assert isinstance(answer, Applied), situation
    assert state_of(answer.dispatch) is row.answer.to, situation
    assert answer.effect is row.answer.effect, situation
    assert counted(dispatch, answer.dispatch) == expected_counts(row.answer), situation
    assert answer.head == head_after(situation, row.answer), situation
    assert answer.dispatch.updated_at == NOW
    assert changed(dispatch, answer.dispatch) <= MAY_CHANGE, situation


def counted(before: Dispatch, after: Dispatch) -> tuple[int, int, int]:
    return (
        after.attempt - before.attempt,
        after.expiries - before.expiries,
        after.life_expiries - before.life_expiries,
    )


def expected_counts(move: Move) -> tuple[int, int, int]:
    match move.counts:
        case Counter.attempt:
            return 1, 0, 0
        case Counter.expiries:
            return 0, 1, 1
        case None:
            return 0, 0, 0


def head_after(situation: Situation, move: Move) -> ThreadHead:
    """What a move makes of the head, told from the two states alone."""
    dispatch, head, _ = situation
    was = state_of(dispatch)
    fields = asdict(head)
    fields["queued_count"] += (move.to is State.queued) - (was is State.queued)
    if was is State.queued and head.front == dispatch.dispatch_id:
        fields["front"] = None
    if was is State.queued and move.to is State.claimed:
        taken = {"claimed_dispatch": dispatch.dispatch_id, "active_run": dispatch.run_id}
        fields |= {**taken, "waiting_run": None, "served_at": NOW}
    elif was is State.claimed and move.to is not State.claimed:
        fields["claimed_dispatch"] = None
    if move.to in FINISHED and head.active_run == dispatch.run_id:
        fields["active_run"] = None
    if move.effect is Effect.suspend_run:
        fields["waiting_run"] = dispatch.run_id
    return ThreadHead(**fields)


def changed(before: Dispatch, after: Dispatch) -> set[str]:
    one, other = asdict(before), asdict(after)
    return {name for name in one if one[name] != other[name]}


def test_every_fact_effect_and_refusal_of_apply_is_in_the_table() -> None:
    answers = [row.answer for row in TABLE]
    effects = {answer.effect for answer in answers if isinstance(answer, Move)}
    refusals = {answer for answer in answers if isinstance(answer, Refusal)}
    assert effects - {None} == set(Effect)
    # `gone` is the answer of `holds` when there is no dispatch to apply anything to.
    assert refusals == set(Refusal) - {Refusal.gone}
    assert {fact for row in TABLE for fact in (*row.when, *row.unless)} == set(MEANING) == set(Fact)


def test_the_table_knows_every_command() -> None:
    kinds = {type(s.command) for state, verb in CELLS for s in situations(state, verb, frozenset())}
    assert kinds == set(get_args(Command))


def test_old_background_work_is_in_the_cells_and_not_stale() -> None:
    shapes = situations(State.queued, Verb.claim, frozenset({Fact.due}))
    assert any(
        s.dispatch.mode is Mode.background and s.dispatch.epoch < s.head.epoch for s in shapes
    )
