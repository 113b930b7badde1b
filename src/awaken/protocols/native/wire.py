"""What the native HTTP API reads and writes.

Requests are strict: unknown fields and wrong types are refused; camelCase is accepted beside
snake_case. Answers are snake_case. A public format must not change because a record did, so these
models are our own: `decode` turns requests into records, `views` turns records into answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)
from pydantic.alias_generators import to_camel

from awaken.domain.ids import MAX_CLIENT_ID, is_client_id

MAX_MESSAGES = 1_000
"""Messages one submission may bring."""
MAX_TIME = 2**53 - 1
"""The latest time that every JSON reader can tell exactly."""


def _both_cases(name: str) -> str | AliasChoices:
    camel = to_camel(name)
    return name if camel == name else AliasChoices(name, camel)


def _client_id(value: str) -> str:
    if not is_client_id(value):
        raise ValueError(f"must be 1 to {MAX_CLIENT_ID} visible ASCII characters")
    return value


ClientId = Annotated[
    str,
    AfterValidator(_client_id),
    Field(
        description="1 to 128 visible ASCII characters.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_CLIENT_ID, "pattern": "^[!-~]+$"},
    ),
]


class RequestModel(BaseModel):
    """Base of what clients send."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=_both_cases),
    )


class AnswerModel(BaseModel):
    """Base of what clients are sent: every field is always there, absent values are null."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


# --- content, the same both ways -----------------------------------------------------------------


class Base64Source(RequestModel):
    type: Literal["base64"] = "base64"
    media_type: str
    data: str


class UrlSource(RequestModel):
    type: Literal["url"] = "url"
    url: str
    media_type: str | None = None


def _tag(value: Any) -> str | None:
    """The union branch of a block or source. The angle brackets keep tags out of field names."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if isinstance(kind, str) else None


Source = Annotated[
    Annotated[Base64Source, Tag("<base64>")] | Annotated[UrlSource, Tag("<url>")],
    Discriminator(
        _tag,
        custom_error_type="source_type",
        custom_error_message="'type' must be 'base64' or 'url'",
    ),
]


class TextBlock(RequestModel):
    type: Literal["text"] = "text"
    text: str


class ThinkingBlock(RequestModel):
    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str | None = None


class ImageBlock(RequestModel):
    type: Literal["image"] = "image"
    source: Source


class DocumentBlock(RequestModel):
    type: Literal["document"] = "document"
    source: Source
    title: str | None = None


class AudioBlock(RequestModel):
    type: Literal["audio"] = "audio"
    source: Source


class VideoBlock(RequestModel):
    type: Literal["video"] = "video"
    source: Source


Block = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[AudioBlock, Tag("<audio>")]
    | Annotated[VideoBlock, Tag("<video>")],
    Discriminator(
        _tag,
        custom_error_type="block_type",
        custom_error_message="'type' must be text, thinking, image, document, audio or video",
    ),
]


def _content_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<string>"
    return "<blocks>" if isinstance(value, list) else None


Content = Annotated[
    Annotated[Annotated[str, Field(min_length=1)], Tag("<string>")]
    | Annotated[Annotated[list[Block], Field(min_length=1)], Tag("<blocks>")],
    Discriminator(
        _content_tag,
        custom_error_type="content_type",
        custom_error_message="must be a string or a list of content blocks",
    ),
]


# --- requests ------------------------------------------------------------------------------------


class InputMessage(RequestModel):
    """A message to submit. `id` makes repeating it harmless; without one the server makes one."""

    role: Literal["user", "system", "assistant"]
    content: Content
    id: ClientId | None = Field(
        default=None, validation_alias=AliasChoices("id", "message_id", "messageId")
    )


class Input(RequestModel):
    """What every submission of messages may say."""

    agent_id: ClientId | None = Field(
        default=None, description="Default: the agent of the thread's latest run, else `default`."
    )
    messages: list[InputMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    priority: int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="0 is served first; default 64, in the background 128.",
    )
    metadata: dict[str, Any] = Field(
        default={}, description="Kept with the run, never interpreted."
    )


OnBusy = Literal["interrupt", "enqueue", "steer", "rollback", "reject"]


class RunRequest(Input):
    """A run somebody waits for."""

    thread_id: ClientId | None = Field(default=None, description="Default: a new thread.")
    on_busy: OnBusy = Field(
        default="interrupt",
        description="When the thread is busy: stop what runs, wait behind it, be read by it, "
        "stop it and hide its messages, or be refused (409).",
    )
    on_disconnect: Literal["continue", "cancel"] = Field(
        default="continue",
        description="`cancel`: stop the run when no reader has been attached for 10 s.",
    )


class BackgroundRequest(Input):
    """A run nobody waits for."""

    thread_id: ClientId | None = Field(default=None, description="Default: a new thread.")
    on_busy: OnBusy = "enqueue"
    on_disconnect: Literal["continue"] = "continue"
    available_at: int | None = Field(
        default=None, ge=0, le=MAX_TIME, description="Not before this time, epoch ms."
    )
    dedupe_key: ClientId | None = Field(
        default=None, description="At most one unfinished run of the thread has this key."
    )


