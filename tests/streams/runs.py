"""Legal logs of one run, drawn by Hypothesis: what a writer and the mailbox could have written.

A log is a list of moves, carried out one after the other; a move that is not legal where it comes
is skipped. So every list is a legal log, and shrinking one leaves it legal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from awaken.domain.event import (
    Event,
    InferenceComplete,
    MessageCommitted,
    PendingChanged,
    ReasoningDelta,
    ReasoningEncryptedValue,
    RunFinish,
    RunQueued,
    RunRetry,
    RunStart,
    Segment,
    StateSnapshot,
    StepEnd,
    StepStart,
    StreamReset,
    TextDelta,
    TicketClosed,
    TicketOpened,
    ToolCallCancel,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
    ToolCallStreamDelta,
)
from awaken.domain.log import extend
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.termination import NaturalEnd, SuspendedEnd
from awaken.domain.thread import ThreadHead
from awaken.domain.ticket import Ticket, WaitingReason

TENANT, THREAD, RUN, OTHER = "acme", "thread", "run", "other"


@dataclass
class Author:
    """Writes one run, and now and then somebody else's entry between its segments."""

    head: ThreadHead = field(default_factory=lambda: ThreadHead(tenant=TENANT, thread_id=THREAD))
    segments: list[Segment] = field(default_factory=list)
    waiting: list[Event] = field(default_factory=list)
    checkpoint: int = 0
    steps: int = 0
    calls: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    tickets: int = 0
    activation: int = 1
    stage: str = "between"  # between steps, writing (a model answers), tools (they run)

    def emit(self, *events: Event) -> None:
        self.waiting.extend(events)

    def commit(self, *, boundary: bool = False) -> None:
        """What was emitted becomes a segment."""
        if self.waiting:
            now = 1_000 + len(self.segments)
            self.head, segment = extend(self.head, RUN, self.waiting, now, boundary=boundary)
            self.segments.append(segment)
            self.waiting = []
        if boundary:
            self.checkpoint = self.head.seq

    @property
    def next_seq(self) -> int:
        return self.head.seq + len(self.waiting) + 1

    # --- moves

    def cut(self, number: int) -> None:
        self.commit()

    def stranger(self, number: int) -> None:
        """Somebody else's commit takes the next numbers of the thread."""
        self.commit()
        events: list[Event] = [PendingChanged(revision=number), TextDelta(delta="not of this run")]
        self.head, segment = extend(self.head, OTHER, events[: 1 + number % 2], 5_000)
        self.segments.append(segment)

    def text(self, number: int) -> None:
        if self._in_step():
            self.emit(TextDelta(delta=f"t{number} "))

    def reasoning(self, number: int) -> None:
        if self._in_step():
            self.emit(ReasoningDelta(delta=f"r{number} "))

    def signature(self, number: int) -> None:
        if self._in_step():
            self.emit(ReasoningEncryptedValue(encrypted_value=f"s{number}"))

    def call(self, number: int) -> None:
        if self._in_step():
            call_id = f"call-{self.next_seq}"
            self.calls.append(call_id)
            self.emit(ToolCallStart(id=call_id, name="tool"))

    def arguments(self, number: int) -> None:
        if self.stage == "writing" and self.calls:
            call_id = self.calls[number % len(self.calls)]
            self.emit(ToolCallDelta(id=call_id, args_delta=f"a{number},"))

    def drop(self, number: int) -> None:
        if self.stage == "writing" and self.calls:
            call_id = self.calls.pop(number % len(self.calls))
            self.emit(ToolCallCancel(id=call_id, name="tool", reason="recovered"))

    def retry(self, number: int) -> None:
        if self.stage != "between":
            self.emit(RunRetry(attempt=number, reason="retry"))

    def reset(self, number: int) -> None:
        """What follows the last plan or close is void, or only the last of it."""
        if self.stage == "writing":
            first = self.checkpoint + 1 + number % (self.next_seq - self.checkpoint)
            kept = [c for c in self.calls if int(c.removeprefix("call-")) < first]
            self.calls = kept
            self.emit(StreamReset(from_seq=first, reason="stream broken"))

    def plan(self, number: int) -> None:
        """The model's answer is complete; its calls are about to run."""
        if self.stage != "writing" or not self.calls:
            return
        for call_id in self.calls:
            self.emit(ToolCallReady(id=call_id, name="tool", arguments={"n": number}))
        self.emit(InferenceComplete(model="m", duration_ms=number))
        self._message(f"m{self.steps}", Role.assistant)
        self.commit(boundary=True)
        self.running, self.calls, self.stage = self.calls, [], "tools"

    def output(self, number: int) -> None:
        if self.running:
            call_id = self.running[number % len(self.running)]
            self.emit(ToolCallStreamDelta(id=call_id, name="tool", delta=f"o{number};"))

    def done(self, number: int) -> None:
        if self.running:
            call_id = self.running.pop(number % len(self.running))
            self.emit(
                ToolCallDone(
                    id=call_id, message_id=f"{call_id}-result", outcome="succeeded", result=number
                )
            )

    def close(self, number: int) -> None:
        """The step ends; what still runs is done first."""
        while self.running:
            self.done(0)
        if self.stage == "writing":
            self.calls = []
            self._message(f"m{self.steps}", Role.assistant)
        if self.stage != "between":
            self._message(f"x{self.steps}", Role.tool)
            self.emit(StateSnapshot(snapshot={"n": number}), StepEnd())
            self.commit(boundary=True)
            self.stage = "between"

    def suspend(self, number: int) -> None:
        """The run waits for a decision, gets it, and goes on."""
        self.close(number)
        self.tickets += 1
        name = f"ticket-{self.tickets}"
        end = RunFinish(thread_id=THREAD, run_id=RUN, termination=SuspendedEnd())
        self.emit(TicketOpened(ticket=_ticket(name)), end)
        self.commit(boundary=True)
        self.stranger(number)
        self.emit(
            TicketClosed(ticket_id=name, status="answered"),
            RunQueued(dispatch_id=f"d{self.tickets}", reason="resume"),
        )
        self.commit()
        self.activation += 1
        self.start()

    # --- how

    def start(self) -> None:
        self.emit(
            RunStart(
                thread_id=THREAD,
                run_id=RUN,
                activation=self.activation,
                resumed=self.activation > 1,
                agent_id="echo",
            )
        )
        self.commit()

    def finish(self) -> None:
        self.close(0)
        result = {"response": "done"}
        end = RunFinish(thread_id=THREAD, run_id=RUN, termination=NaturalEnd(), result=result)
        self.emit(end)
        self.commit(boundary=True)

    def _in_step(self) -> bool:
        """Whether a model answers; between two steps the next one begins."""
        if self.stage == "between":
            self.steps += 1
            self.emit(StepStart(message_id=f"m{self.steps}"))
            self.stage = "writing"
        return self.stage == "writing"

    def _message(self, message_id: str, role: Role) -> None:
        self.head = _counted(self.head)
        message = Message(message_id=message_id, role=role, content=(TextBlock(text=message_id),))
        self.emit(MessageCommitted(message_seq=self.head.message_seq, message=message))


