"""What a client may choose as an id."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.ids import MAX_CLIENT_ID, is_client_id

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
