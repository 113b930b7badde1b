"""From `RunAgentInput` to what it asks for: a submission, or answers to what a run waits for.

A client posts its whole history. What of it is new are the messages of the user, the system and the
developer behind the last assistant message, and of these the thread leaves out what it knows by id.
Everything before is the client's story, and the server's own history counts instead. Tool messages
behind the last assistant message are results of calls that the client executed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from awaken.domain import message as messages
from awaken.domain.agent import ToolSpec
from awaken.domain.ids import derived_id, is_client_id
from awaken.domain.message import Message, MessageVisibility, Role
from awaken.domain.record import Record
from awaken.domain.submission import OnBusy, Submission
from awaken.domain.ticket import Ticket
from awaken.errors import RequestError
from awaken.protocols.ag_ui.frames import asks_permission
from awaken.protocols.ag_ui.history import DEVELOPER
from awaken.protocols.ag_ui.wire import PostedMessage, ResumeEntry, RunAgentInput
from awaken.protocols.native.decode import Caller, invalid_field

ADAPTER: Final = "ag_ui"
MAX_FILES: Final = 16
MAX_STATE_BYTES: Final = 256 * 1024
_NEW: Final = ("user", "system", "developer")


class Choice(Record):
    """What is decided about a ticket; `message_id` is the client's tool message, if it is one."""

    action: str
    payload: Any = None
    message_id: str | None = None

    def decision_id(self, ticket_id: str) -> str:
        """The same for the same answer, so that repeating it is harmless."""
        told = msgspec.json.encode([self.action, self.payload], order="sorted").decode()
        return derived_id(ticket_id, "ag_ui", told)


def check_ids(request: RunAgentInput) -> None:
    """Refuse ids that no client may use.

    Raises:
        RequestError: `invalid_field`.
    """
    named = {
        "threadId": request.thread_id,
        "runId": request.run_id,
        "parentRunId": request.parent_run_id,
    }
    for field, value in named.items():
        if value is not None and not is_client_id(value):
            raise invalid_field(field, _VISIBLE)


def submission(
    request: RunAgentInput,
    caller: Caller,
    new_id: Callable[[], str],
    *,
    thread_id: str,
    agent_id: str | None,
    on_busy: OnBusy = OnBusy.interrupt,
) -> Submission:
    """The run that a request asks for.

    Raises:
        RequestError: `invalid_field`, naming the message, part or tool.
    """
    fresh = new_messages(request)
    if not fresh:
        raise invalid_field("messages", "must end with a message of the user, or answer a call")
    state = request.state or {}
    if len(msgspec.json.encode(state)) > MAX_STATE_BYTES:
        raise invalid_field("state", f"may have at most {MAX_STATE_BYTES} bytes")
    return Submission(
        tenant=caller.tenant,
        run_id=new_id(),
        thread_id=thread_id,
        agent_id=agent_id,
        messages=(*_context(request, fresh[0].message_id), *fresh),
        on_busy=on_busy,
        known_stands=True,
        adapter=ADAPTER,
        actor=caller.actor,
        client_run_id=request.run_id,
        transport_request_id=caller.transport_request_id,
        correlation_id=caller.correlation_id,
        metadata=_metadata(request),
        tools=_tools(request),
        state=state,
    )


def _metadata(request: RunAgentInput) -> dict[str, Any]:
    """What the application sent along; it is kept with the run."""
    given = {"forwardedProps": request.forwarded_props, "parentRunId": request.parent_run_id}
    kept = {name: value for name, value in given.items() if value not in (None, {})}
    return {"ag_ui": kept} if kept else {}


def parent_of(metadata: dict[str, Any]) -> str | None:
    """The client's `parentRunId` of a run."""
    kept = metadata.get("ag_ui")
    parent = kept.get("parentRunId") if isinstance(kept, dict) else None
    return parent if isinstance(parent, str) else None


def _tools(request: RunAgentInput) -> tuple[ToolSpec, ...]:
    """The client's tools, each name once: the call waits, and the client answers it."""
    named = {tool.name: tool for tool in request.tools or ()}
    return tuple(
        ToolSpec(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters or {"type": "object", "properties": {}},
            frontend=True,
        )
        for tool in named.values()
    )


def _context(request: RunAgentInput, before: str) -> tuple[Message, ...]:
    """What the application wants the agent to know, for the model alone.

    It stands before the new messages, under an id that follows from theirs: a repeated request does
    not tell it twice.
    """
    if not request.context:
        return ()
    lines = [f"- {each.description}: {each.value}" for each in request.context]
    text = "\n".join(["What the application says about the user's situation:", *lines])
    return (
        Message(
            message_id=derived_id(before, "ag_ui.context"),
            role=Role.system,
            content=(messages.TextBlock(text=text),),
            visibility=MessageVisibility.internal,
        ),
    )


# --- messages ------------------------------------------------------------------------------------


def _behind(request: RunAgentInput) -> Sequence[tuple[int, PostedMessage]]:
    """The messages behind the last assistant message, with their places."""
    story = request.messages
    start = max((i for i, each in enumerate(story) if each.role == "assistant"), default=-1) + 1
    return list(enumerate(story))[start:]


def new_messages(request: RunAgentInput) -> list[Message]:
    """The user's, the system's and the developer's messages behind the last assistant message.

    Nothing new is said by instructions alone: without a message of the user they are left out.

    Raises:
        RequestError: `invalid_field`, naming the message or part.
    """
    fresh = [(i, each) for i, each in _behind(request) if each.role in _NEW]
    if not any(each.role == "user" for _, each in fresh):
        return []
    seen: set[str] = set()
    for index, given in fresh:
        if not is_client_id(given.id):
            raise invalid_field(f"messages[{index}].id", _VISIBLE)
        if given.id in seen:
            raise invalid_field(f"messages[{index}].id", "is there twice")
        seen.add(given.id)
    return [_message(given, f"messages[{index}]") for index, given in fresh]


