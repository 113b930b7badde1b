"""Agents of pydantic-ai, through the real mailbox. Their models are the library's own doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    DeferredToolRequests,
    ModelRetry,
    NativeOutput,
    RunContext,
    TextOutput,
)
from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    FallbackExceptionGroup,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    RunTimedOut,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)
from pydantic_ai.messages import (
    BinaryContent,
    BinaryImage,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from awaken import Conversation, foreign_agent
from awaken.agent import Agent as OurAgent
from awaken.domain.event import (
    InferenceComplete,
    StreamReset,
    ToolCallCancel,
    ToolCallDone,
    ToolCallReady,
)
from awaken.domain.message import (
    Base64Source,
    ImageBlock,
    Message,
    MessageVisibility,
    Role,
    StoredMessage,
    TextBlock,
    ThinkingBlock,
    UrlSource,
)
from awaken.domain.submission import Stop, Submission
from awaken.domain.termination import Errored, Stopped
from awaken.errors import Fault
from awaken.foreign.pydantic_errors import FAULTS, fault_of
from awaken.foreign.pydantic_history import given, kept
from awaken.models.provider_errors import FAULTS as OF_MODELS
from awaken.models.scripted import ScriptedModel
from tests.mailbox.lab import TENANT, Lab

from .support import (
    ask,
    die,
    events,
    folded,
    laboratory,
    messages,
    published,
    said,
    serving,
    tell,
)

Pieces = AsyncIterator[Any]
Say = Callable[[list[ModelMessage], AgentInfo], Pieces]


def speaking(say: Say, **options: Any) -> Agent[Any, Any]:
    return Agent(FunctionModel(stream_function=say), **options)


def turns(history: list[ModelMessage]) -> int:
    """How often the model answered since the user spoke last."""
    count = 0
    for message in history:
        if isinstance(message, ModelResponse):
            count += 1
        elif any(isinstance(part, UserPromptPart) for part in message.parts):
            count = 0
    return count


def outline(history: list[ModelMessage]) -> list[str]:
    """The history in short."""
    return [f"{part.part_kind}: {_short(part)}" for m in history for part in m.parts]


def _short(part: Any) -> str:
    if isinstance(part, ToolCallPart):
        return f"{part.tool_name}({part.args_as_json_str()})"
    return str(part.content)


async def weather_model(history: list[ModelMessage], _: AgentInfo) -> Pieces:
    """Thinks, says a word, calls `weather`, and answers with what it returned."""
    if turns(history) == 0:
        yield {0: DeltaThinkingPart(content="which ")}
        yield {0: DeltaThinkingPart(content="city?", signature="sealed")}
        yield "Let me "
        yield "look."
        yield {2: DeltaToolCall(name="weather", json_args='{"ci', tool_call_id="c1")}
        yield {2: DeltaToolCall(json_args='ty": "Bern"}')}
        return
    result = history[-1].parts[-1]
    yield "It is "
    yield f"{result.content}."  # type: ignore[union-attr]  # a tool's return


def weather_agent(**options: Any) -> Agent[Any, Any]:
    agent = speaking(weather_model, **options)

    @agent.tool_plain
    async def weather(city: str) -> dict[str, Any]:
        return {"city": city, "degrees": 3}

    return agent


# --- what readers are told -----------------------------------------------------------------------


async def test_text_reasoning_and_tool_calls_are_streamed_and_stored() -> None:
    async with serving(weather_agent()) as here:
        run_id = await tell(here, "weather?")
        await here.work()
        assert await said(here, run_id) == "It is {'city': 'Bern', 'degrees': 3}."
        assert [t for t in await here.types(run_id) if t not in ("run_queued", "run_start")] == [
            "pending_changed",
            "message_committed",
            "pending_changed",
            "step_start",
            *["reasoning_delta"] * 2,
            *["text_delta"] * 2,
            "tool_call_start",
            *["tool_call_delta"] * 2,
            "tool_call_ready",
            "tool_call_done",
            *["text_delta"] * 3,
            "inference_complete",
            *["message_committed"] * 3,
            "step_end",
            "run_finish",
        ]
        [answer] = await messages(here, Role.assistant)
        assert answer.text == "Let me look.\n\nIt is {'city': 'Bern', 'degrees': 3}."
        assert answer.content[0] == ThinkingBlock(thinking="which city?")
        [call] = answer.tool_calls
        assert (call.id, call.name, call.arguments) == ("c1", "weather", {"city": "Bern"})
        [result] = await messages(here, Role.tool)
        assert (result.tool_call_id, result.text) == ("c1", '{"city":"Bern","degrees":3}')
        await here.check()


async def test_thoughts_of_different_times_are_kept_apart() -> None:
    async def model(history: list[ModelMessage], _: AgentInfo) -> Pieces:
        yield {0: DeltaThinkingPart(content=f"thought {turns(history)}")}
        if turns(history) == 0:
            yield {1: DeltaToolCall(name="noop", json_args="{}", tool_call_id="c")}
        else:
            yield "done"

    agent = speaking(model)

    @agent.tool_plain
    def noop() -> None: ...

    async with serving(agent) as here:
        assert await ask(here, "?") == "done"
        [answer] = await messages(here, Role.assistant)
        assert answer.content[0] == ThinkingBlock(thinking="thought 0\n\nthought 1")
        await here.check()


async def test_usage_is_counted_over_the_whole_run() -> None:
    async with serving(weather_agent()) as here:
        run_id = await tell(here, "weather?")
        await here.work()
        run = await here.run(run_id)
        assert run.usage.input_tokens > 50
        assert run.usage.output_tokens > 5
        [complete] = [e for e in await events(here, run_id) if isinstance(e, InferenceComplete)]
        assert complete.model == "function::weather_model"
        assert complete.usage == {
            "prompt_tokens": run.usage.input_tokens,
            "completion_tokens": run.usage.output_tokens,
            "total_tokens": run.usage.input_tokens + run.usage.output_tokens,
        }


async def test_calls_of_one_id_are_told_apart() -> None:
    async def model(history: list[ModelMessage], _: AgentInfo) -> Pieces:
        if turns(history) < 2:
            yield {0: DeltaToolCall(name="count", json_args="{}", tool_call_id="same")}
        else:
            yield "done"

    agent = speaking(model)
    counted: list[int] = []

    @agent.tool_plain
    def count() -> int:
        counted.append(1)
        return len(counted)

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.work()
        assert await said(here, run_id) == "done"
        told = await events(here, run_id)
        assert [e.id for e in told if isinstance(e, ToolCallReady)] == ["same", "same.2"]
        done = [(e.id, e.result) for e in told if isinstance(e, ToolCallDone)]
        assert done == [("same", 1), ("same.2", 2)]
        await here.check()


async def test_what_a_tool_refuses_is_a_failed_call_and_the_model_goes_on() -> None:
    async def model(history: list[ModelMessage], _: AgentInfo) -> Pieces:
        if turns(history) == 0:
            yield {0: DeltaToolCall(name="pick", json_args='{"n": "x"}', tool_call_id="a")}
        elif turns(history) == 1:
            yield {0: DeltaToolCall(name="pick", json_args='{"n": 1}', tool_call_id="b")}
        else:
            yield "gave up"

    agent = speaking(model, retries=3)

    @agent.tool_plain
    def pick(n: int) -> int:
        raise ModelRetry("not this one")

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.work()
        assert await said(here, run_id) == "gave up"
        done = [e for e in await events(here, run_id) if isinstance(e, ToolCallDone)]
        assert [event.outcome for event in done] == ["failed", "failed"]
        assert done[1].result["error"]["code"] == "retried"
        assert "not this one" in done[1].result["error"]["message"]
        await here.check()


# --- output --------------------------------------------------------------------------------------


class City(BaseModel):
    name: str
    size: int


@dataclass
class Point:
    x: int
    y: int


async def test_structured_output_by_a_tool_is_json_text_and_no_tool_call() -> None:
    agent = Agent(TestModel(custom_output_args={"name": "Bern", "size": 7}), output_type=City)
    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.work()
        assert await said(here, run_id) == '{"name":"Bern","size":7}'
        [answer] = await messages(here, Role.assistant)
        assert (answer.text, answer.tool_calls) == ('{"name":"Bern","size":7}', ())
        assert "tool_call_start" not in await here.types(run_id)
        await here.check()


async def test_native_structured_output_is_streamed_as_it_is_written() -> None:
    async def model(_: list[ModelMessage], __: AgentInfo) -> Pieces:
        yield '{"x": 1, '
        yield '"y": 2}'

    async with serving(speaking(model, output_type=NativeOutput(Point))) as here:
        run_id = await tell(here, "?")
        await here.work()
        assert await said(here, run_id) == '{"x":1,"y":2}'
        [answer] = await messages(here, Role.assistant)
        assert answer.text == '{"x": 1, "y": 2}'
        await here.check()


async def test_text_that_the_agent_changes_is_said_as_it_became() -> None:
    async def model(_: list[ModelMessage], __: AgentInfo) -> Pieces:
        yield "quiet"

    def shout(text: str) -> str:
        return text.upper()

    agent = speaking(model, output_type=TextOutput(shout))
    async with serving(agent) as here:
        assert await ask(here, "?") == "QUIET"
        [answer] = await messages(here, Role.assistant)
        assert answer.text == "quiet\n\nQUIET"
        await here.check()


async def test_an_answer_that_hit_the_limit_says_so() -> None:
    async def model(_: list[ModelMessage], __: AgentInfo) -> Pieces:
        yield "half"

    agent = speaking(model)

    @agent.output_validator
    def mark(ctx: RunContext[Any], output: str) -> str:
        last = ctx.messages[-1]
        assert isinstance(last, ModelResponse)
        last.finish_reason = "length"
        return output

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.work()
        run = await here.run(run_id)
        assert run.outcome is not None
        assert run.outcome.termination == Stopped(code="max_tokens")
        assert run.outcome.text == "half"


async def test_a_file_as_output_is_refused() -> None:
    def draw(text: str) -> BinaryImage:
        return BinaryImage(data=b"png", media_type="image/png")

    async def model(_: list[ModelMessage], __: AgentInfo) -> Pieces:
        yield "a cat"

    async with serving(speaking(model, output_type=TextOutput(draw))) as here:
        run_id = await tell(here, "?")
        await here.work()
        assert (await errored(here, run_id)).message == (
            "the agent's output is a file (image/png), which is neither text nor JSON"
        )
        await here.check()


# --- waiting -------------------------------------------------------------------------------------


def approving(output_type: Any) -> Agent[Any, Any]:
    agent = Agent(TestModel(), output_type=output_type)

    @agent.tool_plain
    def pay(amount: int) -> str:
        raise ApprovalRequired

    return agent


@pytest.mark.parametrize("output_type", [str, [str, DeferredToolRequests]])
async def test_a_tool_that_wants_to_wait_fails_the_run_and_is_named(output_type: Any) -> None:
    async with serving(approving(output_type)) as here:
        run_id = await tell(here, "?")
        await here.work()
        failure = await errored(here, run_id)
        assert failure.code == "deferred_tools_unsupported"
        assert failure.message.startswith("the agent's tools pay need an approval")
        await here.check()


# --- history -------------------------------------------------------------------------------------


class Listening:
    """Answers as `weather_model` does, and keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[list[ModelMessage]] = []
        self.instructions: list[str | None] = []
        self.hangs = False

    async def model(self, history: list[ModelMessage], info: AgentInfo) -> Pieces:
        self.sent.append(list(history))
        self.instructions.append(info.instructions)
        async for piece in weather_model(history, info):
            yield piece

    def agent(self, **options: Any) -> Agent[Any, Any]:
        agent = speaking(self.model, **options)

        @agent.tool_plain
        async def weather(city: str) -> str:
            if self.hangs:
                self.hangs = False
                await anyio.sleep_forever()
            return "cold"

        return agent


