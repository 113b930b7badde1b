"""Cut a stream anywhere, attach again, fold: the same as uncut (I7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings

from awaken.domain.event import Entry, RunFinish, StateSnapshot
from awaken.domain.termination import SuspendedEnd
from awaken.protocols.ag_ui.carry import Carry, Names
from awaken.protocols.ag_ui.encode import AgUiEncoder
from awaken.protocols.ag_ui.history import ag_ui_messages
from awaken.protocols.ag_ui.http.attach import prelude
from awaken.protocols.ag_ui.http.respond import carry_of, committed, last_entry
from awaken.protocols.encoder import Frame
from tests.protocols.ag_ui.client import Client
from tests.protocols.ag_ui.legal import check, events_of
from tests.protocols.ag_ui.world import World, worlds

NAMES = Names(thread_id="thread", run_id="client-run", own_run_id="run")
POSTED = [{"id": "u", "role": "user", "content": "hello"}]


def encoded(world: World, encoder: AgUiEncoder, entry: Entry) -> list[Frame]:
    """As `RunView` does it: a snapshot is read when it is needed, and may be newer than that."""
    if encoder.needs_snapshot(entry):
        latest = world.at[max(world.at)]
        messages = committed(latest, encoder.message_seq)
        encoder.supply(messages, _state_at(world, entry.seq))
    return encoder.encode(entry)


def _state_at(world: World, seq: int) -> dict[str, Any]:
    told = [e.event for e in world.entries if e.seq < seq and isinstance(e.event, StateSnapshot)]
    return dict(told[-1].snapshot) if told else {}


def suspends(entry: Entry) -> bool:
    event = entry.event
    return isinstance(event, RunFinish) and isinstance(event.termination, SuspendedEnd)


def activations(world: World) -> Iterator[tuple[list[Entry], Carry]]:
    """The entries of each, and what its poster's encoder starts with."""
    part: list[Entry] = []
    carry = Carry(known=frozenset({"u"}))
    for entry in world.entries:
        part.append(entry)
        if suspends(entry):
            yield part, carry
            found = carry_of(world.at[entry.seq])
            part, carry = [], found
    yield part, carry


def uncut(world: World) -> Client:
    """The client that posted, and stayed."""
    client = Client()
    client.messages = [dict(each) for each in POSTED]
    for part, carry in activations(world):
        encoder = AgUiEncoder(NAMES, carry)
        frames = [frame for entry in part for frame in encoded(world, encoder, entry)]
        client.read(check(events_of(frames)))
    return client


def attached(world: World, now: int, after: int | None) -> Iterator[dict[str, Any]]:
    """The stream of a client that attaches when the log ends at `now`, to the end of all."""
    found = world.at[now]
    cursor = max(after or 0, found.run.checkpoint_seq)
    seen = [e for part in found.tail for e in part.entries() if e.seq <= cursor]
    encoder = AgUiEncoder(NAMES, prelude(found, seen))
    for entry in seen:
        encoder.pass_over(entry)
    told = events_of(encoder.begin(1))
    for entry in world.entries:
        if entry.seq <= cursor:
            continue
        told += events_of(encoded(world, encoder, entry))
        if suspends(entry) or encoder.ended:
            break
    if not encoder.ended:
        told += events_of(encoded(world, encoder, last_entry(found.run)))
        entry = world.entries[now - 1]
    yield from check(told)
    rest = [e for e in world.entries if e.seq > entry.seq]
    if rest:
        following = AgUiEncoder(NAMES, carry_of(world.at[entry.seq]))
        for each in rest:
            frames = encoded(world, following, each)
            yield from events_of(frames)
            if suspends(each) or following.ended:
                following = AgUiEncoder(NAMES, carry_of(world.at[each.seq]))


@given(worlds())
@settings(max_examples=500, deadline=None)
def test_a_client_that_stays_has_what_the_history_has(world: World) -> None:
    client = uncut(world)
    history = Client()
    history.messages = ag_ui_messages(world.messages)
    assert _by_id(client.plain(activities=False)) == _by_id(history.plain())
    assert client.state == world.state or not world.state


@given(worlds())
@settings(max_examples=50, deadline=None)
def test_a_client_that_attaches_anywhere_has_the_same_in_the_end(world: World) -> None:
    wanted = uncut(world).plain(activities=False)
    for now in world.at:
        client = Client().read(attached(world, now, None))
        assert _by_id(client.plain(activities=False)) == _by_id(wanted), now
        assert client.state == world.state


@given(worlds())
@settings(max_examples=50, deadline=None)
def test_a_client_that_is_cut_at_any_frame_and_comes_back_has_the_same(world: World) -> None:
    wanted = uncut(world).plain()
    client = Client()
    client.messages = [dict(each) for each in POSTED]
    for part, carry in activations(world):
        encoder = AgUiEncoder(NAMES, carry)
        for entry in part:
            told = events_of(encoded(world, encoder, entry))
            for event in told:
                client.read([event])
                if entry.seq not in world.at or encoder.ended:
                    continue
                # The frame with the cursor, or one before it: then the entry is told again.
                last = event is told[-1]
                after = entry.seq if last else entry.seq - 1
                for given_cursor in (after, None):
                    if after not in world.at:
                        continue
                    back = client.copy().read(attached(world, entry.seq, given_cursor))
                    assert _by_id(back.plain()) == _by_id(wanted), (entry.seq, given_cursor)


def _by_id(messages: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The messages; what stands where is the client's affair once it has merged a snapshot."""
    found = {each["id"]: each for each in messages}
    assert len(found) == len(messages), "one id, two messages"
    return found
