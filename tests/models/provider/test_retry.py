"""When a model is asked again, and how long is waited before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from awaken.errors import Fault
from awaken.models.retry import RetryingModel, RetryPolicy
from awaken.ports.model import Finish, ModelEvent, ModelRequest, TextChunk
from tests.models.provider.asking import ask, asking, user

HI = TextChunk(text="hi")
END = Finish(reason="stop")


class Clock:
    """Waits are noted, not waited."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def now(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


class Ids:
    def new(self) -> str:
        return "id"

    def jitter(self) -> float:
        return 0.75


class Model:
    """Each try has its list of events and faults; None is silence."""

    def __init__(self, *tries: list[ModelEvent | Fault | None]) -> None:
        self.tries = list(tries)
        self.attempts: list[int] = []
        self.open = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.attempts.append(request.attempt)
        self.open += 1
        try:
            for step in self.tries.pop(0):
                if isinstance(step, Fault):
                    raise step
                if step is None:
                    await anyio.sleep_forever()
                else:
                    yield step
        finally:
            self.open -= 1


def trouble(
    code: str = "provider_error", *, wait: int | None = None, retryable: bool = True
) -> Fault:
    return Fault(code, "trouble", retryable=retryable, retry_after_ms=wait)


Make = Callable[..., tuple[RetryingModel, Model, Clock]]


@pytest.fixture
def retrying() -> Make:
    def make(
        *tries: list[ModelEvent | Fault | None], policy: RetryPolicy | None = None
    ) -> tuple[RetryingModel, Model, Clock]:
        inner, clock = Model(*tries), Clock()
        return RetryingModel(inner, clock=clock, ids=Ids(), policy=policy), inner, clock

    return make


async def test_a_good_answer_passes_unchanged(retrying: Make) -> None:
    model, inner, clock = retrying([HI, END])
    answer = await ask(model, asking(user("hello")))
    assert answer.events == [HI, END]
    assert (inner.attempts, inner.open, clock.waits) == ([0], 0, [])


async def test_two_failures_before_the_first_event_are_overcome(retrying: Make) -> None:
    model, inner, clock = retrying([trouble()], [trouble("timeout")], [HI, END])
    answer = await ask(model, asking(user("hello"), attempt=4))
    assert answer.events == [HI, END]
    assert inner.attempts == [4, 5, 6]
    assert clock.waits == [0.375, 0.75]


async def test_the_third_failure_is_raised(retrying: Make) -> None:
    model, inner, _ = retrying([trouble()], [trouble()], [trouble("overloaded")])
    answer = await ask(model, asking(user("hello")))
    assert answer.fault is not None
    assert answer.fault.code == "overloaded"
    assert (len(inner.attempts), inner.open) == (3, 0)


async def test_an_overloaded_provider_is_given_more_time(retrying: Make) -> None:
    model, _, clock = retrying([trouble("overloaded")], [trouble("overloaded")], [HI, END])
    await ask(model, asking(user("hello")))
    assert clock.waits == [1.5, 3.0]


async def test_waits_are_capped(retrying: Make) -> None:
    tries = [[trouble("overloaded")] for _ in range(4)]
    model, _, clock = retrying(*tries, [HI, END], policy=RetryPolicy(retries=4))
    await ask(model, asking(user("hello")))
    assert clock.waits == [1.5, 3.0, 6.0, 6.0]


async def test_a_longer_wait_that_was_asked_for_wins(retrying: Make) -> None:
    model, _, clock = retrying([trouble(wait=9_000)], [trouble(wait=1)], [HI, END])
    await ask(model, asking(user("hello")))
    assert clock.waits == [9.0, 0.75]


async def test_a_wait_too_long_to_hold_a_worker_is_left_to_the_queue(retrying: Make) -> None:
    model, _, clock = retrying([trouble("rate_limited", wait=30_001)])
    answer = await ask(model, asking(user("hello")))
    assert answer.fault is not None
    assert answer.fault.retry_after_ms == 30_001
    assert clock.waits == []


async def test_what_would_fail_again_is_not_tried_again(retrying: Make) -> None:
    model, inner, clock = retrying([trouble("bad_request", retryable=False)])
    answer = await ask(model, asking(user("hello")))
    assert answer.fault is not None
    assert (len(inner.attempts), clock.waits) == (1, [])


async def test_nothing_is_tried_again_after_the_first_event(retrying: Make) -> None:
    model, inner, clock = retrying([HI, trouble("stream_interrupted")])
    answer = await ask(model, asking(user("hello")))
    assert answer.events == [HI]
    assert answer.fault is not None
    assert (len(inner.attempts), clock.waits) == (1, [])


async def test_no_retries_can_be_asked_for(retrying: Make) -> None:
    model, inner, _ = retrying([trouble()], policy=RetryPolicy(retries=0))
    answer = await ask(model, asking(user("hello")))
    assert answer.fault is not None
    assert len(inner.attempts) == 1


async def test_silence_between_events_is_an_interrupted_stream(retrying: Make) -> None:
    model, inner, _ = retrying([HI, None], policy=RetryPolicy(idle_seconds=0.01))
    answer = await ask(model, asking(user("hello")))
    assert answer.events == [HI]
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == ("stream_interrupted", True)
    assert inner.open == 0


async def test_silence_before_the_first_event_is_tried_again(retrying: Make) -> None:
    policy = RetryPolicy(first_event_seconds=0.01)
    model, inner, _ = retrying([None], [HI, END], policy=policy)
    answer = await ask(model, asking(user("hello")))
    assert answer.events == [HI, END]
    assert len(inner.attempts) == 2


async def test_a_reader_that_leaves_ends_the_inner_stream(retrying: Make) -> None:
    model, inner, _ = retrying([HI, None])
    stream = model.stream(asking(user("hello")))
    assert await anext(stream) == HI
    await stream.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert inner.open == 0


async def test_cancellation_goes_through(retrying: Make) -> None:
    model, inner, _ = retrying([HI, None])
    with anyio.move_on_after(0.01) as scope:
        await ask(model, asking(user("hello")))
    assert scope.cancelled_caught
    assert inner.open == 0


async def test_an_answer_without_events_passes_unchanged(retrying: Make) -> None:
    model, _, _ = retrying([])
    assert (await ask(model, asking(user("hello")))).events == []


def test_it_goes_by_the_name_of_what_it_wraps(retrying: Make) -> None:
    model, inner, _ = retrying()
    assert model.name is None
    inner.name = "custom:one"  # type: ignore[attr-defined]  # models need not have a name
    assert RetryingModel(inner, clock=Clock(), ids=Ids()).name == "custom:one"
