"""From a posted chat to what it asks for: a submission, or answers to calls that wait.

A client posts its whole history. What of it is new: the user's messages behind the last assistant
message; of these the thread leaves out what it knows by id. Everything before is the client's
story, and the server's own history counts instead. Answers are read from the last message only, and
only say which call they are about; whether that call waits, and for whom, our tickets say.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

from awaken.domain import message as messages
from awaken.domain.ids import is_client_id
from awaken.domain.message import Message, Role
from awaken.domain.record import Record
from awaken.domain.submission import Branch, OnBusy, Submission
from awaken.errors import RequestError
from awaken.protocols.ai_sdk.wire import ChatRequest, UIMessage
from awaken.protocols.native.decode import Caller, invalid_field

ADAPTER: Final = "ai_sdk"

MAX_FILES: Final = 16


class Answer(Record):
    """What the client says about a call.

    `ticket_id` is the approval's, where the client has one. `allowed` is None when the client
    executed the call itself: then `output` or `error` is what came of it.
    """

    call_id: str
    ticket_id: str | None = None
    allowed: bool | None = None
    reason: str | None = None
    output: Any = None
    error: str | None = None


class Answers(Record):
    """A client that goes on: `message_id` names the assistant message, which is a run's."""

    message_id: str | None
    answers: tuple[Answer, ...]


def chat_id(request: ChatRequest, given: str | None) -> str | None:
    """The thread of a request; `given` is the one in the path.

    Raises:
        RequestError: `invalid_field`: no id that a client may use.
    """
    named = given or request.thread_id or request.id
    if named is not None and not is_client_id(named):
        field = "threadId" if request.thread_id else "id"
        raise invalid_field(field, "must be 1 to 128 visible ASCII characters")
    return named


def answers(request: ChatRequest) -> Answers | None:
    """The answers in the last message; None when the request is not about these.

    Raises:
        RequestError: `invalid_field`: an answer that is none.
    """
    story = request.story
    if not story or request.trigger != "submit-message" or story[-1].role != "assistant":
        return None
    last = len(story) - 1
    found = [
        answer
        for index, part in enumerate(story[-1].parts)
        if (answer := _answer(part, f"messages[{last}].parts[{index}]")) is not None
    ]
    return Answers(message_id=story[-1].id, answers=tuple(found))


def submission(
    request: ChatRequest,
    caller: Caller,
    new_id: Callable[[], str],
    *,
    thread_id: str | None,
    agent_id: str | None,
) -> Submission:
    """The run that a request asks for.

    Raises:
        RequestError: `invalid_field`, naming the message or part.
    """
    branch = _branch(request)
    again = branch is not None and branch.kind == "regenerate"
    return Submission(
        tenant=caller.tenant,
        run_id=new_id(),
        thread_id=thread_id,
        agent_id=agent_id or request.agent_id,
        messages=() if again else tuple(_new_messages(request, new_id)),
        on_busy=OnBusy.interrupt,
        branch=branch,
        known_stands=True,
        adapter=ADAPTER,
        actor=caller.actor,
        transport_request_id=caller.transport_request_id,
        correlation_id=caller.correlation_id,
    )


# --- messages ------------------------------------------------------------------------------------


def _branch(request: ChatRequest) -> Branch | None:
    """Whether the request goes back in the conversation."""
    story = request.story
    if request.trigger == "regenerate-message":
        return Branch(kind="regenerate", message_id=_regenerated(request))
    if request.message_id is None or not story:
        return None
    edits = story[-1].role == "user" and story[-1].id == request.message_id
    return Branch(kind="edit", message_id=request.message_id) if edits else None


def _regenerated(request: ChatRequest) -> str:
    """The user's message whose answer is made anew: the client has cut its story behind it."""
    asked = [message.id for message in request.story if message.role == "user" and message.id]
    named = asked[-1] if asked else request.message_id
    if named is None:
        raise invalid_field("messages", "must end with the user's message to be answered anew")
    return named


def _new_messages(request: ChatRequest, new_id: Callable[[], str]) -> Iterator[Message]:
    """The user's messages behind the last assistant message."""
    story = request.story
    behind = max((i for i, each in enumerate(story) if each.role == "assistant"), default=-1) + 1
    asked = [i for i in range(behind, len(story)) if story[i].role == "user"]
    if not asked:
        raise invalid_field("messages", "must end with a message of the user")
    seen: set[str] = set()
    for index in asked[-1:] if request.message_id else asked:
        given = story[index]
        name = f"messages[{index}]"
        if given.id is not None and not is_client_id(given.id):
            raise invalid_field(f"{name}.id", "must be 1 to 128 visible ASCII characters")
        if given.id in seen:
            raise invalid_field(f"{name}.id", "is there twice")
        seen.add(given.id or "")
        yield Message(
            message_id=given.id or new_id(), role=Role.user, content=_content(given, name)
        )


