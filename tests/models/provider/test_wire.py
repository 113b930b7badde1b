"""What exactly is sent, and answers that end as they should not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pytest

from awaken.domain.message import Base64Source, ImageBlock, Message, ThinkingBlock, ToolCall
from awaken.models.provider_history import CONTINUE
from awaken.models.retry import RetryingModel, RetryPolicy
from awaken.ports.clock import SystemClock, SystemIds
from awaken.ports.model import Finish, ReasoningChunk, TextChunk
from tests.models.provider.asking import WEATHER, Answer, ask, asking, assistant, result, user
from tests.models.provider.conftest import Ask
from tests.models.provider.wire import Wire, wired

CHAT = "openai-chat:gpt-4o"
RESPONSES = "openai:gpt-5"
ANTHROPIC = "anthropic:claude-sonnet-5"

pytestmark = [pytest.mark.xdist_group("aimock"), pytest.mark.timeout(60)]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with wired() as server:
        yield server


def chat(text: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat completion."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, **more}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": [choice],
    }


def say_hi(wire: Wire) -> None:
    wire.says(chat("Hi."), chat(finish_reason="stop"), "[DONE]", ending="close")


# --- what is sent ------------------------------------------------------------------------------


async def test_a_key_of_the_environment_is_not_shown_to_another_server(
    wire: Wire, provider: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-provider")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-provider")
    monkeypatch.setenv("GOOGLE_API_KEY", "sk-of-the-provider")
    for name in (CHAT, RESPONSES, ANTHROPIC, "google:gemini-2.5-flash"):
        await ask(provider(name, wire.url, api_key=None), asking(user("hello")))
    assert len(wire.sent) == 4
    assert "sk-of-the-provider" not in str(wire.sent)


async def test_headers_and_key_are_sent(wire: Wire, provider: Ask) -> None:
    say_hi(wire)
    model = provider(CHAT, wire.url, api_key="k", headers={"x-tenant": "blue"})
    await ask(model, asking(user("hello")))
    assert wire.sent[0].headers["authorization"] == "Bearer k"
    assert wire.sent[0].headers["x-tenant"] == "blue"


@pytest.mark.parametrize("name", [RESPONSES, ANTHROPIC])
async def test_pictures_are_sent(name: str, wire: Wire, provider: Ask) -> None:
    picture = ImageBlock(source=Base64Source(media_type="image/png", data="iVBORw0KGgo="))
    await ask(provider(name, wire.url), asking(user("look", picture)))
    assert "iVBORw0KGgo=" in str(wire.sent[0].body)


async def test_a_failed_call_is_told_as_a_failure(wire: Wire, provider: Ask) -> None:
    calls = [ToolCall(id="c1", name="get_weather", arguments={"city": "Basel"})]
    failed = result("c1", '{"error":{"code":"timeout","message":"too slow"}}')
    request = asking(user("weather"), assistant(calls=calls), failed, tools=(WEATHER,))
    await ask(provider(ANTHROPIC, wire.url), request)
    (block,) = wire.sent[0].body["messages"][-1]["content"]
    assert (block["tool_use_id"], block["is_error"]) == ("c1", True)


# --- reasoning that goes back ------------------------------------------------------------------


def remembered(answer: Answer) -> Message:
    """The message that a fold makes of an answer without text before its reasoning."""
    calls = [
        ToolCall(id=id, name=name, arguments=msgspec.json.decode(text or "{}"))
        for id, name, text, _ in answer.calls
    ]
    said = assistant(answer.text, calls=calls)
    return msgspec.structs.replace(said, content=(*answer.reasoned, *said.content))


def anthropic_events(*blocks: tuple[dict[str, Any], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    start: dict[str, Any] = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": end, "usage": usage},
        {"type": "message_stop"},
    ]


def say(wire: Wire, events: list[dict[str, Any]], ending: str = "close") -> None:
    wire.says(*events, names=[event["type"] for event in events], ending=ending)


THOUGHT = (
    {"type": "thinking", "thinking": "", "signature": ""},
    [
        {"type": "thinking_delta", "thinking": "Two and two"},
        {"type": "signature_delta", "signature": "s1"},
    ],
)
REDACTED: tuple[dict[str, Any], list[dict[str, Any]]] = (
    {"type": "redacted_thinking", "data": "r1"},
    [],
)
FOUR = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Four."}])


async def test_all_pieces_of_reasoning_go_back_as_they_came(wire: Wire, provider: Ask) -> None:
    say(wire, anthropic_events(THOUGHT, REDACTED, FOUR))
    model = provider(ANTHROPIC, wire.url)
    first = await ask(model, asking(user("sum")))
    assert first.fault is None
    await ask(model, asking(user("sum"), remembered(first), user("sure?")))
    assert wire.sent[1].body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Two and two", "signature": "s1"},
        {"type": "redacted_thinking", "data": "r1"},
        {"type": "text", "text": "Four."},
    ]


async def test_reasoning_of_another_service_is_left_out(wire: Wire, provider: Ask) -> None:
    say(wire, anthropic_events(THOUGHT, FOUR))
    first = await ask(provider(ANTHROPIC, wire.url), asking(user("sum")))
    request = asking(user("sum"), remembered(first), user("sure?"))
    async with wired() as other:
        await ask(provider(ANTHROPIC, other.url), request)
        assert other.sent[0].body["messages"][1]["content"] == [{"type": "text", "text": "Four."}]


async def test_reasoning_of_an_answer_that_was_cut_short_is_left_out(
    wire: Wire, provider: Ask
) -> None:
    say(wire, anthropic_events(THOUGHT, FOUR))
    model = provider(ANTHROPIC, wire.url)
    message = remembered(await ask(model, asking(user("sum"))))
    cut = msgspec.structs.replace(message, interrupted=True)
    await ask(model, asking(user("sum"), cut, user("sure?")))
    assert wire.sent[1].body["messages"][1]["content"] == [{"type": "text", "text": "Four."}]


def responses_events() -> list[dict[str, Any]]:
    """Reasoning and a call, each with the id that OpenAI wants back."""
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-5",
        "status": "in_progress",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "get_weather",
        "arguments": "",
        "status": "in_progress",
    }
    usage = {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 10,
    }
    text = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    arguments = {"item_id": "fc_1", "output_index": 1}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": thought},
        {
            "type": "response.reasoning_summary_part.added",
            "part": {"type": "summary_text", "text": ""},
            **text,
        },
        {"type": "response.reasoning_summary_text.delta", "delta": "Look it up.", **text},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**thought, "encrypted_content": "enc_1"},
        },
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {
            "type": "response.function_call_arguments.delta",
            "delta": '{"city":"Basel"}',
            **arguments,
        },
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "usage": usage},
        },
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


async def test_ids_of_reasoning_and_calls_go_back_too(wire: Wire, provider: Ask) -> None:
    say(wire, responses_events())
    model = provider(RESPONSES, wire.url)
    first = await ask(model, asking(user("weather"), tools=(WEATHER,)))
    assert first.fault is None
    assert first.finish.reason == "tool_calls"
    assert first.finish.usage.reasoning_tokens == 5
    answered = (user("weather"), remembered(first), result("c1", "sun"))
    await ask(model, asking(*answered, tools=(WEATHER,)))
    reasoning, call, output = wire.sent[1].body["input"][-3:]
    assert (reasoning["id"], reasoning["encrypted_content"]) == ("rs_1", "enc_1")
    assert reasoning["summary"] == [{"type": "summary_text", "text": "Look it up."}]
    assert (call["id"], call["call_id"]) == ("fc_1", "c1")
    assert output["output"] == "sun"


async def test_a_signed_call_of_gemini_keeps_its_signature(wire: Wire, provider: Ask) -> None:
    call = {"name": "get_weather", "args": {"city": "Basel"}, "id": "c1"}
    part = {"functionCall": call, "thoughtSignature": "c2lnbmVk"}
    content = {"role": "model", "parts": [{"text": "I look."}, part]}
    wire.says({"candidates": [{"content": content, "finishReason": "STOP"}]}, ending="close")
    model = provider("google:gemini-3-flash-preview", wire.url)
    first = await ask(model, asking(user("weather"), tools=(WEATHER,)))
    assert first.fault is None
    block = ThinkingBlock(thinking="", signature=first.signatures[-1])
    calls = [ToolCall(id="c1", name="get_weather", arguments={"city": "Basel"})]
    said = assistant("I look.", calls=calls)
    said = msgspec.structs.replace(said, content=(*said.content, block))
    await ask(model, asking(user("weather"), said, result("c1", "sun"), tools=(WEATHER,)))
    sent = wire.sent[1].body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in sent] == [None, "c2lnbmVk"]


# --- answers that do not end well --------------------------------------------------------------


async def test_an_answer_without_a_reason_to_finish_was_cut_off(wire: Wire, provider: Ask) -> None:
    wire.says(chat("Once upon"), ending="close")
    answer = await ask(provider(CHAT, wire.url), asking(user("story")))
    assert answer.text == "Once upon"
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == ("stream_interrupted", True)


async def test_a_server_that_never_gives_a_reason_can_be_used(wire: Wire, provider: Ask) -> None:
    wire.says(chat("Once upon"), "[DONE]", ending="close")
    model = provider(CHAT, wire.url, finish_reason_required=False)
    answer = await ask(model, asking(user("story")))
    assert answer.fault is None
    assert answer.finish.reason == "stop"


async def test_half_a_call_is_not_completed(wire: Wire, provider: Ask) -> None:
    function = {"name": "get_weather", "arguments": '{"city":"Ba'}
    call = {"index": 0, "id": "c1", "type": "function", "function": function}
    wire.says(chat("I look."), chat(delta={"tool_calls": [call]}), ending="cut")
    answer = await ask(provider(CHAT, wire.url), asking(user("weather"), tools=(WEATHER,)))
    assert answer.calls == [("c1", "get_weather", '{"city":"Ba', False)]
    assert answer.fault is not None
    assert answer.fault.code == "stream_interrupted"


async def test_an_error_within_a_stream_has_its_own_code(wire: Wire, provider: Ask) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    say(wire, [*anthropic_events(FOUR)[:3], error])
    answer = await ask(provider(ANTHROPIC, wire.url), asking(user("sum")))
    assert answer.text == "Four."
    assert answer.fault is not None
    assert answer.fault.code == "overloaded"


async def test_silence_within_an_answer_ends_it_and_the_connection(
    wire: Wire, provider: Ask
) -> None:
    wire.says(chat("Once upon"), ending="stall")
    policy = RetryPolicy(idle_seconds=0.05)
    inner = provider(CHAT, wire.url)
    model = RetryingModel(inner, clock=SystemClock(), ids=SystemIds(), policy=policy)
    answer = await ask(model, asking(user("story")))
    assert answer.text == "Once upon"
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == ("stream_interrupted", True)
    with anyio.fail_after(5):
        await wire.left.wait()
    assert len(wire.sent) == 1


async def test_a_provider_that_does_not_begin_is_asked_again(wire: Wire, provider: Ask) -> None:
    say_hi(wire)
    inner = provider(CHAT, wire.url)
    await ask(inner, asking(user("hello")))  # from here on it has its client
    wire.says(ending="stall")
    policy = RetryPolicy(first_event_seconds=0.25, base_ms=1, retries=1)
    model = RetryingModel(inner, clock=SystemClock(), ids=SystemIds(), policy=policy)
    answer = await ask(model, asking(user("story")))
    assert answer.fault is not None
    assert answer.fault.code == "timeout"
    assert len(wire.sent) == 3


async def test_the_time_limit_of_a_provider_is_kept(wire: Wire, provider: Ask) -> None:
    wire.says(ending="stall")
    answer = await ask(provider(CHAT, wire.url, timeout_seconds=0.05), asking(user("story")))
    assert answer.fault is not None
    assert answer.fault.code == "timeout"


async def test_a_reader_that_leaves_closes_the_connection(wire: Wire, provider: Ask) -> None:
    wire.says(chat("Once upon"), ending="stall")
    stream = provider(CHAT, wire.url).stream(asking(user("story")))
    assert await anext(stream) == TextChunk(text="Once upon")
    await stream.aclose()  # type: ignore[attr-defined]  # it is an async generator
    with anyio.fail_after(5):
        await wire.left.wait()


async def test_nobody_there_is_a_failure_of_the_provider(provider: Ask) -> None:
    async with wired() as gone:
        pass
    answer = await ask(provider(CHAT, gone.url), asking(user("story")))
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == ("provider_error", True)


# --- going on with an answer -------------------------------------------------------------------


async def test_a_model_that_takes_no_prefill_is_asked_to_go_on(wire: Wire, provider: Ask) -> None:
    await ask(provider(ANTHROPIC, wire.url), asking(user("story"), said="Once upon"))
    assert [_said(message) for message in wire.sent[0].body["messages"]] == [
        ("user", "story"),
        ("assistant", "Once upon"),
        ("user", CONTINUE),
    ]


async def test_a_model_that_takes_prefill_is_given_its_beginning(wire: Wire, provider: Ask) -> None:
    model = provider(ANTHROPIC, wire.url, prefill=True)
    await ask(model, asking(user("story"), said="Once upon"))
    await ask(model, asking(user("story"), said="Once upon "))
    assert [_said(message) for message in wire.sent[0].body["messages"]] == [
        ("user", "story"),
        ("assistant", "Once upon"),
    ]
    last = wire.sent[1].body["messages"][-1]
    assert _said(last) == ("user", CONTINUE), "blank space at the end is refused by providers"


def _said(message: dict[str, Any]) -> tuple[str, str]:
    return message["role"], "".join(block["text"] for block in message["content"])


async def test_the_events_of_an_answer_are_those_of_the_port(wire: Wire, provider: Ask) -> None:
    say(wire, anthropic_events(THOUGHT, FOUR))
    answer = await ask(provider(ANTHROPIC, wire.url), asking(user("sum")))
    kinds = [type(event) for event in answer.events]
    assert kinds == [ReasoningChunk, ReasoningChunk, TextChunk, Finish]
