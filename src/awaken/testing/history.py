"""The history checker.

Reads what a store holds after any amount of trouble and names every broken promise.

It needs no knowledge of what was done to the system: the log and the records must agree with each
other. Used by the fault enumeration, the chaos tests and the soak; users may point it at their own
database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Claimed, Dispatch, Finished, How, Queued
from awaken.domain.event import (
    Entry,
    Event,
    MessageCommitted,
    MessagesReplaced,
    RunFinish,
    RunQueued,
    RunRetry,
    RunStart,
    StepEnd,
    event_type,
)
from awaken.domain.fold import fold
from awaken.domain.message import Role, StoredMessage
from awaken.domain.record import Record
from awaken.domain.run import Run, RunStatus
from awaken.domain.termination import Cancelled, Errored, Superseded, SuspendedEnd
from awaken.domain.thread import ThreadHead
from awaken.ports.store import MessageFilter, Page, RunFilter, Store


class ThreadHistory(Record):
    """Everything a store says about one thread.

    `spans` are the first and the last number of each segment: compaction leaves holes between
    entries, never between segments. `expired_seq` is the last number whose log was deleted, being
    old: up to there runs and entries may be missing.
    """

    head: ThreadHead
    entries: tuple[Entry, ...]
    spans: tuple[tuple[int, int], ...]
    runs: tuple[Run, ...]
    dispatches: tuple[Dispatch, ...]
    messages: tuple[StoredMessage, ...]
    pending: tuple[PendingEntry, ...]
    expired_seq: int = 0

    @property
    def logged(self) -> set[str | None]:
        """The runs whose log is there."""
        return {entry.run_id for entry in self.entries}


async def read_history(store: Store, tenant: str, thread_id: str) -> ThreadHistory:
    """Read the whole of a thread; its head must exist."""
    head = await store.head(tenant, thread_id)
    assert head is not None, f"no thread {thread_id}"
    entries: list[Entry] = []
    spans: list[tuple[int, int]] = []
    after = 0
    while segments := await store.segments(tenant, thread_id, after, 500):
        entries += [entry for segment in segments for entry in segment.entries()]
        spans += [(segment.first_seq, segment.last_seq) for segment in segments]
        after = segments[-1].last_seq
    runs = await _all(lambda key: store.runs(tenant, RunFilter(thread_id=thread_id), 200, key))
    dispatches = await _all(lambda key: store.dispatches(tenant, thread_id, 200, key))
    everything = MessageFilter(visibility="all")
    messages = await _all(lambda key: store.messages(tenant, thread_id, everything, 200, key))
    return ThreadHistory(
        head=head,
        entries=tuple(entries),
        spans=tuple(spans),
        runs=tuple(runs),
        dispatches=tuple(dispatches),
        messages=tuple(messages),
        pending=tuple(await store.pending_entries(tenant, thread_id)),
        expired_seq=await store.expired_seq(tenant, thread_id),
    )


async def all_threads(store: Store, tenant: str) -> list[str]:
    """The ids of all threads of a tenant."""
    threads = await _all(lambda key: store.threads(tenant, 200, key))
    return [thread.thread_id for thread in threads]


async def _all(page_after: Callable[[str | None], Awaitable[Page]]) -> list[Any]:
    items: list[Any] = []
    key: str | None = None
    while True:
        page = await page_after(key)
        items += page.items
        key = page.next_key
        if key is None:
            return items


def violations(history: ThreadHistory, *, quiescent: bool = True) -> list[str]:
    """Every broken promise, in words; empty when all hold.

    `quiescent` says that nothing is queued or running any more, so every run must have ended.
    """
    return [
        *_numbers(history),
        *_lives(history, quiescent=quiescent),
        *_overlaps(history.entries),
        *_texts(history),
        *_messages(history, quiescent=quiescent),
        *_deliveries(history, quiescent=quiescent),
        *_holds(history, quiescent=quiescent),
    ]


# --- numbers -----------------------------------------------------------------------------------


def _numbers(history: ThreadHistory) -> Iterable[str]:
    """Entries and messages are numbered without gaps, and the head knows the last ones."""
    seqs = [entry.seq for entry in history.entries]
    if any(later <= seq for seq, later in pairwise(seqs)):
        yield f"log numbers do not ascend: {seqs[:50]}"
    covered = {seq for first, last in history.spans for seq in range(first, last + 1)}
    expected = set(range(1, history.head.seq + 1))
    gaps = {seq for seq in expected - covered if seq > history.expired_seq}
    if gaps or covered - expected:
        yield f"the segments {history.spans[:50]} do not cover 1 to {history.head.seq}"
    merged = any(entry.first is not None for entry in history.entries)
    if not (merged or history.expired_seq) and len(seqs) != history.head.seq:
        yield f"the head is at {history.head.seq}, the log has {len(seqs)} entries"
    hidden = _hidden(history)
    shown = [message.message_seq for message in history.messages]
    numbers = sorted([*shown, *hidden])
    if numbers != list(range(1, history.head.message_seq + 1)):
        yield f"message numbers {shown} and hidden {hidden} do not fit {history.head.message_seq}"
    told = [e.event.message_seq for e in history.entries if isinstance(e.event, MessageCommitted)]
    if told != numbers and not (history.expired_seq and set(told) <= set(numbers)):
        yield f"messages told {told} are not the messages stored {numbers}"


def _hidden(history: ThreadHistory) -> set[int]:
    """The numbers of messages that were rolled back: told, then replaced, and not shown since."""
    events = [entry.event for entry in history.entries]
    replaced = {
        message_id
        for event in events
        if isinstance(event, MessagesReplaced)
        for message_id in event.message_ids
    }
    return {
        event.message_seq
        for event in events
        if isinstance(event, MessageCommitted) and event.message.message_id in replaced
    }


# --- the life of each run ------------------------------------------------------------------------


def _lives(history: ThreadHistory, *, quiescent: bool) -> Iterable[str]:
    """I6: one final `run_finish` per run, its last entry; and the record says the same."""
    for run in history.runs:
        if (
            history.expired_seq
            and run.status is RunStatus.done
            and run.run_id not in history.logged
        ):
            continue
        events = [entry.event for entry in history.entries if entry.run_id == run.run_id]
        yield from _course(run, events)
        ends = [event for event in events if isinstance(event, RunFinish)]
        final = [end for end in ends if not isinstance(end.termination, SuspendedEnd)]
        if run.status is RunStatus.done:
            yield from _final(run, events, final)
            yield from _successor(history, run)
        elif final:
            yield f"run {run.run_id} is {run.status} but has a final run_finish"
        elif quiescent and run.status is not RunStatus.waiting:
            yield f"run {run.run_id} never ended: {run.status}"


def _done_without_log(history: ThreadHistory, run: Run) -> bool:
    """Whether the log of the run may have been deleted."""
    return run.status is RunStatus.done and run.run_id not in history.logged


def _course(run: Run, events: Sequence[Event]) -> Iterable[str]:
    """A run is queued, then started once per activation, and retried only in between."""
    if not events or not isinstance(events[0], RunQueued):
        yield f"run {run.run_id} does not begin with run_queued: {[*map(event_type, events[:3])]}"
    starts = [event.activation for event in events if isinstance(event, RunStart)]
    if starts != list(range(1, run.activation + 1)):
        yield f"run {run.run_id} is in activation {run.activation}, its log tells of {starts}"
    active = False
    for event in events:
        match event:
            case RunStart() if active:
                yield f"run {run.run_id} was started while it was running"
            case RunRetry() if not active:
                yield f"run {run.run_id} was retried while it was not running"
        active = isinstance(event, RunStart) or (active and not isinstance(event, RunFinish))


def _final(run: Run, events: Sequence[Event], final: Sequence[RunFinish]) -> Iterable[str]:
    if len(final) != 1:
        yield f"run {run.run_id} has {len(final)} final run_finish"
        return
    told, kept = final[0], run.outcome
    if events[-1] is not told:
        yield f"run {run.run_id} has entries behind its run_finish"
    if kept is None or kept.termination != told.termination:
        yield f"run {run.run_id}: the record says {kept}, the log {told.termination}"
    elif (told.result or {}).get("response") != kept.text:
        yield f"run {run.run_id}: the record says {kept.text!r}, the log {told.result}"


def _successor(history: ThreadHistory, run: Run) -> Iterable[str]:
    """Who reads that a run was superseded can follow to the run that took its place."""
    termination = run.outcome.termination if run.outcome else None
    if not isinstance(termination, Superseded) or history.expired_seq:
        return
    if termination.by_run_id not in {other.run_id for other in history.runs} - {run.run_id}:
        yield f"run {run.run_id} was superseded by {termination.by_run_id!r}, which is no run here"


def _overlaps(entries: Sequence[Entry]) -> Iterable[str]:
    """I1.

    Between a run's start and its finish no other run of the thread does anything but queue up.
    """
    active: str | None = None
    for entry in entries:
        match entry.event:
            case RunStart():
                if active is not None:
                    yield f"run {entry.run_id} started while {active} was active"
                active = entry.run_id
            case RunFinish():
                if entry.run_id == active:
                    active = None
            case RunRetry() if entry.run_id != active:
                yield f"run {entry.run_id} was retried while {active} was active"
            case _:
                pass


# --- what was said -------------------------------------------------------------------------------


def _texts(history: ThreadHistory) -> Iterable[str]:
    """I7: what was stored is what was published, for every answer and whatever cut it."""
    by_run: dict[str, list[Entry]] = {}
    for entry in history.entries:
        if entry.run_id is not None:
            by_run.setdefault(entry.run_id, []).append(entry)
    done = {run.run_id for run in history.runs if run.status is RunStatus.done}
    for run_id, own in by_run.items():
        yield from _texts_of_run(run_id, own, done=run_id in done)


def _texts_of_run(run_id: str, entries: Sequence[Entry], *, done: bool) -> Iterable[str]:
    """Every text that was published stands in the message of its step, once the step is over."""
    start = 0
    for index, entry in enumerate(entries):
        event = entry.event
        over = isinstance(event, StepEnd) or (done and index == len(entries) - 1)
        if not (_answers(entry) or over):
            continue
        published = fold(e.event for e in entries[start:index]).text
        stored = event.message.text if isinstance(event, MessageCommitted) else ""
        if published != stored:
            yield f"run {run_id}: stored {stored!r}, but published {published!r}"
        start = index + 1


def _answers(entry: Entry) -> bool:
    event = entry.event
    return isinstance(event, MessageCommitted) and event.message.role is Role.assistant


def _messages(history: ThreadHistory, *, quiescent: bool) -> Iterable[str]:
    """I5: each message is in the thread once, as one run's input or output, or else pending."""
    ids = Counter(stored.message.message_id for stored in history.messages)
    ids.update(entry.message.message_id for entry in history.pending)
    twice = [message_id for message_id, count in ids.items() if count > 1]
    if twice:
        yield f"messages are there more than once: {twice}"
    hidden = _hidden(history)
    owners = {stored.message_seq: stored.run_id for stored in history.messages}
    claimed = Counter(seq for run in history.runs for seq in (*run.input.seqs, *run.output.seqs))
    for run in history.runs:
        own = {*run.input.seqs, *run.output.seqs} - hidden
        foreign = sorted(seq for seq in own if owners.get(seq) != run.run_id)
        if foreign:
            yield f"run {run.run_id} claims messages that are not its own: {foreign}"
    known = {run.run_id for run in history.runs}
    kept = [seq for seq, run_id in owners.items() if run_id in known or not history.expired_seq]
    unclaimed = [seq for seq in kept if claimed[seq] != 1]
    if unclaimed:
        yield f"messages that are not exactly one run's input or output: {unclaimed}"
    unfinished = {run.run_id for run in history.runs if run.status is not RunStatus.done}
    for entry in history.pending:
        if quiescent or (entry.run_id is not None and entry.run_id not in unfinished):
            yield f"message {entry.message.message_id} waits for ever: {entry.run_id}"


