"""What a provider wants back unchanged, carried in the signature of a reasoning block.

Providers bind reasoning to more than a signature: to the ids of items, to the calls that followed
it, to several signed pieces. Our reasoning block has one string for all of that, and a fold joins
neighbouring pieces and keeps the last string. So each seal describes its block from its start:
the pieces of reasoning with their lengths, the text behind it, the calls.

A seal is honoured only by the model it came from (`origin`), and only while the lengths fit its
block. It has been with clients, so nothing of it is trusted but to be sent back: to the provider
that made it, beside text that the client could have changed anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model

from awaken.domain.message import ThinkingBlock, ToolCall
from awaken.domain.record import Record


class SealedThought(Record):
    """A piece of reasoning: `chars` of the block's text, and what belongs to them."""

    chars: int
    id: str | None = None
    signature: str | None = None
    details: dict[str, Any] | None = None


class SealedItem(Record):
    """What belongs to a text, or to the call `call`."""

    call: str | None = None
    id: str | None = None
    details: dict[str, Any] | None = None


class Seal(Record):
    """All that belongs to one reasoning block and to what followed it."""

    origin: str
    thoughts: tuple[SealedThought, ...] = ()
    text: SealedItem | None = None
    calls: tuple[SealedItem, ...] = ()

    @property
    def worthless(self) -> bool:
        """Whether it holds nothing that a provider would miss."""
        signed = any(part.id or part.signature or part.details for part in self.thoughts)
        return not signed and not any(call.details for call in self.calls)


def origin_of(model: Model[Any]) -> str:
    """What tells apart the services that can read each other's seals, without naming them."""
    try:
        address = model.base_url
    except (AttributeError, UserError):  # a client without an address
        address = None
    return hashlib.sha256(f"{model.system} {address}".encode()).hexdigest()[:16]


def sealed_thoughts(parts: Iterable[ThinkingPart]) -> tuple[SealedThought, ...]:
    return tuple(
        SealedThought(
            chars=len(part.content),
            id=part.id,
            signature=part.signature or None,
            details=part.provider_details,
        )
        for part in parts
    )


def sealed_text(part: TextPart) -> SealedItem | None:
    if not part.id and not part.provider_details:
        return None
    return SealedItem(id=part.id, details=part.provider_details)


def sealed_calls(parts: Iterable[ToolCallPart]) -> tuple[SealedItem, ...]:
    return tuple(
        SealedItem(call=part.tool_call_id, id=part.id, details=part.provider_details)
        for part in parts
        if part.id or part.provider_details
    )


def encode_seal(seal: Seal) -> str:
    return msgspec.json.encode(seal).decode()


def open_seal(block: ThinkingBlock, origin: str) -> Seal | None:
    """The seal of `block`, if it is one of `origin` and fits the block."""
    if block.signature is None:
        return None
    try:
        seal = msgspec.json.decode(block.signature, type=Seal)
    except (msgspec.DecodeError, UnicodeError):
        return None
    lengths = [piece.chars for piece in seal.thoughts]
    fits = min(lengths, default=0) >= 0 and sum(lengths) == len(block.thinking)
    return seal if fits and seal.origin == origin else None


def thinking_parts(block: ThinkingBlock, seal: Seal, provider: str) -> list[ThinkingPart]:
    """The reasoning of `block` as its provider made it."""
    parts: list[ThinkingPart] = []
    at = 0
    for piece in seal.thoughts:
        content = block.thinking[at : at + piece.chars]
        at += piece.chars
        part = ThinkingPart(
            content=content,
            id=piece.id,
            signature=piece.signature,
            provider_name=provider,
            provider_details=piece.details,
        )
        parts.append(part)
    return parts


def text_part(text: str, item: SealedItem | None, provider: str) -> TextPart:
    if item is None:
        return TextPart(content=text)
    return TextPart(content=text, id=item.id, provider_name=provider, provider_details=item.details)


def call_part(call: ToolCall, items: Sequence[SealedItem], provider: str) -> ToolCallPart:
    """`call` as its provider made it; arguments that are no object go out as their JSON."""
    item = next((item for item in items if item.call == call.id), None)
    arguments = {} if call.arguments is None else call.arguments
    if not isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    part: ToolCallPart = ToolCallPart(tool_name=call.name, args=arguments, tool_call_id=call.id)
    if item is not None:
        part.id, part.provider_details, part.provider_name = item.id, item.details, provider
    return part
