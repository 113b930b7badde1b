"""The vocabulary of the log: closed, and kept exactly by the stored form."""

from __future__ import annotations

import inspect
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awaken.domain import event as module
from awaken.domain.event import (
    EVENT_TYPES,
    Entry,
    Event,
    EventRecord,
    LogItem,
    MessageCommitted,
    Segment,
    TextDelta,
    Visibility,
    event_type,
    visibility,
)
from awaken.domain.message import Message, MessageVisibility, Role
from tests.domain.strategies import records

KINDS: tuple[type[EventRecord], ...] = get_args(Event)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
decoder = msgspec.json.Decoder(Event)


@kinds
@settings(max_examples=25)
@given(data=st.data())
def test_an_event_survives_its_stored_form(kind: type[EventRecord], data: st.DataObject) -> None:
    event = data.draw(records(kind))
    stored = msgspec.json.encode(event)
    again = decoder.decode(stored)
    assert msgspec.json.decode(stored)["event_type"] == event_type(again)
    assert again == event
    assert type(again) is kind


def test_an_unknown_event_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'text_shouted'"):
        decoder.decode(b'{"event_type": "text_shouted", "delta": "HI"}')


def test_an_event_without_a_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="event_type"):
        decoder.decode(b'{"delta": "hi"}')


@kinds
def test_a_required_field_is_demanded(kind: type[EventRecord]) -> None:
    tag = kind.__struct_config__.tag
    if any(field.required for field in msgspec.structs.fields(kind)):
        with pytest.raises(msgspec.ValidationError, match="missing required field"):
            msgspec.convert({"event_type": tag}, Event)
    else:
        assert msgspec.convert({"event_type": tag}, Event) == kind()


def test_a_field_that_a_newer_version_added_is_ignored() -> None:
    assert decoder.decode(b'{"event_type":"text_delta","delta":"hi","new":1}') == TextDelta(
        delta="hi"
    )


def test_every_event_of_the_module_is_in_the_union() -> None:
    defined = {
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, EventRecord) and kind is not EventRecord
    }
    assert defined == set(KINDS)


def test_event_types_are_the_tags_of_the_union_once_each() -> None:
    assert tuple(kind.__struct_config__.tag for kind in KINDS) == EVENT_TYPES
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES)


def test_the_vocabulary_is_the_published_one() -> None:
    """Clients and stored logs depend on these names: add to them, never rename one."""
    assert sorted(EVENT_TYPES) == [
        "activity_delta",
        "activity_snapshot",
        "child_started",
        "error",
        "inference_complete",
        "message_committed",
        "messages_replaced",
        "messages_snapshot",
        "pending_changed",
        "reasoning_delta",
        "reasoning_encrypted_value",
        "run_finish",
        "run_interrupted",
        "run_queued",
        "run_retry",
        "run_start",
        "state_delta",
        "state_snapshot",
        "step_end",
        "step_start",
        "stream_reset",
        "text_delta",
        "thread_changed",
        "ticket_closed",
        "ticket_opened",
        "tool_call_cancel",
        "tool_call_delta",
        "tool_call_done",
        "tool_call_ready",
        "tool_call_resumed",
        "tool_call_start",
        "tool_call_stream_delta",
    ]


def test_no_event_has_a_field_for_a_claim_token() -> None:
    """The token is the fence of an attempt: who reads it in the log could write as its owner."""
    names = {name for kind in KINDS for name in kind.__struct_fields__}
    assert not names & {"claim_token", "attempt_id", "settled_by"}


def test_only_messages_for_the_model_alone_are_hidden_from_clients() -> None:
    for shown in MessageVisibility:
        message = Message(message_id="m1", role=Role.system, visibility=shown)
        event = MessageCommitted(message_seq=1, message=message)
        hidden = shown is MessageVisibility.internal
        assert visibility(event) is (Visibility.internal if hidden else Visibility.public)
    assert visibility(TextDelta(delta="hi")) is Visibility.public


def test_a_segment_gives_its_items_as_entries() -> None:
    hi, compacted = TextDelta(delta="hi"), TextDelta(delta=" there")
    segment = Segment(
        tenant="acme",
        thread_id="t1",
        run_id="r1",
        first_seq=5,
        last_seq=9,
        at=77,
        items=(LogItem(seq=5, event=hi), LogItem(seq=9, event=compacted, first=6)),
    )
    assert segment.entries() == [
        Entry(seq=5, thread_id="t1", run_id="r1", at=77, event=hi),
        Entry(seq=9, thread_id="t1", run_id="r1", at=77, event=compacted, first=6),
    ]
