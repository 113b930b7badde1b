"""Cutting a long history to what a model can take, on the copy that is sent.

The log stays as it is.
"""

from __future__ import annotations

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
    if max_tokens is None:
        return tuple(messages)
    system = [message for message in messages if message.role is Role.system]
    others = [message for message in messages if message.role is not Role.system]
    room = max_tokens - sum(map(estimate, system))
    turns = [index for index, message in enumerate(others) if message.role is Role.user]
    sizes = [estimate(message) for message in others]
    start = next((index for index in turns if sum(sizes[index:]) <= room), None)
    if start is None:
        start = turns[-1] if turns else 0
    return tuple(system + others[start:])
