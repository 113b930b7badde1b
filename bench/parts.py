"""The parts of a short run, timed inside one process and without HTTP.

    python -m bench.parts DIRECTORY

prints µs by key as JSON. It is a program of its own so that it can be pointed at another revision's
`awaken`, and so that a part which that one lacks costs this measure only.

Parts of the store are timed on a file, one after the other (*alone*: the disk's time shows) and
with 64 callers (*shared*: many operations ride in a commit), and in memory with 64 callers (*cpu*:
no disk).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar, cast

import msgspec
import uvloop

from awaken.demo import make_agents
from awaken.domain import dispatch as rules
from awaken.domain.claim import Claim
from awaken.domain.dispatch import Applied, ClaimCommand, SettleCommand
from awaken.domain.event import Entry, Event, LogItem, TextDelta
from awaken.domain.fold import fold
from awaken.domain.log import extend
from awaken.domain.outcome import Outcome
from awaken.domain.submission import Submission
from awaken.domain.thread import ThreadHead
from awaken.mailbox.claim import Claimer, claim_next
from awaken.mailbox.prepare import prepare
from awaken.mailbox.settle import settle
from awaken.mailbox.steps import StepCommits
from awaken.mailbox.submit import Order, submit
from awaken.ports.clock import SystemIds
from awaken.ports.events import EventWriter, Unwritten
from awaken.ports.runner import Activation
from awaken.ports.store import Store, operation
from awaken.protocols.ag_ui.carry import Names
from awaken.protocols.ag_ui.encode import AgUiEncoder
from awaken.protocols.ai_sdk.encode import AiSdkEncoder
from awaken.protocols.encoder import Encoder
from awaken.protocols.native import wire
from awaken.protocols.native.decode import Caller, parse, run_submission
from awaken.protocols.native.encode import encode_segment
from awaken.registry.registry import Registry
from awaken.stores.sqlite.store import SqliteStore
from awaken.streams.writer import append_batch
from bench.load import EIGHT_TOKENS, run_of

T = TypeVar("T")

TENANT: Final = "bench"
ALONE: Final = 200
CALLERS: Final = 64
ROUNDS: Final = 8
NOW: Final = 1_800_000_000_000

Times = dict[str, float]

_BODY = json.dumps(run_of("echo", EIGHT_TOKENS)).encode()
_ids = SystemIds()
_caller = Caller(tenant=TENANT, transport_request_id=None, correlation_id=None)
_registry = Registry(make_agents())
_items = msgspec.json.Decoder(tuple[LogItem, ...])


@dataclass(slots=True)
class Sink:
    """Keeps what a runner tells."""

    events: list[Event] = field(default_factory=list)

    async def emit(self, event: Event) -> None:
        self.events.append(event)


async def _run(activation: Activation, claim: Claim) -> tuple[Outcome, list[Event]]:
    """What a runner comes to and tells. The agent has no tools, so it commits nothing itself."""
    sink = Sink()
    steps = StepCommits(claim, cast(EventWriter, sink), 0)
    outcome = await _registry.bind(activation.spec).run(activation, sink, steps)
    return outcome, sink.events


async def main(directory: Path) -> Times:
    with TemporaryDirectory(dir=directory, prefix="parts-") as place:
        store = await SqliteStore.open(Path(place) / "parts.db")
        alone = await _stored(store, together=1)
        shared = await _stored(store, together=CALLERS)
        pure = await _pure(store)
        await store.aclose()
    memory = await SqliteStore.open(":memory:")
    cpu = await _stored(memory, together=CALLERS)
    await memory.aclose()
    times = pure | _named(alone, "alone") | _named(shared, "shared") | _named(cpu, "cpu")
    return times | {"part_run_us": _short_run(pure, shared)}


def _named(times: Times, suffix: str) -> Times:
    return {f"part_{key}_{suffix}_us": value for key, value in times.items()}


def _short_run(pure: Times, shared: Times) -> float:
    """What a run of 8 tokens takes: two commits, one read, and what is between them."""
    pieces = ("part_parse_us", "part_loop_us", "part_frames_us")
    return sum(pure[key] for key in pieces) + sum(
        shared[key] for key in ("submit", "prepare", "settle")
    )


# --- parts without a store -----------------------------------------------------------------------


async def _pure(store: Store) -> Times:
    claim, activation, events = await _example(store)
    _, segment = extend(_head(), claim.run_id, events, NOW)
    data = msgspec.json.encode(segment.items)
    dispatch = await store.dispatch(TENANT, claim.dispatch_id)
    assert dispatch is not None
    queued = msgspec.structs.replace(dispatch, body=rules.Queued(available_at=NOW))
    return {
        "part_parse_us": _best_us(_submission),
        "part_id_us": _best_us(_ids.new),
        "part_apply_us": _best_us(lambda: _apply(queued)),
        "part_fold_us": _best_us(lambda: fold(events)),
        "part_encode_us": _best_us(lambda: msgspec.json.encode(segment.items)),
        "part_decode_us": _best_us(lambda: _items.decode(data)),
        "part_frames_us": _best_us(lambda: encode_segment(segment)),
        "part_frame_us": _best_us(lambda: encode_segment(segment)) / len(events),
        "part_ai_sdk_delta_us": _best_us(_delta(AiSdkEncoder("run"))),
        "part_ag_ui_delta_us": _best_us(_delta(AgUiEncoder(_NAMES))),
        "part_loop_us": await _best_run_us(activation, claim),
    }


def _best_us(part: Callable[[], object], calls: int = 2_000) -> float:
    """µs of one call, best of five batches."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls):
            part()
        times.append(time.perf_counter() - began)
    return min(times) / calls * 1e6