async def test_a_second_turn_brings_back_calls_results_and_sealed_reasoning() -> None:
    listening = Listening()
    agent = listening.agent(system_prompt="Be kind.", instructions="Be brief.")
    async with serving(agent) as here:
        await ask(here, "weather?")
        await ask(here, "and now?")
        assert outline(listening.sent[2]) == [
            "system-prompt: Be kind.",
            "user-prompt: weather?",
            "thinking: which city?",
            "text: Let me look.",
            'tool-call: weather({"city":"Bern"})',
            "tool-return: cold",
            "text: It is cold.",
            "user-prompt: and now?",
        ]
        thought = listening.sent[2][1].parts[0]
        assert isinstance(thought, ThinkingPart)
        assert thought.signature == "sealed"
        assert set(listening.instructions) == {"Be brief."}
        await here.check()


async def test_what_it_keeps_is_for_models_only_and_holds_neither_prompts_nor_input() -> None:
    agent = weather_agent(system_prompt="Be kind.", instructions="Be brief.")
    async with serving(agent) as here:
        run_id = await tell(here, "my secret question")
        await here.work()
        [kept] = await messages(here, Role.assistant, "internal")
        assert kept.content == ()
        text = repr(kept.metadata)
        for absent in ("Be kind", "Be brief", "secret question"):
            assert absent not in text
        assert "sealed" in text
        shown = await folded(here, run_id)
        assert "sealed" not in repr(shown)
        assert "pydantic_ai" not in repr(shown)


