"""The resolution id: equal specifications, equal ids, wherever they are computed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.agent import AgentSpec, Limits, ToolSpec, resolution_id
from tests.domain.strategies import records

SPEC = AgentSpec(
    agent_id="assistant",
    instructions="Be brief. Grüße.",
    model="openai:gpt-5-mini",
    limits=Limits(max_rounds=8, timeout_seconds=60.0),
    tools=(
        ToolSpec(
            name="add",
            parameters={"type": "object", "properties": {"b": {}, "a": {}}},
            approval=True,
        ),
    ),
    settings={"temperature": 0.5, "nested": {"z": 1, "a": [1, 2]}},
)


def test_the_id_of_a_specification_never_changes() -> None:
    """It is the hash of all fields, written out: what changed it is a change of what agents do.

    A run that waits for weeks is not broken by that: what it is pinned to is stored under the id it
    had then. But the same specification of two releases should be one, unless a field was added.
    """
    assert resolution_id(SPEC) == (
        "sha256:dbff29ecdc50b1ee459fc36a12a186f93f59bf7aea91d65bf2f76960e0bd97dc"
    )


@given(records(AgentSpec))
def test_a_stored_specification_has_the_id_it_was_stored_under(spec: AgentSpec) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(spec), type=AgentSpec)
    assert resolution_id(stored) == resolution_id(spec)


def test_the_order_of_keys_makes_no_difference() -> None:
    turned = replace(
        SPEC,
        settings={"nested": {"a": [1, 2], "z": 1}, "temperature": 0.5},
        tools=(
            replace(SPEC.tools[0], parameters={"properties": {"a": {}, "b": {}}, "type": "object"}),
        ),
    )
    assert resolution_id(turned) == resolution_id(SPEC)


def test_a_time_limit_given_as_a_whole_number_makes_no_difference() -> None:
    """In code people write 60, the store gives back 60.0, and both are the same limit."""
    written = replace(SPEC, limits=replace(SPEC.limits, timeout_seconds=60))
    assert written == SPEC
    assert resolution_id(written) == resolution_id(SPEC)


def test_sequences_written_as_lists_make_no_difference() -> None:
    written = replace(SPEC, settings={**SPEC.settings, "nested": {"z": 1, "a": (1, 2)}})
    assert resolution_id(written) == resolution_id(SPEC)


@pytest.mark.parametrize("name", AgentSpec.__struct_fields__)
@settings(max_examples=20)
@given(data=st.data())
def test_a_change_of_any_field_changes_the_id(name: str, data: st.DataObject) -> None:
    other = replace(SPEC, **{name: getattr(data.draw(records(AgentSpec)), name)})
    assert (resolution_id(other) == resolution_id(SPEC)) == (other == SPEC)


@pytest.mark.parametrize("name", ToolSpec.__struct_fields__)
@settings(max_examples=20)
@given(data=st.data())
def test_a_change_of_any_field_of_a_tool_changes_the_id(name: str, data: st.DataObject) -> None:
    tool = replace(SPEC.tools[0], **{name: getattr(data.draw(records(ToolSpec)), name)})
    other = replace(SPEC, tools=(tool,))
    assert (resolution_id(other) == resolution_id(SPEC)) == (other == SPEC)


def test_the_order_of_tools_is_part_of_what_the_model_sees() -> None:
    one, two = ToolSpec(name="one"), ToolSpec(name="two")
    assert resolution_id(replace(SPEC, tools=(one, two))) != resolution_id(
        replace(SPEC, tools=(two, one))
    )


def test_a_specification_is_stored_with_every_field_so_that_no_later_default_changes_it() -> None:
    spec = AgentSpec(agent_id="a", tools=(ToolSpec(name="t"),))
    stored = msgspec.json.decode(msgspec.json.encode(spec))
    assert set(stored) == set(AgentSpec.__struct_fields__)
    assert set(stored["limits"]) == set(Limits.__struct_fields__)
    assert set(stored["tools"][0]) == set(ToolSpec.__struct_fields__)


def test_a_specification_that_was_stored_without_its_defaults_is_still_read() -> None:
    """As it was written before every field was stored."""
    old = b'{"agent_id":"a","model":"p:m","limits":{"max_rounds":8},"tools":[{"name":"t"}]}'
    assert msgspec.json.decode(old, type=AgentSpec) == AgentSpec(
        agent_id="a", model="p:m", limits=Limits(max_rounds=8), tools=(ToolSpec(name="t"),)
    )
