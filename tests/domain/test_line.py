"""The line: who of a thread may be claimed now, and which thread is served first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.dispatch import Dispatch, Finished, How, Mode, Queued
from awaken.domain.line import LineRow, line_row, rank
from tests.domain.situations import NOW, a_claim, a_dispatch, a_head

SECOND = 1_000
times = st.integers(0, 2**43)
priorities = st.integers(0, 255)

FIRST = a_dispatch(dispatch_id="first", run_id="r-first", rank=900)
DUE = a_dispatch(dispatch_id="due", run_id="r-due", rank=100)


def offered(row: LineRow | None) -> str | None:
    return row.dispatch_id if row else None


def later(dispatch: Dispatch) -> Dispatch:
    return a_dispatch(dispatch_id=dispatch.dispatch_id, body=Queued(available_at=NOW + 1))


def test_an_idle_thread_offers_its_due_dispatch() -> None:
    assert line_row(a_head(), None, DUE, NOW) == LineRow(
        tenant="acme", thread_id="t1", dispatch_id="due", rank=100, foreground=True
    )


def test_an_empty_thread_is_not_in_line() -> None:
    assert line_row(a_head(queued_count=0), None, None, NOW) is None


def test_a_thread_with_a_claimed_dispatch_is_not_in_line() -> None:
    head = a_head(claimed_dispatch="d0", active_run="r0")
    assert line_row(head, FIRST, DUE, NOW) is None


def test_the_run_that_has_the_thread_comes_first_whatever_its_rank() -> None:
    head = a_head(active_run="r-first")
    assert offered(line_row(head, FIRST, DUE, NOW)) == "first"


def test_a_run_in_backoff_keeps_others_of_its_thread_waiting() -> None:
    head = a_head(active_run="r-first")
    assert line_row(head, later(FIRST), DUE, NOW) is None


def test_nothing_is_offered_while_the_run_that_has_the_thread_has_no_queued_dispatch() -> None:
    assert line_row(a_head(active_run="r0"), None, DUE, NOW) is None


def test_an_interrupts_dispatch_goes_before_work_with_a_better_rank() -> None:
    assert offered(line_row(a_head(front="first"), FIRST, DUE, NOW)) == "first"


def test_a_thread_that_waits_for_somebody_is_not_in_line() -> None:
    assert line_row(a_head(waiting_run="r0"), None, DUE, NOW) is None


def test_the_resume_of_a_waiting_run_is_in_line() -> None:
    head = a_head(waiting_run="r-first", front="first")
    assert offered(line_row(head, FIRST, DUE, NOW)) == "first"


def test_a_dispatch_is_in_line_from_the_millisecond_it_becomes_available() -> None:
    dispatch = a_dispatch(body=Queued(available_at=NOW))
    assert line_row(a_head(), None, dispatch, NOW - 1) is None
    assert offered(line_row(a_head(), None, dispatch, NOW)) == "d1"


def test_only_queued_dispatches_are_offered() -> None:
    for body in (a_claim(), Finished(how=How.acked, finished_at=NOW)):
        assert line_row(a_head(), None, a_dispatch(body=body), NOW) is None


def test_a_row_says_whether_a_client_waits() -> None:
    waits = {}
    for mode in Mode:
        row = line_row(a_head(), None, a_dispatch(mode=mode), NOW)
        assert row is not None
        waits[mode] = row.foreground
    assert waits == {
        Mode.foreground: True,
        Mode.resume: True,
        Mode.background: False,
        Mode.wake: False,
    }


# --- rank --------------------------------------------------------------------------------------


def test_a_normal_dispatch_ranks_by_the_time_it_came() -> None:
    assert rank(NOW, 128) == NOW


@given(times, st.integers(0, 254), st.integers(0, 10**6))
def test_a_step_of_priority_is_worth_250_ms_of_waiting(at: int, priority: int, lead: int) -> None:
    assert rank(at, priority + 1, lead) - rank(at, priority, lead) == 250
    assert rank(at + 250, priority, lead) == rank(at, priority + 1, lead)


@given(times, priorities, st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_tenant_ahead_of_its_share_waits_that_much_longer(
    at: int, priority: int, lead: int, more: int
) -> None:
    assert rank(at, priority, lead + more) == rank(at, priority, lead) + more


@given(times, priorities, priorities)
def test_the_least_urgent_work_is_served_after_64_seconds_of_newer_work(
    at: int, priority: int, other: int
) -> None:
    """Ageing: nothing waits for ever behind a stream of more urgent work."""
    assert rank(at, priority) < rank(at + 64 * SECOND, other)


@given(times, st.integers(0, 10**6), priorities)
def test_among_equals_the_older_is_served_first(at: int, wait: int, priority: int) -> None:
    assert rank(at, priority) <= rank(at + wait, priority)