def _content(given: UIMessage, name: str) -> tuple[messages.Block, ...]:
    blocks: list[messages.Block] = []
    if not given.parts and given.content:
        blocks.append(messages.TextBlock(text=given.content))
    for index, part in enumerate(given.parts):
        block = _block(part, f"{name}.parts[{index}]")
        if block is not None:
            blocks.append(block)
    if not blocks:
        raise invalid_field(f"{name}.parts", "must have a text or a file")
    if sum(not isinstance(block, messages.TextBlock) for block in blocks) > MAX_FILES:
        raise invalid_field(f"{name}.parts", f"may have at most {MAX_FILES} files")
    return tuple(blocks)


def _block(part: dict[str, Any], name: str) -> messages.Block | None:
    """A block, or None for a part that has no meaning here (step-start, data, sources)."""
    match part.get("type"):
        case "text":
            text = _text(part, "text", name)
            return messages.TextBlock(text=text) if text else None
        case "file":
            return _file(part, name)
        case str():
            return None
        case _:
            raise invalid_field(f"{name}.type", "must be a string")


def _file(part: dict[str, Any], name: str) -> messages.Block:
    media_type, url = _text(part, "mediaType", name), _text(part, "url", name)
    source = _source(url, media_type, f"{name}.url")
    match media_type.partition("/")[0]:
        case "image":
            return messages.ImageBlock(source=source)
        case "audio":
            return messages.AudioBlock(source=source)
        case "video":
            return messages.VideoBlock(source=source)
        case _:
            title = part.get("filename")
            return messages.DocumentBlock(
                source=source, title=title if isinstance(title, str) else None
            )


def _source(url: str, media_type: str, name: str) -> messages.Source:
    if url.startswith("data:"):
        return messages.Base64Source(media_type=media_type, data=_data(url, media_type, name))
    if not url.startswith(("https://", "http://")):
        raise invalid_field(name, "must be a data:, https: or http: address")
    return messages.UrlSource(url=url, media_type=media_type)


def _data(url: str, media_type: str, name: str) -> str:
    """The content of a data: address, in base64."""
    head, comma, body = url.removeprefix("data:").partition(",")
    kind, *options = head.split(";")
    if not comma:
        raise invalid_field(name, "is no data: address")
    if kind and kind.lower() != media_type.lower():
        raise invalid_field(name, f"is of type {kind!r}, but mediaType says {media_type!r}")
    if "base64" not in options:
        return base64.b64encode(unquote_to_bytes(body)).decode("ascii")
    try:
        base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise invalid_field(name, "must be base64") from error
    return body


def _text(part: dict[str, Any], field: str, name: str) -> str:
    value = part.get(field)
    if not isinstance(value, str):
        raise invalid_field(f"{name}.{field}", "must be a string")
    return value


# --- answers -------------------------------------------------------------------------------------

_ANSWERED: Final = frozenset(
    {"approval-responded", "output-available", "output-error", "output-denied"}
)


def _answer(part: dict[str, Any], name: str) -> Answer | None:
    kind = part.get("type")
    if not isinstance(kind, str) or not (kind.startswith("tool-") or kind == "dynamic-tool"):
        return None
    state = part.get("state")
    if state not in _ANSWERED:
        return None
    call_id = _text(part, "toolCallId", name)
    if state in ("approval-responded", "output-denied"):
        return _approval(part, call_id, state, name)
    if part.get("providerExecuted") or part.get("preliminary"):
        return None  # the server's own result, shown back to it
    if state == "output-error":
        return Answer(call_id=call_id, error=_text(part, "errorText", name))
    return Answer(call_id=call_id, output=part.get("output"))


def _approval(
    part: dict[str, Any],
    call_id: str,
    state: Literal["approval-responded", "output-denied"],
    name: str,
) -> Answer:
    approval = part.get("approval")
    if not isinstance(approval, dict):
        raise invalid_field(f"{name}.approval", "must be an object with id and approved")
    allowed = approval.get("approved", False if state == "output-denied" else None)
    if not isinstance(allowed, bool):
        raise invalid_field(f"{name}.approval.approved", "must be true or false")
    reason = approval.get("reason")
    return Answer(
        call_id=call_id,
        ticket_id=_text(approval, "id", f"{name}.approval"),
        allowed=allowed,
        reason=reason if isinstance(reason, str) else None,
    )


def refused(code: str, message: str, **details: Any) -> RequestError:
    """A refusal of answers."""
    return RequestError(code, message, status=409, details=details)
