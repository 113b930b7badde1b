"""What an agent that is not ours is told when it is asked."""

from __future__ import annotations

from typing import Any

from awaken.domain.message import Message, MessageVisibility, Role
from awaken.domain.record import Record
from awaken.ports.runner import Activation


class Conversation(Record):
    """The conversation an agent takes part in; it cannot be changed.

    `messages` are those that everybody may see, oldest first, the one to be answered included.
    `attempt` counts the failures before this attempt, 0 the first time. `restarted` says that an
    earlier attempt had begun: what it did outside may have happened. `metadata` came with the
    request.
    """

    messages: tuple[Message, ...]
    run_id: str
    thread_id: str
    agent_id: str
    attempt: int = 0
    restarted: bool = False
    metadata: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The text of the last message of the user; empty when there is none."""
        said = (m.text for m in reversed(self.messages) if m.role is Role.user)
        return next(said, "")


def conversation_of(activation: Activation) -> Conversation:
    """The conversation at the begin of an attempt."""
    run = activation.run
    return Conversation(
        messages=visible_messages(activation),
        run_id=run.run_id,
        thread_id=run.thread_id,
        agent_id=run.agent_id,
        attempt=activation.attempt,
        restarted=activation.partial.message_id is not None,
        metadata=run.metadata,
    )


def visible_messages(activation: Activation) -> tuple[Message, ...]:
    """The messages that everybody may see."""
    messages = (stored.message for stored in activation.messages)
    return tuple(m for m in messages if m.visibility is MessageVisibility.all)
