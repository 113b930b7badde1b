"""Cutting a long history to what a model can take, on the copy that is sent.

The log stays as it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from awaken.domain.message import Message, Role, TextBlock, ThinkingBlock

PER_MESSAGE = 4
PER_MEDIA_BLOCK = 1000


def estimate(message: Message) -> int:
    """About how many tokens a message has.

    A quarter of its characters, and something for the rest.
    """
    tokens = PER_MESSAGE
    for block in message.content:
        match block:
            case TextBlock(text=text):
                tokens += len(text) // 4
            case ThinkingBlock(thinking=thinking):
                tokens += len(thinking) // 4
            case _:
                tokens += PER_MEDIA_BLOCK
    return tokens + sum(len(msgspec.json.encode(call)) // 4 for call in message.tool_calls)


def truncate(messages: Sequence[Message], max_tokens: int | None) -> tuple[Message, ...]:
    """The latest messages that fit, and all system messages; at least the last turn stays.

    The cut is made before a user message, so that no call loses its result and no answer its
    question.
    """
    return Window(max_tokens).cut(messages)


class Window:
    """`truncate` for a history that grows: each message is measured once, whatever its length."""

    def __init__(self, max_tokens: int | None) -> None:
        self._max_tokens = max_tokens
        self._forget()

    def cut(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """What of `messages` fits; another history than the last one's is measured anew."""
        if self._max_tokens is None:
            return tuple(messages)
        if self._last is not None and not self._goes_on(messages):
            self._forget()
        for message in messages[self._known :]:
            self._take(message)
        return (*self._system, *self._others[self._start() :])

    def _goes_on(self, messages: Sequence[Message]) -> bool:
        return len(messages) >= self._known and messages[self._known - 1] is self._last

    def _forget(self) -> None:
        self._known = 0
        self._last: Message | None = None
        self._system: list[Message] = []
        self._others: list[Message] = []
        self._before = [0]  # how many tokens stand before each of the others, and behind the last
        self._turns: list[int] = []
        self._room = self._max_tokens or 0

    def _take(self, message: Message) -> None:
        self._known += 1
        self._last = message
        if message.role is Role.system:
            self._system.append(message)
            self._room -= estimate(message)
            return
        if message.role is Role.user:
            self._turns.append(len(self._others))
        self._others.append(message)
        self._before.append(self._before[-1] + estimate(message))

    def _start(self) -> int:
        """The first turn from which on all fits, else the last one."""
        if not self._turns:
            return 0
        least = self._before[-1] - self._room
        fitting = bisect_left(self._turns, least, key=self._before.__getitem__)
        return self._turns[min(fitting, len(self._turns) - 1)]
