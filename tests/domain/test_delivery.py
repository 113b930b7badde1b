"""Which pending messages a run may take, and when.

The rules: mailbox.md 4.3 of the reference, dispatch.md section 7 of the design.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.delivery import (
    Boundary,
    DeliveryMode,
    Granularity,
    PendingEntry,
    eligible,
    select,
)
from awaken.domain.message import Message, Role

ME, OTHER = "r-me", "r-other"
INTERRUPT, STEP, END = Boundary.interrupt, Boundary.next_step, Boundary.on_natural_end
RESUME, NEW = Boundary.resume_input, Boundary.new_run
CASCADE = [INTERRUPT, STEP, END, NEW]

BARRIER = DeliveryMode(barrier=True)
ONE = DeliveryMode(granularity=Granularity.one)


def entry(name: str, mode: DeliveryMode | None = None, run_id: str | None = None) -> PendingEntry:
    """An entry called `name`: for a new run, with others, for anybody, unless said otherwise."""
    return PendingEntry(
        tenant="acme",
        thread_id="t1",
        position=1,
        message=Message(message_id=name, role=Role.user),
        created_at=0,
        run_id=run_id,
        mode=mode or DeliveryMode(),
    )


def at(boundary: Boundary, mode: DeliveryMode | None = None) -> DeliveryMode:
    return replace(mode or DeliveryMode(), boundary=boundary)


def names(chosen: list[PendingEntry]) -> str:
    return " ".join(one.message.message_id for one in chosen)


# --- when an entry may be read -----------------------------------------------------------------


@pytest.mark.parametrize("now", CASCADE)
@pytest.mark.parametrize("wanted", CASCADE)
def test_an_entry_falls_through_to_later_boundaries_and_never_to_earlier_ones(
    wanted: Boundary, now: Boundary
) -> None:
    late_enough = CASCADE.index(wanted) <= CASCADE.index(now)
    assert eligible(entry("a", at(wanted)), now, ME) == late_enough


@pytest.mark.parametrize("other", CASCADE)
def test_the_input_of_a_waiting_run_is_read_by_its_resume_and_by_nothing_else(
    other: Boundary,
) -> None:
    answer = entry("a", replace(at(RESUME), target_run=ME))
    assert eligible(answer, RESUME, ME)
    assert not eligible(answer, other, ME)
    assert not eligible(answer, RESUME, OTHER)
    assert not eligible(entry("b", at(other)), RESUME, ME)


@pytest.mark.parametrize("boundary", [INTERRUPT, STEP, END])
def test_an_entry_for_one_run_is_not_read_by_another_that_is_running(boundary: Boundary) -> None:
    steer = entry("a", replace(at(INTERRUPT), target_run=ME))
    assert eligible(steer, boundary, ME)
    assert not eligible(steer, boundary, OTHER)


@pytest.mark.parametrize("fallback", [True, False])
def test_an_entry_whose_target_is_gone_starts_a_run_only_if_it_may_fall_back(
    fallback: bool,
) -> None:
    steer = entry("a", DeliveryMode(boundary=STEP, target_run=ME, fallback=fallback))
    assert eligible(steer, NEW, OTHER) == fallback
    assert eligible(steer, NEW, None) == fallback


@pytest.mark.parametrize("boundary", Boundary)
def test_an_entry_of_a_run_is_read_by_that_run_only(boundary: Boundary) -> None:
    own = entry("a", at(boundary), run_id=ME)
    assert eligible(own, boundary, ME)
    assert not eligible(own, boundary, OTHER)
    assert not eligible(own, boundary, None)


# --- which entries are taken together ----------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "boundary", "taken"),
    [
        pytest.param([entry("a"), entry("b")], NEW, "a b", id="neighbours go together"),
        pytest.param(
            [entry("a", at(STEP)), entry("b", at(END)), entry("c")], END, "a b", id="cascade"
        ),
        pytest.param(
            [entry("a"), entry("b", at(STEP))], STEP, "b", id="steering passes what is for later"
        ),
        pytest.param(
            [entry("a", at(END)), entry("b", at(STEP))], STEP, "", id="but not another steering"
        ),
        pytest.param(
            [entry("a", run_id=OTHER), entry("b", run_id=ME)],
            NEW,
            "b",
            id="a starting run passes what belongs to another",
        ),
        pytest.param(
            [entry("a", DeliveryMode(boundary=STEP, target_run=OTHER, fallback=False)), entry("b")],
            NEW,
            "b",
            id="a new run passes steering that may not fall back",
        ),
        pytest.param(
            [entry("a", DeliveryMode(boundary=STEP, target_run=OTHER)), entry("b")],
            NEW,
            "a b",
            id="a new run reads steering that may fall back",
        ),
        pytest.param(
            [entry("a", DeliveryMode(target_run=OTHER, fallback=False)), entry("b")],
            NEW,
            "",
            id="but not what waits for a new run of another",
        ),
        pytest.param(
            [entry("a"), entry("b", at(RESUME))], RESUME, "b", id="a resume passes new work"
        ),
        pytest.param(
            [entry("a", at(STEP)), entry("b", at(RESUME))], RESUME, "", id="but not steering"
        ),
        pytest.param([entry("a", ONE), entry("b")], NEW, "a", id="one alone, first"),
        pytest.param([entry("a"), entry("b", ONE)], NEW, "a", id="one alone, second"),
        pytest.param([entry("a"), entry("b", BARRIER), entry("c")], NEW, "a b", id="barrier ends"),
        pytest.param(
            [entry("a", BARRIER), entry("b", at(STEP))], STEP, "", id="barrier is not passed"
        ),
        pytest.param(
            [entry("a"), entry("b", at(STEP, BARRIER))], STEP, "", id="barrier passes nobody"
        ),
        pytest.param(
            [entry("a", BARRIER, run_id=OTHER), entry("b", at(STEP))],
            STEP,
            "",
            id="a barrier holds for the whole thread",
        ),
        pytest.param([], NEW, "", id="nothing to read"),
    ],
)
def test_selection_takes(queue: list[PendingEntry], boundary: Boundary, taken: str) -> None:
    assert names(select(queue, boundary, ME)) == taken


# --- whatever the queue ------------------------------------------------------------------------

modes = st.builds(
    DeliveryMode,
    boundary=st.sampled_from(Boundary),
    granularity=st.sampled_from(Granularity),
    barrier=st.sampled_from([False, False, False, True]),
    target_run=st.sampled_from([None, None, ME, OTHER]),
    fallback=st.booleans(),
)
owners = st.sampled_from([None, None, ME, OTHER])
queues = st.lists(st.tuples(modes, owners), max_size=8).map(
    lambda items: [entry(str(n), mode, owner) for n, (mode, owner) in enumerate(items)]
)
boundaries = st.sampled_from(Boundary)
readers = st.sampled_from([ME, OTHER, None])


@given(queues, boundaries, readers)
def test_only_what_may_be_read_is_taken_and_in_order(
    queue: list[PendingEntry], boundary: Boundary, run_id: str | None
) -> None:
    chosen = select(queue, boundary, run_id)
    assert all(eligible(one, boundary, run_id) for one in chosen)
    places = [queue.index(one) for one in chosen]
    assert places == sorted(set(places))


@given(queues, boundaries, readers)
def test_nothing_overtakes_a_barrier_and_a_barrier_overtakes_nothing(
    queue: list[PendingEntry], boundary: Boundary, run_id: str | None
) -> None:
    chosen = select(queue, boundary, run_id)
    barriers = [place for place, one in enumerate(queue) if one.mode.barrier]
    if barriers and chosen:
        assert queue.index(chosen[-1]) <= barriers[0]
    if chosen and chosen[-1].mode.barrier:
        assert chosen == queue[: len(chosen)]


@given(queues, boundaries, readers)
def test_an_entry_that_wants_to_be_alone_is_alone(
    queue: list[PendingEntry], boundary: Boundary, run_id: str | None
) -> None:
    chosen = select(queue, boundary, run_id)
    if any(one.mode.granularity is Granularity.one for one in chosen):
        assert len(chosen) == 1


@given(queues, boundaries, readers)
def test_no_run_takes_an_entry_of_another_run(
    queue: list[PendingEntry], boundary: Boundary, run_id: str | None
) -> None:
    for one in select(queue, boundary, run_id):
        assert one.run_id in (None, run_id)
        if boundary is not NEW:
            assert one.mode.target_run in (None, run_id)


@given(queues, boundaries, readers)
def test_whoever_reads_to_the_end_reads_each_entry_once(
    queue: list[PendingEntry], boundary: Boundary, run_id: str | None
) -> None:
    """Consuming and selecting again always comes to an end, and the rest may not be read now."""
    rest, read = list(queue), []
    while chosen := select(rest, boundary, run_id):
        read += chosen
        rest = [one for one in rest if one not in chosen]
    assert len(read) + len(rest) == len(queue)
    if rest:
        assert select(rest, boundary, run_id) == []


@given(queues, boundaries)
def test_the_queues_of_other_runs_make_no_difference_unless_they_hold_a_barrier(
    queue: list[PendingEntry], boundary: Boundary
) -> None:
    foreign = [one for one in queue if one.run_id == OTHER]
    without = [one for one in queue if one.run_id != OTHER]
    reading = [one for one in without if one.mode.barrier]
    if not reading and not any(one.mode.barrier for one in foreign):
        assert select(queue, boundary, ME) == select(without, boundary, ME)
