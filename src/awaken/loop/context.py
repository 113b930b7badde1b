"""From a thread's history to what a model is sent.

Providers refuse a history in which a call has no result, a result has no call, or a message is
empty. The log may hold all three (a run that ended between a call and its result), so they are left
out of the copy that is sent; the log itself stays as it is (I4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from awaken.domain.message import Message, MessageVisibility, Role, StoredMessage


def model_messages(history: Sequence[StoredMessage]) -> tuple[Message, ...]:
    """The messages of `history` that a model may see, each call with its result."""
    visible = [
        stored.message
        for stored in history
        if stored.message.visibility is not MessageVisibility.replaced
    ]
    return tuple(_sendable(visible, _paired(visible)))


def _paired(messages: Iterable[Message]) -> set[str]:
    """The ids of the calls that have a result, which stands behind them."""
    asked: set[str] = set()
    paired: set[str] = set()
    for message in messages:
        asked.update(call.id for call in message.tool_calls)
        if message.role is Role.tool and message.tool_call_id in asked:
            paired.add(message.tool_call_id)
    return paired


def _sendable(messages: Iterable[Message], paired: set[str]) -> Iterator[Message]:
    unanswered = set(paired)
    for message in messages:
        if message.role is Role.tool:
            if message.tool_call_id in unanswered:
                unanswered.discard(message.tool_call_id)
                yield message
            continue
        calls = tuple(call for call in message.tool_calls if call.id in paired)
        if calls or message.content:
            yield message if calls == message.tool_calls else replace(message, tool_calls=calls)
