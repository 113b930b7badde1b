"""The AG-UI stream of one run: log entries in, events out.

Rules of this encoder
1. It keeps the client's verifier content: RUN_STARTED comes first, everything that is open is
   closed before RUN_FINISHED or RUN_ERROR, and nothing comes behind these.
2. Messages have the ids that the history gives them (`history.py`), so a snapshot and a stream fold
   to the same, in whichever order a client gets them.
3. It has no history. Before an entry that `needs_snapshot`, whoever drives it gives it one
   (`supply`): the messages up to `message_seq`, and the shared state.
4. What a tool result or a message says is told to nobody who has posted it (`Carry.known`).

An encoder that starts in the middle of a run (after a suspension, or for a client that attaches)
gets a `Carry`: what the records say at that place. Design: streams.md section 5.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from typing import Any, ClassVar, Final, assert_never

from awaken.domain import event as events
from awaken.domain.event import Entry, TextDelta
from awaken.domain.message import Message, Role
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
from awaken.protocols.ag_ui.carry import Carry, Names
from awaken.protocols.ag_ui.frames import (
    VERSION,
    UsageCount,
    as_object,
    encode,
    frame,
    how_it_ended,
    interrupts,
    is_client_call,
    text_of,
)
from awaken.protocols.ag_ui.history import (
    AgUiMessage,
    client_name,
    reasoning_id,
    tool_message,
    without_stale_reasoning,
)
from awaken.protocols.ag_ui.mapping import MAPPING
from awaken.protocols.encoder import CloseReason, Frame
from awaken.protocols.mapping import Mapping
from awaken.protocols.parts import Call, Part, PartEncoder, PartKind

_TEXT_HEAD: Final = b'{"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":'
_GREW: Final = {
    PartKind.text: _TEXT_HEAD + b'%b,"timestamp":%d}',
    PartKind.reasoning: (
        b'{"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":%b,"timestamp":%d}'
    ),
}


class AgUiEncoder(PartEncoder):
    """The encoder of one stream."""

    MAPPING: ClassVar[Mapping] = MAPPING

    def __init__(self, names: Names, carry: Carry | None = None) -> None:
        super().__init__()
        carry = carry or Carry()
        self.message_seq = carry.message_seq
        self.ended = False
        self._names = names
        self._carry = carry
        self._known = set(carry.known)
        self._answered = set(carry.answered)
        self._tickets = {ticket.ticket_id: ticket for ticket in carry.tickets}
        self._results = {str(each["toolCallId"]): each for each in carry.results}
        self._usage = UsageCount()
        self._message_id = carry.message_id
        self._name = b""
        self._head: bytes | None = None  # what each delta of the open text begins with
        self._step: str | None = None
        self._stretches = 0
        self._thought: str | None = None
        self._written: set[str] = set()
        self._outputs: set[str] = set()
        self._supplied: tuple[list[AgUiMessage], MappingOf[str, Any]] | None = None
        self._begun = False
        self._silent = False
        self._at = 0

    # --- driving it

    def encode(self, entry: Entry) -> list[Frame]:
        """As the base; more of the text that is open, nearly all of a log, is done at once."""
        head, event = self._head, entry.event
        if head is not None and type(event) is TextDelta and event.delta:
            data = b'%b%b,"timestamp":%d}' % (head, encode(event.delta), entry.at)
            return [Frame(data=data, id=str(entry.seq))]
        return super().encode(entry)

    def chunks(self, entry: Entry) -> list[bytes]:
        """As the base; whatever comes first is preceded by RUN_STARTED."""
        self._at = entry.at
        if self.ended:
            return []
        told = super().chunks(entry)
        if self._begun or not told:
            return told
        self._begun = True
        return [*self._start(), *told]

    def needs_snapshot(self, entry: Entry) -> bool:
        """Whether messages and state must be supplied before `entry` is encoded."""
        match entry.event:
            case events.StreamReset():
                return True
            case events.RunFinish(termination=SuspendedEnd()):
                return self._interrupted
            case _:
                return False

    def supply(self, messages: list[AgUiMessage], state: MappingOf[str, Any]) -> None:
        """The committed messages up to `message_seq`, and the shared state, for the next entry."""
        self._supplied = (messages, state)

    def pass_over(self, entry: Entry) -> None:
        """Let the encoder see what the client has already."""
        begun, self._begun = self._begun, True
        self.chunks(entry)
        self._begun = begun

    def begin(self, at: int) -> list[Frame]:
        """RUN_STARTED and the snapshots, and the parts opened again that a client was left with."""
        self._at, self._begun = at, True
        self._chunks = []
        if self._step is not None:
            self.put(frame("STEP_STARTED", at, stepName=self._step))
        if self.parts.part is not None:
            self.put(self.part_opened(self.parts.part))
        for call in self.parts.calls.values():
            self.put(self.call_opened(call))
        return [Frame(data=data) for data in (*self._start(), *self._chunks)]

    def close(self, reason: CloseReason) -> list[Frame]:
        """The end of a stream that is whole; nothing for one that is cut off."""
        if self.ended or reason not in (CloseReason.finished, CloseReason.deleted):
            return []
        self._chunks = []
        start = [] if self._begun else self._start()
        self._close_all("interrupted")
        self._begun = self.ended = True
        if reason is CloseReason.deleted:
            self.put(self._error("thread_deleted", "the conversation was deleted"))
        else:
            self._finish({"type": "success"})
        return [Frame(data=data) for data in (*start, *self._chunks)]

    def refuse(self, code: str, message: str, at: int) -> list[Frame]:
        """RUN_ERROR, for a request that the rules of the protocol forbid."""
        self._at = at
        start = [] if self._begun else self._start()
        self._begun = self.ended = True
        return [Frame(data=data) for data in (*start, self._error(code, message))]

    # --- the run

    def on_run_queued(self, entry: Entry, event: events.RunQueued) -> None:
        self._ensure_started()

    def on_run_start(self, entry: Entry, event: events.RunStart) -> None:
        self._ensure_started()

    def _ensure_started(self) -> None:
        if not self._begun:
            self._begun = True
            self.put(*self._start())

    def on_run_retry(self, entry: Entry, event: events.RunRetry) -> None:
        told = {"attempt": event.attempt, "reason": event.reason, "retryAt": event.retry_at}
        self._custom("retry", told)

    def on_error(self, entry: Entry, event: events.ErrorEvent) -> None:
        self._custom("notice", {"code": event.code, "message": event.message})

    def on_child_started(self, entry: Entry, event: events.ChildStarted) -> None:
        told = {"runId": event.run_id, "threadId": event.thread_id}
        self._custom("child_run", {**told, "toolCallId": event.tool_call_id})

    def on_run_finish(self, entry: Entry, event: events.RunFinish) -> None:
        self._close_all("interrupted")
        ended = how_it_ended(event.termination)
        match event.termination:
            case SuspendedEnd():
                self._suspend(ended)
            case _ as final:
                self._end(final, event.result, ended)
        self.ended = True

    def _start(self) -> list[bytes]:
        names = self._names
        told = [
            frame(
                "RUN_STARTED",
                self._at,
                threadId=names.thread_id,
                runId=names.run_id,
                parentRunId=names.parent_run_id,
                protocolVersion=VERSION,
                metadata={"awaken": {"runId": names.own_run_id}} if names.own_run_id else None,
            )
        ]
        if self._carry.state is not None:
            told.append(frame("STATE_SNAPSHOT", self._at, snapshot=self._carry.state))
        if self._carry.messages is not None:
            told.append(frame("MESSAGES_SNAPSHOT", self._at, messages=self._carry.messages))
        self._carry = Carry()  # a history is not held as long as the stream is open
        return told

    def _suspend(self, ended: dict[str, Any]) -> None:
        """A run that waits: for the client's own tools it is complete, else it is interrupted."""
        tickets = list(self._tickets.values())
        if self._interrupted:
            _, state = self._supplied or ([], {})
            self.put(frame("STATE_SNAPSHOT", self._at, snapshot=state))
            self._snapshot()
            self._finish({"type": "interrupt", "interrupts": interrupts(tickets)}, ended)
        else:
            pending = [ticket.tool_call_id for ticket in tickets]
            named = {"pendingToolCallIds": pending} if pending else {}
            self._finish({"type": "success", **named}, ended)

    @property
    def _interrupted(self) -> bool:
        return any(not is_client_call(ticket) for ticket in self._tickets.values())

    def _end(
        self, termination: FinalTermination, result: dict[str, Any] | None, ended: dict[str, Any]
    ) -> None:
        match termination:
            case NaturalEnd() | BehaviorRequested():
                self._finish({"type": "success"}, ended, result)
            case Stopped() | Cancelled() | Superseded():
                self._finish({"type": "cancelled"}, ended)
            case Blocked(reason=reason):
                self.put(self._error("blocked", reason, ended))
            case Errored(code=code, message=message):
                self.put(self._error(code, message, ended))
            case _ as never:
                assert_never(never)

    def _finish(
        self,
        outcome: dict[str, Any],
        ended: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        told = frame(
            "RUN_FINISHED",
            self._at,
            threadId=self._names.thread_id,
            runId=self._names.run_id,
            outcome=outcome,
            result=result,
            usage=self._usage.told(),
            metadata=_metadata(ended),
        )
        self.put(told)

    def _error(self, code: str, message: str, ended: dict[str, Any] | None = None) -> bytes:
        usage, metadata = self._usage.told(), _metadata(ended)
        told = {"code": code, "message": message, "usage": usage, "metadata": metadata}
        return frame("RUN_ERROR", self._at, **told)

    def _custom(self, name: str, value: dict[str, Any]) -> None:
        self.put(frame("CUSTOM", self._at, name=f"awaken.{name}", value=value))

    # --- steps

    def on_step_start(self, entry: Entry, event: events.StepStart) -> None:
        self._message_id, self._stretches, self._thought = event.message_id, 0, None
        self._close_step()
        self._step = f"step {event.message_id}"
        self.put(frame("STEP_STARTED", self._at, stepName=self._step))

    def on_step_end(self, entry: Entry, event: events.StepEnd) -> None:
        self._close_all("interrupted")
        self._message_id = None
        self._outputs.clear()

    def on_inference_complete(self, entry: Entry, event: events.InferenceComplete) -> None:
        self._usage.add(event.model, event.usage)

    def on_stream_reset(self, entry: Entry, event: events.StreamReset) -> None:
        self.close_all("reset")
        messages, state = self._supplied or ([], {})
        if self._stretches and self._message_id is not None:
            messages = without_stale_reasoning(messages, reasoning_id(self._message_id, 0))
        self._supplied = (messages, state)
        self._stretches, self._thought = 0, None
        self._snapshot()

    def _snapshot(self) -> None:
        messages, _ = self._supplied or ([], {})
        self._supplied = None
        there = {str(each["id"]) for each in messages}
        open_results = [each for each in self._results.values() if each["id"] not in there]
        self.put(frame("MESSAGES_SNAPSHOT", self._at, messages=[*messages, *open_results]))

    def _close_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            self.put(frame("STEP_FINISHED", self._at, stepName=step))

    def _close_all(self, reason: str) -> None:
        self.close_all(reason)
        self._close_step()

    # --- text and reasoning

    def part_opened(self, part: Part) -> bytes:
        message_id = self._message_id or part.id
        if part.kind is PartKind.text:
            self._thought = None
            self._name = encode(message_id)
            self._head = _TEXT_HEAD % self._name
            return frame("TEXT_MESSAGE_START", self._at, messageId=message_id, role="assistant")
        if self._thought is None:
            self._thought = reasoning_id(message_id, self._stretches)
            self._stretches += 1
        name = self._thought  # a call ends no stretch, only a text and a signature do
        self._name = encode(name)
        self.put(frame("REASONING_START", self._at, messageId=name))
        return frame("REASONING_MESSAGE_START", self._at, messageId=name, role="reasoning")

    def part_grew(self, part: Part, delta: str) -> bytes:
        return _GREW[part.kind] % (self._name, encode(delta), self._at)

    def part_closed(self, part: Part) -> bytes:
        if part.kind is PartKind.text:
            self._head = None
            return self._part_frame(b"TEXT_MESSAGE_END")
        self.put(self._part_frame(b"REASONING_MESSAGE_END"))
        return self._part_frame(b"REASONING_END")

    def _part_frame(self, kind: bytes) -> bytes:
        return b'{"type":"%b","messageId":%b,"timestamp":%d}' % (kind, self._name, self._at)

    def on_reasoning_encrypted_value(
        self, entry: Entry, event: events.ReasoningEncryptedValue
    ) -> None:
        if self._thought is None:  # reasoning of which nothing is told but this
            self.close_part()
            self.put(self.part_opened(self.parts.open(PartKind.reasoning, entry)))
        told = frame(
            "REASONING_ENCRYPTED_VALUE",
            self._at,
            subtype="message",
            entityId=self._thought,
            encryptedValue=event.encrypted_value,
        )
        self.put(told)
        self.close_part()
        self._thought = None

    # --- tools

    def call_opened(self, call: Call) -> bytes:
        return frame(
            "TOOL_CALL_START",
            self._at,
            toolCallId=call.id,
            toolCallName=call.name,
            parentMessageId=self._message_id,
        )

    def call_dropped(self, call: Call, reason: str) -> bytes:
        # With a result, or a client would take it for one of those that it is to answer.
        self.put(frame("TOOL_CALL_END", self._at, toolCallId=call.id))
        text = text_of({"error": {"code": "dropped", "message": f"the call was dropped: {reason}"}})
        named = {"messageId": f"dropped-{call.id}", "toolCallId": call.id}
        return frame("TOOL_CALL_RESULT", self._at, **named, content=text, role="tool")

    def on_tool_call_delta(self, entry: Entry, event: events.ToolCallDelta) -> None:
        if event.id in self.parts.calls and event.args_delta:
            self._written.add(event.id)
            self.put(self._arguments(event.id, event.args_delta))

    def on_tool_call_ready(self, entry: Entry, event: events.ToolCallReady) -> None:
        self.close_part()
        if self.parts.close_call(event.id) is None:
            self.put(self.call_opened(Call(event.id, event.name)))
        if event.id not in self._written:
            self.put(self._arguments(event.id, encode(event.arguments).decode()))
        self._written.discard(event.id)
        self.put(frame("TOOL_CALL_END", self._at, toolCallId=event.id))

    def _arguments(self, call_id: str, delta: str) -> bytes:
        return frame("TOOL_CALL_ARGS", self._at, toolCallId=call_id, delta=delta)

    def on_tool_call_cancel(self, entry: Entry, event: events.ToolCallCancel) -> None:
        self._written.discard(event.id)
        self.drop_call(event.id, event.reason)

    def on_tool_call_stream_delta(self, entry: Entry, event: events.ToolCallStreamDelta) -> None:
        named = {"messageId": f"output-{event.id}", "activityType": "tool-output"}
        if event.id in self._outputs:
            patch = [{"op": "add", "path": "/chunks/-", "value": event.delta}]
            self.put(frame("ACTIVITY_DELTA", self._at, **named, patch=patch))
            return
        self._outputs.add(event.id)
        content = {"toolCallId": event.id, "toolName": event.name, "chunks": [event.delta]}
        self.put(frame("ACTIVITY_SNAPSHOT", self._at, **named, content=content, replace=True))

    def on_tool_call_done(self, entry: Entry, event: events.ToolCallDone) -> None:
        # Without an id the tool message names itself, when it is committed.
        if event.outcome != "suspended" and event.message_id:
            self._result(event.message_id, event.id, text_of(event.result))

    def _result(self, message_id: str, call_id: str, content: str) -> None:
        self._results[call_id] = tool_message(message_id, call_id, content)
        if call_id in self._answered:
            return
        self._answered.add(call_id)
        named = {"messageId": message_id, "toolCallId": call_id}
        self.put(frame("TOOL_CALL_RESULT", self._at, **named, content=content, role="tool"))

    # --- messages, questions, state

    def on_message_committed(self, entry: Entry, event: events.MessageCommitted) -> None:
        message = event.message
        self.message_seq = event.message_seq
        name = client_name(message)
        match message.role:
            case Role.tool:
                call_id = message.tool_call_id or ""
                self._result(name, call_id, message.text)
                self._results.pop(call_id)
                self._answered.discard(call_id)
            case Role.user | Role.system if name not in self._known:
                self._read(name, message)
            case _:
                pass

    def _read(self, name: str, message: Message) -> None:
        """A message that the run has read, and that others posted."""
        self.close_part()
        self._known.add(name)
        named, role = {"messageId": name}, message.role.value
        self.put(frame("TEXT_MESSAGE_START", self._at, **named, role=role))
        if message.text:
            self.put(frame("TEXT_MESSAGE_CONTENT", self._at, **named, delta=message.text))
        self.put(frame("TEXT_MESSAGE_END", self._at, **named))

    def on_ticket_opened(self, entry: Entry, event: events.TicketOpened) -> None:
        self._tickets[event.ticket.ticket_id] = event.ticket

    def on_ticket_closed(self, entry: Entry, event: events.TicketClosed) -> None:
        self._tickets.pop(event.ticket_id, None)

    def on_state_snapshot(self, entry: Entry, event: events.StateSnapshot) -> None:
        told = {"type": "STATE_SNAPSHOT", "snapshot": event.snapshot, "timestamp": self._at}
        self.put(encode(told))  # a state may be null

    def on_state_delta(self, entry: Entry, event: events.StateDelta) -> None:
        self.put(frame("STATE_DELTA", self._at, delta=event.delta))

    def on_activity_snapshot(self, entry: Entry, event: events.ActivitySnapshot) -> None:
        told = frame(
            "ACTIVITY_SNAPSHOT",
            self._at,
            messageId=event.message_id,
            activityType=event.activity_type,
            content=as_object(event.content),
            replace=event.replace,
        )
        self.put(told)

    def on_activity_delta(self, entry: Entry, event: events.ActivityDelta) -> None:
        named = {"messageId": event.message_id, "activityType": event.activity_type}
        self.put(frame("ACTIVITY_DELTA", self._at, **named, patch=event.patch))


def _metadata(ended: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if ended is None else {"awaken": {"termination": ended}}
