"""Demo agents that only talk: echo, storyteller, flaky."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Final

from awaken.agent import Agent
from awaken.demo.steering import (
    BadOption,
    DemoScript,
    explaining,
    last_words,
    number,
    options_of,
    words,
)
from awaken.errors import Fault
from awaken.models.scripted import Pause, ScriptedModel, Step
from awaken.ports.clock import Clock
from awaken.ports.model import ModelRequest

MAX_TOKENS: Final = 100_000
MAX_DELAY_MS: Final = 60_000
MAX_FAILURES: Final = 1_000

_VOCABULARY: Final = ("Once", "upon", "a", "time", "a", "server", "told", "an", "endless", "story")


def story_agents(clock: Clock | None = None) -> list[Agent]:
    """The agents that only talk, waiting by `clock`."""
    return [
        _agent("echo", "Repeats your message, token by token.", _echo, clock),
        _agent(
            "storyteller",
            "Tells numbered tokens: tokens=100 delay_ms=50.",
            explaining(_tell),
            clock,
        ),
        _agent(
            "flaky",
            "Fails on demand: fail=transient:2, fail=permanent or fail=midstream.",
            explaining(_fail),
            clock,
        ),
    ]


def _agent(agent_id: str, description: str, script: DemoScript, clock: Clock | None) -> Agent:
    model = ScriptedModel(script, name=agent_id, clock=clock)
    return Agent(agent_id, model=model, description=description)


# --- scripts -----------------------------------------------------------------------------------


def _echo(request: ModelRequest) -> Iterator[Step]:
    return iter(words(last_words(request)))


def _tell(request: ModelRequest) -> Iterator[Step]:
    options = options_of(request)
    count = number("tokens", options.get("tokens", "100"), 1, MAX_TOKENS)
    delay_ms = number("delay_ms", options.get("delay_ms", "50"), 0, MAX_DELAY_MS)
    return _story(count, delay_ms)


def _fail(request: ModelRequest) -> Iterator[Step]:
    options = options_of(request)
    count = number("tokens", options.get("tokens", "20"), 2, MAX_TOKENS)
    delay_ms = number("delay_ms", options.get("delay_ms", "0"), 0, MAX_DELAY_MS)
    story = _story(count, delay_ms)
    how, colon, times = options.get("fail", "").partition(":")
    match how:
        case "transient":
            failures = number("fail=transient", times if colon else "1", 1, MAX_FAILURES)
            return story if request.attempt >= failures else iter([_trouble(request.attempt + 1)])
        case "permanent":
            return iter([_hopeless()])
        case "midstream":
            return story if request.partial.text else _broken(story, count // 2)
        case _:
            raise BadOption(
                "Say fail=transient:2, fail=permanent or fail=midstream, and I will fail like that."
            )


def _story(count: int, delay_ms: int) -> Iterator[Step]:
    """`count` tokens, each with its number, each after its delay."""
    for nth, word in enumerate(islice(cycle(_VOCABULARY), count), start=1):
        yield Pause(ms=delay_ms)
        yield f"{word}#{nth}" if nth == 1 else f" {word}#{nth}"


def _broken(story: Iterator[Step], tokens: int) -> Iterator[Step]:
    """The first `tokens` of a story, then the end of the connection."""
    yield from islice(story, 2 * tokens)  # each token has its pause
    yield Fault(
        "demo_stream_broken",
        "the stream broke in the middle, as it was asked to",
        retryable=True,
        public=True,
    )


def _trouble(nth: int) -> Fault:
    return Fault(
        "demo_transient",
        f"failure {nth}, which another attempt may not have",
        retryable=True,
        public=True,
    )


def _hopeless() -> Fault:
    return Fault(
        "demo_permanent", "this fails every time, as it was asked to", retryable=False, public=True
    )