# --- deliveries ----------------------------------------------------------------------------------


def _deliveries(history: ThreadHistory, *, quiescent: bool) -> Iterable[str]:
    """Each dispatch was announced, none is left over, and each ended as its run did."""
    announced = {e.event.dispatch_id for e in history.entries if isinstance(e.event, RunQueued)}
    told = [d for d in history.dispatches if d.run_id in history.logged or not history.expired_seq]
    missing = {dispatch.dispatch_id for dispatch in told} - announced
    if missing:
        yield f"dispatches never announced: {sorted(missing)}"
    if quiescent:
        live = [d.dispatch_id for d in history.dispatches if not isinstance(d.body, Finished)]
        if live:
            yield f"dispatches never finished: {live}"
    runs = {run.run_id: run for run in history.runs}
    for dispatch in history.dispatches:
        run = runs.get(dispatch.run_id)
        if run is None and history.expired_seq:
            continue
        if run is None:
            yield f"dispatch {dispatch.dispatch_id} is of no run"
        elif run.dispatch_id == dispatch.dispatch_id:
            yield from _latest_delivery(run, dispatch)


def _latest_delivery(run: Run, dispatch: Dispatch) -> Iterable[str]:
    body = dispatch.body
    if run.status is RunStatus.done and not isinstance(body, Finished):
        yield f"run {run.run_id} is done, its dispatch {dispatch.dispatch_id} is not"
    elif isinstance(body, Finished) and run.status in (RunStatus.created, RunStatus.running):
        yield f"run {run.run_id} is {run.status}, its dispatch {dispatch.dispatch_id} is over"
    elif isinstance(body, Finished) and run.outcome is not None:
        termination = run.outcome.termination
        kinds = {
            How.dead_letter: (Errored,),
            How.cancelled: (Cancelled,),
            How.superseded: (Superseded, Cancelled),  # cancelled: an interrupt without a new run
        }
        ends = kinds.get(body.how)  # a run may also end while it waits, its delivery acked before
        if ends is not None and not isinstance(termination, ends):
            yield f"run {run.run_id} ended {termination}, its dispatch {body.how}"


