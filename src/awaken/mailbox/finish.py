"""`finish`: the only thing that ends a run, whoever calls it.

Invariant I6: every accepted run has exactly one `run_finish` that is not `suspended`, and it is its
last entry. So nothing else emits one, and `finish` refuses (by `domain.run.finish`) a run that is
done.

It runs inside the commit of whoever ends the run and settles all that hangs on it: partial text,
open step, unread entries, open tickets, the record, the terminal event.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from awaken.domain import run as runs
from awaken.domain import ticket as tickets
from awaken.domain.event import (
    MessagesReplaced,
    RunFinish,
    StepEnd,
    TicketClosed,
    ToolCallCancel,
    ToolCallDone,
)
from awaken.domain.fold import Partial, fold
from awaken.domain.message import Message, MessageVisibility, Role, TextBlock
from awaken.domain.outcome import Completed, StepClose
from awaken.domain.run import Run, RunOutcome
from awaken.domain.termination import Cancelled, FinalTermination, Superseded
from awaken.domain.ticket import TicketStatus
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import leave

MAX_SUCCESSORS: Final = 100
"""How many runs, each in the place of the one before, may come while one is stopping."""


async def finish(
    unit: ThreadUnit,
    run: Run,
    termination: FinalTermination,
    *,
    internal_error: str | None = None,
    cancel_too_late: bool = False,
    hide: bool = False,
) -> Run:
    """End a run that was cut short: what its readers saw becomes an interrupted message.

    The caller has already ended the run's dispatch, and saves the unit afterwards.
    `cancel_too_late`: a stop was asked for, but the run had failed. `hide`: the run is rolled back,
    so all its messages are hidden.
    """
    run = _close_plan(unit, run, termination)
    run, text = await _keep_partial(unit, run)
    if hide:
        await _hide_messages(unit, run, termination)
    cancel = "too_late" if cancel_too_late else None
    return await _end(unit, run, termination, text, internal_error=internal_error, cancel=cancel)


async def finish_completed(
    unit: ThreadUnit, run: Run, outcome: Completed, *, cancel_too_late: bool = False
) -> Run:
    """End a run that came to its own end; the close of its last step rides in this commit."""
    if outcome.close is not None:
        run = close_step(unit, run, outcome.close)
    cancel = "too_late" if cancel_too_late else None
    return await _end(unit, run, outcome.termination, outcome.text, cancel=cancel)


def close_step(unit: ThreadUnit, run: Run, close: StepClose) -> Run:
    """Commit a step: its events, its messages, `step_end`; the run's counters move on."""
    unit.emit(run.run_id, *close.events)
    numbers = tuple(unit.commit_message(run.run_id, message) for message in close.messages)
    unit.emit(run.run_id, StepEnd())
    unit.mark_boundary()
    return replace(
        run,
        steps=run.steps + 1,
        usage=run.usage + close.usage,
        output=run.output.with_seqs(*numbers),
        state=run.state if close.state is None else close.state,
        checkpoint_seq=unit.last_seq,
        updated_at=unit.now,
    )


async def _keep_partial(unit: ThreadUnit, run: Run) -> tuple[Run, str | None]:
    """Turn the fold of the log since the last checkpoint into a message (I7.

    What was published).
    """
    partial = await open_step(unit, run)
    for call in (call for call in partial.calls if not call.done):
        unit.emit(run.run_id, ToolCallCancel(id=call.id, name=call.name, reason="interrupted"))
    if partial.blocks and partial.message_id is not None:
        message = Message(
            message_id=partial.message_id,
            role=Role.assistant,
            content=partial.blocks,
            interrupted=True,
        )
        number = unit.commit_message(run.run_id, message)
        run = replace(run, output=run.output.with_seqs(number))
    if partial.message_id is not None:
        unit.emit(run.run_id, StepEnd())
    return run, partial.text or None


