"""What an AG-UI client is told of each event. Docs print this table (docs/ag-ui.md)."""

from __future__ import annotations

from typing import Final

from awaken.domain import event as events
from awaken.protocols.mapping import Dropped, Mapping, Told

_TEXT: Final = ("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT")
_REASONING: Final = ("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT")

MAPPING: Final[Mapping] = {
    events.RunQueued: Told(
        frames=("RUN_STARTED",),
        how="whatever comes first is preceded by it; STATE_SNAPSHOT follows",
    ),
    events.RunStart: Told(frames=("RUN_STARTED",), how="once in a stream"),
    events.RunRetry: Told(frames=("CUSTOM",), how="`awaken.retry`; text goes on where it stopped"),
    events.RunInterrupted: Dropped(why="how the run ended says so"),
    events.RunFinish: Told(
        frames=("STATE_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED", "RUN_ERROR"),
        how="closes what is open; the snapshots come before an interrupt",
    ),
    events.StepStart: Told(frames=("STEP_STARTED",)),
    events.StepEnd: Told(frames=("TEXT_MESSAGE_END", "STEP_FINISHED")),
    events.InferenceComplete: Told(
        frames=("RUN_FINISHED", "RUN_ERROR"), how="its usage is counted, and told at the end"
    ),
    events.ErrorEvent: Told(frames=("CUSTOM",), how="`awaken.notice`; the run goes on"),
    events.TextDelta: Told(frames=_TEXT, how="`messageId` is that of the step's message"),
    events.ReasoningDelta: Told(frames=_REASONING, how="each stretch is a message of its own"),
    events.ReasoningEncryptedValue: Told(
        frames=("REASONING_ENCRYPTED_VALUE", "REASONING_MESSAGE_END", "REASONING_END")
    ),
    events.ToolCallStart: Told(frames=("TOOL_CALL_START",)),
    events.ToolCallDelta: Told(frames=("TOOL_CALL_ARGS",)),
    events.ToolCallReady: Told(frames=("TOOL_CALL_ARGS", "TOOL_CALL_END")),
    events.ToolCallStreamDelta: Told(
        frames=("ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA"), how="activity `tool-output`"
    ),
    events.ToolCallDone: Told(
        frames=("TOOL_CALL_RESULT",), how="unless the client that reads has posted it"
    ),
    events.ToolCallResumed: Dropped(why="the result of the call follows"),
    events.ToolCallCancel: Told(
        frames=("TOOL_CALL_END", "TOOL_CALL_RESULT"), how="the result says that it was dropped"
    ),
    events.StreamReset: Told(
        frames=("MESSAGES_SNAPSHOT",), how="closes what is open; without what is void"
    ),
    events.ActivitySnapshot: Told(frames=("ACTIVITY_SNAPSHOT",)),
    events.ActivityDelta: Told(frames=("ACTIVITY_DELTA",)),
    events.StateSnapshot: Told(frames=("STATE_SNAPSHOT",)),
    events.StateDelta: Told(frames=("STATE_DELTA",)),
    events.MessagesSnapshot: Dropped(why="it is in no log"),
    events.MessageCommitted: Told(
        frames=("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        how="of a message that the reading client did not post; results not told yet",
    ),
    events.MessagesReplaced: Dropped(why="the next snapshot is without them"),
    events.PendingChanged: Dropped(why="the queue of a thread is not the client's"),
    events.TicketOpened: Told(
        frames=("RUN_FINISHED",), how="its interrupts; `pendingToolCallIds` for the client's tools"
    ),
    events.TicketClosed: Told(frames=("RUN_FINISHED",), how="it is no interrupt any more"),
    events.ChildStarted: Told(frames=("CUSTOM",), how="`awaken.child_run`"),
    events.ThreadChanged: Dropped(why="metadata of the thread has its own route"),
}