async def _best_run_us(activation: Activation, claim: Claim, calls: int = 300) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls):
            await _run(activation, claim)
        times.append(time.perf_counter() - began)
    return min(times) / calls * 1e6


_NAMES = Names(thread_id="t", run_id="run", own_run_id="run")


def _delta(encoder: Encoder) -> Callable[[], object]:
    """A text delta, in a part that is open."""
    event = TextDelta(delta="token ")
    entries = [Entry(seq=n, thread_id="t", run_id="run", at=NOW, event=event) for n in (1, 2)]
    encoder.encode(entries[0])
    return lambda: encoder.encode(entries[1])


def _submission() -> Submission:
    return run_submission(parse(wire.RunRequest, _BODY), _caller, _ids.new)


def _apply(queued: rules.Dispatch) -> None:
    """A claim and the settle that follows it."""
    head = ThreadHead(tenant=TENANT, thread_id=queued.thread_id, queued_count=1)
    claimed = rules.apply(queued, head, ClaimCommand(**msgspec.structs.asdict(_claimer())), NOW)
    assert isinstance(claimed, Applied)
    body = claimed.dispatch.body
    assert isinstance(body, rules.Claimed)
    settling = SettleCommand(claim_token=body.claim_token, form=rules.Ack())
    assert isinstance(rules.apply(claimed.dispatch, claimed.head, settling, NOW), Applied)


def _head() -> ThreadHead:
    return ThreadHead(tenant=TENANT, thread_id="thread")


async def _example(store: Store) -> tuple[Claim, Activation, list[Event]]:
    """A claimed run, what it starts from, and what its runner tells."""
    submitted = await store.transact(operation(submit, _order()))
    assert submitted.claim is not None
    activation = (await prepare(store, submitted.claim)).activation
    _, events = await _run(activation, submitted.claim)
    return submitted.claim, activation, events


# --- parts with a store --------------------------------------------------------------------------


async def _stored(store: Store, together: int) -> Times:
    """µs of each operation of a run's life, `together` at a time."""
    count = ALONE if together == 1 else ROUNDS * CALLERS
    claim, activation, events = await _example(store)
    outcome, _ = await _run(activation, claim)

    submits = [operation(submit, _order()) for _ in range(count)]
    submit_us, submitted = await _time(store.transact, submits, together)
    claims = [one.claim for one in submitted if one.claim is not None]
    prepare_us, _ = await _time(lambda claim: prepare(store, claim), claims, together)
    appends = [operation(append_batch, claim, 1, events[:2]) for claim in claims]
    append_us, _ = await _time(store.transact, appends, together)
    rest = Unwritten(batch_no=2, events=tuple(events[2:]))
    settles = [operation(settle, claim, outcome, rest, 0.75) for claim in claims]
    settle_us, _ = await _time(store.transact, settles, together)
    return {
        "submit": submit_us,
        "prepare": prepare_us,
        "append": append_us,
        "settle": settle_us,
        "claim": await _time_claims(store, together),
    }


async def _time_claims(store: Store, together: int) -> float:
    """Claiming what was queued before, one dispatch an operation."""
    count = ALONE if together == 1 else ROUNDS * CALLERS
    queued = [operation(submit, _order(claimed=False)) for _ in range(count)]
    await _time(store.transact, queued, CALLERS)
    claims = [operation(claim_next, (_claimer(),), foreground_only=False) for _ in range(count)]
    claim_us, _ = await _time(store.transact, claims, together)
    return claim_us


async def _time(
    part: Callable[[Any], Awaitable[T]], works: Sequence[Any], together: int
) -> tuple[float, list[T]]:
    """µs of each (the median of the portions), and their answers."""
    answers: list[T] = []
    times: list[float] = []
    for some in _portions(works, together):
        began = time.perf_counter()
        answers += await asyncio.gather(*(part(work) for work in some))
        times.append((time.perf_counter() - began) / len(some) * 1e6)
    return statistics.median(times), answers


def _portions(works: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for begin in range(0, len(works), size):
        yield works[begin : begin + size]


def _order(*, claimed: bool = True) -> Order:
    submission = _submission()
    assert submission.agent_id is not None
    resolution_id, spec = _registry.resolve(TENANT, submission.agent_id)
    return Order(
        submission=submission,
        thread_id=_ids.new(),
        dispatch_id=_ids.new(),
        resolution_id=resolution_id,
        spec=spec,
        max_attempts=5,
        grace_ms=2_000,
        claimer=_claimer() if claimed else None,
    )


def _claimer() -> Claimer:
    return Claimer(claim_token=_ids.new(), worker_id="bench", lease_ms=30_000)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main(Path(sys.argv[1])))))
