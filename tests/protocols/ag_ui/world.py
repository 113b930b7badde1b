"""Logs of one run together with the records that belong to them, drawn by Hypothesis.

Unlike `tests/streams/runs.py` what is committed is what was said: the message of a step is the fold
of its deltas, as the mailbox writes it. A world can be asked at every entry what a client that
attaches then is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain import event as events
from awaken.domain.event import Entry, Event, LogItem, Segment
from awaken.domain.fold import fold
from awaken.domain.ledger import PlannedCall, StepPlan, ToolResult
from awaken.domain.message import Message, Role, StoredMessage, TextBlock, ToolCall
from awaken.domain.run import Run, RunOutcome, RunStatus
from awaken.domain.termination import NaturalEnd, SuspendedEnd
from awaken.domain.ticket import Ticket, WaitingReason
from awaken.ports.store import Checkpoint

RUN, THREAD = "run", "thread"


@dataclass
class World:
    """The log, and the records after each of its entries (`at[seq]`)."""

    entries: list[Entry] = field(default_factory=list)
    at: dict[int, Checkpoint] = field(default_factory=dict)
    messages: list[StoredMessage] = field(default_factory=list)
    tickets: tuple[Ticket, ...] = ()
    state: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    calls: list[str] = field(default_factory=list)
    args: dict[str, str] = field(default_factory=dict)
    stage: str = "between"
    run: Run = field(
        default_factory=lambda: Run(
            tenant="a",
            run_id=RUN,
            thread_id=THREAD,
            agent_id="x",
            resolution_id="r",
            created_at=0,
            updated_at=0,
            status=RunStatus.running,
            client_run_id="client-run",
        )
    )

    def emit(self, *told: Event) -> None:
        for event in told:
            seq = len(self.entries) + 1
            self.entries.append(
                Entry(seq=seq, thread_id=THREAD, run_id=RUN, at=1000 + seq, event=event)
            )
            self.keep()

    def keep(self) -> None:
        """The records as they are now."""
        tail = tuple(
            Segment(
                tenant="a",
                thread_id=THREAD,
                run_id=RUN,
                first_seq=e.seq,
                last_seq=e.seq,
                at=e.at,
                items=(LogItem(seq=e.seq, event=e.event),),
            )
            for e in self.entries
            if e.seq > self.run.checkpoint_seq
        )
        self.at[len(self.entries)] = Checkpoint(
            run=self.run,
            dispatch=None,
            spec=None,
            messages=tuple(self.messages),
            tail=tail,
            tickets=self.tickets,
            thread_state=dict(self.state),
        )

    def commit(self, message: Message) -> Event:
        number = len(self.messages) + 1
        self.messages.append(
            StoredMessage(
                thread_id=THREAD, message_seq=number, run_id=RUN, created_at=0, message=message
            )
        )
        return events.MessageCommitted(message_seq=number, message=message)

    def boundary(self, told: list[Event], **changes: object) -> None:
        """One commit: its entries are there together, and what the records say with them."""
        before = len(self.entries)
        last = before + len(told)
        self.run = replace(self.run, checkpoint_seq=last, **changes)
        for event in told:
            seq = len(self.entries) + 1
            self.entries.append(
                Entry(seq=seq, thread_id=THREAD, run_id=RUN, at=1000 + seq, event=event)
            )
        for seq in range(before + 1, last):
            self.at.pop(seq, None)
        self.keep()

    # --- moves

    def begin(self) -> None:
        user = Message(message_id="u", role=Role.user, content=(TextBlock(text="hello"),))
        self.emit(events.RunQueued(dispatch_id="d", reason="submitted"))
        told: list[Event] = [
            events.RunStart(
                thread_id=THREAD, run_id=RUN, activation=1, resumed=False, agent_id="x"
            ),
            self.commit(user),
        ]
        self.boundary(told)

    def _writing(self) -> bool:
        if self.stage == "between":
            self.steps += 1
            self.emit(events.StepStart(message_id=f"m{self.steps}"))
            self.stage = "writing"
        return self.stage == "writing"

    def text(self, n: int) -> None:
        if self._writing():
            self.emit(events.TextDelta(delta=f"t{n} "))

    def reasoning(self, n: int) -> None:
        if self._writing():
            self.emit(events.ReasoningDelta(delta=f"r{n} "))

    def signature(self, n: int) -> None:
        if self._writing():
            self.emit(events.ReasoningEncryptedValue(encrypted_value=f"s{n}"))

    def call(self, n: int) -> None:
        if self._writing():
            name = f"call-{len(self.entries) + 1}"
            self.calls.append(name)
            self.emit(events.ToolCallStart(id=name, name="tool"))

    def arguments(self, n: int) -> None:
        """The first half of what the arguments will be, or the rest."""
        if self.stage == "writing" and self.calls:
            name = self.calls[n % len(self.calls)]
            rest = '{"n":1}'[len(self.args.get(name, "")) :][:4]
            if rest:
                self.args[name] = self.args.get(name, "") + rest
                self.emit(events.ToolCallDelta(id=name, args_delta=rest))

    def drop(self, n: int) -> None:
        if self.stage == "writing" and self.calls:
            name = self.calls.pop(n % len(self.calls))
            self.emit(events.ToolCallCancel(id=name, name="tool", reason="recovered"))

    def retry(self, n: int) -> None:
        self.emit(events.RunRetry(attempt=n, reason="retry"))

    def reset(self, n: int) -> None:
        if self.stage == "writing":
            self.calls = []
            first = self.run.checkpoint_seq + 1
            self.emit(events.StreamReset(from_seq=first, reason="stream broken"))

    def steer(self, n: int) -> None:
        """Between two steps the run reads what somebody else has said."""
        if self.stage == "between":
            name = f"said-{len(self.entries)}"
            said = Message(message_id=name, role=Role.user, content=(TextBlock(text=name),))
            self.boundary([self.commit(said)])

    def _answer(self, calls: list[str]) -> Message:
        tail = [e.event for e in self.entries if e.seq > self.run.checkpoint_seq]
        partial = fold(tail)
        return Message(
            message_id=f"m{self.steps}",
            role=Role.assistant,
            content=partial.blocks,
            tool_calls=tuple(ToolCall(id=c, name="tool", arguments={"n": 1}) for c in calls),
        )

    def plan(self, n: int) -> None:
        while self.stage == "writing" and any(self.args.get(c, "") == '{"n"' for c in self.calls):
            for index in range(len(self.calls)):
                self.arguments(index)
        if self.stage != "writing" or not self.calls:
            return
        ready: list[Event] = [
            events.ToolCallReady(id=c, name="tool", arguments={"n": 1}) for c in self.calls
        ]
        done = events.InferenceComplete(model="m", duration_ms=1, usage={"prompt_tokens": 2})
        message = self._answer(self.calls)
        planned = tuple(
            PlannedCall(id=c, name="tool", message_id=f"{c}-result") for c in self.calls
        )
        plan = StepPlan(step=self.steps, calls=planned)
        self.stage, self.calls = "tools", []
        self.boundary([*ready, done, self.commit(message)], plan=plan)

    def output(self, n: int) -> None:
        running = self.run.plan.open_calls if self.run.plan else ()
        if running:
            name = running[n % len(running)].id
            self.emit(events.ToolCallStreamDelta(id=name, name="tool", delta=f"o{n};"))

    def done(self, n: int) -> None:
        plan = self.run.plan
        if plan is None or not plan.open_calls:
            return
        call = plan.open_calls[n % len(plan.open_calls)]
        changed = plan.with_call(replace(call, result=ToolResult(succeeded=True, content=n)))
        self.run = replace(self.run, plan=changed)
        told = events.ToolCallDone(
            id=call.id, message_id=call.message_id, outcome="succeeded", result=n
        )
        self.emit(told)

    def close(self, n: int) -> None:
        while self.run.plan is not None and self.run.plan.open_calls:
            self.done(n)
        if self.stage == "writing":
            self.calls = []
            self.boundary([self.commit(self._answer([])), events.StepEnd()])
        elif self.stage == "tools" and self.run.plan is not None:
            told: list[Event] = [
                self.commit(
                    Message(
                        message_id=c.message_id,
                        role=Role.tool,
                        tool_call_id=c.id,
                        content=(TextBlock(text=c.result.text if c.result else ""),),
                    )
                )
                for c in self.run.plan.calls
            ]
            self.state = {**self.state, "n": n}
            self.boundary([*told, events.StateSnapshot(snapshot=self.state), events.StepEnd()])
            self.run = replace(self.run, plan=None)
            self.keep()
        self.stage = "between"

    def suspend(self, n: int) -> None:
        """One call of a plan waits for a decision."""
        if self.stage != "tools" or self.run.plan is None or not self.run.plan.open_calls:
            return
        call = self.run.plan.open_calls[0]
        ticket = Ticket(
            ticket_id=f"ticket-{len(self.entries)}",
            thread_id=THREAD,
            run_id=RUN,
            tool_call_id=call.id,
            tool_name="tool",
            arguments={},
            arguments_hash="h",
            reason=WaitingReason.tool_permission,
            opened_at=0,
            expires_at=1_700_000_000_123,
        )
        self.tickets = (ticket,)
        self.boundary(
            [
                events.TicketOpened(ticket=ticket),
                events.RunFinish(thread_id=THREAD, run_id=RUN, termination=SuspendedEnd()),
            ],
            status=RunStatus.waiting,
        )
        self.tickets = ()
        self.emit(events.TicketClosed(ticket_id=ticket.ticket_id, status="answered"))
        self.run = replace(self.run, status=RunStatus.running)
        self.emit(
            events.RunStart(thread_id=THREAD, run_id=RUN, activation=2, resumed=True, agent_id="x")
        )

    def finish(self) -> None:
        self.close(0)
        end = events.RunFinish(
            thread_id=THREAD, run_id=RUN, termination=NaturalEnd(), result={"response": "x"}
        )
        outcome = RunOutcome(termination=NaturalEnd(), text="x")
        self.boundary([end], status=RunStatus.done, outcome=outcome)


MOVES = (
    *("text", "text", "text", "reasoning", "reasoning", "call", "call", "arguments", "arguments"),
    *("arguments", "output", "output", "reset", "signature", "drop", "retry", "plan", "plan"),
    *("done", "done", "close", "suspend", "steer"),
)


def lived(moves: list[tuple[str, int]]) -> World:
    """The world after `moves`."""
    world = World()
    world.begin()
    for name, number in moves:
        getattr(world, name)(number)
    world.finish()
    return world


def worlds() -> st.SearchStrategy[World]:
    """A run that is done, with its records along the way."""
    move = st.tuples(st.sampled_from(MOVES), st.integers(0, 9))
    return st.lists(move, max_size=40).map(lived)
