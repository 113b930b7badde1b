from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import repeat

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.agent import AgentSpec
from awaken.domain.event import (
    Event,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StepStart,
    StreamReset,
    TextDelta,
)
from awaken.domain.fold import Partial
from awaken.domain.message import MessageVisibility, Role, TextBlock, ThinkingBlock
from awaken.domain.outcome import Completed, StepClose, Usage
from awaken.domain.termination import Blocked, NaturalEnd, Stopped
from awaken.errors import Fault
from awaken.loop.runner import LoopRunner
from awaken.models.scripted import Pause, Script, ScriptedModel, Step
from awaken.ports.events import ClaimLost
from awaken.ports.model import (
    Finish,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)
from awaken.ports.runner import Activation, Runner
from tests.loop.support import (
    CollectingSink,
    CountingIds,
    LeapingClock,
    LedgerInMemory,
    activation,
    answer_of,
    closed,
    run_to_the_end,
    said,
    seen_by_readers,
)

SPEC = AgentSpec(agent_id="a", model="scripted:test", instructions="Be kind.")


def loop(model: Model, clock: LeapingClock | None = None) -> LoopRunner:
    return LoopRunner(model, clock or LeapingClock(), CountingIds())


def scripted(script: Script) -> LoopRunner:
    clock = LeapingClock()
    return loop(ScriptedModel(script, clock=clock), clock)


async def attempt(runner: Runner, partial: Partial | None = None) -> tuple[list[Event], Completed]:
    sink = CollectingSink()
    outcome = await runner.run(
        activation(SPEC, said("Hello"), partial=partial), sink, LedgerInMemory()
    )
    assert isinstance(outcome, Completed)
    return sink.events, outcome


class Asked:
    """A model that answers "ok" and keeps the request."""

    request: ModelRequest

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.request = request
        yield TextChunk(text="ok")
        yield Finish(reason="stop")


# --- one step ----------------------------------------------------------------------------------


async def test_a_plain_answer_opens_a_step_and_streams_it() -> None:
    events, outcome = await attempt(scripted(["Good", " day"]))

    assert events == [
        StepStart(message_id="id-1"),
        TextDelta(delta="Good"),
        TextDelta(delta=" day"),
    ]
    assert outcome.termination == NaturalEnd()
    assert outcome.text == "Good day"


async def test_the_close_carries_message_usage_and_duration_for_the_settle_commit() -> None:
    usage = Usage(
        input_tokens=3,
        output_tokens=4,
        cache_read_tokens=1,
        cache_write_tokens=2,
        reasoning_tokens=1,
    )
    _, outcome = await attempt(
        scripted([Pause(ms=30), "a", Pause(ms=12), Finish(reason="stop", usage=usage, model="m-2")])
    )

    complete = InferenceComplete(
        model="m-2",
        duration_ms=42,
        usage={
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "cache_read_tokens": 1,
            "cache_creation_tokens": 2,
            "thinking_tokens": 1,
        },
        finish_reason="stop",
    )
    assert outcome.close == StepClose(
        events=(complete,), messages=(said("a", "id-1", Role.assistant),), usage=usage
    )


async def test_a_model_that_does_not_name_itself_or_count_goes_by_its_name_and_has_no_usage() -> (
    None
):
    _, outcome = await attempt(loop(Asked()))

    assert outcome.close is not None
    assert outcome.close.events == (
        InferenceComplete(model="scripted:test", duration_ms=0, finish_reason="stop"),
    )


async def test_the_model_is_asked_with_the_pinned_instructions_and_what_it_may_see() -> None:
    model = Asked()
    hidden = replace(said("gone", "m-0"), visibility=MessageVisibility.replaced)
    await loop(model).run(
        activation(SPEC, hidden, said("Hello"), attempt=2), CollectingSink(), LedgerInMemory()
    )

    assert model.request == ModelRequest(
        model="scripted:test", instructions="Be kind.", messages=(said("Hello"),), attempt=2
    )


async def test_reasoning_and_its_signature_are_streamed_and_kept() -> None:
    events, outcome = await attempt(
        scripted([ReasoningChunk(text="Hm"), ReasoningChunk(text=", yes", signature="sig"), "Yes"])
    )

    assert events[1:] == [
        ReasoningDelta(delta="Hm"),
        ReasoningDelta(delta=", yes"),
        ReasoningEncryptedValue(encrypted_value="sig"),
        TextDelta(delta="Yes"),
    ]
    assert answer_of(outcome).content == (
        ThinkingBlock(thinking="Hm, yes", signature="sig"),
        TextBlock(text="Yes"),
    )
    assert outcome.text == "Yes"


async def test_an_empty_answer_is_an_answer() -> None:
    events, outcome = await attempt(scripted([]))

    assert events == [StepStart(message_id="id-1")]
    assert answer_of(outcome).content == ()
    assert outcome.text == ""


@pytest.mark.parametrize(
    ("reason", "termination"),
    [
        ("stop", NaturalEnd()),
        ("tool_calls", NaturalEnd()),
        ("length", Stopped(code="max_tokens")),
        ("content_filter", Blocked(reason="content_filter")),
    ],
)
async def test_the_reason_to_finish_decides_how_the_run_ends(
    reason: str, termination: NaturalEnd | Stopped | Blocked
) -> None:
    _, outcome = await attempt(scripted(["a", Finish(reason=reason)]))

    assert outcome.termination == termination
    assert outcome.text == "a"


