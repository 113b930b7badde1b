"""Agents written with something else, served as they are: a generator, an agent of pydantic-ai.

What a generator takes and may yield besides text is here by name:

    from awaken.foreign import Conversation, ReasoningDelta
"""

from awaken.domain.event import (
    ActivityDelta,
    ActivitySnapshot,
    ErrorEvent,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StateDelta,
    StateSnapshot,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
    ToolCallStreamDelta,
)
from awaken.foreign.conversation import Conversation

__all__ = [
    "ActivityDelta",
    "ActivitySnapshot",
    "Conversation",
    "ErrorEvent",
    "InferenceComplete",
    "ReasoningDelta",
    "ReasoningEncryptedValue",
    "StateDelta",
    "StateSnapshot",
    "TextDelta",
    "ToolCallDelta",
    "ToolCallDone",
    "ToolCallReady",
    "ToolCallStart",
    "ToolCallStreamDelta",
]
