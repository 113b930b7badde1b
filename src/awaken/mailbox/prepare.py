"""Prepare: from the records to what a runner starts from."""

from __future__ import annotations

from awaken.domain.claim import Claim
from awaken.domain.dispatch import Claimed, Refusal
from awaken.domain.fold import fold
from awaken.domain.record import Record
from awaken.errors import Fault
from awaken.mailbox.lease import Ended
from awaken.mailbox.retry import with_answers
from awaken.ports.events import ClaimLost
from awaken.ports.runner import Activation
from awaken.ports.store import Checkpoint, Store


class Prepared(Record):
    """The activation, and the stop that was asked for before the attempt began, if there is one."""

    activation: Activation
    ended: Ended | None = None


async def prepare(store: Store, claim: Claim) -> Prepared:
    """Rebuild the activation of a claimed run from one consistent read.

    Raises:
        ClaimLost: the dispatch is not ours any more.
        StoreFault: the read failed (retryable), or a record cannot be decoded (not retryable).
        Fault: `resolution_not_found`: what the run was pinned to is gone; it fails closed (I12).
    """
    found = await store.checkpoint(claim.tenant, claim.run_id)
    if found is None:
        raise ClaimLost(Refusal.gone.value)
    ended = _check_claim(found, claim)
    if found.spec is None:
        raise Fault(
            "resolution_not_found",
            "the specification this run was pinned to is not stored any more",
            retryable=False,
            public=True,
        )
    events = [item.event for segment in found.tail for item in segment.items]
    activation = Activation(
        run=found.run,
        spec=found.spec,
        messages=with_answers(found.run, found.messages),
        partial=fold(events),
        dispatch_id=claim.dispatch_id,
        attempt_id=claim.claim_token,
        attempt=claim.attempt,
        tickets=found.tickets,
        thread_state=found.thread_state,
    )
    return Prepared(activation=activation, ended=ended)


def _check_claim(found: Checkpoint, claim: Claim) -> Ended | None:
    body = found.dispatch.body if found.dispatch is not None else None
    if not isinstance(body, Claimed) or body.claim_token != claim.claim_token:
        raise ClaimLost(Refusal.lease_lost.value)
    if body.superseded_by is not None:
        return Ended.superseded
    return Ended.cancelled if body.cancel_request is not None else None
