"""What the AI SDK is told of each event. Docs print this table (docs/ai-sdk.md)."""

from __future__ import annotations

from typing import Final

from awaken.domain import event as events
from awaken.protocols.mapping import Dropped, Mapping, Told

MAPPING: Final[Mapping] = {
    events.RunQueued: Dropped(why="the stream waits, with heartbeats"),
    events.RunStart: Told(
        frames=("start",), how="`messageId` is the run's id, in every activation"
    ),
    events.RunRetry: Told(frames=("data-retry",), how="transient; text goes on where it stopped"),
    events.RunInterrupted: Dropped(why="how the run ended says so"),
    events.RunFinish: Told(
        frames=("message-metadata", "error", "abort", "finish"),
        how="closes what is open; a suspended run ends with `finish`, reason `tool-calls`",
    ),
    events.StepStart: Told(frames=("start-step",)),
    events.StepEnd: Told(frames=("text-end", "reasoning-end", "finish-step")),
    events.InferenceComplete: Told(
        frames=("message-metadata",), how="`model`, and `usage` of the run so far"
    ),
    events.ErrorEvent: Told(frames=("data-notice",), how="transient; the run goes on"),
    events.TextDelta: Told(frames=("text-start", "text-delta")),
    events.ReasoningDelta: Told(frames=("reasoning-start", "reasoning-delta")),
    events.ReasoningEncryptedValue: Told(
        frames=("reasoning-end",), how="the value stays here: history keeps it for the provider"
    ),
    events.ToolCallStart: Told(
        frames=("text-end", "reasoning-end", "tool-input-start"),
    ),
    events.ToolCallDelta: Told(frames=("tool-input-delta",)),
    events.ToolCallReady: Told(
        frames=("tool-input-available",), how="`providerExecuted` unless the client executes it"
    ),
    events.ToolCallStreamDelta: Told(
        frames=("tool-output-available",), how="`preliminary`, with all output so far"
    ),
    events.ToolCallDone: Told(
        frames=("tool-output-available", "tool-output-error", "tool-output-denied")
    ),
    events.ToolCallResumed: Dropped(why="the result of the call follows"),
    events.ToolCallCancel: Told(frames=("tool-input-error",), how="half a call that was dropped"),
    events.StreamReset: Told(
        frames=("text-end", "reasoning-end"),
        how="what was shown stays: `reset-step` ends clients 5 and 6",
    ),
    events.ActivitySnapshot: Told(frames=("data-activity",), how="one part for each activity"),
    events.ActivityDelta: Told(frames=("data-activity-delta",), how="transient"),
    events.StateSnapshot: Told(frames=("data-state",), how="one part, overwritten in place"),
    events.StateDelta: Told(frames=("data-state-delta",), how="transient"),
    events.MessagesSnapshot: Dropped(why="it is in no log"),
    events.MessageCommitted: Dropped(
        why="its parts were streamed; a message read in mid-run is in the history"
    ),
    events.MessagesReplaced: Dropped(why="the client that asked for it has hidden them itself"),
    events.PendingChanged: Dropped(why="the queue of a thread is not the client's"),
    events.TicketOpened: Told(
        frames=("tool-approval-request", "data-question"),
        how="a call the client executes needs neither: its input is there, its output missing",
    ),
    events.TicketClosed: Told(frames=("data-question",), how="only of a question, in place"),
    events.ChildStarted: Told(frames=("data-child-run",)),
    events.ThreadChanged: Dropped(why="metadata of the thread has its own route"),
}