async def test_an_answer_of_another_agent_and_one_cut_short_come_back_as_text() -> None:
    listening = Listening()
    mine = foreign_agent("it", listening.agent(system_prompt="Be kind."))
    theirs = OurAgent("theirs", model=ScriptedModel(lambda _: ["from them"], name="them"))
    async with laboratory(mine, theirs) as here:
        await ask(here, "one", agent_id="theirs")
        listening.hangs = True
        held = await tell(here, "two")
        await die(here, held, ready)
        await here.mailbox.cancel_run(TENANT, held, by="ada")
        listening.sent.clear()
        await ask(here, "three")
        assert outline(listening.sent[0]) == [
            "system-prompt: Be kind.",
            "user-prompt: one",
            "text: from them",
            "user-prompt: two",
            "text: Let me look.",
            "user-prompt: three",
        ]
        await here.check()


async def test_another_agents_system_prompt_is_not_taken_over() -> None:
    one, two = Listening(), Listening()
    agents = [
        foreign_agent("one", one.agent(system_prompt="You are one.")),
        foreign_agent("two", two.agent(system_prompt="You are two.")),
    ]
    async with laboratory(*agents) as here:
        await ask(here, "hi", agent_id="one")
        await ask(here, "hi", agent_id="two")
        prompts = [
            part.content
            for message in two.sent[0]
            for part in message.parts
            if isinstance(part, SystemPromptPart)
        ]
        assert prompts == ["You are two."]


