"""Messages: what people, agents and tools said, in the order it was committed.

A committed message is immutable (I4): it is appended, or hidden by a tombstone (`visibility`), and
never rewritten. Where a message stands in its thread (`message_seq`) is known only once it is
committed, so it is part of `StoredMessage`, not of `Message`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from awaken.domain.record import Record


class Role(StrEnum):
    """Who speaks."""

    system = "system"
    user = "user"
    assistant = "assistant"
    tool = "tool"


class MessageVisibility(StrEnum):
    """Who sees a message.

    `all` readers, `internal` (the model only), or nobody any more (`replaced`).
    """

    all = "all"
    internal = "internal"
    replaced = "replaced"


class Base64Source(Record, tag="base64"):
    """Bytes inside the message."""

    media_type: str
    data: str


class UrlSource(Record, tag="url"):
    """Bytes behind an address."""

    url: str
    media_type: str | None = None


Source = Base64Source | UrlSource


class TextBlock(Record, tag="text"):
    """Plain text."""

    text: str


class ThinkingBlock(Record, tag="thinking"):
    """Reasoning of the model; `signature` must go back to the provider unchanged."""

    thinking: str
    signature: str | None = None


class ImageBlock(Record, tag="image"):
    """A picture."""

    source: Source


class DocumentBlock(Record, tag="document"):
    """A file such as a PDF."""

    source: Source
    title: str | None = None


class AudioBlock(Record, tag="audio"):
    """A sound."""

    source: Source


class VideoBlock(Record, tag="video"):
    """A film."""

    source: Source


Block = TextBlock | ThinkingBlock | ImageBlock | DocumentBlock | AudioBlock | VideoBlock


class ToolCall(Record):
    """A call the model asked for; `arguments` is any JSON value, normally an object."""

    id: str
    name: str
    arguments: Any = None


class Message(Record):
    """One message.

    `interrupted` marks an assistant message that was cut short: its content is what readers had
    seen when its run ended. `client_id` is the id a client knows it by when that differs from
    `message_id`.
    """

    message_id: str
    role: Role
    content: tuple[Block, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    visibility: MessageVisibility = MessageVisibility.all
    interrupted: bool = False
    client_id: str | None = None
    metadata: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """All text blocks, joined."""
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))


class StoredMessage(Record):
    """A committed message and its place: `message_seq` starts at 1 and has no gaps in a thread."""

    thread_id: str
    message_seq: int
    run_id: str | None
    created_at: int
    message: Message
    replaced_by: str | None = None


def same_content(one: Message, other: Message) -> bool:
    """Whether two messages with one id say the same (a repeated submission) or not (a conflict)."""
    return (one.role, one.content, one.tool_calls, one.tool_call_id) == (
        other.role,
        other.content,
        other.tool_calls,
        other.tool_call_id,
    )
