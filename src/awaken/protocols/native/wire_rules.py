"""What the routes about approval rules take and answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from awaken.protocols.native.wire import (
    MAX_TIME,
    AnswerModel,
    ClientId,
    Page,
    RequestModel,
)

MAX_PATTERN = 1_000
MAX_ARGUMENTS = 50


class Pattern(RequestModel):
    """What an argument must be: exactly one of the three."""

    equals: Any = Field(default=None, description="This JSON value.")
    prefix: str | None = Field(
        default=None, min_length=1, max_length=MAX_PATTERN, description="A text that begins so."
    )
    glob: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PATTERN,
        description="A text of this form: `*` is any text, `?` one character.",
    )

    @model_validator(mode="after")
    def _one(self) -> Pattern:
        if len(self.model_fields_set) != 1:
            raise ValueError("expected one of equals, prefix and glob")
        return self


class RuleRequest(RequestModel):
    """An approval rule to make."""

    tool: str = Field(min_length=1, max_length=200, description="The tool's name.")
    effect: Literal["allow", "deny"]
    agent_id: ClientId | None = Field(default=None, description="Default: every agent.")
    arguments: dict[str, Pattern] = Field(
        default={},
        max_length=MAX_ARGUMENTS,
        description="Patterns by the name of the argument; each must be there and fit.",
    )
    others: bool = Field(
        default=True, description="Whether there may be further arguments, of any value."
    )
    expires_at: int | None = Field(default=None, ge=0, le=MAX_TIME)


class Rule(AnswerModel):
    """A standing decision about calls of a tool."""

    rule_id: str
    tool: str
    effect: str
    agent_id: str | None
    arguments: dict[str, dict[str, Any]]
    others: bool
    created_by: str
    created_at: int
    expires_at: int | None


class RulePage(Page):
    items: list[Rule]
