"""The window over a growing history cuts where a fresh look at the whole of it would."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.message import Message, Role, TextBlock
from awaken.loop.truncate import Window, estimate, truncate


def message(number: int, role: Role, size: int) -> Message:
    return Message(message_id=f"m{number}", role=role, content=(TextBlock(text="x" * size),))


roles = st.sampled_from([Role.user, Role.assistant, Role.tool, Role.system])
histories = st.lists(st.tuples(roles, st.integers(0, 80)), max_size=30).map(
    lambda drawn: [message(n, role, size) for n, (role, size) in enumerate(drawn)]
)


def by_the_rule(messages: Sequence[Message], max_tokens: int) -> tuple[Message, ...]:
    """The latest turns that fit beside the system messages; the last one in any case."""
    system = [m for m in messages if m.role is Role.system]
    others = [m for m in messages if m.role is not Role.system]
    room = max_tokens - sum(map(estimate, system))
    turns = [n for n, m in enumerate(others) if m.role is Role.user]
    fitting = [n for n in turns if sum(map(estimate, others[n:])) <= room]
    start = fitting[0] if fitting else (turns[-1] if turns else 0)
    return (*system, *others[start:])


@given(histories, st.integers(0, 300))
def test_what_fits_is_kept_from_a_turn_on(messages: list[Message], max_tokens: int) -> None:
    assert truncate(messages, max_tokens) == by_the_rule(messages, max_tokens)


@given(histories, st.integers(0, 300), st.lists(st.integers(1, 5), max_size=10))
def test_a_window_over_a_growing_history_cuts_alike(
    messages: list[Message], max_tokens: int, portions: list[int]
) -> None:
    window, known = Window(max_tokens), 0
    for portion in (*portions, len(messages)):
        known += portion
        now = messages[:known]
        assert window.cut(now) == by_the_rule(now, max_tokens)


@given(histories, histories, st.integers(0, 300))
def test_another_history_is_measured_anew(
    one: list[Message], two: list[Message], max_tokens: int
) -> None:
    window = Window(max_tokens)
    window.cut(one)
    assert window.cut(two) == by_the_rule(two, max_tokens)


@given(histories)
def test_without_a_limit_nothing_is_cut(messages: list[Message]) -> None:
    assert truncate(messages, None) == tuple(messages)