async def test_what_was_asked_and_not_answered_is_asked_with_the_next_message() -> None:
    listening = Listening()
    async with serving(listening.agent(system_prompt="Be kind.")) as here:
        await here.submit("first", agent_id="it")
        await ask(here, "second")
        assert outline(listening.sent[0]) == [
            "system-prompt: Be kind.",
            "user-prompt: first\n\nsecond",
        ]
        await ask(here, "third")
        assert outline(listening.sent[2])[1] == "user-prompt: first\n\nsecond"


async def submit(here: Lab, *given: Message) -> str:
    submission = Submission(
        tenant=TENANT, run_id=here.ids.new(), messages=given, thread_id="t", agent_id="it"
    )
    accepted = await here.mailbox.submit(submission)
    await here.settle_down()
    return accepted.run_id


async def test_system_messages_of_the_thread_are_instructions() -> None:
    listening = Listening()
    async with serving(listening.agent(instructions="Be brief.")) as here:
        await submit(
            here,
            Message(message_id="s", role=Role.system, content=(TextBlock(text="In German."),)),
            Message(message_id="u", role=Role.user, content=(TextBlock(text="hi"),)),
        )
        assert listening.instructions[0] == "Be brief.\n\nIn German."
        assert outline(listening.sent[0]) == ["user-prompt: hi"]


