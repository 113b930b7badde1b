from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.event import (
    Event,
    LogItem,
    RunFinish,
    Segment,
    StepStart,
    StreamReset,
    TextDelta,
    ToolCallDelta,
)
from awaken.domain.termination import NaturalEnd
from awaken.protocols.native.encode import NativeEncoder
from awaken.streams.compact import compact_run, cut, entries_after
from tests.streams.client_fold import Fold
from tests.streams.runs import RUN, logs

Frames = list[tuple[str | None, bytes]]

END = RunFinish(thread_id="thread", run_id="run", termination=NaturalEnd())


def segment(first_seq: int, *events: Event | None, run_id: str = "run") -> Segment:
    """A segment of `events` from `first_seq` on; None stands for a number whose entry is gone."""
    items = [LogItem(seq=first_seq + i, event=e) for i, e in enumerate(events) if e is not None]
    return Segment(
        tenant="acme",
        thread_id="thread",
        run_id=run_id,
        first_seq=first_seq,
        last_seq=first_seq + len(events) - 1,
        at=first_seq * 10,
        items=tuple(items),
    )


def text(delta: str) -> TextDelta:
    return TextDelta(delta=delta)


def arguments(call_id: str, delta: str) -> ToolCallDelta:
    return ToolCallDelta(id=call_id, args_delta=delta)


def listed(segments: Iterable[Segment]) -> list[tuple[int, int | None, Event]]:
    return [(item.seq, item.first, item.event) for s in segments for item in s.items]


# --- examples


def test_a_part_becomes_one_entry_under_its_last_number() -> None:
    log = [segment(1, StepStart(message_id="m"), text("a")), segment(3, text("b"), text("c"), END)]
    compacted = compact_run(log)
    assert listed(compacted) == [
        (1, None, StepStart(message_id="m")),
        (4, 2, text("abc")),
        (5, None, END),
    ]
    assert [(s.first_seq, s.last_seq, s.at) for s in compacted] == [(1, 1, 10), (2, 5, 30)]


def test_a_part_may_span_another_runs_entries() -> None:
    log = [segment(1, text("a")), segment(3, text("b"), END)]  # 2 is somebody else's
    assert listed(compact_run(log)) == [(3, 1, text("ab")), (4, None, END)]


def test_a_part_that_was_merged_in_part_is_merged_with_the_rest() -> None:
    (half,) = compact_run([segment(1, text("a"), text("b"), END)])
    log = [replace(half, last_seq=2, items=half.items[:1]), segment(3, text("c"), END)]
    assert listed(compact_run(log)) == [(3, 1, text("abc")), (4, None, END)]


def test_interleaved_parts_stay_apart_so_that_no_two_merged_entries_overlap() -> None:
    log = [segment(1, arguments("x", "1"), arguments("y", "2"), arguments("x", "3"), END)]
    assert compact_run(log) == log


def test_voided_deltas_are_left_out_and_their_reset_stays() -> None:
    reset = StreamReset(from_seq=2, reason="broken")
    log = [segment(1, text("a"), text("b"), text("c"), reset, text("d"), END)]
    assert listed(compact_run(log)) == [
        (1, None, text("a")),
        (4, None, reset),
        (5, None, text("d")),
        (6, None, END),
    ]


def test_an_outer_reset_voids_what_an_inner_one_left() -> None:
    inner, outer = (StreamReset(from_seq=n, reason="broken") for n in (3, 1))
    log = [segment(1, text("a"), text("b"), text("c"), inner, text("d"), outer, text("e"), END)]
    assert [event for _, _, event in listed(compact_run(log))] == [inner, outer, text("e"), END]


def test_a_cursor_inside_a_merged_part_gets_a_reset_and_the_part_whole() -> None:
    (compacted,) = compact_run([segment(1, text("a"), text("b"), text("c"), END)])
    for cursor in (1, 2):
        reset, whole, end = entries_after(compacted, cursor)
        assert reset.event == StreamReset(from_seq=1, reason="compacted")
        assert (reset.seq, reset.first) == (3, 1)
        assert (whole.seq, whole.event, end.event) == (3, text("abc"), END)
    assert [entry.event for entry in entries_after(compacted, 0)] == [text("abc"), END]
    assert [entry.event for entry in entries_after(compacted, 3)] == [END]


def test_a_whole_segment_is_given_as_it_is() -> None:
    whole = segment(5, text("a"), text("b"))
    assert cut(whole, 4) is whole
    assert listed([cut(whole, 5)]) == [(6, None, text("b"))]


# --- properties


def own(log: list[Segment]) -> list[Segment]:
    return [s for s in log if s.run_id == RUN]


def frames_after(log: list[Segment], cursor: int) -> Frames:
    """What a native client at `cursor` is sent of `log`."""
    encoder = NativeEncoder()
    return [
        (frame.id, frame.data)
        for part in log
        if part.last_seq > cursor
        for entry in entries_after(part, cursor)
        for frame in encoder.encode(entry)
    ]


def fed(fold: Fold, frames: Frames) -> Fold:
    for frame_id, data in frames:
        fold.feed(frame_id, msgspec.json.decode(data))
    return fold


def compacted_thread(log: list[Segment]) -> list[Segment]:
    """The thread's log after its run was compacted, as the store gives it: by last number."""
    others = [s for s in log if s.run_id != RUN]
    return sorted([*others, *compact_run(own(log))], key=lambda s: s.last_seq)


@given(logs())
def test_compacting_twice_changes_nothing(log: list[Segment]) -> None:
    compacted = compact_run(own(log))
    assert compact_run(compacted) == compacted


@given(logs())
def test_compaction_keeps_every_number_it_keeps_and_the_runs_range(log: list[Segment]) -> None:
    before, after = own(log), compact_run(own(log))
    assert (after[0].first_seq, after[-1].last_seq) == (before[0].first_seq, before[-1].last_seq)
    numbers = [seq for seq, _, _ in listed(after)]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= {seq for seq, _, _ in listed(before)}
    assert all(s.items[-1].seq == s.last_seq for s in after)
    assert all(a.last_seq < b.first_seq for a, b in pairwise(after))


@given(logs())
def test_no_two_deltas_of_a_part_are_neighbours_after_compaction(log: list[Segment]) -> None:
    events = [event for _, _, event in listed(compact_run(own(log)))]
    for one, next_one in pairwise(events):
        assert not (isinstance(one, TextDelta) and isinstance(next_one, TextDelta))


@given(logs(), st.data())
def test_a_client_cut_anywhere_folds_to_the_same(log: list[Segment], data: st.DataObject) -> None:
    """I7: before compaction, after it, and when it happens while the client is away."""
    uncut = fed(Fold(), frames_after(log, 0)).view()
    logs_in_turn = [log, compacted_thread(log)]
    fold, version = Fold(), 0
    for _ in range(data.draw(st.integers(0, 4), "disconnects")):
        frames = frames_after(logs_in_turn[version], fold.cursor)
        fed(fold, frames[: data.draw(st.integers(0, len(frames)), "frames received")])
        version = data.draw(st.integers(version, 1), "compacted")
    assert fed(fold, frames_after(logs_in_turn[version], fold.cursor)).view() == uncut


@given(logs())
def test_a_resume_at_each_single_entry_folds_to_the_same(log: list[Segment]) -> None:
    uncut = fed(Fold(), frames_after(log, 0)).view()
    compacted = compacted_thread(log)
    live = frames_after(log, 0)
    for received in range(len(live) + 1):
        fold = fed(Fold(), live[:received])
        assert fed(fold, frames_after(compacted, fold.cursor)).view() == uncut
