"""Async generators as agents, through the real mailbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import anyio
import msgspec
import pytest

from awaken import AgentError, foreign_agent
from awaken.domain.event import (
    ActivitySnapshot,
    MessageCommitted,
    RunFinish,
    RunStart,
    StateDelta,
    StepEnd,
    StepStart,
    StreamReset,
    ToolCallCancel,
)
from awaken.domain.message import Message, Role, TextBlock, ThinkingBlock, ToolCall
from awaken.domain.outcome import Usage
from awaken.domain.run import RunStatus
from awaken.domain.submission import Stop
from awaken.domain.termination import Errored, NaturalEnd
from awaken.errors import Fault
from awaken.foreign import (
    Conversation,
    InferenceComplete,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
    ToolCallStreamDelta,
)
from awaken.foreign.answer import TELLING
from tests.mailbox.lab import TENANT, Lab

from .support import ask, die, events, folded, messages, published, said, serving, tell


async def parrot(conversation: Conversation) -> AsyncIterator[Any]:
    yield "You said: "
    yield ""
    yield conversation.text


# --- what is said --------------------------------------------------------------------------------


async def test_a_generator_is_served_like_any_agent() -> None:
    async with serving(parrot) as here:
        run_id = await tell(here, "hi")
        await here.work()
        run = await here.run(run_id)
        assert run.outcome is not None
        assert (run.outcome.termination, run.outcome.text) == (NaturalEnd(), "You said: hi")
        assert (await here.types(run_id))[4:] == [
            "run_start",
            "step_start",
            *["text_delta"] * 2,
            "message_committed",
            "step_end",
            "run_finish",
        ]
        await here.check()


async def test_the_conversation_tells_it_where_it_is() -> None:
    seen: list[Conversation] = []

    async def look(conversation: Conversation) -> AsyncIterator[str]:
        seen.append(conversation)
        yield f"answer {len(seen)}"

    async with serving(look) as here:
        await ask(here, "one")
        run_id = await tell(here, "two", metadata={"user": "ada"})
        await here.work()
        conversation = seen[-1]
        assert [m.text for m in conversation.messages] == ["one", "answer 1", "two"]
        assert conversation.text == "two"
        assert (conversation.run_id, conversation.thread_id) == (run_id, "t")
        assert (conversation.agent_id, conversation.attempt) == ("it", 0)
        assert (conversation.restarted, conversation.metadata) == (False, {"user": "ada"})
        with pytest.raises(AttributeError):
            conversation.run_id = "other"


async def test_reasoning_activities_state_and_usage_are_told_and_kept() -> None:
    async def think(_: Conversation) -> AsyncIterator[Any]:
        yield ReasoningDelta(delta="let me ")
        yield ReasoningDelta(delta="see")
        yield ActivitySnapshot(message_id="a", activity_type="plan", content={"done": 1})
        yield StateDelta(delta=[{"op": "add", "path": "/n", "value": 1}])
        yield TextDelta(delta="42")
        yield InferenceComplete(
            model="m", duration_ms=5, usage={"prompt_tokens": 3, "completion_tokens": 2}
        )

    async with serving(think) as here:
        assert await ask(here, "?") == "42"
        [answer] = await messages(here, Role.assistant)
        assert answer.content == (ThinkingBlock(thinking="let me see"), TextBlock(text="42"))
        run_id = (await here.store.thread(TENANT, "t")).latest_run_id  # type: ignore[union-attr]
        assert run_id is not None
        assert (await here.run(run_id)).usage == Usage(input_tokens=3, output_tokens=2)
        types = await here.types(run_id)
        assert {"activity_snapshot", "state_delta", "inference_complete"} <= set(types)
        await here.check()


async def test_tool_calls_become_calls_and_results_of_the_thread() -> None:
    async def search(_: Conversation) -> AsyncIterator[Any]:
        yield "Looking. "
        yield ToolCallStart(id="c1", name="search")
        yield ToolCallDelta(id="c1", args_delta='{"q": ')
        yield ToolCallReady(id="c1", name="search", arguments={"q": "x"})
        yield ToolCallStreamDelta(id="c1", name="search", delta="…")
        yield ToolCallDone(id="c1", message_id="", outcome="succeeded", result={"hits": 2})
        yield ToolCallReady(id="c2", name="search", arguments={"q": "y"})
        yield ToolCallStart(id="c3", name="search")
        yield "Found two."

    async with serving(search) as here:
        run_id = await tell(here, "?")
        await here.work()
        assert await said(here, run_id) == "Looking. Found two."
        [answer] = await messages(here, Role.assistant)
        assert answer.tool_calls == (
            ToolCall(id="c1", name="search", arguments={"q": "x"}),
            ToolCall(id="c2", name="search", arguments={"q": "y"}),
        )
        one, two = await messages(here, Role.tool)
        assert (one.tool_call_id, one.text) == ("c1", '{"hits":2}')
        assert (two.tool_call_id, "not_run" in two.text) == ("c2", True)
        told = await events(here, run_id)
        done = [event for event in told if isinstance(event, ToolCallDone)]
        assert [event.message_id for event in done] == [one.message_id, two.message_id]
        assert [e.id for e in told if isinstance(e, ToolCallCancel)] == ["c3"]
        await here.check()


MAILBOX_ONLY = [
    StepStart(message_id="m"),
    StepEnd(),
    StreamReset(from_seq=1, reason="x"),
    MessageCommitted(message_seq=1, message=Message(message_id="m", role=Role.user)),
    RunStart(thread_id="t", run_id="r", activation=1, resumed=False, agent_id="it"),
    RunFinish(thread_id="t", run_id="r", termination=NaturalEnd()),
    ToolCallCancel(id="c", name="n", reason="x"),
]


@pytest.mark.parametrize("item", MAILBOX_ONLY, ids=lambda item: type(item).__name__)
async def test_what_only_the_server_may_write_is_refused_by_name(item: Any) -> None:
    assert not isinstance(item, TELLING)
    name = str(item.__struct_config__.tag)
    await refused(item, f"the agent yielded {name}; it may yield text and text_delta, ")


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (5, "the agent yielded int; it may yield text and"),
        (None, "the agent yielded NoneType;"),
        (b"bytes", "the agent yielded bytes;"),
        (TextDelta(delta=5), "text_delta: Expected `str`, got `int`"),  # type: ignore[arg-type]
        ("\ud800", "the agent yielded str: 'utf-8' codec can't encode"),
        (StateDelta(delta=[{"op": object()}]), "state_delta: "),
        (ToolCallDelta(id="c", args_delta="x"), "tool_call_delta 'c': no call is being written"),
        (
            ToolCallDone(id="c", message_id="", outcome="succeeded"),
            "tool_call_done 'c': the call is not running",
        ),
    ],
)
async def test_what_cannot_be_kept_is_refused_with_the_reason(item: Any, why: str) -> None:
    await refused(item, why)


async def refused(item: Any, why: str) -> None:
    async def agent(_: Conversation) -> AsyncIterator[Any]:
        yield "so far"
        yield item

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.work()
        run = await here.run(run_id)
        assert run.outcome is not None
        assert isinstance(run.outcome.termination, Errored)
        assert run.outcome.termination.code == "invalid_event"
        assert why in run.outcome.termination.message
        assert run.outcome.text == "so far"
        await here.check()


# --- how it ends ---------------------------------------------------------------------------------


async def test_an_exception_without_a_class_fails_the_run_and_shows_no_internals() -> None:
    async def broken(_: Conversation) -> AsyncIterator[str]:
        yield "some "
        raise ZeroDivisionError("secret detail")

    async with serving(broken) as here:
        assert await ask(here, "?") == "[internal] some "
        [answer] = await messages(here, Role.assistant)
        assert (answer.text, answer.interrupted) == ("some ", True)
        page = await here.store.runs(TENANT, _any_run(), 10, None)
        run = page.items[0]
        assert "secret" not in msgspec.json.encode(run.outcome.termination).decode()
        assert "secret detail" in run.outcome.internal_error
        await here.check()


async def test_a_fault_that_may_pass_is_tried_again_and_another_is_not() -> None:
    attempts: list[int] = []

    async def flaky(conversation: Conversation) -> AsyncIterator[str]:
        attempts.append(conversation.attempt)
        yield f"try {len(attempts)}"
        if len(attempts) < 3:
            raise Fault("overloaded", "busy", retryable=True)

    async def hopeless(_: Conversation) -> AsyncIterator[str]:
        yield "…"
        raise Fault("bad_key", "the key is wrong", retryable=False, public=True)

    async with serving(flaky) as here:
        assert await ask(here, "?") == "try 3"
        assert attempts == [0, 1, 2]
        await here.check()
    async with serving(hopeless) as here:
        assert await ask(here, "?") == "[bad_key] …"
        await here.check()


async def test_one_that_says_nothing_comes_to_an_end_too() -> None:
    async def silent(_: Conversation) -> AsyncIterator[str]:
        for text in list[str]():
            yield text

    async with serving(silent) as here:
        assert await ask(here, "?") == ""
        await here.check()


class Held:
    """Says two words, then waits; notes how it ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.begun = 0

    async def agent(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        self.begun += 1
        word = "again " if conversation.restarted else "first "
        try:
            yield word
            yield word
            if self.begun == 1:
                await anyio.sleep_forever()
            yield "done"
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        finally:
            self.ended.append("closed")


def twice(log: list[Any]) -> bool:
    return sum(isinstance(event, TextDelta) for event in log) >= 2


async def test_a_stop_cancels_the_generator_and_closes_it() -> None:
    held = Held()
    async with serving(held.agent) as here:
        run_id = await tell(here, "?")
        claim = await here.claim()
        assert claim is not None
        _listen_to_stops(here)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.execute, claim)
            await published(here, run_id, twice)
            assert await here.mailbox.cancel_run(TENANT, run_id, by="ada") is Stop.requested
        assert held.ended == ["CancelledError", "closed"]
        assert await here.done(run_id) == "cancelled"
        [answer] = await messages(here, Role.assistant)
        assert (answer.text, answer.interrupted) == ("first first ", True)
        await here.check()