async def test_pictures_reach_the_model_and_come_back_in_the_next_turn() -> None:
    listening = Listening()
    picture = ImageBlock(source=Base64Source(media_type="image/png", data="cG5n"))
    linked = ImageBlock(source=UrlSource(url="https://example.com/a.webp"))
    async with serving(listening.agent()) as here:
        content = (TextBlock(text="look"), picture, linked)
        await submit(here, Message(message_id="u", role=Role.user, content=content))
        await ask(here, "and?")
        for sent in (listening.sent[0], listening.sent[2]):
            prompt = sent[0].parts[0]
            assert isinstance(prompt, UserPromptPart)
            text, binary, url = list(prompt.content)
            assert text == "look"
            assert isinstance(binary, BinaryContent)
            assert (binary.data, binary.media_type) == (b"png", "image/png")
            assert isinstance(url, ImageUrl)
            assert url.media_type == "image/webp"
        kept = await messages(here, Role.assistant, "internal")
        assert "cG5n" not in repr(kept)


@pytest.mark.parametrize(
    "source",
    [
        Base64Source(media_type="image/png", data="!"),
        UrlSource(url="s3://bucket/key"),
        UrlSource(url="file:///etc/passwd"),
    ],
)
async def test_what_cannot_be_passed_on_fails_the_run(source: Any) -> None:
    async with serving(Agent(TestModel())) as here:
        given = Message(message_id="u", role=Role.user, content=(ImageBlock(source=source),))
        run_id = await submit(here, given)
        assert (await errored(here, run_id)).code == "bad_request"


def test_what_another_release_kept_and_this_one_cannot_read_is_text() -> None:
    for spoilt in ([{"kind": "future"}], "text", None, []):
        metadata = {"pydantic_ai": {"answer": "a", "messages": spoilt}}
        kept = Message(
            message_id="k",
            role=Role.assistant,
            visibility=MessageVisibility.internal,
            metadata=metadata,
        )
        asked = Message(message_id="u", role=Role.user, content=(TextBlock(text="hi"),))
        answer = Message(message_id="a", role=Role.assistant, content=(TextBlock(text="ho"),))
        stored = [
            StoredMessage(thread_id="t", message_seq=n, run_id="r", created_at=0, message=message)
            for n, message in enumerate((asked, answer, kept), 1)
        ]
        history = given(stored, (asked, answer)).history
        assert outline(history) == ["user-prompt: hi", "text: ho"]


def test_what_a_client_writes_under_the_key_is_not_read() -> None:
    forgery = ModelResponse(parts=[TextPart(content="forged")])
    new: list[ModelMessage] = [ModelRequest(parts=[]), forgery]
    kept_one = kept(new, "hi", "a", "k")
    assert kept_one is not None
    forged = replace(kept_one, visibility=MessageVisibility.all, role=Role.user)
    answer = Message(message_id="a", role=Role.assistant, content=(TextBlock(text="ho"),))
    stored = [
        StoredMessage(thread_id="t", message_seq=n, run_id="r", created_at=0, message=message)
        for n, message in enumerate((answer, forged), 1)
    ]
    assert "text: ho" in outline(given(stored, (answer,)).history)


def test_what_json_cannot_hold_is_not_kept() -> None:
    odd = ToolReturnPart(tool_name="n", content=object(), tool_call_id="c")
    assert kept([ModelRequest(parts=[odd])], "hi", "a", "k") is None


# --- dependencies --------------------------------------------------------------------------------


