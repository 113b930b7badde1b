from __future__ import annotations

import re

import pytest

from awaken.demo import agents, make_agents
from awaken.domain.event import Event, StepStart, TextDelta
from awaken.domain.outcome import Completed
from awaken.domain.termination import NaturalEnd
from awaken.errors import Fault
from awaken.ports.runner import Activation, Runner
from awaken.registry.registry import Registry
from tests.loop.support import (
    CountingIds,
    LeapingClock,
    activation,
    run_to_the_end,
    said,
)


class Demo:
    """The demo agents on a clock that leaps."""

    def __init__(self) -> None:
        self.clock = LeapingClock()
        self.registry = Registry(make_agents(self.clock), clock=self.clock, ids=CountingIds())

    def begin(self, agent_id: str, text: str) -> tuple[Runner, Activation]:
        _, spec = self.registry.resolve("default", agent_id)
        return self.registry.bind(spec), activation(spec, said(text))

    async def tell(
        self, agent_id: str, text: str, *, cut_after: int | None = None
    ) -> tuple[list[Event], Completed, int]:
        return await run_to_the_end(*self.begin(agent_id, text), cut_after=cut_after)

    async def answer(self, agent_id: str, text: str) -> str:
        _, outcome, _ = await self.tell(agent_id, text)
        return outcome.text


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"#(\d+)", text)]


def deltas(events: list[Event]) -> list[str]:
    return [event.delta for event in events if isinstance(event, TextDelta)]


def test_the_demo_agents_can_be_served() -> None:
    served = Registry(agents).agents("default")

    assert [spec.agent_id for spec in served] == [
        "assistant",
        "clerk",
        "echo",
        "flaky",
        "helper",
        "storyteller",
        "worker",
    ]
    assert all(spec.description for spec in served)


# --- echo --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Hello, wide  world!", "  two\nlines ", "one", "", " ", "a=b"])
async def test_echo_repeats_the_message_exactly_and_without_delay(text: str) -> None:
    demo = Demo()
    assert await demo.answer("echo", text) == text
    assert demo.clock.slept == []


async def test_echo_repeats_token_by_token() -> None:
    events, _, _ = await Demo().tell("echo", "Hello, wide world")
    assert deltas(events) == ["Hello, ", "wide ", "world"]


# --- storyteller -------------------------------------------------------------------------------


async def test_storyteller_tells_numbered_tokens_each_after_its_delay() -> None:
    demo = Demo()
    events, outcome, _ = await demo.tell("storyteller", "Tell me: tokens=200 delay_ms=7")

    assert numbers(outcome.text) == list(range(1, 201))
    assert outcome.text.startswith("Once#1 upon#2 ")
    assert len(deltas(events)) == 200
    assert demo.clock.slept == [7] * 200
    assert outcome.termination == NaturalEnd()


async def test_storyteller_has_defaults() -> None:
    demo = Demo()
    assert numbers(await demo.answer("storyteller", "Go on")) == list(range(1, 101))
    assert demo.clock.slept == [50] * 100


@pytest.mark.parametrize("cut", [0, 1, 2, 13, 20, 21])
async def test_a_story_that_was_cut_is_told_to_its_end_each_token_once(cut: int) -> None:
    events, outcome, _ = await Demo().tell("storyteller", "tokens=20", cut_after=cut)

    assert numbers("".join(deltas(events))) == list(range(1, 21))
    assert numbers(outcome.text) == list(range(1, 21))
    assert sum(isinstance(event, StepStart) for event in events) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tokens=abc", "tokens must be a whole number from 1 to 100000, not 'abc'."),
        ("tokens=-1", "tokens must be a whole number from 1 to 100000, not '-1'."),
        ("tokens=0", "tokens must be a whole number from 1 to 100000, not '0'."),
        ("tokens=10000000", "tokens must be a whole number from 1 to 100000, not '10000000'."),
        ("tokens=", "tokens must be a whole number from 1 to 100000, not ''."),
        ("tokens=1.5", "tokens must be a whole number from 1 to 100000, not '1.5'."),
        ("tokens=٣", "tokens must be a whole number from 1 to 100000, not '٣'."),
        ("delay_ms=soon", "delay_ms must be a whole number from 0 to 60000, not 'soon'."),
        ("delay_ms=99999", "delay_ms must be a whole number from 0 to 60000, not '99999'."),
    ],
)
async def test_a_value_that_cannot_be_used_is_explained(text: str, complaint: str) -> None:
    assert await Demo().answer("storyteller", text) == complaint


async def test_a_value_of_any_length_is_explained_briefly() -> None:
    assert len(await Demo().answer("storyteller", "tokens=" + "9" * 100_000)) < 120


@pytest.mark.parametrize("text", ["tokens=3.", "tokens=9, no, tokens=3!", "colour=red tokens=3"])
async def test_steering_words_may_stand_in_a_sentence(text: str) -> None:
    assert numbers(await Demo().answer("storyteller", text)) == [1, 2, 3]


# --- flaky -------------------------------------------------------------------------------------


async def test_flaky_fails_transiently_as_often_as_asked_and_then_answers() -> None:
    events, outcome, attempts = await Demo().tell("flaky", "fail=transient:2 tokens=5")

    assert attempts == 3
    assert len([event for event in events if isinstance(event, StepStart)]) == 1
    assert numbers(outcome.text) == [1, 2, 3, 4, 5]


async def test_flaky_fails_once_when_it_is_not_said_how_often() -> None:
    _, _, attempts = await Demo().tell("flaky", "fail=transient")
    assert attempts == 2


async def test_flaky_fails_for_good_with_a_text_for_clients() -> None:
    with pytest.raises(Fault) as raised:
        await Demo().tell("flaky", "fail=permanent")

    assert not raised.value.retryable
    assert raised.value.public


async def test_flaky_breaks_in_the_middle_and_is_continued_by_the_same_attempt() -> None:
    events, outcome, attempts = await Demo().tell("flaky", "fail=midstream tokens=10")

    assert attempts == 1
    assert numbers("".join(deltas(events))) == list(range(1, 11))
    assert numbers(outcome.text) == list(range(1, 11))


@pytest.mark.parametrize("text", ["hello", "fail=maybe", "fail="])
async def test_flaky_explains_itself(text: str) -> None:
    assert (await Demo().answer("flaky", text)).startswith("Say fail=transient:2, ")


@pytest.mark.parametrize("times", ["x", "0", "-2", ""])
async def test_flaky_explains_a_bad_number_of_failures(times: str) -> None:
    answer = await Demo().answer("flaky", f"fail=transient:{times}")
    assert answer == f"fail=transient must be a whole number from 1 to 1000, not {times!r}."
