"""From a request of the native API to a submission, or to a refusal that names the field.

Pure: ids and the tenant are arguments.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, assert_never
from urllib.parse import parse_qsl

from msgspec.structs import replace
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from awaken.domain import message as messages
from awaken.domain.delivery import Boundary, DeliveryMode, Granularity
from awaken.domain.dispatch import Mode
from awaken.domain.ids import is_client_id
from awaken.domain.message import Message, Role
from awaken.domain.record import Record
from awaken.domain.run import OnDisconnect, Run
from awaken.domain.submission import IdempotencyKey, OnBusy, Submission
from awaken.errors import RequestError
from awaken.protocols.native import wire, wire_pending

MAX_PROBLEMS = 20
"""How many problems of one request are listed."""

RequestT = TypeVar("RequestT", bound=BaseModel)


class Caller(Record):
    """Whose request it is, and what it calls itself.

    `actor` is the name that stops and decisions are recorded under. `credential` is what limits are
    counted by, no secret, and empty where nothing is counted. `route` is the method and path, which
    `idempotency_key` belongs to.
    """

    tenant: str
    actor: str = "user"
    credential: str = ""
    transport_request_id: str | None = None
    correlation_id: str | None = None
    route: str = ""
    idempotency_key: str | None = None


# --- bodies --------------------------------------------------------------------------------------


def json_value(body: bytes) -> Any:
    """The JSON value of `body`, by RFC 8259: no NaN, no lone surrogates.

    Raises:
        RequestError: `invalid_json`, status 400.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError("invalid_json", f"the body is not JSON: {error}") from error


def parse(model: type[RequestT], body: bytes) -> RequestT:
    """The request in `body`.

    Raises:
        RequestError: `invalid_json` (400), `unknown_field` or `invalid_field` (422).
    """
    try:
        return model.model_validate(json_value(body))
    except ValidationError as error:
        raise refused(error.errors(include_url=False, include_input=False)) from error