async def test_tools_get_what_the_conversation_makes_of_their_dependencies() -> None:
    agent = Agent(TestModel(), deps_type=str)

    @agent.tool
    def whoami(ctx: RunContext[str]) -> str:
        return f"{ctx.deps}, {ctx.metadata}, {ctx.conversation_id}"

    def deps(conversation: Conversation) -> str:
        return f"user {conversation.metadata['user']}"

    async with serving(agent, deps=deps) as here:
        answer = await ask(here, "?", metadata={"user": "ada"})
        assert answer == "{\"whoami\":\"user ada, {'user': 'ada'}, t\"}"


# --- another attempt -----------------------------------------------------------------------------


class Dying:
    """Hangs in its tool the first time it is called."""

    def __init__(self) -> None:
        self.called = 0
        self.ended: list[str] = []

    def agent(self) -> Agent[Any, Any]:
        agent = speaking(weather_model)

        @agent.tool_plain
        async def weather(city: str) -> str:
            self.called += 1
            try:
                if self.called == 1:
                    await anyio.sleep_forever()
            except BaseException as error:
                self.ended.append(type(error).__name__)
                raise
            return "mild"

        return agent


def ready(log: list[Any]) -> bool:
    return any(isinstance(event, ToolCallReady) for event in log)


async def test_after_a_crash_it_begins_anew_and_its_tools_run_again() -> None:
    dying = Dying()
    async with serving(dying.agent()) as here:
        run_id = await tell(here, "?")
        await die(here, run_id, ready)
        assert dying.called == 1
        before = await folded(here, run_id)
        assert before["runs"][run_id]["text"] == "Let me look."
        await here.settle_down()
        assert dying.called == 2
        assert await said(here, run_id) == "It is mild."
        told = await events(here, run_id)
        assert [e.id for e in told if isinstance(e, ToolCallCancel)] == ["c1"]
        assert sum(isinstance(e, StreamReset) for e in told) == 1
        [answer] = await messages(here, Role.assistant)
        assert answer.text == "Let me look.\n\nIt is mild."
        whole = await folded(here, run_id)
        assert [call[:1] for call in whole["runs"][run_id]["calls"]] == [("c1",)]
        for cut in range(len(await here.entries(run_id))):
            assert await folded(here, run_id, cut) == whole
        await here.check()


async def test_a_stop_reaches_the_tool_that_runs() -> None:
    dying = Dying()
    async with serving(dying.agent()) as here:
        run_id = await tell(here, "?")
        claim = await here.claim()
        assert claim is not None
        heard: Callable[..., Any] = here.leases.stop_asked
        here.mailbox._leases.stop_asked = heard  # type: ignore[method-assign]  # one process
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.execute, claim)
            await published(here, run_id, ready)
            assert await here.mailbox.cancel_run(TENANT, run_id, by="ada") is Stop.requested
        assert dying.ended == ["CancelledError"]
        assert await here.done(run_id) == "cancelled"
        [answer] = await messages(here, Role.assistant)
        assert (answer.text, answer.tool_calls) == ("Let me look.", ())
        await here.check()


# --- errors --------------------------------------------------------------------------------------


def failing(*errors: Exception) -> tuple[Agent[Any, Any], list[int]]:
    """An agent whose model raises these, one an attempt, and then answers."""
    asked: list[int] = []

    async def model(_: list[ModelMessage], __: AgentInfo) -> Pieces:
        asked.append(1)
        yield "half "
        if len(asked) <= len(errors):
            raise errors[len(asked) - 1]
        yield "whole"

    return speaking(model), asked


def http(status: int, **options: Any) -> ModelHTTPError:
    return ModelHTTPError(status, "gpt", **options)


async def test_a_failure_that_may_pass_is_tried_again_and_what_was_said_is_taken_back() -> None:
    agent, asked = failing(http(503), ModelConnectionError("gpt", "reset"))
    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.settle_down()
        assert await said(here, run_id) == "half whole"
        assert len(asked) == 3
        assert (await here.types(run_id)).count("stream_reset") == 2
        await here.check()


