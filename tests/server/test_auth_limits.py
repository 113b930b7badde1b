"""What a key may use, counted by a clock that jumps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

import awaken
from awaken.domain.event import InferenceComplete, LogItem, RunFinish, Segment
from awaken.domain.run import Run, RunStatus
from awaken.domain.termination import NaturalEnd, SuspendedEnd, Termination
from awaken.errors import Refusal
from awaken.ports.hints import LogGrew
from awaken.ports.store import Store
from awaken.protocols.native.decode import Caller
from awaken.server.auth import limits
from awaken.server.auth.keys import KeyLimits
from awaken.server.auth.limits import DAY_MS, Accounts
from awaken.testing.clock import FakeClock

ALICE = Caller(tenant="a", actor="alice", credential="key:a/alice")
NONE = KeyLimits(0, 0, 0)


class Runs:
    """A store that knows only these runs."""

    def __init__(self, statuses: Mapping[str, RunStatus] | None = None) -> None:
        self.statuses = dict(statuses or {})
        self.asked = 0

    async def run(self, tenant: str, run_id: str) -> Run | None:
        self.asked += 1
        status = self.statuses.get(run_id)
        if status is None:
            return None
        run = Run(
            tenant=tenant,
            run_id=run_id,
            thread_id="t",
            agent_id="x",
            resolution_id="r",
            created_at=0,
            updated_at=0,
        )
        return replace(run, status=status)


def no_store() -> Store:
    return cast(Store, Runs())


def accounts(clock: FakeClock, default: KeyLimits = NONE, **own: KeyLimits) -> Accounts:
    return Accounts(clock, default, {f"key:a/{name}": limit for name, limit in own.items()})


def refused(code: str, attempt: Any) -> int:
    """The attempt is refused; after how many seconds it may be repeated."""
    with pytest.raises(Refusal) as caught:
        attempt()
    assert caught.value.code == code
    assert caught.value.status == 429
    return caught.value.retry_after_seconds or 0


async def refused_run(code: str, counted: Accounts, run_id: str, store: Store) -> int:
    with pytest.raises(Refusal) as caught:
        await counted.begin_run(ALICE, run_id, store)
    assert caught.value.code == code
    return caught.value.retry_after_seconds or 0


def tell(counted: Accounts, run_id: str, *events: Any) -> None:
    """The log of the run grew by `events`."""
    items = tuple(LogItem(seq=number, event=event) for number, event in enumerate(events, 1))
    segment = Segment(
        tenant="a",
        thread_id="t",
        run_id=run_id,
        first_seq=1,
        last_seq=len(items),
        at=0,
        items=items,
    )
    counted.hear([LogGrew(segment=segment)])


def ended(run_id: str, how: Termination) -> RunFinish:
    return RunFinish(thread_id="t", run_id=run_id, termination=how)


def inferred(total: int) -> InferenceComplete:
    return InferenceComplete(model="m", duration_ms=1, usage={"total_tokens": total})


# --- requests ------------------------------------------------------------------------------------


def test_a_minutes_worth_may_come_at_once_and_then_evenly() -> None:
    clock = FakeClock()
    counted = accounts(clock, KeyLimits(60, 0, 0))
    for _ in range(60):
        counted.take_request("key")
    assert refused("rate_limited", lambda: counted.take_request("key")) == 2
    clock.advance(1.01)
    counted.take_request("key")
    refused("rate_limited", lambda: counted.take_request("key"))
    clock.advance(3600)
    for _ in range(60):
        counted.take_request("key")
    refused("rate_limited", lambda: counted.take_request("key"))


def test_a_key_has_its_own_limits_before_those_of_all() -> None:
    counted = accounts(
        FakeClock(), KeyLimits(1, 0, 0), free=KeyLimits(0), some=KeyLimits(2), usual=KeyLimits()
    )
    for _ in range(100):
        counted.take_request("key:a/free")
    counted.take_request("key:a/some")
    counted.take_request("key:a/some")
    counted.take_request("key:a/usual")
    for name in ("some", "usual"):
        refused("rate_limited", lambda name=name: counted.take_request(f"key:a/{name}"))


def test_only_so_many_callers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KNOWN", 3)
    counted = accounts(FakeClock(), KeyLimits(1, 0, 0))
    for number in range(10):
        counted.take_request(f"jwt:{number}")
    assert len(counted._accounts) == 3
    refused("rate_limited", lambda: counted.take_request("jwt:9"))


# --- runs ----------------------------------------------------------------------------------------


async def test_a_run_takes_a_place_until_it_ends_or_waits() -> None:
    counted = accounts(FakeClock(), KeyLimits(0, 2, 0))
    for run_id in ("r1", "r2"):
        await counted.begin_run(ALICE, run_id, no_store())
    assert await refused_run("too_many_runs", counted, "r3", no_store()) == 5
    tell(counted, "r1", ended("r1", NaturalEnd()))
    await counted.begin_run(ALICE, "r3", no_store())
    tell(counted, "r2", ended("r2", SuspendedEnd()))
    await counted.begin_run(ALICE, "r4", no_store())
    await refused_run("too_many_runs", counted, "r5", no_store())
    counted.end_run("a", "r4")
    await counted.begin_run(ALICE, "r5", no_store())


async def test_a_run_that_ended_elsewhere_is_noticed_before_anybody_is_refused() -> None:
    """Another process may have finished it, and its hint may have been lost."""
    counted = accounts(FakeClock(), KeyLimits(0, 2, 0))
    runs = Runs({"r1": RunStatus.done, "r2": RunStatus.running})
    store = cast(Store, runs)
    for run_id in ("r1", "r2"):
        await counted.begin_run(ALICE, run_id, store)
    assert runs.asked == 0, "only when it matters"
    await counted.begin_run(ALICE, "r3", store)
    await refused_run("too_many_runs", counted, "r4", store)


async def test_who_is_not_counted_may_have_any_number() -> None:
    counted = accounts(FakeClock(), KeyLimits(1, 1, 1))
    nobody = Caller(tenant="default")
    for number in range(10):
        await counted.begin_run(nobody, f"r{number}", no_store())
    assert not counted._owners


async def test_only_so_many_runs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RUNS", 3)
    counted = accounts(FakeClock(), KeyLimits(0, 0, 10**6))
    for number in range(10):
        await counted.begin_run(ALICE, f"r{number}", no_store())
    assert len(counted._owners) == 3


def test_no_route_starts_a_run_past_the_count() -> None:
    past = [
        str(path)
        for path in Path(awaken.__file__).parent.joinpath("protocols").rglob("*.py")
        if "mailbox.submit(" in path.read_text(encoding="utf-8") and path.name != "services.py"
    ]
    assert past == [], "use Services.submit"


# --- tokens --------------------------------------------------------------------------------------


async def test_tokens_count_until_the_day_is_over() -> None:
    clock = FakeClock()
    counted = accounts(clock, KeyLimits(0, 0, 100))
    await counted.begin_run(ALICE, "r1", no_store())
    tell(counted, "r1", inferred(60))
    await counted.begin_run(ALICE, "r2", no_store())
    tell(counted, "r1", inferred(60))
    wait = await refused_run("token_limit", counted, "r3", no_store())
    assert wait == (DAY_MS - clock.now() % DAY_MS) // 1000 + 1
    clock.advance(wait)
    await counted.begin_run(ALICE, "r3", no_store())


async def test_a_run_that_waited_goes_on_to_count() -> None:
    counted = accounts(FakeClock(), KeyLimits(0, 1, 100))
    await counted.begin_run(ALICE, "r1", no_store())
    tell(counted, "r1", ended("r1", SuspendedEnd()))
    tell(counted, "r1", inferred(100), ended("r1", NaturalEnd()))
    await refused_run("token_limit", counted, "r2", no_store())
    tell(counted, "r1", inferred(100))
    assert not counted._owners, "an ended run is forgotten"


async def test_the_runs_of_others_do_not_count() -> None:
    counted = accounts(FakeClock(), KeyLimits(0, 0, 100))
    await counted.begin_run(ALICE, "r1", no_store())
    tell(counted, "r9", inferred(1000))
    await counted.begin_run(ALICE, "r2", no_store())