async def test_a_generator_that_waits_at_its_yield_is_closed_when_the_claim_is_lost() -> None:
    ended: list[str] = []

    async def endless(_: Conversation) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "word "
                await anyio.lowlevel.checkpoint()
        except GeneratorExit:
            ended.append("closed")
            raise

    async with serving(endless) as here:
        run_id = await tell(here, "?")
        stale = await here.claim()
        assert stale is not None
        here.clock.advance(31)
        await here.sweeper.sweep()
        async with anyio.create_task_group() as tasks:
            fresh = await here.claim()
            assert fresh is not None
            tasks.start_soon(here.execute, fresh)
            await published(here, run_id, twice)
            here.clock.advance(31)
            await here.sweeper.sweep()
            assert await here.claim() is not None
            with anyio.fail_after(5):
                while not ended:
                    here.clock.advance(0.05)
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert (await here.run(run_id)).status is RunStatus.running


# --- another attempt -----------------------------------------------------------------------------


async def test_after_a_crash_it_begins_anew_in_the_same_message() -> None:
    held = Held()
    async with serving(held.agent) as here:
        run_id = await tell(here, "?")
        await die(here, run_id, twice)
        await here.settle_down()
        assert await said(here, run_id) == "again again done"
        told = await events(here, run_id)
        [opened] = [event for event in told if isinstance(event, StepStart)]
        [reset] = [event for event in told if isinstance(event, StreamReset)]
        assert reset.reason == "restarted"
        [answer] = await messages(here, Role.assistant)
        assert (answer.message_id, answer.text) == (opened.message_id, "again again done")
        await here.check()


