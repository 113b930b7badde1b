"""Stream events of the library, put in by hand, in orders that are rare on the wire."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import StreamedResponse
from pydantic_ai.usage import RequestUsage

from awaken.errors import Fault
from awaken.models.provider_events import Transcript, usage_of
from awaken.models.provider_seal import Seal, open_seal, thinking_parts
from awaken.ports.model import ModelEvent
from tests.models.provider.asking import Answer


class Response:
    """The library's side of an answer."""

    def __init__(self, reason: str | None) -> None:
        self.finish_reason = reason
        self.provider_details = {"finish_reason": reason} if reason else None
        self.usage = RequestUsage()
        self.model_name = "m"
        self.parts: list[ModelResponsePart] = []

    def get(self) -> ModelResponse:
        return ModelResponse(parts=self.parts)


def read(*events: ModelResponseStreamEvent, reason: str | None = "stop") -> Answer:
    response = Response(reason)
    transcript = Transcript(cast(StreamedResponse, response), "here", reason_required=True)
    told: list[ModelEvent] = []
    for event in events:
        if isinstance(event, PartStartEvent):
            response.parts.append(event.part)
        told += transcript.feed(event)
    told += transcript.finish()
    answer = Answer()
    answer.events = told
    return answer


def begin(index: int, name: str = "tool", args: Any = None, **more: Any) -> PartStartEvent:
    part: ToolCallPart = ToolCallPart(name, args, f"c{index}", **more)
    return PartStartEvent(index=index, part=part)


def more(index: int, args: str, **fields: Any) -> PartDeltaEvent:
    return PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=args, **fields))


def end(index: int, args: Any = None) -> PartEndEvent:
    return PartEndEvent(index=index, part=ToolCallPart("tool", args, f"c{index}"))


def test_calls_that_are_written_in_turns_are_kept_apart() -> None:
    answer = read(
        begin(0), end(0), begin(1), more(0, '{"a":'), more(1, "{"), more(0, "1}"), more(1, "}")
    )
    assert answer.calls == [("c0", "tool", '{"a":1}', True), ("c1", "tool", "{}", True)]
    assert answer.finish.reason == "tool_calls"


def test_a_call_is_not_over_while_its_arguments_are_not_whole() -> None:
    answer = read(begin(0, args='{"a"'), end(0, '{"a"'), begin(1, args="{}"), more(0, ":1}"))
    assert answer.calls[0] == ("c0", "tool", '{"a":1}', True)


def test_a_name_and_an_id_that_come_late_are_waited_for() -> None:
    late = ToolCallPartDelta(tool_name_delta="_more", tool_call_id="late")
    answer = read(begin(0), PartDeltaEvent(index=0, delta=late), more(0, "{}"))
    assert answer.calls == [("late", "tool_more", "{}", True)]


def test_arguments_that_come_as_an_object_become_json() -> None:
    answer = read(begin(0, args={"a": 1}), end(0, {"a": 1}))
    assert answer.calls == [("c0", "tool", '{"a":1}', True)]


def test_a_call_without_arguments_is_a_call() -> None:
    assert read(begin(0), end(0)).calls == [("c0", "tool", "", True)]


def test_a_part_that_is_sent_whole_again_is_told_once() -> None:
    answer = read(begin(0, args='{"a"'), begin(0, args='{"a":1}'), end(0, '{"a":1}'))
    assert answer.calls == [("c0", "tool", '{"a":1}', True)]


def test_a_call_that_the_token_limit_cut_is_not_completed() -> None:
    answer = read(begin(0, args="{}"), end(0, "{}"), begin(1, args='{"a"'), reason="length")
    assert [call[3] for call in answer.calls] == [True, False]
    assert answer.finish.reason == "length"


def test_arguments_that_are_no_json_are_left_to_the_loop() -> None:
    answer = read(begin(0, args="{oops"), end(0, "{oops"), reason="tool_call")
    assert answer.calls == [("c0", "tool", "{oops", True)]


@pytest.mark.parametrize(
    ("reason", "code"), [(None, "stream_interrupted"), ("error", "provider_error")]
)
def test_an_answer_that_did_not_end_well_is_a_fault(reason: str | None, code: str) -> None:
    with pytest.raises(Fault) as caught:
        read(PartStartEvent(index=0, part=TextPart("Once")), reason=reason)
    assert (caught.value.code, caught.value.retryable) == (code, True)


def test_empty_pieces_are_not_told() -> None:
    answer = read(
        PartStartEvent(index=0, part=TextPart("")),
        PartDeltaEvent(index=0, delta=TextPartDelta(content_delta="")),
        PartStartEvent(index=1, part=ThinkingPart("")),
    )
    assert answer.events == [answer.finish]


def test_reasoning_behind_text_gets_a_seal_of_its_own() -> None:
    first = ThinkingPart("one", id="r1", provider_name="p")
    second = ThinkingPart("two", id="r2", provider_name="p")
    text = TextPart("hm")
    answer = read(
        PartStartEvent(index=0, part=first),
        PartStartEvent(index=1, part=text),
        PartStartEvent(index=2, part=second),
    )
    seals = [msgspec.json.decode(text, type=Seal) for text in answer.signatures]
    assert [[piece.id for piece in seal.thoughts] for seal in seals] == [["r1"], ["r2"]]


@pytest.mark.parametrize("said", ["", "hm"])
def test_a_thought_before_a_call_goes_back_once_and_the_call_keeps_its_id(said: str) -> None:
    """A model that tells nothing of its reasoning has items of it all the same."""
    first = ThinkingPart(said, id="r1", provider_name="p")
    second = ThinkingPart(said, id="r2", provider_name="p")
    calls = [ToolCallPart("tool", "{}", f"c{n}", id=f"fc{n}", provider_name="p") for n in (0, 1)]
    answer = read(
        PartStartEvent(index=0, part=first),
        PartStartEvent(index=1, part=calls[0]),
        PartStartEvent(index=2, part=second),
        PartStartEvent(index=3, part=calls[1]),
    )
    blocks = answer.reasoned
    seals = [seal for block in blocks if (seal := open_seal(block, "here")) is not None]
    assert len(seals) == len(blocks), "each seal fits its block"
    back = [part for b, s in zip(blocks, seals, strict=True) for part in thinking_parts(b, s, "p")]
    assert [(part.id, part.content) for part in back] == [("r1", said), ("r2", said)]
    assert {call.call for seal in seals for call in seal.calls} == {"c0", "c1"}


def test_reasoning_that_nothing_belongs_to_is_not_sealed() -> None:
    part = ThinkingPart("hm")
    answer = read(PartStartEvent(index=0, part=part))
    assert answer.signatures == []


def test_ids_of_calls_are_not_worth_a_block_behind_text() -> None:
    text, call = TextPart("I look."), ToolCallPart("tool", "{}", "c1", id="fc", provider_name="p")
    events = (PartStartEvent(index=0, part=text), PartStartEvent(index=1, part=call))
    assert read(*events).signatures == []
    call.provider_details = {"thought_signature": "s"}
    assert len(read(*events).signatures) == 1


def test_usage_is_counted_under_our_names() -> None:
    counted = RequestUsage(
        input_tokens=9,
        output_tokens=8,
        cache_read_tokens=7,
        cache_write_tokens=6,
        details={"thoughts_tokens": 5},
    )
    usage = usage_of(counted)
    assert (usage.input_tokens, usage.output_tokens) == (9, 8)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (7, 6)
    assert usage.reasoning_tokens == 5
