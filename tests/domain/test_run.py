"""The life of a run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from msgspec.structs import replace

from awaken.domain import run as runs
from awaken.domain.run import (
    TRANSITIONS,
    IllegalTransition,
    Run,
    RunOutcome,
    RunStatus,
    Waiting,
)
from awaken.domain.termination import NaturalEnd
from awaken.domain.ticket import WaitingReason

NOW = 9_000
RUN = Run(
    tenant="acme",
    run_id="r1",
    thread_id="t1",
    agent_id="a1",
    resolution_id="sha256:0",
    created_at=1_000,
    updated_at=1_000,
)
WAITING = Waiting(reason=WaitingReason.user_input, since=NOW, ticket_ids=("k1",))
OUTCOME = RunOutcome(termination=NaturalEnd(), text="done")
VERBS: dict[str, Callable[[Run], Run]] = {
    "start": lambda run: runs.start(run, NOW, retry=False),
    "suspend": lambda run: runs.suspend(run, WAITING, NOW),
    "finish": lambda run: runs.finish(run, OUTCOME, NOW),
}
PAIRS = list(product(RunStatus, VERBS))


@pytest.mark.parametrize(("status", "verb"), PAIRS)
def test_a_run_moves_as_its_table_says_and_no_other_way(status: RunStatus, verb: str) -> None:
    run = replace(RUN, status=status)
    target = TRANSITIONS.get((status, verb))
    if target is None:
        with pytest.raises(IllegalTransition, match=f"run r1: {verb} is not possible"):
            VERBS[verb](run)
    else:
        moved = VERBS[verb](run)
        assert (moved.status, moved.updated_at) == (target, NOW)


def test_the_table_knows_no_other_verbs() -> None:
    assert {verb for _, verb in TRANSITIONS} == set(VERBS)


def test_a_done_run_never_changes() -> None:
    assert all(status is not RunStatus.done for status, _ in TRANSITIONS)


def test_every_run_that_is_not_done_can_be_finished() -> None:
    finishable = {status for status, verb in TRANSITIONS if verb == "finish"}
    assert finishable == set(RunStatus) - {RunStatus.done}


def test_a_start_opens_an_activation_and_a_retry_continues_it() -> None:
    first = runs.start(RUN, NOW, retry=False)
    again = runs.start(first, NOW + 5, retry=True)
    assert (first.activation, again.activation) == (1, 1)
    resumed = runs.start(runs.suspend(again, WAITING, NOW + 9), NOW + 20, retry=False)
    assert resumed.activation == 2


def test_a_run_remembers_its_first_start() -> None:
    first = runs.start(RUN, NOW, retry=False)
    assert runs.start(first, NOW + 5, retry=True).started_at == NOW


def test_a_waiting_run_says_why_until_it_goes_on_or_ends() -> None:
    waiting = runs.suspend(runs.start(RUN, NOW, retry=False), WAITING, NOW)
    assert waiting.waiting == WAITING
    assert runs.start(waiting, NOW, retry=False).waiting is None
    assert runs.finish(waiting, OUTCOME, NOW).waiting is None


def test_a_finished_run_has_its_outcome_and_its_time() -> None:
    done = runs.finish(RUN, OUTCOME, NOW)
    assert (done.outcome, done.finished_at, done.updated_at) == (OUTCOME, NOW, NOW)
    assert done.started_at is None  # it ended before it began


def test_what_a_run_counts_survives_suspension_and_retry() -> None:
    run = replace(RUN, steps=3, active_ms=700, checkpoint_seq=12, status=RunStatus.running)
    moved = runs.start(runs.suspend(run, WAITING, NOW), NOW, retry=False)
    assert (moved.steps, moved.active_ms, moved.checkpoint_seq) == (3, 700, 12)
