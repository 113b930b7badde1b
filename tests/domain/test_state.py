"""State that agents keep: scopes, merging, and the patch that readers fold."""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from awaken.domain.ledger import StateWrite
from awaken.domain.state import Scope, StateKey, States, apply_writes, patch
from tests.domain.strategies import json_values, texts

KEYS = {
    "count": StateKey(name="count", default=0, reducer=add),
    "topic": StateKey(name="topic", scope=Scope.thread),
}


def write(key: str, value: Any) -> StateWrite:
    return StateWrite(key=key, value=value)


def test_a_write_goes_to_the_scope_of_its_key() -> None:
    states = apply_writes(States(), [write("topic", "sea"), write("other", 1)], KEYS)
    assert (states.thread, states.run) == ({"topic": "sea"}, {"other": 1})


def test_writes_are_merged_in_order_from_the_default_on() -> None:
    states = apply_writes(States(), [write("count", 2), write("count", 3)], KEYS)
    assert states.run == {"count": 5}


def test_without_a_reducer_the_last_write_wins() -> None:
    states = apply_writes(States(), [write("topic", "sea"), write("topic", "sky")], KEYS)
    assert states.thread == {"topic": "sky"}


def test_the_states_before_are_not_touched() -> None:
    before = States(run={"count": 1})
    apply_writes(before, [write("count", 1), write("topic", "sea")], KEYS)
    assert before == States(run={"count": 1})


def test_readers_see_the_runs_values_over_the_threads() -> None:
    assert States(run={"a": 1}, thread={"a": 2, "b": 3}).merged == {"a": 1, "b": 3}


# --- the patch ---------------------------------------------------------------------------------

objects = st.dictionaries(texts | st.sampled_from(["a", "b", "~", "/", "~1"]), json_values)


def patched(before: Mapping[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """JSON Patch (RFC 6902) for top-level members."""
    result = dict(before)
    for operation in operations:
        name = operation["path"][1:].replace("~1", "/").replace("~0", "~")
        if operation["op"] == "remove":
            del result[name]
        else:
            assert (operation["op"] == "replace") == (name in result)
            result[name] = operation["value"]
    return result


@given(objects, objects)
@example({"a": 1}, {"a": True})
@example({"a": [0]}, {"a": [False]})
def test_who_applies_the_patch_has_the_state_after(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    folded = patched(before, patch(before, after))
    assert msgspec.json.encode(folded, order="sorted") == msgspec.json.encode(after, order="sorted")


@given(objects)
def test_nothing_changed_is_an_empty_patch(state: dict[str, Any]) -> None:
    assert patch(state, dict(state)) == []


@pytest.mark.parametrize(("name", "path"), [("a", "/a"), ("a/b", "/a~1b"), ("~", "/~0"), ("", "/")])
def test_a_member_is_named_by_its_json_pointer(name: str, path: str) -> None:
    assert patch({}, {name: 1}) == [{"op": "add", "path": path, "value": 1}]
