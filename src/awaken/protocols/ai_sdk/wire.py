"""What `useChat` posts. Fields that we do not read are ignored: applications add their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

MAX_MESSAGES = 10_000


class UIMessage(BaseModel):
    """A message as the client keeps it. Parts are read as far as they mean something here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str | None = None
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]] = []
    content: str | None = Field(default=None, description="Text, instead of parts.")


class ChatRequest(BaseModel):
    """One request of a chat: new messages, answers to calls, or an answer to be made anew."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str | None = Field(default=None, description="The chat, which is the thread.")
    messages: Annotated[list[UIMessage], Field(max_length=MAX_MESSAGES)] = Field(
        default=[], description="All messages of the client, or only the new ones."
    )
    message: UIMessage | None = Field(default=None, description="Instead of `messages`: the last.")
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = Field(
        default=None, validation_alias=AliasChoices("messageId", "message_id")
    )
    thread_id: str | None = Field(
        default=None,
        validation_alias=AliasChoices("threadId", "thread_id"),
        description="The thread, if it is not `id`.",
    )
    agent_id: str | None = Field(default=None, validation_alias=AliasChoices("agentId", "agent_id"))

    @property
    def story(self) -> list[UIMessage]:
        """The messages that were posted."""
        return [*self.messages, *([self.message] if self.message else [])]
