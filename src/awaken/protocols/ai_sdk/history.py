"""A thread's messages as UI messages: what a page shows before it re-attaches.

A run is one assistant message with the run's id, as in its stream. Where a message of the user was
read in the middle of a run, the assistant message is split there, and what follows has the id
`answer_id`. Calls get their results from the tool messages, and questions from the open tickets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

import msgspec

from awaken.domain import message as messages
from awaken.domain.message import Message, Role, StoredMessage
from awaken.domain.ticket import Ticket
from awaken.protocols.ai_sdk import chunks

UIMessage = dict[str, Any]


def answer_id(run_id: str, message_id: str) -> str:
    """The id of what a run says behind a message that it read while it was under way."""
    return f"{run_id}.{message_id}"


def ui_messages(
    stored: Sequence[StoredMessage],
    tickets: Sequence[Ticket] = (),
    *,
    streamed: str | None = None,
    client_tools: frozenset[str] = frozenset(),
) -> list[UIMessage]:
    """The messages of a page, oldest first; internal and replaced ones are not among `stored`.

    What the run `streamed` says is left out: its stream tells it, from the start.
    """
    results = {
        each.message.tool_call_id: each.message
        for each in stored
        if each.message.role is Role.tool and each.message.tool_call_id
    }
    history = _History(results, {t.tool_call_id: t for t in tickets}, client_tools)
    for each in stored:
        if each.message.role is not Role.assistant or each.run_id != streamed:
            history.add(each)
    return history.told


class _History:
    """Gathers messages; `results` and `tickets` are by call id."""

    def __init__(
        self,
        results: Mapping[str, Message],
        tickets: Mapping[str, Ticket],
        client_tools: frozenset[str],
    ) -> None:
        self.told: list[UIMessage] = []
        self._results = results
        self._tickets = tickets
        self._client_tools = client_tools
        self._run_id: str | None = None
        self._read: str | None = None
        self._spoken: set[str | None] = set()

    def add(self, stored: StoredMessage) -> None:
        match stored.message.role:
            case Role.assistant:
                self._say(stored)
            case Role.user | Role.system:
                self._read = client_name(stored.message)
                self._run_id = None
                self.told.append(_written(stored))
            case Role.tool:
                pass  # a result stands with its call
            case _ as never:
                assert_never(never)

    def _say(self, stored: StoredMessage) -> None:
        """Add a step to the message of its run, or begin that message."""
        if stored.run_id != self._run_id or self._run_id is None:
            self.told.append(self._begun(stored))
            self._run_id = stored.run_id
            self._spoken.add(stored.run_id)
        if stored.message.interrupted:
            self.told[-1]["metadata"]["interrupted"] = True
        parts = self.told[-1]["parts"]
        parts.append({"type": "step-start"})
        parts += _blocks(stored.message)
        parts += [self._call(call) for call in stored.message.tool_calls]

    def _begun(self, stored: StoredMessage) -> UIMessage:
        name = stored.run_id or stored.message.message_id
        if stored.run_id in self._spoken and self._read is not None:
            name = answer_id(name, self._read)
        metadata: dict[str, Any] = {"threadId": stored.thread_id, "runId": stored.run_id}
        return {
            "id": name,
            "role": "assistant",
            "metadata": {**metadata, "createdAt": stored.created_at},
            "parts": [],
        }

    def _call(self, call: messages.ToolCall) -> dict[str, Any]:
        part: dict[str, Any] = {
            "type": f"tool-{call.name}",
            "toolCallId": call.id,
            "input": call.arguments,
        }
        if call.name not in self._client_tools:
            part["providerExecuted"] = True
        result = self._results.get(call.id)
        if result is not None:
            return {**part, **_outcome(result)}
        ticket = self._tickets.get(call.id)
        if ticket is not None and chunks.asks_permission(ticket):
            return {**part, "state": "approval-requested", "approval": {"id": ticket.ticket_id}}
        return {**part, "state": "input-available"}


def client_name(message: Message) -> str:
    """The id that the client knows a message by."""
    return message.client_id or message.message_id


def _written(stored: StoredMessage) -> UIMessage:
    return {
        "id": client_name(stored.message),
        "role": stored.message.role.value,
        "metadata": {"threadId": stored.thread_id, "createdAt": stored.created_at},
        "parts": _blocks(stored.message),
    }


def _blocks(message: Message) -> list[dict[str, Any]]:
    return [_part(block) for block in message.content]


def _part(block: messages.Block) -> dict[str, Any]:
    match block:
        case messages.TextBlock(text=text):
            return {"type": "text", "text": text, "state": "done"}
        case messages.ThinkingBlock(thinking=thinking):
            return {"type": "reasoning", "text": thinking, "state": "done"}
        case messages.DocumentBlock(source=source, title=title):
            named = {} if title is None else {"filename": title}
            return {**_file(source, "application/octet-stream"), **named}
        case messages.ImageBlock(source=source):
            return _file(source, "image/*")
        case messages.AudioBlock(source=source):
            return _file(source, "audio/*")
        case messages.VideoBlock(source=source):
            return _file(source, "video/*")
        case _ as never:
            assert_never(never)


def _file(source: messages.Source, unknown: str) -> dict[str, Any]:
    match source:
        case messages.Base64Source(media_type=media_type, data=data):
            url = f"data:{media_type};base64,{data}"
            return {"type": "file", "mediaType": media_type, "url": url}
        case messages.UrlSource(url=url, media_type=media_type):
            return {"type": "file", "mediaType": media_type or unknown, "url": url}
        case _ as never:
            assert_never(never)


def _outcome(result: Message) -> dict[str, Any]:
    """What a tool message says of its call: its text is the result as JSON, or a text."""
    value = _value(result.text)
    if not _failed(value):
        return {"state": "output-available", "output": value}
    if chunks.error_code(value) == "denied":
        reason = {"id": f"denied-{result.tool_call_id}", "approved": False}
        return {"state": "output-denied", "approval": reason}
    return {"state": "output-error", "errorText": chunks.error_text(value)}


def _failed(value: Any) -> bool:
    """Failed results are `{"error": {code, message}}`, and the words for calls cut short."""
    if value in ("[interrupted]", "[superseded]"):
        return True
    return isinstance(value, dict) and set(value) == {"error"} and isinstance(value["error"], dict)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def shown(stored: Iterable[StoredMessage]) -> list[StoredMessage]:
    """Those of `stored` that a client may see."""
    return [each for each in stored if each.message.visibility is messages.MessageVisibility.all]