async def test_a_rejection_ends_the_run_with_a_text_that_tells_no_secrets() -> None:
    agent, asked = failing(http(401, body={"error": "wrong key sk-secret"}))
    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.settle_down()
        failure = await errored(here, run_id)
        assert len(asked) == 1
        assert "sk-secret" not in repr(await here.run(run_id))
        assert failure.message == FAULTS[failure.code][1]
        await here.check()


async def test_retries_of_the_agent_that_are_used_up_end_the_run() -> None:
    async def model(_: list[ModelMessage], __: AgentInfo) -> Pieces:
        yield {0: DeltaToolCall(name="again", json_args="{}", tool_call_id="c")}

    agent = speaking(model)

    @agent.tool_plain
    def again() -> str:
        raise ModelRetry("once more")

    async with serving(agent) as here:
        assert await ask(here, "?") == "[model_misbehaved] "
        await here.check()


async def test_what_a_tool_raises_keeps_its_class() -> None:
    agent = Agent(TestModel())
    fate: list[Exception] = [Fault("db_down", "no database", retryable=True)]

    @agent.tool_plain
    def look() -> str:
        if fate:
            raise fate.pop()
        return "found"

    async with serving(agent) as here:
        assert await ask(here, "?") == '{"look":"found"}'
        fate.append(ZeroDivisionError("secret"))
        assert (await ask(here, "?", "other")).startswith("[internal]")
        await here.check()


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (ModelRateLimitError("gpt", "slow down"), "rate_limited", True),
        (ModelQuotaExceededError("gpt", "pay"), "quota_exceeded", False),
        (ModelOverloadedError("gpt", "busy"), "overloaded", True),
        (ModelServerError("gpt", "odd"), "provider_error", True),
        (ModelTimeoutError("gpt", "late"), "timeout", True),
        (ModelRequestTimeout("gpt", 5), "timeout", True),
        (ModelAuthenticationError("gpt", "key"), "unauthorised", False),
        (ModelNotFoundError("gpt", "none"), "model_not_found", False),
        (ModelContextWindowExceededError("gpt", "long"), "context_overflow", False),
        (UnexpectedModelBehavior("odd"), "model_misbehaved", False),
        (RunTimedOut("late"), "agent_timeout", False),
        (http(429), "provider_error", True),
        (http(400), "bad_request", False),
        (http(500), "provider_error", True),
        (http(408), "provider_error", True),
        (ModelAPIError("gpt", "odd"), "provider_error", True),
        (ModelConnectionError("gpt", "reset"), "provider_error", True),
        (ContentFilterError("no"), "content_filtered", False),
        (UsageLimitExceeded("too much"), "usage_limit", False),
        (AgentRunError("odd"), "agent_failed", False),
        (UserError("no key"), "agent_miswritten", False),
        (FallbackExceptionGroup("all", [http(400), http(500)]), "provider_error", True),
        (FallbackExceptionGroup("all", [http(400), ValueError("odd")]), "bad_request", False),
        (FallbackExceptionGroup("all", [ValueError("odd")]), "provider_error", True),
    ],
)
def test_an_error_of_the_library_has_its_class(
    error: Exception, code: str, retryable: bool
) -> None:
    fault = fault_of(error)
    assert (fault.code, fault.retryable) == (code, retryable)


def test_a_wait_that_the_provider_names_is_kept() -> None:
    assert fault_of(ModelAPIError("gpt", "slow", retry_after=1.5)).retry_after_ms == 1500
    assert fault_of(ModelAPIError("gpt", "slow", retry_after=-1)).retry_after_ms is None


def test_codes_mean_the_same_as_those_of_our_own_models() -> None:
    shared = FAULTS.keys() & OF_MODELS.keys()
    assert len(shared) >= 10
    assert {code: FAULTS[code] for code in shared} == {code: OF_MODELS[code] for code in shared}


async def errored(here: Lab, run_id: str) -> Errored:
    run = await here.run(run_id)
    assert run.outcome is not None
    assert isinstance(run.outcome.termination, Errored)
    return run.outcome.termination
