"""Dispatches, heads and commands for tests, made from the facts that shall hold.

`situations` is the opposite of `facts_of`: the first builds all shapes that a cell of the table can
have, the second reads the facts back from any dispatch. Neither asks `apply`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Final, NamedTuple

from msgspec.structs import replace

from awaken.domain.dispatch import (
    MAX_EXPIRIES,
    MAX_EXPIRIES_IN_LIFE,
    Ack,
    CancelCommand,
    CancelRequest,
    ClaimCommand,
    Claimed,
    Command,
    Dispatch,
    ExpireCommand,
    Fail,
    Finished,
    How,
    Mode,
    Queued,
    Release,
    RenewCommand,
    RetryAt,
    SettleCommand,
    StopNow,
    SupersedeCommand,
)
from awaken.domain.dispatch_table import SETTLE, Fact, State, Verb
from awaken.domain.thread import ThreadHead

NOW: Final = 1_000_000
LEASE_MS: Final = 30_000
TOKEN: Final = "token-1"
STOP: Final = CancelRequest(by="user", reason="stop button", requested_at=NOW - 5)

QUEUED_FACTS: Final = (Fact.busy, Fact.stale, Fact.due)
CLAIMED_FACTS: Final = (
    Fact.stale,
    Fact.owner,
    Fact.asked,
    Fact.last_attempt,
    Fact.lapsed,
    Fact.poison,
    Fact.interrupted,
    Fact.overdue,
)


class Situation(NamedTuple):
    dispatch: Dispatch
    head: ThreadHead
    command: Command


def a_dispatch(**fields: object) -> Dispatch:
    """A queued, due, fresh foreground dispatch `d1` of run `r1`, changed by `fields`."""
    fresh = Dispatch(
        tenant="acme",
        dispatch_id="d1",
        thread_id="t1",
        run_id="r1",
        mode=Mode.foreground,
        epoch=3,
        rank=NOW - 100,
        eligible_at=NOW - 100,
        created_at=NOW - 100,
        updated_at=NOW - 100,
        body=Queued(available_at=NOW),
    )
    return replace(fresh, **fields)


def a_head(**fields: object) -> ThreadHead:
    """The head of `d1`'s thread, which nobody has, changed by `fields`."""
    head = ThreadHead(tenant="acme", thread_id="t1", seq=7, message_seq=2, epoch=3, queued_count=1)
    return replace(head, **fields)


def a_claim(**fields: object) -> Claimed:
    """A claim whose lease runs, changed by `fields`."""
    claim = Claimed(
        claim_token=TOKEN,
        worker_id="w1",
        lease_until=NOW + 10,
        lease_ms=LEASE_MS,
        claimed_at=NOW - 50,
    )
    return replace(claim, **fields)


def claimed(*, dispatch: Mapping[str, object] | None = None, **claim: object) -> Situation:
    """`d1` claimed and its thread's head; the command is a renewal by its owner."""
    return Situation(
        a_dispatch(body=a_claim(**claim), **(dispatch or {})),
        a_head(claimed_dispatch="d1", active_run="r1", queued_count=0),
        RenewCommand(claim_token=TOKEN),
    )


Form = Ack | RetryAt | Release | Fail | StopNow


def settle(form: Form, token: str = TOKEN) -> SettleCommand:
    return SettleCommand(claim_token=token, form=form)


def relevant(state: State) -> tuple[Fact, ...]:
    """The facts that can differ while a dispatch is in `state`."""
    if state is State.queued:
        return QUEUED_FACTS
    return CLAIMED_FACTS if state is State.claimed else (Fact.stale,)


def fact_sets(state: State) -> Iterator[frozenset[Fact]]:
    """Every combination of facts that can hold while a dispatch is in `state`."""
    known = relevant(state)
    for size in range(len(known) + 1):
        for facts in map(frozenset, combinations(known, size)):
            if Fact.overdue not in facts or Fact.interrupted in facts:
                yield facts


def situations(state: State, verb: Verb, facts: frozenset[Fact]) -> Iterator[Situation]:
    """All shapes of one cell; times stand right at the edge that the facts allow."""
    for dispatch, head in _shapes(state, facts):
        for command in _commands(verb, owner=Fact.owner in facts or state is not State.claimed):
            if _consistent(dispatch, command, facts):
                yield Situation(dispatch, head, command)


def _shapes(state: State, facts: frozenset[Fact]) -> Iterator[tuple[Dispatch, ThreadHead]]:
    if state is State.queued:
        return _queued(facts)
    return _claimed(facts) if state is State.claimed else _finished(state, facts)


def _queued(facts: frozenset[Fact]) -> Iterator[tuple[Dispatch, ThreadHead]]:
    busy: tuple[dict[str, str | None], ...] = (
        {"claimed_dispatch": "d0", "active_run": "r0", "front": None},
        {"claimed_dispatch": "d0", "active_run": "r0", "front": "d1"},
        {"active_run": "r0", "front": "d1"},
        {"active_run": "r0", "front": "d9"},
        {"waiting_run": "r0", "front": "d1"},
        {"waiting_run": "r0", "front": None},
        {"front": "d9"},
    )
    free: tuple[dict[str, str | None], ...] = (
        {"front": None},
        {"front": "d1"},
        {"active_run": "r1", "front": "d1"},
        {"active_run": "r1", "front": "d9"},
        {"waiting_run": "r1", "front": "d1"},
    )
    body = Queued(available_at=NOW if Fact.due in facts else NOW + 1)
    for shape in busy if Fact.busy in facts else free:
        head = a_head(queued_count=4, **shape)
        for mode in Mode:
            foreground = mode in (Mode.foreground, Mode.resume)
            if Fact.stale not in facts:
                yield a_dispatch(mode=mode, body=body), head
            if (Fact.stale in facts) == foreground:  # old background work is not stale
                yield a_dispatch(mode=mode, body=body, epoch=2), head


