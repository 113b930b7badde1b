"""Another turn: a run that comes to its natural end while messages wait for it goes on.

Whether such a message is read by the run or starts one of its own is decided in the commit that
would end the run, so it is never lost between the two. The claim stays; its `turn` tells the settle
before from the settle after, so that one repeated after an ambiguous commit is answered from the
record.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.claim import Claim, holds
from awaken.domain.delivery import Boundary
from awaken.domain.dispatch import Claimed, Dispatch
from awaken.domain.outcome import Completed
from awaken.domain.run import Run
from awaken.domain.termination import NaturalEnd
from awaken.mailbox.claim import claim_of
from awaken.mailbox.finish import close_step
from awaken.mailbox.unit import ThreadUnit
from awaken.mailbox.unread import consume


def turned_already(dispatch: Dispatch, claim: Claim) -> bool:
    """Whether this settle was carried out before, and the run went on."""
    body = dispatch.body
    same = isinstance(body, Claimed) and body.claim_token == claim.claim_token
    return same and isinstance(body, Claimed) and body.turn > claim.turn


async def go_on(
    unit: ThreadUnit, run: Run, dispatch: Dispatch, claim: Claim, outcome: Completed, batch_no: int
) -> Claim | None:
    """Close the last step and read what waits; None when nothing does, or the run has to stop.

    `batch_no` is the number of the last batch of events, which the caller has emitted.
    """
    body = dispatch.body
    if holds(dispatch, unit.head, claim.claim_token) is not None or not isinstance(body, Claimed):
        return None
    if body.cancel_request is not None or not isinstance(outcome.termination, NaturalEnd):
        return None
    if not await unit.tx.pending(run.tenant, run.thread_id, run.run_id):
        return None
    if outcome.close is not None:
        run = close_step(unit, run, outcome.close)
    run, inputs = await consume(unit, run, Boundary.on_natural_end)
    assert inputs, "what waits for a running run is read at its end, if not before"
    unit.mark_boundary()
    body = replace(body, batch_no=max(body.batch_no, batch_no), turn=body.turn + 1)
    dispatch = replace(dispatch, body=body, attempt=0, expiries=0, updated_at=unit.now)
    unit.change(dispatch)
    unit.tx.put_run(replace(run, checkpoint_seq=unit.last_seq, updated_at=unit.now))
    await unit.save()
    return claim_of(dispatch)
