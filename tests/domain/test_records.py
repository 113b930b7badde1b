"""What every record promises: a value that cannot change and that storage gives back unchanged."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awaken.domain.agent import AgentSpec
from awaken.domain.claim import Claim, Renewal
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Segment
from awaken.domain.fold import Partial
from awaken.domain.line import LineRow
from awaken.domain.message import Message, Role, StoredMessage, TextBlock, same_content
from awaken.domain.outcome import Failure, Usage
from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.domain.submission import Accepted, Explanation, Submission
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket
from tests.domain.strategies import records

STORED: list[type[Record]] = [
    Accepted,
    AgentSpec,
    Claim,
    Dispatch,
    Explanation,
    LineRow,
    Message,
    Partial,
    PendingEntry,
    Renewal,
    Run,
    Segment,
    StoredMessage,
    Submission,
    Thread,
    ThreadHead,
    Ticket,
]


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_a_record_survives_its_stored_form(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(records(kind))
    assert msgspec.json.decode(msgspec.json.encode(record), type=kind) == record
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=kind) == record


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_a_record_is_frozen_and_named_field_by_field(kind: type[Record]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert all(parameter_is_keyword_only(kind, name) for name in kind.__struct_fields__)


def parameter_is_keyword_only(kind: type[Record], name: str) -> bool:
    return kind.__signature__.parameters[name].kind.name == "KEYWORD_ONLY"


def test_fields_at_their_default_are_left_out_so_that_adding_one_needs_no_migration() -> None:
    message = Message(message_id="m1", role=Role.user)
    assert msgspec.to_builtins(message) == {"message_id": "m1", "role": "user"}


def test_records_do_not_share_a_default() -> None:
    one, other = Message(message_id="1", role=Role.user), Message(message_id="2", role=Role.user)
    one.metadata["key"] = "value"
    assert other.metadata == {}


# --- small rules of single records -------------------------------------------------------------


@given(records(Usage), records(Usage), records(Usage))
def test_usage_adds_up_field_by_field_in_any_order(one: Usage, two: Usage, three: Usage) -> None:
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert one + Usage() == one


def test_clients_see_the_public_text_of_a_failure_or_none_of_its_internals() -> None:
    secret = Failure(code="internal", message="password=hunter2 at db.example")
    assert "hunter2" not in secret.for_clients
    told = Failure(code="quota", message="…", public_message="the quota is used up")
    assert told.for_clients == "the quota is used up"


def test_a_repeated_message_says_the_same_whatever_is_noted_about_it() -> None:
    message = Message(message_id="m1", role=Role.user, content=(TextBlock(text="hi"),))
    noted = msgspec.structs.replace(message, metadata={"a": 1}, client_id="c9")
    assert same_content(message, noted)
    for changed in (
        msgspec.structs.replace(message, content=(TextBlock(text="ho"),)),
        msgspec.structs.replace(message, role=Role.system),
        msgspec.structs.replace(message, tool_call_id="c1"),
    ):
        assert not same_content(message, changed)


def test_the_text_of_a_message_is_its_text_blocks_joined() -> None:
    blocks = (TextBlock(text="a"), TextBlock(text="b"))
    assert Message(message_id="m1", role=Role.user, content=blocks).text == "ab"
