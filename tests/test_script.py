"""`awaken.run`: a run in this process, with a store and a mailbox and without a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import jsonschema.exceptions  # noqa: F401  # mailbox/schema.py loads it on the event loop
import pytest

import awaken
from awaken import Agent, AgentError, Conversation, FrontendTool, RunFailed, ScriptedModel, tool
from awaken.domain.event import Event, RunFinish, TextDelta, event_type
from awaken.domain.message import Role
from awaken.domain.run import RunStatus
from awaken.domain.termination import NaturalEnd
from awaken.domain.ticket import Ticket
from awaken.errors import AwakenError, Fault, Refusal, RequestError, StoreFault
from awaken.foreign import InferenceComplete
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    TextChunk,
)
from awaken.ports.tool import ToolContext
from awaken.script import Approve, Deny, Reply


async def parrot(conversation: Conversation) -> AsyncIterator[str]:
    yield "You said: "
    yield conversation.text


async def count_messages(conversation: Conversation) -> AsyncIterator[str]:
    yield f"{len(conversation.messages)} messages"


# --- one run -------------------------------------------------------------------------------------


async def test_an_agent_answers_in_a_script() -> None:
    agent = Agent("it", model=ScriptedModel(lambda _: ["Hello ", "you"], name="script"))
    result = await awaken.run(agent, "hi")
    assert result.text == "Hello you"
    assert (result.status, result.termination) == (RunStatus.done, NaturalEnd())
    assert result.tickets == ()
    assert result.run_id
    assert result.thread_id


async def test_what_was_written_with_something_else_needs_no_wrapping() -> None:
    assert (await awaken.run(parrot, "hi")).text == "You said: hi"


async def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(AgentError, match="int cannot be served"):
        await awaken.run(5, "hi")
    with pytest.raises(RequestError, match="thread_id"):
        await awaken.run(parrot, "hi", thread_id="no spaces please")


async def test_events_are_told_as_they_happen_to_a_function_of_either_kind() -> None:
    told: list[Event] = []
    result = await awaken.run(parrot, "hi", on_event=told.append)
    types = [event_type(event) for event in told]
    assert types[0] == "run_queued"
    assert types[-1] == "run_finish"
    assert "".join(e.delta for e in told if isinstance(e, TextDelta)) == result.text
    heard: list[str] = []

    async def hear(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(event_type(event))

    await awaken.run(parrot, "hi", on_event=hear)
    assert heard == types


async def test_metadata_reaches_the_agent_and_usage_the_script() -> None:
    async def agent(conversation: Conversation) -> AsyncIterator[Any]:
        yield str(conversation.metadata)
        yield InferenceComplete(
            model="m", duration_ms=1, usage={"prompt_tokens": 2, "completion_tokens": 3}
        )

    result = await awaken.run(agent, "hi", metadata={"user": "ada"})
    assert result.text == "{'user': 'ada'}"
    assert (result.usage.input_tokens, result.usage.output_tokens) == (2, 3)


# --- trouble -------------------------------------------------------------------------------------


async def test_a_run_that_fails_raises_with_what_its_author_needs() -> None:
    async def broken(_: Conversation) -> AsyncIterator[str]:
        yield "so far"
        raise ZeroDivisionError("a detail")

    with pytest.raises(RunFailed) as failed:
        await awaken.run(broken, "hi", thread_id="mine")
    assert str(failed.value) == "internal: ZeroDivisionError: a detail"
    assert (failed.value.code, failed.value.retryable) == ("internal", False)
    assert failed.value.thread_id == "mine"
    assert failed.value.run_id


async def test_a_fault_that_may_pass_is_outwaited() -> None:
    begun = 0

    async def flaky(_: Conversation) -> AsyncIterator[str]:
        nonlocal begun
        begun += 1
        yield f"try {begun}"
        if begun == 1:
            raise Fault("overloaded", "busy", retryable=True, retry_after_ms=1)

    assert (await awaken.run(flaky, "hi")).text == "try 2"


async def test_an_error_of_a_callback_comes_out_as_it_is() -> None:
    def hear(event: Event) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await awaken.run(parrot, "hi", on_event=hear)


async def test_a_call_that_is_cancelled_closes_the_agent() -> None:
    ended: list[str] = []
    begun = anyio.Event()

    async def endless(_: Conversation) -> AsyncIterator[str]:
        try:
            yield "word"
            begun.set()
            await anyio.sleep_forever()
        finally:
            ended.append("closed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(awaken.run, endless, "hi")
        with anyio.fail_after(5):
            await begun.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["closed"]


# --- a file --------------------------------------------------------------------------------------


async def test_a_conversation_goes_on_in_its_file(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    first = await awaken.run(count_messages, "one", store=store)
    again = await awaken.run(count_messages, "two", store=store, thread_id=first.thread_id)
    assert (first.text, again.text) == ("1 messages", "3 messages")
    assert again.thread_id == first.thread_id
    other = await awaken.run(count_messages, "three", store=str(store))
    assert other.text == "1 messages"


async def test_a_run_that_was_cut_off_goes_on_when_its_file_is_opened_again(
    tmp_path: Path,
) -> None:
    store = tmp_path / "runs.db"
    begun, done = anyio.Event(), anyio.Event()
    texts: list[str] = []

    async def agent(conversation: Conversation) -> AsyncIterator[str]:
        texts.append(conversation.text)
        yield "word"
        if conversation.text == "long" and not conversation.restarted:
            begun.set()
            await anyio.sleep_forever()
        if conversation.text == "long":
            done.set()
        else:
            with anyio.fail_after(5):
                await done.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: awaken.run(agent, "long", store=store))
        with anyio.fail_after(5):
            await begun.wait()
        tasks.cancel_scope.cancel()
    await awaken.run(agent, "short", store=store)
    assert texts.count("long") == 2


async def test_a_file_with_unfinished_runs_of_other_agents_is_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    begun = anyio.Event()

    async def endless(_: Conversation) -> AsyncIterator[str]:
        yield "word"
        begun.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: awaken.run(endless, "hi", store=store))
        with anyio.fail_after(5):
            await begun.wait()
        tasks.cancel_scope.cancel()
    with pytest.raises(Refusal) as refused:
        await awaken.run(parrot, "hi", store=store)
    assert refused.value.code == "foreign_work"
    assert "'endless'" in refused.value.message


async def test_a_file_that_somebody_has_is_not_shared(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"

    async def nested(_: Conversation) -> AsyncIterator[str]:
        with pytest.raises(StoreFault) as refused:
            await awaken.run(parrot, "hi", store=store)
        yield refused.value.code

    assert (await awaken.run(nested, "hi", store=store)).text == "store_in_use"


# --- decisions -----------------------------------------------------------------------------------


class Caller:
    """Calls one tool, and says what came of it."""

    name = "test:caller"

    def __init__(self, *calls: tuple[str, str]) -> None:
        self._calls = calls

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        results = [m.text for m in request.messages if m.role is Role.tool]
        if results:
            yield TextChunk(text="; ".join(results))
            yield Finish(reason="stop")
            return
        for number, (name, arguments) in enumerate(self._calls):
            yield CallStart(id=f"c{number}", name=name)
            yield CallChunk(id=f"c{number}", text=arguments)
            yield CallEnd(id=f"c{number}")
        yield Finish(reason="tool_calls")


@tool(approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool
async def ask_age(context: ToolContext) -> str:
    """Ask."""
    age = await context.ask("how old?", schema=int)
    sure = await context.ask("sure?", schema=bool)
    return f"{age} {sure}"


PICK = FrontendTool("pick", parameters={"type": "object"}, description="Pick a color.")


def cashier(*calls: tuple[str, str]) -> Agent:
    return Agent("it", model=Caller(*calls), tools=[pay, ask_age, PICK])


PAY = ("pay", '{"amount": 5}')


async def test_a_run_that_waits_is_returned_with_its_tickets() -> None:
    result = await awaken.run(cashier(PAY), "hi")
    assert (result.status, result.termination, result.text) == (RunStatus.waiting, None, "")
    [ticket] = result.tickets
    assert (ticket.tool_name, ticket.arguments) == ("pay", {"amount": 5})


@pytest.mark.parametrize(
    ("decision", "text"),
    [
        (True, "paid 5"),
        (Approve(), "paid 5"),
        (Approve(arguments={"amount": 2}), "paid 2"),
        (False, "denied"),
        (Deny(reason="too much"), "denied this call: too much"),
    ],
)
async def test_a_decision_is_asked_for_and_obeyed(decision: Any, text: str) -> None:
    asked: list[Ticket] = []

    def decide(ticket: Ticket) -> Any:
        asked.append(ticket)
        return decision

    told: list[Event] = []
    result = await awaken.run(cashier(PAY), "hi", decide=decide, on_event=told.append)
    assert result.status is RunStatus.done
    assert text in result.text
    assert [ticket.tool_name for ticket in asked] == ["pay"]
    assert sum(isinstance(event, RunFinish) for event in told) == 2


async def test_questions_are_answered_until_the_run_is_done() -> None:
    async def decide(ticket: Ticket) -> Any:
        await anyio.lowlevel.checkpoint()
        return {"how old?": Reply(value=7), "sure?": Reply(value=True)}[ticket.message or ""]

    result = await awaken.run(cashier(("ask_age", "{}")), "hi", decide=decide)
    assert result.text == "7 True"


async def test_a_ticket_that_is_left_open_stays_open_and_the_others_are_closed() -> None:
    def decide(ticket: Ticket) -> Any:
        return True if ticket.arguments == {"amount": 1} else None

    agent = cashier(("pay", '{"amount": 1}'), ("pay", '{"amount": 2}'))
    result = await awaken.run(agent, "hi", decide=decide)
    assert result.status is RunStatus.waiting
    assert [ticket.arguments for ticket in result.tickets] == [{"amount": 2}]


async def test_the_result_of_a_front_end_tool_is_a_reply() -> None:
    result = await awaken.run(
        cashier(("pick", "{}")), "hi", decide=lambda ticket: Reply(value={"color": "red"})
    )
    assert result.text == '{"color":"red"}'


async def test_a_reply_that_does_not_fit_is_the_scripts_error() -> None:
    with pytest.raises(AwakenError) as refused:
        await awaken.run(cashier(("ask_age", "{}")), "hi", decide=lambda _: Reply(value="old"))
    assert refused.value.code == "invalid_decision"


async def test_a_question_in_a_file_is_answered_by_the_next_message(tmp_path: Path) -> None:
    store, agent = tmp_path / "runs.db", cashier(("ask_age", "{}"))
    asked = await awaken.run(agent, "hi", store=store, thread_id="t")
    assert asked.status is RunStatus.waiting
    again = await awaken.run(agent, "7", store=store, thread_id="t")
    assert again.run_id == asked.run_id
    done = await awaken.run(agent, "true", store=store, thread_id="t")
    assert (done.run_id, done.text) == (asked.run_id, "7 True")


# --- what it costs -------------------------------------------------------------------------------


def test_a_script_loads_neither_the_server_nor_a_framework() -> None:
    code = (
        "import sys, awaken\n"
        "awaken.run\n"
        "bad = {'fastapi', 'starlette', 'uvicorn', 'pydantic_ai'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {bad}' if bad else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=15)