class DecisionRequest(RequestModel):
    """The answer to a ticket."""

    action: str = Field(
        description="`resume` goes on with the call, `cancel` denies it.",
        json_schema_extra={"enum": ["resume", "cancel"]},
    )
    payload: Any = Field(
        default=None,
        description="What `resume_mode` asks for: edited arguments as `{arguments}`, the answer to "
        "a question, or the result of the call. When denying: `{reason}`, or a text.",
    )
    decision_id: ClientId | None = Field(
        default=None, description="Makes repeating the decision harmless. Default: a new id."
    )
    arguments_hash: str | None = Field(
        default=None,
        description="That of the ticket as it was seen: refused (409) if it is another by now.",
    )
    remember: Literal["allow", "deny"] | None = Field(
        default=None,
        description="Make a rule of it: nobody is asked again about these very arguments.",
    )


class AddressedDecision(DecisionRequest):
    """The answer to a ticket that is named in one of two ways."""

    ticket_id: str | None = None
    tool_call_id: str | None = Field(
        default=None, description="The call that waits, in place of `ticket_id`."
    )


class StopRequest(RequestModel):
    """Why something is to be stopped."""

    reason: str | None = Field(default=None, max_length=1_000)


class ThreadRequest(RequestModel):
    """A thread to create."""

    thread_id: ClientId | None = Field(default=None, description="Default: a new id.")
    title: str | None = Field(default=None, max_length=1_000)
    resource_id: ClientId | None = None
    parent_thread_id: ClientId | None = None
    custom: dict[str, Any] | None = None


class ThreadChanges(RequestModel):
    """Changes of a thread: what is absent stays, null clears; `custom` is merged, key by key."""

    title: str | None = Field(default=None, max_length=1_000)
    resource_id: ClientId | None = None
    parent_thread_id: ClientId | None = None
    custom: dict[str, Any] = Field(default={}, description="A key set to null is removed.")


# --- answers -------------------------------------------------------------------------------------


class ErrorBody(AnswerModel):
    """`code` is stable; `message` is for people."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class ErrorAnswer(AnswerModel):
    """Every refusal of every route."""

    error: ErrorBody


class Accepted(AnswerModel):
    """The submission is durable. A stream that starts behind `cursor` shows all of its run."""

    run_id: str
    dispatch_id: str
    thread_id: str
    status: Literal["created", "running", "waiting", "done"]
    position: int | None
    cursor: int
    fallback_run_id: str | None = Field(
        default=None,
        description="For messages that steer: the run that starts with them if `run_id` does not "
        "read them.",
    )


class Decision(AnswerModel):
    """How a ticket was answered."""

    decision_id: str
    action: str
    payload: Any
    by: str | None
    decided_at: int


class Ticket(AnswerModel):
    """An open question of a run, or one that was answered.

    `resume_mode` says what the answer is used for: `replay_tool_call` allows the call,
    `pass_decision_to_tool` answers the tool's question, `use_decision_as_tool_result` is the
    result of the call. `response_schema` is the JSON schema the payload must fit. `quorum` people
    have to allow it; `approved_by` are those who did before the last one. `on_expiry` says what
    happens at `expires_at`: the call is denied, or the run is stopped.
    """

    ticket_id: str
    thread_id: str
    run_id: str
    tool_call_id: str
    tool_name: str
    arguments: Any
    arguments_hash: str
    reason: str
    resume_mode: Literal["replay_tool_call", "use_decision_as_tool_result", "pass_decision_to_tool"]
    message: str | None
    response_schema: dict[str, Any] | None
    status: Literal["open", "answered", "denied", "expired", "cancelled", "superseded"]
    opened_at: int
    expires_at: int | None
    on_expiry: Literal["deny", "cancel", "leave"]
    quorum: int
    approved_by: list[str]
    closed_at: int | None
    decision: Decision | None


class Decided(AnswerModel):
    """The ticket as it is now; `resumed` when its run goes on, having no other open ticket."""

    ticket: Ticket
    resumed: bool


class Waiting(AnswerModel):
    """Why a run waits; `tickets` are those that are open, at most the latest 200."""

    reason: str
    since: int
    ticket_ids: list[str]
    tickets: list[Ticket]


class Usage(AnswerModel):
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Result(AnswerModel):
    """The final text."""

    response: str


class Run(AnswerModel):
    """A run. `termination` and `result` are those of its `run_finish` event, null before it."""

    run_id: str
    thread_id: str
    agent_id: str
    status: Literal["created", "running", "waiting", "done"]
    waiting: Waiting | None
    termination: dict[str, Any] | None
    result: Result | None
    parent_run_id: str | None
    retry_of: str | None
    started_by: str | None
    client_run_id: str | None
    dispatch_id: str | None
    resolution_id: str
    origin: str
    adapter: str
    on_disconnect: str
    activation: int
    steps: int
    usage: Usage
    active_ms: int
    input_message_seqs: list[int]
    output_message_seqs: list[int]
    metadata: dict[str, Any]
    created_at: int
    started_at: int | None
    finished_at: int | None
    updated_at: int


class ActiveRun(AnswerModel):
    """The thread's run that is running or waits, if there is one."""

    active_run: Run | None


