"""What the routes about messages that wait to be read take and answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from awaken.protocols.native.wire import (
    MAX_MESSAGES,
    MAX_TIME,
    AnswerModel,
    ClientId,
    Content,
    Input,
    RequestModel,
    StopRequest,
)


class Delivery(RequestModel):
    """When and by which run messages are read."""

    boundary: Literal["interrupt", "next_step", "on_natural_end", "resume_input", "new_run"] = (
        Field(
            default="new_run",
            description="`interrupt` what runs; at the `next_step` or `on_natural_end` of the run "
            "that goes on; `resume_input`: as the answer a run waits for; in a `new_run`.",
        )
    )
    granularity: Literal["one", "batch"] = Field(
        default="batch", description="Read alone, or together with what else is ready."
    )
    barrier: bool = Field(default=False, description="Nothing that came later is read before it.")
    target_run_id: ClientId | None = Field(
        default=None, description="Only this run may read it. Default: the one that goes on."
    )
    fallback: bool = Field(
        default=True,
        description="Whether a run of its own starts if no run reads it; else it is retracted.",
    )


class MessagesRequest(Input):
    """Messages for a thread."""

    mode: Literal["queue", "steer", "interrupt_then_queue"] = Field(
        default="queue",
        description="Wait behind what runs, be read by it, or stop it first.",
    )
    delivery: Delivery | None = Field(default=None, description="In place of `mode`, in detail.")
    available_at: int | None = Field(default=None, ge=0, le=MAX_TIME)
    dedupe_key: ClientId | None = None


class InputsRequest(Input):
    """Messages for a run that goes on or waits."""

    mode: Literal[
        "queue", "steer", "live_then_queue", "interrupt_then_queue", "resume_open_run"
    ] = Field(
        default="steer",
        description="`steer` (or `live_then_queue`): read by the run at its next step or its end. "
        "`resume_open_run`: the answer that it waits for.",
    )
    delivery: Delivery | None = Field(default=None, description="In place of `mode`, in detail.")


class PendingEdit(RequestModel):
    """Other content for a message that was not read yet."""

    content: Content


class PendingOrder(RequestModel):
    """The queue in another order."""

    message_ids: list[ClientId] = Field(
        max_length=MAX_MESSAGES, description="The ids of all pending messages, each once."
    )


class ThreadStopRequest(StopRequest):
    """What of a thread is to be stopped, and why."""

    message_id: ClientId | None = Field(
        default=None,
        description="Only what this message started. One that has not arrived yet is stopped when "
        "it arrives within a minute.",
    )


class PendingMessage(AnswerModel):
    """A message that waits to be read; `revision` is what a change of it has to name."""

    message_id: str
    position: int
    revision: int
    role: str
    content: list[dict[str, Any]]
    run_id: str | None
    fallback_run_id: str | None
    boundary: str
    granularity: str
    barrier: bool
    created_at: int


class PendingQueue(AnswerModel):
    """All that waits on a thread, in order; `revision` is what a new order has to name."""

    thread_id: str
    revision: int
    items: list[PendingMessage]
