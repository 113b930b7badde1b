"""Errors of the simulated providers: each becomes a fault with a stable code."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.models.provider import ProviderModel
from awaken.models.retry import RetryingModel, RetryPolicy
from awaken.ports.clock import SystemClock, SystemIds
from tests.models.provider.aimock import Aimock
from tests.models.provider.asking import ask, asking, user
from tests.models.provider.conftest import Ask

CHAT = "openai-chat:gpt-4o"
RESPONSES = "openai:gpt-5"
ANTHROPIC = "anthropic:claude-sonnet-5"
GOOGLE = "google:gemini-2.5-flash"
ALL = (CHAT, RESPONSES, ANTHROPIC, GOOGLE)

pytestmark = [pytest.mark.xdist_group("aimock"), pytest.mark.timeout(120)]


def error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, **({"code": code} if code else {})}


CASES: list[tuple[str, str, int, dict[str, Any], bool]] = [
    *[(name, "rate_limited", 429, error("slow", "rate_limit_error"), True) for name in ALL],
    *[(name, "provider_error", 500, error("oops", "server_error"), True) for name in ALL],
    (ANTHROPIC, "overloaded", 529, error("Overloaded", "overloaded_error"), True),
    (CHAT, "overloaded", 503, error("The server is overloaded", "server_error"), True),
    (GOOGLE, "overloaded", 503, error("The model is overloaded.", "UNAVAILABLE"), True),
    (CHAT, "timeout", 504, error("gateway", "server_error"), True),
    *[
        (name, "model_not_found", 404, error("no such thing", "not_found_error"), False)
        for name in ALL
    ],
    (
        CHAT,
        "context_overflow",
        400,
        error(
            "This model's maximum context length is 8192 tokens",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        False,
    ),
    (
        ANTHROPIC,
        "context_overflow",
        400,
        error("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
        False,
    ),
    (
        GOOGLE,
        "context_overflow",
        400,
        error("The input token count (9) exceeds the maximum number of tokens allowed (8)", "X"),
        False,
    ),
    (CHAT, "context_overflow", 413, error("too big", "invalid_request_error"), False),
    (
        CHAT,
        "content_filtered",
        400,
        error("Your request was rejected", "image_error", "content_policy_violation"),
        False,
    ),
    (CHAT, "bad_request", 400, error("temperature must be a number", "invalid_request"), False),
    (ANTHROPIC, "bad_request", 422, error("no way", "invalid_request_error"), False),
    (CHAT, "quota_exceeded", 429, error("pay", "insufficient_quota", "insufficient_quota"), False),
    (
        ANTHROPIC,
        "quota_exceeded",
        400,
        error("Your credit balance is too low", "invalid_request_error"),
        False,
    ),
    (CHAT, "unauthorised", 403, error("not yours", "permission_error"), False),
]


@pytest.mark.parametrize(
    ("name", "code", "status", "body", "retryable"),
    CASES,
    ids=[f"{case[0].partition(':')[0]}-{case[2]}-{case[1]}" for case in CASES],
)
async def test_an_error_has_a_stable_code_and_knows_if_a_retry_helps(
    name: str,
    code: str,
    status: int,
    body: dict[str, Any],
    retryable: bool,
    aimock: Aimock,
    provider: Ask,
) -> None:
    aimock.on("hello", {"error": body, "status": status})
    answer = await ask(provider(name, aimock.url), asking(user("hello")))
    assert answer.events == []
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == (code, retryable)
    assert answer.fault.public
    assert body["message"] not in answer.fault.message
    assert body["message"] in answer.fault.__notes__[0]
    assert len(aimock.calls()) == 1, "a model asks once"


@pytest.mark.parametrize("name", ALL)
async def test_the_wait_a_provider_asks_for_is_kept(
    name: str, aimock: Aimock, provider: Ask
) -> None:
    slow = error("slow", "rate_limit_error")
    aimock.on("hello", {"error": slow, "status": 429, "retryAfter": 7})
    answer = await ask(provider(name, aimock.url), asking(user("hello")))
    assert answer.fault is not None
    assert answer.fault.retry_after_ms == 7_000


@pytest.mark.parametrize("name", ALL)
async def test_a_wrong_key_is_unauthorised_and_nowhere_in_the_fault(
    name: str, aimock: Aimock, provider: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    key = "quite-wrong-key"
    answer = await ask(provider(name, aimock.url, api_key=key), asking(user("hello")))
    fault = answer.fault
    assert fault is not None
    assert (fault.code, fault.retryable) == ("unauthorised", False)
    assert key not in f"{fault} {fault.__notes__} {caplog.text}"
    assert "unauthorised" in caplog.text


async def test_a_missing_key_is_unauthorised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    answer = await ask(ProviderModel("openai:gpt-5"), asking(user("hello")))
    assert answer.fault is not None
    assert answer.fault.code == "unauthorised"
    wanted = "the model provider needs a key: set OPENAI_API_KEY where the server runs"
    assert answer.fault.message == wanted, "whoever is told knows what to do"


async def test_an_option_that_a_provider_does_not_take_is_a_bad_request() -> None:
    model = ProviderModel("deepseek:deepseek-chat", base_url="http://127.0.0.1:9")
    answer = await ask(model, asking(user("hello")))
    assert answer.fault is not None
    assert answer.fault.code == "bad_request"
    assert "base_url" in answer.fault.__notes__[0]


async def test_a_provider_whose_library_is_missing_says_so() -> None:
    answer = await ask(ProviderModel("cohere:command-r"), asking(user("hello")))
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == ("provider_not_installed", False)


async def test_trouble_before_the_first_event_is_tried_again(aimock: Aimock, provider: Ask) -> None:
    failing = {"error": error("oops", "server_error"), "status": 500}
    aimock.match({"userMessage": "hello", "sequenceIndex": 0}, failing)
    aimock.match({"userMessage": "hello", "sequenceIndex": 1}, failing)
    aimock.match({"userMessage": "hello", "sequenceIndex": 2}, {"content": "Hi."})
    policy = RetryPolicy(base_ms=1)
    inner = provider(CHAT, aimock.url)
    model = RetryingModel(inner, clock=SystemClock(), ids=SystemIds(), policy=policy)
    answer = await ask(model, asking(user("hello")))
    assert answer.fault is None
    assert answer.text == "Hi."
    assert [call["response"]["status"] for call in aimock.calls()] == [500, 500, 200]


@pytest.mark.parametrize("name", ALL)
async def test_a_stream_that_is_cut_is_not_asked_again_but_goes_on(
    name: str, aimock: Aimock, provider: Ask
) -> None:
    text = "one two three four five six seven"
    # time for what was written to leave before the connection is torn
    aimock.on("count", {"content": text}, chunkSize=4, latency=20, truncateAfterChunks=8)
    inner = provider(name, aimock.url)
    policy = RetryPolicy(base_ms=1)
    model = RetryingModel(inner, clock=SystemClock(), ids=SystemIds(), policy=policy)
    answer = await ask(model, asking(user("count")))
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.retryable) == ("stream_interrupted", True)
    assert answer.text
    assert text.startswith(answer.text)
    assert len(aimock.calls()) == 1

    aimock.on("cut off in the middle", {"content": text[len(answer.text) :]})
    rest = await ask(model, asking(user("count"), said=answer.text))
    assert answer.text + rest.text == text
    said, told = aimock.calls()[1]["body"]["messages"][-2:]
    assert (said["role"], said["content"]) == ("assistant", answer.text)
    assert told["role"] == "user"


async def test_paced_text_arrives_as_it_is_paced(aimock: Aimock, provider: Ask) -> None:
    pace = {"ttft": 20, "tps": 200, "jitter": 0}
    aimock.on("count", {"content": "one two three"}, chunkSize=4, streamingProfile=pace)
    answer = await ask(provider(CHAT, aimock.url), asking(user("count")))
    assert answer.text == "one two three"
    assert len(answer.events) > 3