class Stopped(AnswerModel):
    """What a request to stop a run came to."""

    status: str
    run_id: str


class ThreadStopped(AnswerModel):
    """What a request to stop a thread came to."""

    status: str
    thread_id: str
    superseded_dispatches: int


class LedgerCall(AnswerModel):
    """A tool call of the step that is open; `begun` counts how often it was started.

    `ticket_id` is the question it waits for or waited for; `succeeded` is null before its result.
    """

    id: str
    name: str
    status: Literal["planned", "started", "suspended", "done"]
    begun: int
    ticket_id: str | None
    succeeded: bool | None


class Explanation(AnswerModel):
    """Why a run is where it is, what happens next, and when (`next_at`, epoch ms)."""

    run_id: str
    thread_id: str
    status: str
    summary: str
    next_step: str
    next_at: int | None
    waits_for: list[str]
    attempts: int
    expiries: int
    activation: int
    last_error: str | None
    lease_holder: str | None
    lease_until: int | None
    dispatch_id: str | None
    dispatch_state: str | None
    position: int | None
    blocked_by_run_id: str | None
    tool_calls: list[LedgerCall]


class Thread(AnswerModel):
    """A conversation's metadata; `id` repeats `thread_id`."""

    id: str
    thread_id: str
    title: str | None
    resource_id: str | None
    parent_thread_id: str | None
    agent_id: str | None
    latest_run_id: str | None
    custom: dict[str, Any]
    created_at: int
    updated_at: int


class ThreadSummary(AnswerModel):
    """A line of a list of conversations."""

    id: str
    thread_id: str
    title: str | None
    resource_id: str | None
    parent_thread_id: str | None
    agent_id: str | None
    updated_at: int


class Message(AnswerModel):
    """A committed message; `message_seq` is its place in the thread. `id` repeats `message_id`."""

    id: str
    message_id: str
    message_seq: int
    thread_id: str
    run_id: str | None
    role: Literal["system", "user", "assistant", "tool"]
    content: list[dict[str, Any]]
    tool_calls: list[dict[str, Any]]
    tool_call_id: str | None
    visibility: Literal["all", "internal", "replaced"]
    interrupted: bool
    client_id: str | None
    metadata: dict[str, Any]
    created_at: int
    replaced_by: str | None


class ThreadSnapshot(AnswerModel):
    """The `data` of a `thread_snapshot` event.

    `messages` are the latest ones, in order. The stream goes on behind `seq`: what a client has of
    it already it recognises by `message_seq`.
    """

    seq: int
    thread: Thread
    messages: list[Message]
    has_more: bool
    active_run_id: str | None


class LogEntry(AnswerModel):
    """An entry of a thread's event log: the same object as the `data` of its stream frame."""

    seq: int
    thread_id: str
    run_id: str | None
    at: int
    event: dict[str, Any]


class Dispatch(AnswerModel):
    """One delivery of a run."""

    dispatch_id: str
    thread_id: str
    run_id: str
    mode: str
    status: Literal["queued", "claimed", "acked", "cancelled", "superseded", "dead_letter"]
    priority: int
    dedupe_key: str | None
    epoch: int
    attempt: int
    expiries: int
    max_attempts: int
    last_error: str | None
    available_at: int | None
    claimed_by: str | None
    lease_until: int | None
    cancel_requested: bool
    finished_at: int | None
    reason: str | None
    created_at: int
    updated_at: int


class Worker(AnswerModel):
    """What this process executes, and how much it may."""

    worker_id: str
    executing: int
    slots: int
    draining: bool


class MailboxStats(AnswerModel):
    """Dispatches by state; `oldest_due_ms` is how long the first one that could be served waits."""

    queued: int
    claimed: int
    acked: int
    cancelled: int
    superseded: int
    dead_letter: int
    in_line: int
    oldest_due_ms: int | None
    worker: Worker


class Page(AnswerModel):
    """One page of a list. `next_cursor` asks for the next one and belongs to the same filters."""

    next_cursor: str | None
    has_more: bool


class RunPage(Page):
    items: list[Run]


class ThreadPage(Page):
    items: list[Thread]


class ThreadSummaryPage(Page):
    items: list[ThreadSummary]


class MessagePage(Page):
    items: list[Message]


class EventPage(Page):
    items: list[LogEntry]


class DispatchPage(Page):
    items: list[Dispatch]


class TicketPage(Page):
    items: list[Ticket]
