"""A thread as the history of an agent of pydantic-ai, and what such an agent leaves in it.

With its answer an agent leaves its own messages of the run: tool calls, their results, signed
reasoning, whatever its library puts there. They are the metadata of a message that only models
see, because a client must not be shown them. In later turns they stand for that answer. Where there
are none (another agent's answer, one that was cut short) the text stands for itself.

Not kept are system prompts and instructions, which the agent has at hand, and the user's prompt,
which the thread has: in its place stands an empty one.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, assert_never

import msgspec
from pydantic import ValidationError
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    InstructionBaselinePart,
    InstructionDeltaPart,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    UserContent,
    UserPromptPart,
    VideoUrl,
)
from pydantic_core import PydanticSerializationError

from awaken.domain.message import (
    AudioBlock,
    Base64Source,
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    MessageVisibility,
    Role,
    Source,
    StoredMessage,
    TextBlock,
    ThinkingBlock,
    UrlSource,
    VideoBlock,
)
from awaken.errors import Fault

log = logging.getLogger(__name__)

KEY: Final = "pydantic_ai"
"""The key of the metadata that holds an agent's own messages."""

OPENING: Final = "(The conversation begins with your message.)"
NEXT: Final = "Go on."
"""Stand for the user where a history begins with the agent, or the agent speaks twice."""

_OPERATORS: Final = (SystemPromptPart, InstructionBaselinePart, InstructionDeltaPart)

Prompt = str | list[UserContent]

_Url = type[ImageUrl] | type[DocumentUrl] | type[AudioUrl] | type[VideoUrl]


class Given(NamedTuple):
    """What a run of the agent starts from; `instructions` are the thread's system messages."""

    history: list[ModelMessage]
    prompt: Prompt
    instructions: str | None


def given(stored: Sequence[StoredMessage], visible: Iterable[Message]) -> Given:
    """A thread up to what is to be answered now.

    Raises:
        Fault: the user sent something that cannot be passed on.
    """
    own = dict(_own(stored))
    turns = _Turns()
    system: list[str] = []
    for message in visible:
        match message.role:
            case Role.user:
                turns.asked(_content(message))
            case Role.assistant if message.message_id in own:
                turns.recalled(own[message.message_id])
            case Role.assistant:
                turns.answered(message.text)
            case Role.system:
                system.append(message.text)
            case Role.tool:
                pass  # a result among texts would be one without a call
            case _ as never:
                assert_never(never)
    return Given(turns.messages, turns.prompt(), "\n\n".join(system) or None)


def kept(
    new: Sequence[ModelMessage], prompt: Prompt, answer_id: str, message_id: str
) -> Message | None:
    """The message that holds `new`, a run's own messages; None when JSON cannot."""
    bare = [_bare(message) for message in new]
    if bare and isinstance(bare[0], ModelRequest):
        bare[0] = _exchanged(bare[0], prompt, "")
    try:
        dumped = ModelMessagesTypeAdapter.dump_python(bare, mode="json")
    except PydanticSerializationError as error:
        log.warning("an answer is kept as text only: %s", error)
        return None
    return Message(
        message_id=message_id,
        role=Role.assistant,
        visibility=MessageVisibility.internal,
        metadata={KEY: {"answer": answer_id, "messages": dumped}},
    )


# --- the agent's own messages


def _own(stored: Iterable[StoredMessage]) -> Iterator[tuple[str, list[ModelMessage]]]:
    """The messages that stand for an answer, by its id."""
    for each in stored:
        found = each.message.metadata.get(KEY)
        if each.message.visibility is MessageVisibility.internal and isinstance(found, dict):
            messages = _loaded(found.get("messages"))
            if messages:
                yield str(found.get("answer")), messages


def _loaded(dumped: Any) -> list[ModelMessage]:
    """What another version of the library left and this one cannot read counts as not there."""
    try:
        # As JSON, since only there bytes are read as base64.
        return ModelMessagesTypeAdapter.validate_json(msgspec.json.encode(dumped))
    except ValidationError as error:
        log.warning("an earlier answer is passed on as text only: %d problems", error.error_count())
        return []


