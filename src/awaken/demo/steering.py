"""Steering: words of the form `key=value` in the last user message.

A value that cannot be used is answered with a sentence that says what can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from awaken.domain.message import Role
from awaken.models.scripted import Step
from awaken.ports.model import ModelRequest

_WORD: Final = re.compile(r"\S+\s*|\s+")
_OPTION: Final = re.compile(r"(?<!\S)([a-z_]+)=(\S*)")

DemoScript = Callable[[ModelRequest], Iterable[Step]]


class BadOption(Exception):
    """A steering word has a value that cannot be used; the text says so to the user."""


def words(text: str) -> list[str]:
    """The text in tokens, each word with the white space behind it."""
    return [match[0] for match in _WORD.finditer(text)]


def explaining(script: DemoScript) -> DemoScript:
    """`script`, but a bad option becomes the answer."""

    def explained(request: ModelRequest) -> Iterable[Step]:
        try:
            return script(request)
        except BadOption as bad:
            return words(str(bad))

    return explained


def last_words(request: ModelRequest) -> str:
    """The text of the last user message."""
    spoken = (m.text for m in reversed(request.messages) if m.role is Role.user)
    return next(spoken, "")


def options_of(request: ModelRequest) -> dict[str, str]:
    """The steering words; of equal keys the last one counts, and closing punctuation does not."""
    return {key: value.rstrip(".,;!?") for key, value in _OPTION.findall(last_words(request))}


def number(name: str, value: str, low: int, high: int) -> int:
    """The whole number that `value` is.

    Raises:
        BadOption: it is none, or out of bounds.
    """
    if re.fullmatch(r"[0-9]{1,9}", value) and low <= int(value) <= high:
        return int(value)
    raise BadOption(f"{name} must be a whole number from {low} to {high}, not {value[:40]!r}.")


def decimal(name: str, value: str, low: float, high: float) -> float:
    """The number, whole or not, that `value` is.

    Raises:
        BadOption: it is none, or out of bounds.
    """
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value) and low <= float(value) <= high:
        return float(value)
    raise BadOption(f"{name} must be a number from {low} to {high}, not {value[:40]!r}.")
