"""What a client may choose as an id."""

from __future__ import annotations

import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.ids import MAX_CLIENT_ID, derived_id, is_client_id

VISIBLE = string.ascii_letters + string.digits + string.punctuation


@given(st.text(VISIBLE, min_size=1, max_size=MAX_CLIENT_ID))
def test_up_to_128_visible_ascii_characters_are_an_id(value: str) -> None:
    assert is_client_id(value)


@given(st.text())
def test_whatever_is_accepted_is_visible_ascii_of_a_bounded_length(value: str) -> None:
    if is_client_id(value):
        assert 1 <= len(value) <= MAX_CLIENT_ID
        assert set(value) <= set(VISIBLE)


@pytest.mark.parametrize(
    "value",
    ["", " ", "a b", "a\n", "\na", "a\t", "a\x00", "a\x7f", "é", "ａ", "a" * 129],  # noqa: RUF001 - a wide letter is the point
    ids=ascii,
)
def test_everything_else_is_refused(value: str) -> None:
    assert not is_client_id(value)


def test_an_id_may_be_as_long_as_the_limit() -> None:
    assert is_client_id("a" * MAX_CLIENT_ID)


@given(st.uuids(version=4).map(str), st.text(), st.text())
def test_a_derived_id_is_a_uuid_of_version_7_with_the_time_of_its_origin(
    origin: str, one: str, other: str
) -> None:
    found = uuid.UUID(derived_id(origin, one))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert str(found) == derived_id(origin, one)
    assert str(found).replace("-", "")[:12] == origin.replace("-", "")[:12]
    assert (derived_id(origin, other) == str(found)) is (one == other)


def test_an_id_derived_from_any_text_is_the_same_for_ever() -> None:
    assert derived_id("run-1", "retry") == "c3a183cb-cea0-774f-b455-2d3de7dabab6"