async def test_a_client_that_reads_along_over_the_crash_sees_what_is_stored() -> None:
    held = Held()
    async with serving(held.agent) as here:
        run_id = await tell(here, "?")
        await die(here, run_id, twice)
        before = await folded(here, run_id)
        assert before["runs"][run_id]["text"] == "first first "
        await here.settle_down()
        whole = await folded(here, run_id)
        assert whole["messages"][-1]["content"] == [{"type": "text", "text": "again again done"}]
        assert whole["runs"][run_id]["parts"] == []
        for cut in range(len(await here.entries(run_id))):
            assert await folded(here, run_id, cut) == whole


async def test_calls_of_an_attempt_that_died_are_taken_back_one_by_one() -> None:
    begun = 0

    async def agent(_: Conversation) -> AsyncIterator[Any]:
        nonlocal begun
        begun += 1
        yield ToolCallReady(id=f"ready{begun}", name="n", arguments={})
        yield ToolCallDone(id=f"ready{begun}", message_id="", outcome="succeeded", result="r")
        yield ToolCallStart(id=f"open{begun}", name="n")
        if begun == 1:
            await anyio.sleep_forever()
        yield "done"

    def opened(log: list[Any]) -> bool:
        return sum(isinstance(event, ToolCallStart) for event in log) >= 2

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await die(here, run_id, opened)
        await here.settle_down()
        cancelled = [e.id for e in await events(here, run_id) if isinstance(e, ToolCallCancel)]
        assert cancelled == ["open1", "ready1", "open2"]
        whole = await folded(here, run_id)
        assert [call[0] for call in whole["runs"][run_id]["calls"]] == ["ready2"]
        for cut in range(len(await here.entries(run_id))):
            assert await folded(here, run_id, cut) == whole
        await here.check()