# --- going on ----------------------------------------------------------------------------------


async def test_an_open_step_is_used_again_and_its_text_continued() -> None:
    partial = Partial(message_id="m-7", blocks=(TextBlock(text="Good"),))

    events, outcome = await attempt(scripted(["Good", " day"]), partial)

    assert events == [TextDelta(delta=" day")]
    assert outcome.text == "Good day"
    assert answer_of(outcome) == said("Good day", "m-7", Role.assistant)


async def test_a_step_of_which_only_the_start_was_published_is_not_opened_twice() -> None:
    events, outcome = await attempt(scripted(["Good"]), Partial(message_id="m-7"))

    assert events == [TextDelta(delta="Good")]
    assert answer_of(outcome).message_id == "m-7"


async def test_reasoning_alone_is_thought_again() -> None:
    partial = Partial(message_id="m-7", blocks=(ThinkingBlock(thinking="H"),))

    events, outcome = await attempt(scripted([ReasoningChunk(text="Hm"), "Yes"]), partial)

    assert events == [ReasoningDelta(delta="Hm"), TextDelta(delta="Yes")]
    assert answer_of(outcome).content == (ThinkingBlock(thinking="Hm"), TextBlock(text="Yes"))


async def test_an_attempt_that_died_in_its_reasoning_leaves_nothing_in_the_answer() -> None:
    runner = scripted([ReasoningChunk(text="H"), ReasoningChunk(text="m"), "Yes"])

    log, outcome, attempts = await run_to_the_end(
        runner, activation(SPEC, said("Hello")), cut_after=2
    )

    assert attempts == 2
    assert log == [
        StepStart(message_id="id-1"),
        ReasoningDelta(delta="H"),
        StreamReset(from_seq=1, reason="retry"),
        ReasoningDelta(delta="H"),
        ReasoningDelta(delta="m"),
        TextDelta(delta="Yes"),
    ]
    assert answer_of(outcome).content == seen_by_readers(log)


words = st.text(alphabet="ab", max_size=2)
signatures = st.one_of(st.none(), st.sampled_from(["s1", "s2"]))
scripts: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(words, st.builds(ReasoningChunk, text=words, signature=signatures)), max_size=8
)


@given(script=scripts, cut=st.integers(0, 12))
async def test_cut_anywhere_the_message_is_what_readers_saw_and_what_they_see_uncut(
    script: list[Step], cut: int
) -> None:
    first = activation(SPEC, said("Hello"))
    _, whole, _ = await run_to_the_end(scripted(script), first)

    log, outcome, _ = await run_to_the_end(scripted(script), first, cut_after=cut)

    assert answer_of(outcome).content == seen_by_readers(log) == answer_of(whole).content
    assert sum(isinstance(event, StepStart) for event in log) == 1
    assert closed(log, outcome) == Partial()


# --- trouble -----------------------------------------------------------------------------------


async def test_faults_of_the_model_go_through_with_what_was_said_before_them() -> None:
    fault = Fault("overloaded", "too much", retryable=True, retry_after_ms=5)
    sink = CollectingSink()

    with pytest.raises(Fault) as raised:
        await scripted(["a", fault]).run(activation(SPEC, said("Hello")), sink, LedgerInMemory())

    assert raised.value is fault
    assert sink.events[1:] == [TextDelta(delta="a")]


class Watched:
    """A model whose stream ends with `chunks`, and notes when it was closed."""

    def __init__(self, *chunks: ModelEvent) -> None:
        self.chunks = chunks
        self.closed = False

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        try:
            for chunk in self.chunks:
                yield chunk
        finally:
            self.closed = True


async def test_a_stream_that_ends_without_finish_is_broken_and_worth_a_retry() -> None:
    with pytest.raises(Fault) as raised:
        await attempt(loop(Watched(TextChunk(text="a"))))

    assert raised.value.code == "stream_broken"
    assert raised.value.retryable


async def test_a_lost_claim_ends_the_attempt_and_closes_the_stream() -> None:
    model = Watched(TextChunk(text="a"), TextChunk(text="b"))
    activated: Activation = activation(SPEC, said("Hello"))

    with pytest.raises(ClaimLost):
        await loop(model).run(activated, CollectingSink(room=2), LedgerInMemory())

    assert model.closed


async def test_a_stop_ends_an_attempt_that_never_waits() -> None:
    def endless(request: ModelRequest) -> Iterator[Step]:
        return iter(repeat("again"))

    reached = anyio.Event()

    class Signalling(CollectingSink):
        async def emit(self, event: Event) -> None:
            await super().emit(event)
            reached.set()

    async def run() -> None:
        await scripted(endless).run(activation(SPEC, said("Hello")), Signalling(), LedgerInMemory())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await reached.wait()
            tasks.cancel_scope.cancel()


def test_the_loop_can_go_on_and_be_steered() -> None:
    capabilities = loop(Asked()).capabilities
    assert capabilities.resumable
    assert capabilities.steerable