def _holds(history: ThreadHistory, *, quiescent: bool) -> Iterable[str]:
    """The head names what is claimed, who has the thread, and who waits; it counts the queued."""
    head = history.head
    queued = {d.dispatch_id for d in history.dispatches if isinstance(d.body, Queued)}
    claimed = [d.dispatch_id for d in history.dispatches if isinstance(d.body, Claimed)]
    if head.queued_count != len(queued):
        yield f"the head counts {head.queued_count} queued, there are {len(queued)}"
    if claimed != ([] if head.claimed_dispatch is None else [head.claimed_dispatch]):
        yield f"the head says {head.claimed_dispatch} is claimed, in truth {claimed}"
    if head.front is not None and head.front not in queued:
        yield f"the head puts {head.front} in front, which is not queued"
    running = [run.run_id for run in history.runs if run.status is RunStatus.running]
    if running != ([] if head.active_run is None else [head.active_run]):
        yield f"the head says {head.active_run} has the thread, running are {running}"
    waiting = [run.run_id for run in history.runs if run.status is RunStatus.waiting]
    if waiting != ([] if head.waiting_run is None else [head.waiting_run]):
        yield f"the head says {head.waiting_run} waits, in truth {waiting}"
    if quiescent and (head.active_run is not None or head.claimed_dispatch is not None):
        yield f"the thread is still held: {head}"