async def _hide_messages(unit: ThreadUnit, run: Run, termination: FinalTermination) -> None:
    """Leave a tombstone of each message of the run: nobody is shown it any more.

    Those that the run in its place answers anew stay.
    """
    by = termination.by_run_id if isinstance(termination, Superseded) else run.run_id
    kept = await _answered_anew(unit, run, by)
    owned = await unit.tx.messages_of_run(run.tenant, run.thread_id, run.run_id)
    found = [each for each in owned if each.message_seq not in kept and not each.replaced_by]
    for stored in found:
        hidden = replace(stored.message, visibility=MessageVisibility.replaced)
        unit.tx.put_message(run.tenant, replace(stored, message=hidden, replaced_by=by))
    ids = tuple(stored.message.message_id for stored in found)
    if ids:
        unit.emit(run.run_id, MessagesReplaced(message_ids=ids, by_run_id=by))


async def _answered_anew(unit: ThreadUnit, run: Run, by_run_id: str) -> set[int]:
    """The messages that runs which took the place of `run`, one after the other, answer anew."""
    kept: set[int] = set()
    for _ in range(MAX_SUCCESSORS):
        newer = await unit.tx.run(run.tenant, by_run_id)
        if newer is None or newer.run_id == run.run_id:
            break
        kept.update(newer.answers.seqs)
        ended = newer.outcome.termination if newer.outcome else None
        if not isinstance(ended, Superseded):
            break
        by_run_id = ended.by_run_id
    return kept


def _close_plan(unit: ThreadUnit, run: Run, termination: FinalTermination) -> Run:
    """Give every call of an open plan a result.

    Providers refuse a history with unanswered calls.
    """
    if run.plan is None:
        return run
    word = "superseded" if isinstance(termination, Superseded) else "interrupted"
    numbers = []
    for call in run.plan.calls:
        if call.result is None:
            done = ToolCallDone(
                id=call.id, message_id=call.message_id, outcome="failed", result=f"[{word}]"
            )
            unit.emit(run.run_id, done)
        message = Message(
            message_id=call.message_id,
            role=Role.tool,
            tool_call_id=call.id,
            content=(TextBlock(text=f"[{word}]" if call.result is None else call.result.text),),
        )
        numbers.append(unit.commit_message(run.run_id, message))
    unit.emit(run.run_id, StepEnd())
    output = run.output.with_seqs(*numbers)
    return replace(run, plan=None, output=output)


async def open_step(unit: ThreadUnit, run: Run) -> Partial:
    """What of the run's open step is published, this unit's own events included."""
    if run.started_at is None:
        return Partial()
    segments = await unit.tx.segments_of(run.tenant, run.run_id, run.checkpoint_seq)
    logged = [item.event for segment in segments for item in segment.items]
    return fold([*logged, *unit.emitted(run.run_id)])


async def _end(
    unit: ThreadUnit,
    run: Run,
    termination: FinalTermination,
    text: str | None,
    *,
    internal_error: str | None = None,
    cancel: str | None = None,
) -> Run:
    unit.stop_waiting(run.run_id)
    await leave(unit, run, termination)
    await _close_tickets(unit, run, termination)
    outcome = RunOutcome(termination=termination, text=text, internal_error=internal_error)
    run = runs.finish(run, outcome, unit.now)
    event = RunFinish(
        thread_id=run.thread_id,
        run_id=run.run_id,
        termination=termination,
        result=None if text is None else {"response": text},
        cancel=cancel,
    )
    unit.emit(run.run_id, event)
    unit.mark_boundary()
    run = replace(run, checkpoint_seq=unit.last_seq)
    unit.tx.put_run(run)
    return run


async def _close_tickets(unit: ThreadUnit, run: Run, termination: FinalTermination) -> None:
    if run.waiting is None:
        return
    superseded = isinstance(termination, Superseded)
    status = TicketStatus.superseded if superseded else TicketStatus.cancelled
    by = termination.by if isinstance(termination, Cancelled) else None
    for ticket in await unit.tx.open_tickets(run.tenant, run.run_id):
        unit.tx.put_ticket(run.tenant, tickets.close(ticket, status, unit.now))
        closed = TicketClosed(ticket_id=ticket.ticket_id, status=status.value, by=by)
        unit.emit(run.run_id, closed)