def refused(problems: Sequence[Mapping[str, Any]]) -> RequestError:
    """What to tell a client about the problems a validation found."""
    first = problems[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", first["msg"])
        return RequestError("invalid_json", f"the body is not JSON: {reason}")
    listed = [
        {"field": field_name(problem["loc"]), "message": problem_text(problem)}
        for problem in problems[:MAX_PROBLEMS]
    ]
    field, text = listed[0]["field"], listed[0]["message"]
    return RequestError(
        "unknown_field" if first["type"] == "extra_forbidden" else "invalid_field",
        f"{field}: {text}" if field else text,
        status=422,
        details={"field": field, "problems": listed},
    )


def field_name(path: Iterable[str | int]) -> str:
    """`messages[0].role` of a validator's path. Names of union branches stand in angle brackets."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not part.startswith("<"):
            name += f".{part}" if name else part
    return name


def problem_text(problem: Mapping[str, Any]) -> str:
    """One problem, in words of the API."""
    match problem["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "is required"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a JSON object"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")


# --- submissions ---------------------------------------------------------------------------------


def run_submission(
    request: wire.RunRequest, caller: Caller, new_id: Callable[[], str]
) -> Submission:
    """A run somebody waits for."""
    return _submission(
        request,
        caller,
        new_id,
        thread_id=request.thread_id,
        mode=Mode.foreground,
        on_busy=OnBusy(request.on_busy),
        on_disconnect=OnDisconnect(request.on_disconnect),
    )


def background_submission(
    request: wire.BackgroundRequest, caller: Caller, new_id: Callable[[], str]
) -> Submission:
    """A run nobody waits for."""
    return _submission(
        request,
        caller,
        new_id,
        thread_id=request.thread_id,
        mode=Mode.background,
        on_busy=OnBusy(request.on_busy),
        available_at=request.available_at,
        dedupe_key=request.dedupe_key,
    )


def thread_submission(
    request: wire_pending.MessagesRequest,
    thread_id: str,
    caller: Caller,
    new_id: Callable[[], str],
) -> Submission:
    """Messages for a thread."""
    on_busy, delivery = _delivered(request.mode, request.delivery, None)
    submission = _submission(
        request,
        caller,
        new_id,
        thread_id=thread_id,
        mode=Mode.background,
        on_busy=on_busy,
        available_at=request.available_at,
        dedupe_key=request.dedupe_key,
    )
    return replace(submission, delivery=delivery)


def run_inputs(
    request: wire_pending.InputsRequest, run: Run, caller: Caller, new_id: Callable[[], str]
) -> Submission:
    """Messages for a run."""
    on_busy, delivery = _delivered(request.mode, request.delivery, run.run_id)
    submission = _submission(
        request,
        caller,
        new_id,
        thread_id=run.thread_id,
        mode=Mode.background,
        on_busy=on_busy,
    )
    agent_id = request.agent_id or run.agent_id
    return replace(submission, delivery=delivery, agent_id=agent_id)


_MODES: Final = {
    "queue": Boundary.new_run,
    "steer": Boundary.next_step,
    "live_then_queue": Boundary.next_step,
    "interrupt_then_queue": Boundary.interrupt,
    "resume_open_run": Boundary.resume_input,
}
_ON_BUSY: Final = {
    Boundary.interrupt: OnBusy.interrupt,
    Boundary.next_step: OnBusy.steer,
    Boundary.on_natural_end: OnBusy.steer,
    Boundary.resume_input: OnBusy.enqueue,
    Boundary.new_run: OnBusy.enqueue,
}


def _delivered(
    mode: str, given: wire_pending.Delivery | None, run_id: str | None
) -> tuple[OnBusy, DeliveryMode]:
    """What a delivery does to a busy thread; `run_id` is the run it is addressed to."""
    if given is None:
        delivery = DeliveryMode(boundary=_MODES[mode], target_run=run_id)
    else:
        delivery = DeliveryMode(
            boundary=Boundary(given.boundary),
            granularity=Granularity(given.granularity),
            barrier=given.barrier,
            target_run=given.target_run_id or run_id,
            fallback=given.fallback,
        )
    return _ON_BUSY[delivery.boundary], delivery


def _submission(
    request: wire.Input,
    caller: Caller,
    new_id: Callable[[], str],
    *,
    thread_id: str | None,
    mode: Mode,
    on_busy: OnBusy,
    on_disconnect: OnDisconnect = OnDisconnect.keep_going,
    available_at: int | None = None,
    dedupe_key: str | None = None,
) -> Submission:
    return Submission(
        tenant=caller.tenant,
        run_id=new_id(),
        thread_id=thread_id,
        agent_id=request.agent_id,
        messages=input_messages(request.messages, new_id),
        mode=mode,
        on_busy=on_busy,
        priority=request.priority,
        available_at=available_at,
        dedupe_key=dedupe_key,
        on_disconnect=on_disconnect,
        actor=caller.actor,
        idempotency=_idempotency(request, caller),
        transport_request_id=caller.transport_request_id,
        correlation_id=caller.correlation_id,
        metadata=request.metadata,
    )


def _idempotency(request: wire.Input, caller: Caller) -> IdempotencyKey | None:
    if caller.idempotency_key is None:
        return None
    body = request.model_dump_json().encode()
    return IdempotencyKey(
        route=caller.route,
        key=caller.idempotency_key,
        fingerprint=hashlib.sha256(body).hexdigest(),
    )


def input_messages(
    inputs: Sequence[wire.InputMessage], new_id: Callable[[], str]
) -> tuple[Message, ...]:
    """The messages of a submission; a client's own ids are kept.

    Raises:
        RequestError: `invalid_field` when an id is there twice.
    """
    seen: set[str] = set()
    for index, given in enumerate(inputs):
        if given.id is not None and given.id in seen:
            raise invalid_field(f"messages[{index}].id", "is there twice")
        seen.add(given.id or "")
    return tuple(
        Message(
            message_id=given.id or new_id(),
            role=Role(given.role),
            content=content_blocks(given.content),
        )
        for given in inputs
    )


def content_blocks(content: str | list[wire.Block]) -> tuple[messages.Block, ...]:
    """The content of a message."""
    if isinstance(content, str):
        return (messages.TextBlock(text=content),)
    return tuple(_block(block) for block in content)


def _block(block: wire.Block) -> messages.Block:
    match block:
        case wire.TextBlock():
            return messages.TextBlock(text=block.text)
        case wire.ThinkingBlock():
            return messages.ThinkingBlock(thinking=block.thinking, signature=block.signature)
        case wire.ImageBlock():
            return messages.ImageBlock(source=_source(block.source))
        case wire.DocumentBlock():
            return messages.DocumentBlock(source=_source(block.source), title=block.title)
        case wire.AudioBlock():
            return messages.AudioBlock(source=_source(block.source))
        case wire.VideoBlock():
            return messages.VideoBlock(source=_source(block.source))
        case _ as never:
            assert_never(never)


def _source(source: wire.Source) -> messages.Source:
    match source:
        case wire.Base64Source():
            return messages.Base64Source(media_type=source.media_type, data=source.data)
        case wire.UrlSource():
            return messages.UrlSource(url=source.url, media_type=source.media_type)
        case _ as never:
            assert_never(never)


# --- parameters and single values ----------------------------------------------------------------


def invalid_field(field: str, problem: str) -> RequestError:
    """The refusal of one field."""
    return RequestError(
        "invalid_field", f"{field}: {problem}", status=422, details={"field": field}
    )


def idempotency_key(value: str | None) -> str | None:
    """The `Idempotency-Key` of a request.

    Raises:
        RequestError: `invalid_field`, it is not 1 to 255 visible ASCII characters.
    """
    if value is not None and not re.fullmatch(r"[!-~]{1,255}", value):
        raise invalid_field("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    return value


def request_id(value: str | None) -> str | None:
    """A header's id, or None when it is not one we would store."""
    return value if value is not None and is_client_id(value) else None


def text_parameters(query: str, known: Sequence[str]) -> dict[str, str]:
    """The parameters of a query string.

    Raises:
        RequestError: `unknown_field` for one that is not known, `invalid_field` for one that is
            there twice (422).
    """
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise RequestError(
                "unknown_field",
                f"{name[:100]}: unknown parameter; there are: {', '.join(known)}",
                status=422,
                details={"field": name[:100]},
            )
        if name in given:
            raise invalid_field(name, "is there twice")
        given[name] = value
    return given


def sequence_number(field: str, text: str) -> int:
    """A position in an event log.

    Raises:
        RequestError: `invalid_cursor`, status 400.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RequestError(
            "invalid_cursor",
            f"{field} must be the number of a log entry, 0 or more",
            details={"field": field},
        )
    return int(text)
