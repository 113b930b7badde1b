"""Text, pictures, files, sounds and films of a message, as pydantic-ai has them."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from typing import assert_never

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    UserContent,
    VideoUrl,
)

from awaken.domain.message import (
    AudioBlock,
    Base64Source,
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    Source,
    TextBlock,
    ThinkingBlock,
    UrlSource,
    VideoBlock,
)

_Url = type[ImageUrl] | type[DocumentUrl] | type[AudioUrl] | type[VideoUrl]


def user_content(message: Message) -> str | list[UserContent]:
    """What a user or a tool said; plain text as a string, without blocks that are blank.

    Raises:
        ValueError: a source cannot be decoded.
    """
    content = [item for block in message.content for item in _items(block)]
    if all(isinstance(item, str) for item in content):
        return "".join(str(item) for item in content)
    return content


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
        case Base64Source(media_type=given, data=data):
            return _binary(data, given)
        case UrlSource(url=url) if url.startswith("data:"):
            return BinaryContent.from_data_uri(url)
        case UrlSource(url=url, media_type=given):
            guessed = mimetypes.guess_type(url)[0]
            return kind(url=url, media_type=given or guessed or media_type)
        case _ as never:
            assert_never(never)


def _binary(data: str, media_type: str) -> BinaryContent:
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{media_type} is not valid base64: {error}") from None
    return BinaryContent(data=content, media_type=media_type)