def _message(given: PostedMessage, name: str) -> Message:
    user = given.role == "user"
    return Message(
        message_id=given.id,
        role=Role.user if user else Role.system,
        content=_content(given.content, f"{name}.content"),
        metadata={DEVELOPER: given.role} if given.role == "developer" else {},
    )


def _content(content: Any, name: str) -> tuple[messages.Block, ...]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list) or not content:
        raise invalid_field(name, "must be a text or a list of parts, and not empty")
    blocks = [_block(part, f"{name}[{index}]") for index, part in enumerate(content)]
    if sum(not isinstance(block, messages.TextBlock) for block in blocks) > MAX_FILES:
        raise invalid_field(name, f"may have at most {MAX_FILES} files")
    return tuple(blocks)


def _block(part: Any, name: str) -> messages.Block:
    if not isinstance(part, dict):
        raise invalid_field(name, "must be an object with a type")
    match part.get("type"):
        case "text":
            return messages.TextBlock(text=_text(part, "text", name))
        case "image":
            return messages.ImageBlock(source=_source(part, name))
        case "audio":
            return messages.AudioBlock(source=_source(part, name))
        case "video":
            return messages.VideoBlock(source=_source(part, name))
        case "document":
            return messages.DocumentBlock(source=_source(part, name))
        case "binary":
            return _binary(part, name)
        case _:
            raise invalid_field(
                f"{name}.type", "must be text, image, audio, video, document or binary"
            )


def _source(part: dict[str, Any], name: str) -> messages.Source:
    source, name = part.get("source"), f"{name}.source"
    if not isinstance(source, dict):
        raise invalid_field(name, "must be an object with type, value and mimeType")
    value = _text(source, "value", name)
    match source.get("type"):
        case "data":
            return _data(value, _text(source, "mimeType", name), f"{name}.value")
        case "url":
            kind = source.get("mimeType")
            return _url(value, kind if isinstance(kind, str) else None, f"{name}.value")
        case _:
            raise invalid_field(f"{name}.type", "must be data or url")


def _binary(part: dict[str, Any], name: str) -> messages.Block:
    """The file part of clients before 0.0.48."""
    kind = _text(part, "mimeType", name)
    if isinstance(part.get("data"), str):
        source = _data(part["data"], kind, f"{name}.data")
    else:
        source = _url(_text(part, "url", name), kind, f"{name}.url")
    match kind.partition("/")[0]:
        case "image":
            return messages.ImageBlock(source=source)
        case "audio":
            return messages.AudioBlock(source=source)
        case "video":
            return messages.VideoBlock(source=source)
        case _:
            return messages.DocumentBlock(source=source)


def _data(value: str, media_type: str, name: str) -> messages.Source:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_field(name, "must be base64") from error
    return messages.Base64Source(media_type=media_type, data=value)


def _url(value: str, media_type: str | None, name: str) -> messages.Source:
    if not value.startswith(("https://", "http://")):
        raise invalid_field(name, "must be an https: or http: address")
    return messages.UrlSource(url=value, media_type=media_type)


def _text(part: dict[str, Any], field: str, name: str) -> str:
    value = part.get(field)
    if not isinstance(value, str):
        raise invalid_field(f"{name}.{field}", "must be a string")
    return value


# --- answers -------------------------------------------------------------------------------------


def tool_results(request: RunAgentInput) -> dict[str, Choice]:
    """What the client's tools answered behind the last assistant message, by call.

    Raises:
        RequestError: `invalid_field`.
    """
    found: dict[str, Choice] = {}
    for index, given in _behind(request):
        if given.role != "tool":
            continue
        if not given.tool_call_id:
            raise invalid_field(f"messages[{index}].toolCallId", "is required in a tool message")
        found[given.tool_call_id] = _result(given)
    return found


def _result(given: PostedMessage) -> Choice:
    name = given.id if is_client_id(given.id) else None
    if given.error is not None:
        return Choice(action="cancel", payload={"reason": given.error}, message_id=name)
    return Choice(action="resume", payload=_plain(given.content), message_id=name)


def _plain(content: Any) -> Any:
    """The value of a result: text parts are one text, and JSON objects and lists are values."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in content
    ):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or content.strip()[:1] not in ("{", "["):
        return content
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content


def choice(entry: ResumeEntry, ticket: Ticket, name: str) -> Choice:
    """What an entry of `resume` decides about its ticket. Nothing is approved by silence.

    Raises:
        RequestError: `invalid_field`: no answer to what was asked.
    """
    if entry.status == "cancelled":
        return Choice(action="cancel", payload={"reason": "the question was abandoned"})
    if not asks_permission(ticket):
        return Choice(action="resume", payload=entry.payload)
    given = entry.payload
    if isinstance(given, bool):
        given = {"approved": given}
    approved = given.get("approved") if isinstance(given, dict) else None
    if not isinstance(approved, bool):
        raise invalid_field(f"{name}.payload.approved", "must be true or false")
    if not approved:
        reason = given.get("reason")
        return Choice(action="cancel", payload=None if reason is None else {"reason": reason})
    edited = given.get("editedArgs")
    return Choice(action="resume", payload=None if edited is None else {"arguments": edited})


def refused(code: str, message: str, **details: Any) -> RequestError:
    """A request that the protocol's rules forbid."""
    return RequestError(code, message, status=409, details=details)


_VISIBLE: Final = "must be 1 to 128 visible ASCII characters"
