"""What tests of the execution side share: a clock that leaps, a sink that collects, a driver."""

from __future__ import annotations

from collections.abc import Sequence

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from awaken.domain.agent import AgentSpec
from awaken.domain.event import Event, MessageCommitted, StepEnd, StreamReset
from awaken.domain.fold import Partial, fold
from awaken.domain.ledger import StepPlan, ToolResult, finished, started
from awaken.domain.message import Block, Message, Role, StoredMessage, TextBlock
from awaken.domain.outcome import Completed
from awaken.domain.rule import ApprovalRule
from awaken.domain.run import Run
from awaken.errors import Fault
from awaken.ports.boundary import CloseCommit, PlanCommit
from awaken.ports.events import ClaimLost
from awaken.ports.runner import Activation, Runner


class LeapingClock:
    """Sleeping takes no time but moves the clock; `slept` lists the waits in milliseconds."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.slept: list[int] = []

    def now(self) -> int:
        return round(self.elapsed * 1000)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.elapsed += seconds
        self.slept.append(round(seconds * 1000))
        await checkpoint()


class CountingIds:
    def __init__(self) -> None:
        self.made = 0

    def new(self) -> str:
        self.made += 1
        return f"id-{self.made}"

    def jitter(self) -> float:
        return 0.5


class CollectingSink:
    """Keeps what is emitted; the claim is lost when `room` events are in it."""

    def __init__(self, room: int | None = None) -> None:
        self.events: list[Event] = []
        self.room = room

    async def emit(self, event: Event) -> None:
        if self.room is not None and len(self.events) >= self.room:
            raise ClaimLost("lease_lost")
        self.events.append(event)


class LedgerInMemory:
    """The ledger's port without a store: what the loop commits, by the same rules."""

    def __init__(self, attempt_id: str = "a-0") -> None:
        self.checkpoint_seq = 0
        self.attempt_id = attempt_id
        self.current: StepPlan | None = None
        self.commits: list[str] = []
        self.closed: list[CloseCommit] = []

    async def plan(self, commit: PlanCommit) -> StepPlan:
        self.commits.append("plan")
        plan = StepPlan(step=commit.step, calls=commit.calls)
        self.current = started(plan, commit.begin, self.attempt_id)
        return self.current

    async def rules(self) -> Sequence[ApprovalRule]:
        return ()

    async def start(self, step: int, call_ids: Sequence[str]) -> None:
        self.commits.append("start")
        assert self.current is not None
        self.current = started(self.current, tuple(call_ids), self.attempt_id)

    async def result(self, step: int, call_id: str, result: ToolResult) -> None:
        self.commits.append(f"result {call_id}")
        assert self.current is not None
        self.current = finished(self.current, call_id, result) or self.current

    async def close(self, commit: CloseCommit) -> tuple[Message, ...]:
        self.commits.append("close")
        self.closed.append(commit)
        self.current = None
        return ()


def said(text: str, message_id: str = "m-1", role: Role = Role.user) -> Message:
    return Message(message_id=message_id, role=role, content=(TextBlock(text=text),))


def stored(messages: Sequence[Message]) -> tuple[StoredMessage, ...]:
    return tuple(
        StoredMessage(thread_id="t", message_seq=seq, run_id="r", created_at=0, message=message)
        for seq, message in enumerate(messages, start=1)
    )


def activation(
    spec: AgentSpec,
    *messages: Message,
    partial: Partial | None = None,
    attempt: int = 0,
) -> Activation:
    run = Run(
        tenant="default",
        run_id="r",
        thread_id="t",
        agent_id=spec.agent_id,
        resolution_id="sha256:0",
        created_at=0,
        updated_at=0,
    )
    return Activation(
        run=run,
        spec=spec,
        messages=stored(messages),
        partial=partial or Partial(),
        dispatch_id="d",
        attempt_id=f"a-{attempt}",
        attempt=attempt,
    )


async def run_to_the_end(
    runner: Runner, first: Activation, *, cut_after: int | None = None
) -> tuple[list[Event], Completed, int]:
    """What all attempts published, the outcome, and how many attempts it took.

    Each attempt goes on from the fold of what was published, as the mailbox has it. The first one
    loses its claim after `cut_after` events.
    """
    log: list[Event] = []
    attempt = 0
    while True:
        sink = CollectingSink(room=cut_after if attempt == 0 else None)
        try:
            outcome = await runner.run(
                replace(first, partial=fold(log), attempt=attempt),
                sink,
                LedgerInMemory(),
            )
        except (ClaimLost, Fault) as error:
            if isinstance(error, Fault) and not error.retryable:
                raise
            log += [*sink.events, *_voided(log + sink.events)]
            attempt += 1
            assert attempt < 10, "no attempt comes to an end"
        else:
            assert isinstance(outcome, Completed)
            return log + sink.events, outcome, attempt + 1


def _voided(log: Sequence[Event]) -> list[Event]:
    """What the claim of the next attempt writes: reasoning without text cannot be continued."""
    partial = fold(log)
    lonely = partial.blocks and not partial.text
    return [StreamReset(from_seq=1, reason="retry")] if lonely else []


def answer_of(outcome: Completed) -> Message:
    assert outcome.close is not None
    (message,) = outcome.close.messages
    return message


def seen_by_readers(log: Sequence[Event]) -> tuple[Block, ...]:
    return fold(log).blocks


def closed(log: Sequence[Event], outcome: Completed) -> Partial:
    """The fold of the log once settle has committed the close."""
    committed = MessageCommitted(message_seq=2, message=answer_of(outcome))
    return fold([*log, committed, StepEnd()])
