from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.fold import Partial
from awaken.domain.message import Block, TextBlock, ThinkingBlock, ToolCall
from awaken.domain.outcome import Usage
from awaken.errors import Fault
from awaken.models.scripted import Pause, ScriptedModel, Step
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningChunk,
    TextChunk,
)
from tests.loop.support import LeapingClock, said


def request(*blocks: Block, attempt: int = 0) -> ModelRequest:
    return ModelRequest(
        model="scripted:test",
        instructions="Be kind.",
        messages=(said("Good morning"),),
        partial=Partial(message_id="m-2", blocks=blocks),
        attempt=attempt,
    )


async def events_of(model: Model, asked: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(asked)]


async def text_of(model: Model, *blocks: Block) -> str:
    events = await events_of(model, request(*blocks))
    return "".join(event.text for event in events if isinstance(event, TextChunk))


async def test_a_script_is_said_token_by_token_and_then_stops() -> None:
    events = await events_of(ScriptedModel(["One", " two"]), request())

    assert events[:-1] == [TextChunk(text="One"), TextChunk(text=" two")]
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "stop"


async def test_a_function_makes_the_script_from_the_request() -> None:
    def script(asked: ModelRequest) -> list[Step]:
        return [asked.messages[-1].text, f" (attempt {asked.attempt})"]

    events = await events_of(ScriptedModel(script), request(attempt=3))

    assert [e.text for e in events if isinstance(e, TextChunk)] == ["Good morning", " (attempt 3)"]


async def test_model_events_of_a_script_are_passed_on_and_nothing_is_read_behind_finish() -> None:
    thought = ReasoningChunk(text="hm", signature="s")
    finish = Finish(reason="length", usage=Usage(output_tokens=7), model="m")

    events = await events_of(ScriptedModel([thought, "a", finish, "never"]), request())

    assert events == [thought, TextChunk(text="a"), finish]


async def test_a_call_of_a_script_comes_in_its_parts() -> None:
    script: list[Step] = [ToolCall(id="c1", name="refund", arguments={"order": 17})]
    events = await events_of(ScriptedModel(script), request())

    assert events[:-1] == [
        CallStart(id="c1", name="refund"),
        CallChunk(id="c1", text='{"order":17}'),
        CallEnd(id="c1"),
    ]


async def test_a_call_behind_text_that_was_published_is_made() -> None:
    script: list[Step] = ["Let me see.", ToolCall(id="c1", name="look", arguments={})]
    events = await events_of(ScriptedModel(script), request(TextBlock(text="Let me")))

    assert events[0] == TextChunk(text=" see.")
    assert CallEnd(id="c1") in events


async def test_usage_is_that_of_the_whole_answer_however_often_it_is_cut() -> None:
    model = ScriptedModel([ReasoningChunk(text="hm"), "a", "b", "c"])

    whole = (await events_of(model, request()))[-1]
    published = (ThinkingBlock(thinking="hm"), TextBlock(text="ab"))
    rest = (await events_of(model, request(*published)))[-1]

    usage = Usage(input_tokens=5, output_tokens=4, reasoning_tokens=1)
    assert whole == rest == Finish(reason="stop", usage=usage)


async def test_pauses_wait_by_the_clock_and_are_left_out_where_the_answer_is_known() -> None:
    clock = LeapingClock()
    model = ScriptedModel([Pause(ms=10), "a", Pause(ms=20), "b", Pause(ms=0), "c"], clock=clock)

    assert await text_of(model) == "abc"
    assert clock.slept == [10, 20]

    clock.slept.clear()
    assert await text_of(model, TextBlock(text="a")) == "bc"
    assert clock.slept == [20]


async def test_a_fault_of_the_script_is_raised_where_it_stands_each_time() -> None:
    fault = Fault("overloaded", "too much", retryable=True)
    model = ScriptedModel(["a", fault, "b"])
    for _ in range(2):
        stream = aiter(model.stream(request()))
        assert await anext(stream) == TextChunk(text="a")
        with pytest.raises(Fault) as raised:
            await anext(stream)
        assert raised.value is fault


