"""Appending: the log's numbers have no gap, and only `extend` gives them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.event import StepEnd, StepStart, TextDelta
from awaken.domain.log import extend
from tests.domain.situations import NOW, a_head

events = st.lists(st.builds(TextDelta, delta=st.text(max_size=3)), min_size=1, max_size=5)


def test_the_first_entry_of_a_thread_is_number_one() -> None:
    head, segment = extend(a_head(seq=0), "r1", [StepStart(message_id="m1"), StepEnd()], NOW)
    assert [item.seq for item in segment.items] == [1, 2]
    assert (segment.first_seq, segment.last_seq, head.seq) == (1, 2, 2)


@given(st.lists(events, min_size=1, max_size=5), st.integers(0, 10**6))
def test_numbers_follow_one_another_over_any_number_of_appends(
    appends: list[list[TextDelta]], start: int
) -> None:
    head = a_head(seq=start)
    seqs, said = [], []
    for batch in appends:
        head, segment = extend(head, "r1", batch, NOW)
        seqs += [item.seq for item in segment.items]
        said += [item.event for item in segment.items]
    assert seqs == list(range(start + 1, start + 1 + len(seqs)))
    assert said == [event for batch in appends for event in batch]
    assert head.seq == seqs[-1]


def test_an_append_changes_nothing_of_the_head_but_its_seq() -> None:
    before = a_head(claimed_dispatch="d1", active_run="r1")
    after, _ = extend(before, "r1", [StepEnd()], NOW)
    assert replace(after, seq=before.seq) == before


def test_a_segment_carries_its_thread_run_time_and_boundary() -> None:
    _, segment = extend(a_head(), None, [StepEnd()], NOW, boundary=True)
    found = (segment.tenant, segment.thread_id, segment.run_id, segment.at, segment.boundary)
    assert found == ("acme", "t1", None, NOW, True)


def test_a_segment_is_no_boundary_unless_it_is_said_to_be_one() -> None:
    _, segment = extend(a_head(), "r1", [StepEnd()], NOW)
    assert not segment.boundary


def test_appending_nothing_is_a_programmer_error() -> None:
    with pytest.raises(AssertionError, match="never empty"):
        extend(a_head(), "r1", [], NOW)
