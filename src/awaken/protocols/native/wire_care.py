"""The answers of the routes that care for data."""

from __future__ import annotations

from typing import Literal

from awaken.protocols.native.wire import AnswerModel, Page


class DeadLetter(AnswerModel):
    """A delivery that was given up.

    `reason` says why: it failed too often (`max_attempts`), no attempt could succeed (`failed`),
    its worker was lost too often (`poison`), or what is stored of it cannot be read (`undecodable`;
    then `mode` may be null). `last_error` is the code of the last error. `retried_by` is the run
    that takes its place, if there is one.
    """

    dispatch_id: str
    run_id: str
    thread_id: str
    agent_id: str | None
    reason: Literal["max_attempts", "poison", "failed", "undecodable"]
    last_error: str | None
    attempt: int
    expiries: int
    mode: str | None
    created_at: int
    finished_at: int
    retried_by: str | None


class DeadLetterPage(Page):
    items: list[DeadLetter]


class Discarded(AnswerModel):
    """The dead letter is in the list no more."""

    dispatch_id: str
    discarded: bool


class Counts(AnswerModel):
    """How many were deleted.

    `events` counts rows of the log, each with the entries of one commit; `specs` are pinned
    specifications that no other run needed.
    """

    threads: int
    runs: int
    dispatches: int
    messages: int
    pending: int
    tickets: int
    events: int
    specs: int


class Deleted(AnswerModel):
    """What a deletion came to."""

    deleted: Counts
