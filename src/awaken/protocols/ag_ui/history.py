"""A thread's messages as AG-UI messages: the history, and the snapshots of streams.

The ids are those that streams give: an assistant message has the id of its step, the stretches of
reasoning before, between and behind its texts are messages of their own (`reasoning_id`), and a
message of the user has the id that its client gave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from awaken.domain import message as messages
from awaken.domain.fold import Partial
from awaken.domain.message import Block, Message, MessageVisibility, Role, StoredMessage
from awaken.protocols.ag_ui.frames import encode

AgUiMessage = dict[str, Any]

DEVELOPER = "ag_ui_role"
"""The key of a message's metadata that keeps a role which we do not have."""


def reasoning_id(message_id: str, index: int) -> str:
    """The id of a step's reasoning; `index` counts its stretches from 0."""
    return f"{message_id}.reasoning.{index}"


def client_name(message: Message) -> str:
    """The id that the client knows a message by."""
    return message.client_id or message.message_id


def ag_ui_messages(stored: Iterable[StoredMessage]) -> list[AgUiMessage]:
    """Those of `stored` that a client may see, in order."""
    return [
        told
        for each in stored
        if each.message.visibility is MessageVisibility.all
        for told in _told(each.message)
    ]


def of_partial(partial: Partial) -> list[AgUiMessage]:
    """What a client has of the step that is open."""
    if partial.message_id is None:
        return []
    calls = [_call(call.id, call.name, call.args_text or _json(call)) for call in partial.calls]
    return _spoken(partial.message_id, partial.blocks, calls)


def _json(call: Any) -> str:
    return encode(call.arguments).decode() if call.ready else ""


def without_stale_reasoning(told: list[AgUiMessage], name: str) -> list[AgUiMessage]:
    """A snapshot that clears reasoning which the client has and which is void, or told again.

    Of a snapshot without any, clients keep the reasoning they have. So the first stretch of the
    step, called `name`, is told as empty.
    """
    if any(each["role"] == "reasoning" for each in told):
        return told
    return [*told, {"id": name, "role": "reasoning", "content": ""}]


def tool_message(message_id: str, call_id: str, content: str) -> AgUiMessage:
    """The result of a call."""
    return {"id": message_id, "role": "tool", "toolCallId": call_id, "content": content}


def _told(message: Message) -> list[AgUiMessage]:
    match message.role:
        case Role.assistant:
            calls = [
                _call(call.id, call.name, encode(call.arguments).decode())
                for call in message.tool_calls
            ]
            return _spoken(message.message_id, message.content, calls)
        case Role.tool:
            return [tool_message(client_name(message), message.tool_call_id or "", message.text)]
        case Role.user:
            return [{"id": client_name(message), "role": "user", "content": _content(message)}]
        case Role.system:
            role = message.metadata.get(DEVELOPER, "system")
            return [{"id": client_name(message), "role": role, "content": message.text}]
        case _ as never:
            assert_never(never)


def _spoken(message_id: str, blocks: Sequence[Block], calls: list[Any]) -> list[AgUiMessage]:
    """A step, as its stream makes it: the answer stands where its first text came."""
    told: list[AgUiMessage] = []
    answer: AgUiMessage = {"id": message_id, "role": "assistant"}
    stretches = 0
    for block in blocks:
        if isinstance(block, messages.ThinkingBlock):
            told.append(_reasoning(reasoning_id(message_id, stretches), block))
            stretches += 1
        elif isinstance(block, messages.TextBlock) and block.text:
            if "content" not in answer:
                told.append(answer)
            answer["content"] = answer.get("content", "") + block.text
    if calls:
        if "content" not in answer:
            told.append(answer)
        answer["toolCalls"] = calls
    return told


def _reasoning(name: str, block: messages.ThinkingBlock) -> AgUiMessage:
    told = {"id": name, "role": "reasoning", "content": block.thinking}
    return told if block.signature is None else {**told, "encryptedValue": block.signature}


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _content(message: Message) -> str | list[dict[str, Any]]:
    """The text alone if there is nothing else, as clients write it themselves."""
    if all(isinstance(block, messages.TextBlock) for block in message.content):
        return message.text
    return [_part(block) for block in message.content]


def _part(block: Block) -> dict[str, Any]:
    match block:
        case messages.TextBlock(text=text) | messages.ThinkingBlock(thinking=text):
            return {"type": "text", "text": text}
        case messages.ImageBlock(source=source):
            return {"type": "image", "source": _source(source)}
        case messages.AudioBlock(source=source):
            return {"type": "audio", "source": _source(source)}
        case messages.VideoBlock(source=source):
            return {"type": "video", "source": _source(source)}
        case messages.DocumentBlock(source=source):
            return {"type": "document", "source": _source(source)}
        case _ as never:
            assert_never(never)


def _source(source: messages.Source) -> dict[str, Any]:
    match source:
        case messages.Base64Source(media_type=media_type, data=data):
            return {"type": "data", "value": data, "mimeType": media_type}
        case messages.UrlSource(url=url, media_type=media_type):
            named = {} if media_type is None else {"mimeType": media_type}
            return {"type": "url", "value": url, **named}
        case _ as never:
            assert_never(never)
