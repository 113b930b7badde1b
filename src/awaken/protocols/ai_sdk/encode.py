"""The UI message stream of one run: log entries in, chunks out.

Rules of this encoder
1. A run is one assistant message, whose id is the run's, whoever reads it, whenever, and from
   wherever: the same entries give the same chunks.
2. A stream begins with `start` and ends with `finish`, `error` or `abort`, then `[DONE]`. A
   suspended run ends only when the stream does: its next activation may still follow.
3. A stream that is cut off by us has no end: the client must not take half an answer for a whole.

A stream that goes on behind a suspension (a decision was posted) is encoded from the beginning of
the run too; what its client has already is not sent, and `go_on` begins it anew.
Design: protocols.md, "AI SDK".
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, assert_never

from awaken.domain import event as events
from awaken.domain.event import Entry, TextDelta
from awaken.domain.outcome import Usage
from awaken.domain.termination import (
    BehaviorRequested,
    Blocked,
    Cancelled,
    Errored,
    FinalTermination,
    NaturalEnd,
    Stopped,
    Superseded,
    SuspendedEnd,
)
from awaken.protocols.ai_sdk import chunks
from awaken.protocols.ai_sdk.chunks import DONE, chunk, encode
from awaken.protocols.ai_sdk.mapping import MAPPING
from awaken.protocols.encoder import CloseReason, Frame
from awaken.protocols.mapping import Mapping
from awaken.protocols.parts import Call, Part, PartEncoder, PartKind

DELETED: Final = "the conversation was deleted"

_HEAD: Final = {
    PartKind.text: b'{"type":"text-delta","id":"%b","delta":',
    PartKind.reasoning: b'{"type":"reasoning-delta","id":"%b","delta":',
}


class AiSdkEncoder(PartEncoder):
    """The encoder of one stream of `run_id`.

    `client_tools` are those that the client executes. `message_id` is another than the run's only
    where the run goes on behind a message that answered its question (`history.answer_id`).
    """

    MAPPING: ClassVar[Mapping] = MAPPING

    def __init__(
        self,
        run_id: str,
        *,
        message_id: str | None = None,
        client_tools: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.message_id = message_id or run_id
        self._run_id = run_id
        self._client_tools = client_tools
        self._text_head: bytes | None = None
        self._calls: dict[str, str] = {}
        self._inputs: dict[str, Any] = {}
        self._elsewhere: set[str] = set()
        self._approvals: set[str] = set()
        self._usage = Usage()
        self._questions: dict[str, dict[str, Any]] = {}
        self._output: dict[str, str] = {}
        self._reason: str | None = None
        self._begun = False
        self._ended = False

    def encode(self, entry: Entry) -> list[Frame]:
        """As the base; more of the text that is open, nearly all of a log, is done at once."""
        head, event = self._text_head, entry.event
        if head is not None and type(event) is TextDelta and event.delta:
            return [Frame(data=head + encode(event.delta) + b"}", id=str(entry.seq))]
        return super().encode(entry)

    def chunks(self, entry: Entry) -> list[bytes]:
        """As the base; whatever comes first is preceded by `start`."""
        told = super().chunks(entry)
        if self._begun or not told:
            return told
        return [self._start(entry), *told]

    def go_on(self, *, in_new_message: bool = False) -> None:
        """What was encoded so far was another stream's: the next chunk begins this one.

        In a new message, calls that wait are announced once more when something comes of them: a
        client looks for the call of an output in the message that it reads.
        """
        self._begun = False
        if in_new_message:
            self._elsewhere = set(self._calls)

    def close(self, reason: CloseReason) -> list[Frame]:
        """The end of a stream that is whole; nothing for one that is cut off."""
        if reason not in (CloseReason.finished, CloseReason.deleted):
            return []
        self._chunks = closing = [] if self._begun else [chunk("start", messageId=self.message_id)]
        if not self._ended:
            self.close_all("interrupted")
            self._end_open_stream(reason)
        self._begun = self._ended = True
        return [Frame(data=data) for data in (*closing, DONE)]

    def _end_open_stream(self, reason: CloseReason) -> None:
        if reason is CloseReason.deleted:
            self.put(chunk("error", errorText=DELETED))
        else:
            self.put(chunk("finish", finishReason="tool-calls"))

    # --- how parts look

    def part_opened(self, part: Part) -> bytes:
        if part.kind is PartKind.text:
            self._text_head = _HEAD[part.kind] % part.id.encode()
        return chunk(f"{part.kind.value}-start", id=part.id)

    def part_grew(self, part: Part, delta: str) -> bytes:
        return _HEAD[part.kind] % part.id.encode() + encode(delta) + b"}"

    def part_closed(self, part: Part) -> bytes:
        self._text_head = None
        return chunk(f"{part.kind.value}-end", id=part.id)

    def call_opened(self, call: Call) -> bytes:
        self._calls[call.id] = call.name
        return chunk("tool-input-start", toolCallId=call.id, toolName=call.name)

    def call_dropped(self, call: Call, reason: str) -> bytes:
        self._forget(call.id)
        return self._input_error(call.id, call.name, reason)

    # --- the run

    def on_run_start(self, entry: Entry, event: events.RunStart) -> None:
        if not self._begun:
            self.put(self._start(entry, agentId=event.agent_id))

    def on_run_retry(self, entry: Entry, event: events.RunRetry) -> None:
        told = {"attempt": event.attempt, "reason": event.reason, "retryAt": event.retry_at}
        self._put_data("retry", told, transient=True)

    def on_run_finish(self, entry: Entry, event: events.RunFinish) -> None:
        self.close_all("interrupted")
        if not isinstance(event.termination, SuspendedEnd):
            self._end(event.termination)
            self._ended = True

    def on_error(self, entry: Entry, event: events.ErrorEvent) -> None:
        told = {"code": event.code, "message": event.message}
        self._put_data("notice", told, transient=True)

    def _start(self, entry: Entry, **more: str) -> bytes:
        self._begun = True
        metadata = {"threadId": entry.thread_id, "runId": self._run_id, **more}
        return chunk("start", messageId=self.message_id, messageMetadata=metadata)

    def _end(self, termination: FinalTermination) -> None:
        match termination:
            case NaturalEnd() | BehaviorRequested():
                self._finish(termination, chunks.finish_reason(self._reason))
            case Stopped():
                self._finish(termination, "other")
            case Blocked():
                self._finish(termination, "content-filter")
            case Errored(message=message):
                self.put(chunk("message-metadata", messageMetadata=_ended(termination)))
                self.put(chunk("error", errorText=message), chunk("finish", finishReason="error"))
            case Cancelled() | Superseded():
                self.put(chunk("message-metadata", messageMetadata=_ended(termination)))
                self.put(chunk("abort"))
            case _ as never:
                assert_never(never)

    def _finish(self, termination: FinalTermination, reason: str) -> None:
        self.put(chunk("finish", finishReason=reason, messageMetadata=_ended(termination)))

    # --- steps

    def on_step_start(self, entry: Entry, event: events.StepStart) -> None:
        self.put(chunk("start-step"))

    def on_step_end(self, entry: Entry, event: events.StepEnd) -> None:
        self.close_all("interrupted")
        self.put(chunk("finish-step"))

    def on_inference_complete(self, entry: Entry, event: events.InferenceComplete) -> None:
        self._reason = event.finish_reason
        self._usage = self._usage + chunks.usage_of(event.usage)
        told = {"model": event.model, "usage": chunks.usage_metadata(self._usage)}
        self.put(chunk("message-metadata", messageMetadata=told))

    def on_reasoning_encrypted_value(
        self, entry: Entry, event: events.ReasoningEncryptedValue
    ) -> None:
        part = self.parts.part
        if part is not None and part.kind is PartKind.reasoning:
            self.close_part()

    def on_stream_reset(self, entry: Entry, event: events.StreamReset) -> None:
        self.close_part()

    # --- tools

    def on_tool_call_delta(self, entry: Entry, event: events.ToolCallDelta) -> None:
        if event.id in self.parts.calls and event.args_delta:
            told = chunk("tool-input-delta", toolCallId=event.id, inputTextDelta=event.args_delta)
            self.put(told)

    def on_tool_call_ready(self, entry: Entry, event: events.ToolCallReady) -> None:
        self.close_part()
        self.parts.close_call(event.id)
        self._calls[event.id] = event.name
        self._inputs[event.id] = event.arguments
        self._announce(event.id)

    def _announce(self, call_id: str) -> None:
        ready = {
            "type": "tool-input-available",
            "toolCallId": call_id,
            "toolName": self._calls[call_id],
            "input": self._inputs.get(call_id),
            **self._executed(call_id),
        }
        self._elsewhere.discard(call_id)
        self.put(encode(ready))

    def _ensure_announced(self, call_id: str) -> bool:
        """Whether the client knows the call, or does from now on."""
        if call_id in self._elsewhere:
            self._announce(call_id)
        return call_id in self._calls

    def on_tool_call_stream_delta(self, entry: Entry, event: events.ToolCallStreamDelta) -> None:
        if not self._ensure_announced(event.id):
            return
        output = self._output[event.id] = self._output.get(event.id, "") + event.delta
        executed = self._executed(event.id)
        told = chunk(
            "tool-output-available",
            toolCallId=event.id,
            output=output,
            preliminary=True,
            **executed,
        )
        self.put(told)

    def on_tool_call_done(self, entry: Entry, event: events.ToolCallDone) -> None:
        if event.outcome == "suspended" or not self._ensure_announced(event.id):
            return
        executed = self._executed(event.id)
        named = {"toolCallId": event.id}
        denied = chunks.error_code(event.result) == "denied" and event.id in self._approvals
        if event.outcome == "succeeded":
            kind = {"type": "tool-output-available"}
            told = encode({**kind, **named, "output": event.result, **executed})
        elif denied:
            told = chunk("tool-output-denied", **named)
        else:
            text = chunks.error_text(event.result)
            told = chunk("tool-output-error", **named, errorText=text, **executed)
        self._forget(event.id)
        self.put(told)

    def on_tool_call_cancel(self, entry: Entry, event: events.ToolCallCancel) -> None:
        self.parts.close_call(event.id)
        if self._forget(event.id):
            self.put(self._input_error(event.id, event.name, event.reason))

    def _forget(self, call_id: str) -> bool:
        """Nothing more comes of a call; whether it was known."""
        for kept in (self._inputs, self._output):
            kept.pop(call_id, None)
        self._elsewhere.discard(call_id)
        return self._calls.pop(call_id, None) is not None

    def _input_error(self, call_id: str, name: str, reason: str) -> bytes:
        # As executed by us, or a client would count it among the calls it is to answer.
        error = {
            "type": "tool-input-error",
            "toolCallId": call_id,
            "toolName": name,
            "input": None,
            "errorText": f"the call was dropped: {reason}",
            "providerExecuted": True,
        }
        return encode(error)

    def _executed(self, call_id: str) -> dict[str, bool]:
        """Calls of the server say so: a client would execute the others."""
        by_client = self._calls.get(call_id) in self._client_tools
        return {} if by_client else {"providerExecuted": True}

    # --- questions, and other data

    def on_ticket_opened(self, entry: Entry, event: events.TicketOpened) -> None:
        ticket = event.ticket
        if chunks.is_client_call(ticket):
            return
        if chunks.asks_permission(ticket) and ticket.tool_call_id in self._calls:
            self._approvals.add(ticket.tool_call_id)
            call = ticket.tool_call_id
            asked = chunk("tool-approval-request", approvalId=ticket.ticket_id, toolCallId=call)
            self.put(asked)
            return
        asked_for = self._questions[ticket.ticket_id] = chunks.question(ticket)
        self._put_data("question", {**asked_for, "status": "open"}, ticket.ticket_id)

    def on_ticket_closed(self, entry: Entry, event: events.TicketClosed) -> None:
        asked = self._questions.pop(event.ticket_id, None)
        if asked is not None:
            self._put_data("question", {**asked, "status": event.status}, event.ticket_id)

    def on_activity_snapshot(self, entry: Entry, event: events.ActivitySnapshot) -> None:
        told = {
            "messageId": event.message_id,
            "activityType": event.activity_type,
            "content": event.content,
        }
        self._put_data("activity", told, f"{event.message_id}/{event.activity_type}")

    def on_activity_delta(self, entry: Entry, event: events.ActivityDelta) -> None:
        told = {
            "messageId": event.message_id,
            "activityType": event.activity_type,
            "patch": event.patch,
        }
        self._put_data("activity-delta", told, transient=True)

    def on_state_snapshot(self, entry: Entry, event: events.StateSnapshot) -> None:
        self._put_data("state", event.snapshot, "state")

    def on_state_delta(self, entry: Entry, event: events.StateDelta) -> None:
        self._put_data("state-delta", event.delta, transient=True)

    def on_child_started(self, entry: Entry, event: events.ChildStarted) -> None:
        told = {
            "runId": event.run_id,
            "threadId": event.thread_id,
            "toolCallId": event.tool_call_id,
        }
        self._put_data("child-run", told, event.run_id)

    def _put_data(
        self, name: str, data: Any, part_id: str | None = None, *, transient: bool = False
    ) -> None:
        """A data part: one with an id is kept and overwritten in place, a transient one is not."""
        part: dict[str, Any] = {"type": f"data-{name}", "data": data}
        if part_id is not None:
            part["id"] = part_id
        if transient:
            part["transient"] = True
        self.put(encode(part))


def _ended(termination: FinalTermination) -> dict[str, Any]:
    """How the run ended, told apart: by `termination.type`."""
    told: dict[str, Any] = {"type": termination.__struct_config__.tag}
    match termination:
        case Stopped(code=code) | Errored(code=code):
            told["code"] = code
        case Cancelled(reason=reason) | Blocked(reason=reason) if reason is not None:
            told["reason"] = reason
        case Superseded(by_run_id=by_run_id):
            told["byRunId"] = by_run_id
        case _:
            pass
    return {"termination": told}
