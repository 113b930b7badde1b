"""Answers of the simulated providers, over their real wire formats."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from awaken.domain.message import (
    AudioBlock,
    Base64Source,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    UrlSource,
)
from awaken.domain.outcome import Usage
from awaken.models.provider import ProviderModel
from awaken.ports.model import CallChunk, CallStart, TextChunk
from tests.models.provider.aimock import KEY, Aimock
from tests.models.provider.asking import WEATHER, ask, asking, assistant, result, system, user
from tests.models.provider.conftest import Ask

CHAT = "openai-chat:gpt-4o"
RESPONSES = "openai:gpt-5"
ANTHROPIC = "anthropic:claude-sonnet-5"
GOOGLE = "google:gemini-2.5-flash"
ALL = (CHAT, RESPONSES, ANTHROPIC, GOOGLE)
USAGE: dict[str, dict[str, int]] = {
    CHAT: {"prompt_tokens": 11, "completion_tokens": 7},
    RESPONSES: {"input_tokens": 11, "output_tokens": 7},
    ANTHROPIC: {"input_tokens": 11, "output_tokens": 7},
    GOOGLE: {"promptTokenCount": 11, "candidatesTokenCount": 7},
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)

pytestmark = [pytest.mark.xdist_group("aimock"), pytest.mark.timeout(120)]
every_api = pytest.mark.parametrize("name", ALL)


@every_api
async def test_text_arrives_in_pieces_and_ends_with_reason_usage_and_model(
    name: str, aimock: Aimock, provider: Ask
) -> None:
    aimock.on("hello", {"content": "Hello there, friend.", "usage": USAGE[name]}, chunkSize=5)
    answer = await ask(provider(name, aimock.url), asking(user("hello")))
    assert answer.fault is None
    assert answer.text == "Hello there, friend."
    assert sum(isinstance(event, TextChunk) for event in answer.events) == 4
    assert answer.finish.reason == "stop"
    assert answer.finish.usage == Usage(input_tokens=11, output_tokens=7)
    assert answer.finish.model == name.partition(":")[2]


@every_api
async def test_the_model_is_told_instructions_and_tools_once(
    name: str, aimock: Aimock, provider: Ask
) -> None:
    aimock.on("hello", {"content": "Hi."})
    await ask(provider(name, aimock.url), asking(user("hello"), tools=(WEATHER,)))
    (call,) = aimock.calls()
    told, asked = call["body"]["messages"]
    assert (told["role"], told["content"]) == ("system", "Be brief.")
    assert (asked["role"], asked["content"]) == ("user", "hello")
    (tool,) = call["body"]["tools"]
    assert tool["function"]["name"] == "get_weather"
    assert tool["function"]["description"] == WEATHER.description
    if name != GOOGLE:  # whose schema the journal leaves out
        assert tool["function"]["parameters"]["required"] == ["city"]


@every_api
async def test_reasoning_arrives_before_text(name: str, aimock: Aimock, provider: Ask) -> None:
    response = {"content": "Four.", "reasoning": "Two and two are four."}
    aimock.on("sum", response, chunkSize=6)
    # aimock lets only models reason that do so in life
    reasoner = "openai-chat:o3" if name == CHAT else name
    answer = await ask(provider(reasoner, aimock.url), asking(user("sum")))
    assert answer.fault is None
    assert answer.reasoning == "Two and two are four."
    assert answer.text == "Four."
    assert isinstance(answer.events[-2], TextChunk)


@every_api
async def test_calls_arrive_in_pieces_one_behind_the_other(
    name: str, aimock: Aimock, provider: Ask
) -> None:
    calls = [
        {"id": "call_1", "name": "get_weather", "arguments": {"city": "Basel"}},
        {"id": "call_2", "name": "get_weather", "arguments": {"city": "Bern"}},
    ]
    # the reason that aimock gives by itself is none of Gemini's
    reason: dict[str, Any] = {"finishReason": "stop"} if name == GOOGLE else {}
    aimock.on("weather", {"toolCalls": calls, **reason}, chunkSize=4)
    answer = await ask(provider(name, aimock.url), asking(user("weather"), tools=(WEATHER,)))
    assert answer.fault is None
    assert answer.calls == [
        ("call_1", "get_weather", '{"city":"Basel"}', True),
        ("call_2", "get_weather", '{"city":"Bern"}', True),
    ]
    assert sum(isinstance(event, CallStart) for event in answer.events) == 2
    pieces = sum(isinstance(event, CallChunk) for event in answer.events)
    assert pieces == 2 if name == GOOGLE else pieces > 4
    assert answer.finish.reason == "tool_calls"


@pytest.mark.parametrize("name", [CHAT, ANTHROPIC, GOOGLE])
async def test_an_answer_that_is_too_long_says_so(name: str, aimock: Aimock, provider: Ask) -> None:
    aimock.on("story", {"content": "Once upon a", "finishReason": "length"})
    answer = await ask(provider(name, aimock.url), asking(user("story")))
    assert answer.finish.reason == "length"


@pytest.mark.parametrize("name", [CHAT, GOOGLE])
async def test_a_filtered_answer_says_so(name: str, aimock: Aimock, provider: Ask) -> None:
    aimock.on("story", {"content": "Once", "finishReason": "content_filter"})
    answer = await ask(provider(name, aimock.url), asking(user("story")))
    assert answer.finish.reason == "content_filter"


@every_api
async def test_calls_go_back_with_their_results(name: str, aimock: Aimock, provider: Ask) -> None:
    aimock.match({"hasToolResult": True}, {"content": "Sunny and rainy."})
    calls = (
        ToolCall(id="call_1", name="get_weather", arguments={"city": "Basel"}),
        ToolCall(id="call_2", name="get_weather", arguments={"city": "Bern"}),
    )
    request = asking(
        user("weather"),
        assistant("I look.", calls=calls),
        result("call_2", "rain"),
        result("call_1", "sun"),
        tools=(WEATHER,),
    )
    answer = await ask(provider(name, aimock.url), request)
    assert answer.fault is None
    assert answer.text == "Sunny and rainy."
    (call,) = aimock.calls()
    sent = call["body"]["messages"][1:]
    results = [message["content"] for message in sent if message["role"] == "tool"]
    made = [c for message in sent for c in message.get("tool_calls") or ()]
    assert [c["function"]["arguments"] for c in made] == ['{"city":"Basel"}', '{"city":"Bern"}']
    wrapped = ['{"return_value":"sun"}', '{"return_value":"rain"}']
    assert results == (wrapped if name == GOOGLE else ["sun", "rain"])


async def test_pictures_go_in_as_bytes_or_by_address(aimock: Aimock, provider: Ask) -> None:
    aimock.on("look", {"content": "A dot."})
    address = "https://example.org/dot.png"
    request = asking(
        user(
            "look",
            ImageBlock(source=Base64Source(media_type="image/png", data=PIXEL)),
            ImageBlock(source=UrlSource(url=address)),
            ImageBlock(source=UrlSource(url=f"data:image/png;base64,{PIXEL}")),
        )
    )
    answer = await ask(provider(CHAT, aimock.url), request)
    assert answer.text == "A dot."
    (call,) = aimock.calls()
    content = str(call["body"]["messages"][-1]["content"])
    assert content.count(PIXEL) == 2
    assert address in content


async def test_documents_and_sounds_go_in_too(aimock: Aimock, provider: Ask) -> None:
    aimock.on("read", {"content": "Read."})
    source = Base64Source(media_type="application/pdf", data="JVBERi0xLjQK")
    sound = Base64Source(media_type="audio/wav", data="UklGRg==")
    request = asking(
        user("read", DocumentBlock(source=source, title="Report"), AudioBlock(source=sound))
    )
    answer = await ask(provider(CHAT, aimock.url), request)
    assert answer.text == "Read."
    (call,) = aimock.calls()
    kinds = [part["type"] for part in call["body"]["messages"][-1]["content"]]
    assert kinds == ["text", "text", "file", "input_audio"]


async def test_settings_of_the_agent_reach_the_provider_and_others_do_not(
    aimock: Aimock, provider: Ask
) -> None:
    aimock.on("hello", {"content": "Hi."})
    settings = {"temperature": 0.25, "max_tokens": 99, "max_retries": 5, "favourite_colour": "red"}
    await ask(provider(CHAT, aimock.url), asking(user("hello"), settings=settings))
    body = aimock.calls()[0]["body"]
    assert body["temperature"] == 0.25
    assert 99 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert "favourite_colour" not in body


async def test_a_system_message_within_a_conversation_reaches_the_model(
    aimock: Aimock, provider: Ask
) -> None:
    aimock.on("and now", {"content": "Ok."})
    request = asking(user("hello"), assistant("Hi."), system("It is night."), user("and now"))
    for name in (CHAT, ANTHROPIC):
        answer = await ask(provider(name, aimock.url), request)
        assert answer.text == "Ok."
    assert all("It is night." in str(call["body"]["messages"]) for call in aimock.calls())


@pytest.mark.parametrize("name", [RESPONSES, ANTHROPIC, "openai-chat:deepseek-reasoner"])
async def test_reasoning_is_signed_before_what_follows_it(
    name: str, aimock: Aimock, provider: Ask
) -> None:
    response = {"content": "Four.", "reasoning": "2+2", "reasoningSignature": "signed"}
    aimock.on("sum", response)
    answer = await ask(provider(name, aimock.url), asking(user("sum")))
    (signature,) = answer.signatures
    kinds = [type(event).__name__ for event in answer.events]
    assert kinds == ["ReasoningChunk", "ReasoningChunk", "TextChunk", "Finish"]
    if name == ANTHROPIC:
        assert "signed" in signature


async def test_signed_reasoning_goes_back_and_other_reasoning_does_not(
    aimock: Aimock, provider: Ask
) -> None:
    aimock.on("sum", {"content": "Four.", "reasoning": "2+2", "reasoningSignature": "signed"})
    aimock.on("again", {"content": "Four."})
    model = provider(ANTHROPIC, aimock.url)
    first = await ask(model, asking(user("sum")))
    signed = ThinkingBlock(thinking=first.reasoning, signature=first.signatures[-1])
    foreign = ThinkingBlock(thinking="elsewhere", signature="opaque")
    request = asking(
        user("sum"),
        assistant("Four.", signed),
        user("hm"),
        assistant("No.", foreign),
        user("again"),
    )
    answer = await ask(model, request)
    assert answer.fault is None
    assert "elsewhere" not in str(aimock.calls()[1]["body"])


async def test_one_model_serves_several_requests_at_once(aimock: Aimock, provider: Ask) -> None:
    aimock.on("hello", {"content": "Hi."})
    model = provider(CHAT, aimock.url)
    first, second = model.stream(asking(user("hello"))), model.stream(asking(user("hello")))
    one, other = await anext(first), await anext(second)
    assert one == other == TextChunk(text="Hi.")
    for stream in (first, second):
        async for _ in stream:
            pass
    assert len(aimock.calls()) == 2


def test_a_model_serves_one_event_loop_after_the_other(aimock: Aimock) -> None:
    aimock.on("hello", {"content": "Hi."})
    model = ProviderModel(CHAT, base_url=aimock.url + "/v1", api_key=KEY)

    async def hello() -> str:
        answer = await ask(model, asking(user("hello")))
        await model.aclose()
        return answer.text

    assert [anyio.run(hello), anyio.run(hello)] == ["Hi.", "Hi."]


async def test_a_closed_model_can_be_asked_again(aimock: Aimock, provider: Ask) -> None:
    aimock.on("hello", {"content": "Hi."})
    model = provider(CHAT, aimock.url)
    await model.aclose()
    await model.connect()
    await model.aclose()
    assert (await ask(model, asking(user("hello")))).text == "Hi."


async def test_text_block_order_is_kept(aimock: Aimock, provider: Ask) -> None:
    aimock.on("two", {"content": "Ok."})
    await ask(provider(CHAT, aimock.url), asking(user("one ", TextBlock(text="two"))))
    assert aimock.calls()[0]["body"]["messages"][-1]["content"] == "one two"