def _counted(head: ThreadHead) -> ThreadHead:
    return ThreadHead(
        tenant=head.tenant,
        thread_id=head.thread_id,
        seq=head.seq,
        message_seq=head.message_seq + 1,
    )


def _ticket(name: str) -> Ticket:
    return Ticket(
        ticket_id=name,
        thread_id=THREAD,
        run_id=RUN,
        tool_call_id="call",
        tool_name="tool",
        arguments={},
        arguments_hash="h",
        reason=WaitingReason.tool_permission,
        opened_at=0,
    )


# Deltas are drawn more often than what separates them, and resets often enough to be nested.
MOVES = (
    *("text", "text", "text", "reasoning", "reasoning", "call", "arguments", "arguments"),
    *("arguments", "output", "output", "output", "cut", "cut", "stranger", "reset", "reset"),
    *("signature", "drop", "retry", "plan", "plan", "done", "close", "suspend"),
)


def written(moves: list[tuple[str, int]]) -> list[Segment]:
    """The thread's log after `moves`: one done run, and a stranger's entries."""
    author = Author()
    author.emit(RunQueued(dispatch_id="d0", reason="submitted"))
    author.start()
    for name, number in moves:
        getattr(author, name)(number)
    author.finish()
    return author.segments


def logs() -> st.SearchStrategy[list[Segment]]:
    """The log of a thread in which `RUN` is done."""
    move = st.tuples(st.sampled_from(MOVES), st.integers(0, 9))
    return st.lists(move, max_size=60).map(written)