async def test_reasoning_that_the_claim_has_voided_is_not_voided_twice() -> None:
    begun = 0

    async def agent(_: Conversation) -> AsyncIterator[Any]:
        nonlocal begun
        begun += 1
        yield ReasoningDelta(delta="hm")
        if begun == 1:
            raise Fault("overloaded", "busy", retryable=True)
        yield "done"

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        await here.settle_down()
        assert (await here.types(run_id)).count("stream_reset") == 1
        [answer] = await messages(here, Role.assistant)
        assert answer.content == (ThinkingBlock(thinking="hm"), TextBlock(text="done"))
        await here.check()


# --- what is served ------------------------------------------------------------------------------


async def _coroutine(conversation: Conversation) -> str:
    return "x"


async def _no_arguments() -> AsyncIterator[str]:
    yield "x"


@pytest.mark.parametrize(
    ("thing", "why"),
    [
        (5, "int cannot be served: give a pydantic_ai.Agent or an async generator function"),
        ("openai:gpt-5", "str cannot be served"),
        (_coroutine, "_coroutine returns its answer; an agent yields it, piece by piece"),
        (_no_arguments, "_no_arguments must take one argument, the conversation"),
        (len, "len is no async generator function"),
    ],
)
def test_anything_else_is_refused_by_name(thing: Any, why: str) -> None:
    with pytest.raises(AgentError) as refused:
        foreign_agent("it", thing)
    assert str(refused.value).startswith("agent 'it': ")
    assert why in str(refused.value)


def test_a_generator_takes_no_dependencies() -> None:
    with pytest.raises(AgentError, match=r"deps is for a pydantic_ai\.Agent"):
        foreign_agent("it", parrot, deps=lambda conversation: None)


def _any_run() -> Any:
    from awaken.ports.store import RunFilter

    return RunFilter()


def _listen_to_stops(here: Lab) -> None:
    """The laboratory executes with leases of its own; let them hear what the mailbox is asked."""
    heard: Callable[..., Any] = here.leases.stop_asked
    here.mailbox._leases.stop_asked = heard  # type: ignore[method-assign]  # one process


async def test_a_stop_takes_back_only_calls_without_a_result() -> None:
    async def agent(_: Conversation) -> AsyncIterator[Any]:
        yield ToolCallReady(id="finished", name="n", arguments={})
        yield ToolCallDone(id="finished", message_id="", outcome="succeeded", result="r")
        yield ToolCallReady(id="ready", name="n", arguments={})
        yield ToolCallStart(id="open", name="n")
        await anyio.sleep_forever()

    def opened(log: list[Any]) -> bool:
        return sum(isinstance(event, ToolCallStart) for event in log) >= 3

    async with serving(agent) as here:
        run_id = await tell(here, "?")
        claim = await here.claim()
        assert claim is not None
        _listen_to_stops(here)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.execute, claim)
            await published(here, run_id, opened)
            await here.mailbox.cancel_run(TENANT, run_id, by="ada")
        cancelled = [e.id for e in await events(here, run_id) if isinstance(e, ToolCallCancel)]
        assert cancelled == ["ready", "open"]
        whole = await folded(here, run_id)
        [finished] = [call for call in whole["runs"][run_id]["calls"] if call[0] == "finished"]
        assert finished[-2:] == ("succeeded", "r")
        await here.check()