def _claimed(facts: frozenset[Fact]) -> Iterator[tuple[Dispatch, ThreadHead]]:
    deadline = None
    if Fact.interrupted in facts:
        deadline = NOW - 1 if Fact.overdue in facts else NOW
    body = a_claim(
        cancel_request=STOP if Fact.asked in facts else None,
        interrupt_deadline=deadline,
        superseded_by="r2" if deadline else None,
    )
    head = a_head(claimed_dispatch="d1", active_run="r1", queued_count=3)
    for lease_until, mode in product((NOW - 1, NOW), (Mode.foreground, Mode.background)):
        for expiries, life in _expiries(poison=Fact.poison in facts):
            dispatch = a_dispatch(
                mode=mode,
                epoch=2 if Fact.stale in facts else 3,
                attempt=4 if Fact.last_attempt in facts else 3,
                expiries=expiries,
                life_expiries=life,
                body=replace(body, lease_until=lease_until),
            )
            yield dispatch, head


def _expiries(*, poison: bool) -> list[tuple[int, int]]:
    last, last_in_life = MAX_EXPIRIES - 1, MAX_EXPIRIES_IN_LIFE - 1
    if poison:
        return [(last, last), (0, last_in_life), (last, last_in_life)]
    return [(0, 0), (last - 1, last_in_life - 1)]


def _finished(state: State, facts: frozenset[Fact]) -> Iterator[tuple[Dispatch, ThreadHead]]:
    body = Finished(how=How(state.value), finished_at=NOW - 1)
    epoch = 2 if Fact.stale in facts else 3
    yield a_dispatch(body=body, epoch=epoch, settled_by=TOKEN), a_head(queued_count=0)
    yield a_dispatch(body=body, epoch=epoch), a_head(claimed_dispatch="d2", active_run="r2")


def _commands(verb: Verb, *, owner: bool) -> tuple[Command, ...]:
    token = TOKEN if owner else "token-0"
    if verb in SETTLE:
        return (settle(_FORMS[verb], token),)
    others: dict[Verb, tuple[Command, ...]] = {
        Verb.claim: (ClaimCommand(claim_token="token-2", worker_id="w2", lease_ms=LEASE_MS),),
        Verb.renew: (RenewCommand(claim_token=token),),
        Verb.cancel: (CancelCommand(by="user"), CancelCommand(by="api", reason="why", hide=True)),
        Verb.supersede: (SupersedeCommand(by_run_id="r5", grace_ms=2_000),),
        Verb.expire: (ExpireCommand(), ExpireCommand(owner_dead=True)),
    }
    return others[verb]


_FORMS: Final[dict[Verb, Form]] = {
    Verb.ack: Ack(),
    Verb.suspend: Ack(suspended=True),
    Verb.retry: RetryAt(available_at=NOW + 500, error="overloaded"),
    Verb.release: Release(),
    Verb.fail: Fail(error="unknown agent"),
    Verb.stop: StopNow(),
}


def _consistent(dispatch: Dispatch, command: Command, facts: frozenset[Fact]) -> bool:
    """Whether `command` on `dispatch` agrees with the facts about the lease."""
    if not isinstance(dispatch.body, Claimed):
        return True
    return _lapsed(dispatch.body, command, NOW) == (Fact.lapsed in facts)


def _lapsed(body: Claimed, command: Command, now: int) -> bool:
    dead = isinstance(command, ExpireCommand) and command.owner_dead
    return dead or body.lease_until < now


def facts_of(dispatch: Dispatch, head: ThreadHead, command: Command, now: int) -> frozenset[Fact]:
    """The facts that hold."""
    holds: dict[Fact, bool] = {}
    if isinstance(dispatch.body, Queued):
        holds = _queued_facts(dispatch, dispatch.body, head, now)
    elif isinstance(dispatch.body, Claimed):
        holds = _claimed_facts(dispatch, dispatch.body, head, command, now)
    return frozenset(fact for fact, true in holds.items() if true)


def _queued_facts(dispatch: Dispatch, body: Queued, head: ThreadHead, now: int) -> dict[Fact, bool]:
    first = head.active_run or head.waiting_run
    if first is None:
        other_goes_first = head.front not in (None, dispatch.dispatch_id)
    else:
        other_goes_first = first != dispatch.run_id
    return {
        Fact.busy: head.claimed_dispatch is not None or other_goes_first,
        Fact.stale: dispatch.foreground and dispatch.epoch < head.epoch,
        Fact.due: body.available_at <= now,
    }


def _claimed_facts(
    dispatch: Dispatch, body: Claimed, head: ThreadHead, command: Command, now: int
) -> dict[Fact, bool]:
    deadline = body.interrupt_deadline
    token = getattr(command, "claim_token", None)
    return {
        Fact.stale: dispatch.epoch < head.epoch,
        Fact.owner: token == body.claim_token,
        Fact.asked: body.cancel_request is not None,
        Fact.last_attempt: dispatch.attempt + 1 >= dispatch.max_attempts,
        Fact.lapsed: _lapsed(body, command, now),
        Fact.poison: dispatch.expiries + 1 >= MAX_EXPIRIES
        or dispatch.life_expiries + 1 >= MAX_EXPIRIES_IN_LIFE,
        Fact.interrupted: deadline is not None,
        Fact.overdue: deadline is not None and deadline < now,
    }
