"""Claiming: one commit in which a dispatch gets an owner and its run starts (claim is start).

The run's first claim consumes its entries (I5); each marks the run running, and writes `run_start`
for a new activation or `run_retry` for another attempt at the same one. Reasoning that a dead
attempt had published without any text cannot be continued, so the claim of its successor voids it
with `stream_reset`.
"""

from __future__ import annotations

from awaken.domain import run as runs
from awaken.domain.claim import Claim
from awaken.domain.delivery import Boundary
from awaken.domain.dispatch import Applied, ClaimCommand, Claimed, Dispatch, Effect
from awaken.domain.event import RunRetry, RunStart, StreamReset, ToolCallCancel
from awaken.domain.line import LineRow
from awaken.domain.record import Record
from awaken.domain.run import Run
from awaken.domain.termination import Superseded
from awaken.errors import UndecodableRecord
from awaken.mailbox.bury import bury_in
from awaken.mailbox.finish import finish, open_step
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import consume
from awaken.ports.store import Transaction

MAX_SET_ASIDE = 100
"""Rows that cannot be read, of which one claim gets rid."""


class Claimer(Record):
    """Who claims.

    The token is minted by the caller, so that a repeated call is answered from the record.
    """

    claim_token: str
    worker_id: str
    lease_ms: int


async def claim_in(
    unit: ThreadUnit, run: Run, dispatch: Dispatch, claimer: Claimer, *, just_staged: bool = False
) -> Claim | None:
    """Claim `dispatch` inside the unit; None when it may not be claimed now.

    `just_staged`: its entries were staged by this very commit, so nobody has seen them pending.
    """
    command = ClaimCommand(
        claim_token=claimer.claim_token, worker_id=claimer.worker_id, lease_ms=claimer.lease_ms
    )
    answer = unit.apply(dispatch, command)
    if not isinstance(answer, Applied):
        unit.change(dispatch)  # so that it stands in line only if it can be claimed
        return None
    if answer.effect is Effect.supersede_run:
        thread = await unit.tx.thread(run.tenant, run.thread_id)
        newer = (thread.latest_run_id if thread else None) or run.run_id
        await finish(unit, run, Superseded(by_run_id=newer))
        return None
    await _start(unit, run, dispatch, just_staged=just_staged)
    return claim_of(answer.dispatch)


async def claim_next(
    tx: Transaction, claimers: tuple[Claimer, ...], *, foreground_only: bool
) -> list[Claim]:
    """Claim up to one dispatch per claimer from the head of the line."""
    claims: list[Claim] = []
    for claimer in claimers:
        found = await _next(tx, foreground_only=foreground_only)
        if found is None:
            break
        unit, run, dispatch = found
        claim = await claim_in(unit, run, dispatch, claimer)
        await unit.save()
        if claim is not None:
            claims.append(claim)
    return claims


async def _next(
    tx: Transaction, *, foreground_only: bool
) -> tuple[ThreadUnit, Run, Dispatch] | None:
    """What is first in line. What cannot be read is given up; it must hold up no other."""
    for _ in range(MAX_SET_ASIDE):
        row = await tx.next_in_line(foreground_only=foreground_only)
        if row is None:
            return None
        unit = await ThreadUnit.open(tx, row.tenant, row.thread_id)
        assert unit is not None, "the line names threads that exist"
        found = await _read(tx, row)
        if found is not None:
            return unit, *found
        await _set_aside(unit, row)
    return None


async def _set_aside(unit: ThreadUnit, row: LineRow) -> None:
    """Give up a dispatch that cannot be read; its thread goes on."""
    delivery = await unit.tx.delivery(row.tenant, row.dispatch_id)
    assert delivery is not None, "the line names dispatches that exist"
    await bury_in(unit, delivery)
    await unit.save()


async def _read(tx: Transaction, row: LineRow) -> tuple[Run, Dispatch] | None:
    """What a row of the line stands for; None if it cannot be read."""
    try:
        dispatch = await tx.dispatch(row.tenant, row.dispatch_id)
        assert dispatch is not None, "the line names dispatches that exist"
        run = await tx.run(row.tenant, dispatch.run_id)
    except UndecodableRecord:
        return None
    assert run is not None, "a dispatch delivers a run"
    return run, dispatch


def claim_of(dispatch: Dispatch) -> Claim:
    """The claim value of a claimed dispatch."""
    body = dispatch.body
    assert isinstance(body, Claimed)
    return Claim(
        tenant=dispatch.tenant,
        thread_id=dispatch.thread_id,
        run_id=dispatch.run_id,
        dispatch_id=dispatch.dispatch_id,
        claim_token=body.claim_token,
        worker_id=body.worker_id,
        attempt=dispatch.attempt,
        lease_ms=body.lease_ms,
        lease_until=body.lease_until,
        claimed_at=body.claimed_at,
        eligible_at=dispatch.eligible_at,
        enqueued_at=dispatch.created_at,
        foreground=dispatch.foreground,
        retry_reason=dispatch.retry_reason,
        batch_no=body.batch_no,
        turn=body.turn,
    )


async def _start(unit: ThreadUnit, run: Run, dispatch: Dispatch, *, just_staged: bool) -> None:
    retry = dispatch.retry_reason is not None
    if retry:
        await _tell_retry(unit, run, dispatch)
    if run.started_at is None:
        # Later ones only between two steps: a message must not stand before results it follows.
        run, _ = await consume(unit, run, Boundary.new_run, just_staged=just_staged)
    run = runs.start(run, unit.now, retry=retry)
    if not retry:
        started = RunStart(
            thread_id=run.thread_id,
            run_id=run.run_id,
            activation=run.activation,
            resumed=run.activation > 1,
            agent_id=run.agent_id,
            parent_run_id=run.parent_run_id,
        )
        unit.emit(run.run_id, started)
    unit.tx.put_run(run)


async def _tell_retry(unit: ThreadUnit, run: Run, dispatch: Dispatch) -> None:
    reason = dispatch.retry_reason or "retry"
    retry = RunRetry(
        attempt=dispatch.attempt + dispatch.expiries + 1,
        reason=reason,
        error_code=dispatch.last_error if reason == "retry" else None,
    )
    partial = await open_step(unit, run)
    unit.emit(run.run_id, retry)
    for call in partial.calls:
        if not call.ready:
            unit.emit(run.run_id, ToolCallCancel(id=call.id, name=call.name, reason=reason))
    if partial.blocks and not partial.text:
        unit.emit(run.run_id, StreamReset(from_seq=run.checkpoint_seq + 1, reason=reason))