async def test_a_token_that_was_cut_in_the_middle_is_completed() -> None:
    assert await text_of(ScriptedModel(["Hello", " world"]), TextBlock(text="Hello wo")) == "rld"


async def test_reasoning_alone_does_not_count_as_said() -> None:
    events = await events_of(
        ScriptedModel([ReasoningChunk(text="well"), "a"]), request(ThinkingBlock(thinking="we"))
    )
    assert events[:-1] == [ReasoningChunk(text="well"), TextChunk(text="a")]


@pytest.mark.parametrize(
    "blocks",
    [
        (TextBlock(text="x"),),
        (TextBlock(text="abc"),),
        (ThinkingBlock(thinking="a"), TextBlock(text="b")),
    ],
    ids=["other text", "more than the script has", "other kind"],
)
async def test_what_is_no_prefix_of_the_script_is_refused(blocks: tuple[Block, ...]) -> None:
    with pytest.raises(Fault) as raised:
        await events_of(ScriptedModel(["a", "b"]), request(*blocks))

    assert raised.value.code == "script_mismatch"
    assert not raised.value.retryable


async def test_a_stop_is_obeyed_though_the_script_never_waits() -> None:
    started = anyio.Event()

    def endless(asked: ModelRequest) -> Iterator[Step]:
        return iter(repeat("again"))

    async def listen() -> None:
        async for _ in ScriptedModel(endless).stream(request()):
            started.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await started.wait()
            tasks.cancel_scope.cancel()


words = st.text(alphabet="ab ", max_size=3)
steps: st.SearchStrategy[Step] = st.one_of(
    words,
    st.builds(Pause, ms=st.integers(0, 5)),
    st.builds(
        ReasoningChunk, text=words, signature=st.one_of(st.none(), st.sampled_from(["s1", "s2"]))
    ),
)


@given(script=st.lists(steps, max_size=8), at=st.integers(0, 24))
async def test_from_every_prefix_of_its_text_the_model_goes_on_with_the_rest(
    script: list[Step], at: int
) -> None:
    spoken = [step for step in script if not isinstance(step, ReasoningChunk)]
    model = ScriptedModel(spoken, clock=LeapingClock())
    whole = await text_of(model)
    cut = min(at, len(whole))

    assert whole[:cut] + await text_of(model, TextBlock(text=whole[:cut])) == whole


@given(script=st.lists(steps, max_size=8), at=st.integers(0, 24))
async def test_cut_behind_any_event_and_continued_nothing_is_lost_or_doubled(
    script: list[Step], at: int
) -> None:
    model = ScriptedModel(script, clock=LeapingClock())
    whole = (await events_of(model, request()))[:-1]
    cut = min(at, len(whole))
    published = folded(whole[:cut])
    rest = (await events_of(model, request(*published)))[:-1]

    kept = whole[:cut] if any(isinstance(block, TextBlock) for block in published) else []
    assert folded([*kept, *rest]) == folded(whole)


def folded(events: Iterable[ModelEvent]) -> tuple[Block, ...]:
    """The blocks of an answer: neighbours of a kind joined, a signature ends its block."""
    blocks: list[Block] = []
    for event in events:
        last = blocks[-1] if blocks else None
        match event:
            case TextChunk(text=""):
                pass
            case TextChunk(text=text):
                if isinstance(last, TextBlock):
                    blocks[-1] = TextBlock(text=last.text + text)
                else:
                    blocks.append(TextBlock(text=text))
            case ReasoningChunk(text=text, signature=signature) if text or signature:
                if isinstance(last, ThinkingBlock) and last.signature is None:
                    blocks[-1] = ThinkingBlock(thinking=last.thinking + text, signature=signature)
                else:
                    blocks.append(ThinkingBlock(thinking=text, signature=signature))
            case _:
                pass
    return tuple(blocks)
