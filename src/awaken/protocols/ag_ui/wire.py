"""What an AG-UI client posts (`RunAgentInput`, 1.0). Fields that we do not read are ignored.

https://ag-ui.com/spec/1.0/schema.json. A test holds these models against the official ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_MESSAGES = 10_000
MAX_TOOLS = 128
MAX_CONTEXT = 100
MAX_RESUME = 200


class Posted(BaseModel):
    """Base of what is posted: camelCase on the wire, unknown fields ignored."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class PostedMessage(Posted):
    """A message as the client keeps it; what its role does not need is not read."""

    id: str
    role: Literal["developer", "system", "user", "assistant", "tool", "activity", "reasoning"]
    content: Any = Field(default=None, description="Text, or a list of content parts.")
    name: str | None = None
    tool_call_id: str | None = Field(default=None, description="Of a tool message: its call.")
    error: str | None = Field(default=None, description="Of a tool message: why the call failed.")


class PostedTool(Posted):
    """A tool that the client executes."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] | None = Field(default=None, description="A JSON schema.")


class PostedContext(Posted):
    """Something the agent is to know."""

    description: str
    value: str


class ResumeEntry(Posted):
    """An answer to an interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunAgentInput(Posted):
    """A request to run an agent: new messages, answers to interrupts, or results of tools."""

    thread_id: Annotated[str, Field(min_length=1)]
    run_id: Annotated[str, Field(min_length=1)]
    parent_run_id: str | None = None
    state: dict[str, Any] | None = Field(
        default=None, description="Merged into the state that the agents of the thread share."
    )
    messages: Annotated[list[PostedMessage], Field(max_length=MAX_MESSAGES)]
    tools: Annotated[list[PostedTool], Field(max_length=MAX_TOOLS)] | None = None
    context: Annotated[list[PostedContext], Field(max_length=MAX_CONTEXT)] | None = None
    forwarded_props: Any = None
    resume: Annotated[list[ResumeEntry], Field(max_length=MAX_RESUME)] | None = None