def _bare(message: ModelMessage) -> ModelMessage:
    if isinstance(message, ModelResponse):
        return message
    parts = [part for part in message.parts if not isinstance(part, _OPERATORS)]
    return replace(message, parts=parts, instructions=None)


def _exchanged(first: ModelRequest, old: Prompt, new: Prompt) -> ModelRequest:
    parts = [
        replace(part, content=new)
        if isinstance(part, UserPromptPart) and part.content == old
        else part
        for part in first.parts
    ]
    return replace(first, parts=parts)


# --- turns


class _Turns:
    """A history that is being put together: the two sides in turns, the user first."""

    def __init__(self) -> None:
        self.messages: list[ModelMessage] = []
        self._asked: list[Prompt] = []

    def asked(self, content: Prompt) -> None:
        if content:
            self._asked.append(content)

    def answered(self, text: str) -> None:
        if text.strip():
            self.messages.append(ModelRequest(parts=[UserPromptPart(content=self.prompt())]))
            self.messages.append(ModelResponse(parts=[TextPart(content=text)]))

    def recalled(self, messages: list[ModelMessage]) -> None:
        """An agent's own messages, the user's prompt back in its place."""
        first, prompt = messages[0], self.prompt()
        if isinstance(first, ModelRequest):
            messages = [_exchanged(first, "", prompt), *messages[1:]]
        self.messages += messages

    def prompt(self) -> Prompt:
        """All that was asked since the last answer, as one prompt; it counts as passed on."""
        asked, self._asked = self._asked, []
        if not asked:
            return NEXT if self.messages else OPENING
        texts = [content for content in asked if isinstance(content, str)]
        if len(texts) == len(asked):
            return "\n\n".join(texts)
        return [item for content in asked for item in _listed(content)]


def _listed(content: Prompt) -> list[UserContent]:
    return [content] if isinstance(content, str) else content


# --- what a user sends


def _content(message: Message) -> Prompt:
    try:
        content = [item for block in message.content for item in _items(block)]
    except ValueError as error:
        raise Fault("bad_request", f"a message of the user: {error}", retryable=False) from error
    texts = [item for item in content if isinstance(item, str)]
    return "".join(texts) if len(texts) == len(content) else content


def _items(block: Block) -> list[UserContent]:
    match block:
        case TextBlock(text=text):
            return [text] if text.strip() else []
        case ThinkingBlock():
            return []
        case ImageBlock(source=source):
            return [_media(source, ImageUrl, "image/png")]
        case DocumentBlock(source=source, title=title):
            document = _media(source, DocumentUrl, "application/pdf")
            return [f"{title}:", document] if title else [document]
        case AudioBlock(source=source):
            return [_media(source, AudioUrl, "audio/mpeg")]
        case VideoBlock(source=source):
            return [_media(source, VideoUrl, "video/mp4")]
        case _ as never:
            assert_never(never)


def _media(source: Source, kind: _Url, media_type: str) -> UserContent:
    """The content of `source`; `media_type` is assumed of an address that does not tell its own."""
    match source:
        case Base64Source(media_type=given_type, data=data):
            try:
                return BinaryContent(base64.b64decode(data, validate=True), media_type=given_type)
            except binascii.Error as error:
                raise ValueError(f"{given_type} is not valid base64") from error
        case UrlSource(url=url) if url.startswith("data:"):
            return BinaryContent.from_data_uri(url)
        case UrlSource(url=url) if not url.startswith(("https://", "http://")):
            # With any other scheme the provider reads with the rights of our account.
            raise ValueError("an address must begin with https: or http:")
        case UrlSource(url=url, media_type=given_type):
            return kind(url=url, media_type=given_type or _known_type(kind, url) or media_type)
        case _ as never:
            assert_never(never)


def _known_type(kind: _Url, url: str) -> str | None:
    try:
        return kind(url=url).media_type
    except ValueError:
        return None
