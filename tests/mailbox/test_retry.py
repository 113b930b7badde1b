"""Trying again: one retry for a run, no message twice, and what the agent is shown (R1 to R3)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from awaken.agent import Agent
from awaken.domain.care import retry_id
from awaken.domain.message import Message, Role, StoredMessage, TextBlock
from awaken.domain.run import MessageRanges, Run
from awaken.domain.submission import Accepted, OnBusy
from awaken.errors import Fault, Refusal, RequestError
from awaken.mailbox.retry import with_answers
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelEvent,
    ModelRequest,
    TextChunk,
)
from awaken.ports.store import MessageFilter
from awaken.testing.conformance._records import run_of
from awaken.tools import tool
from tests.mailbox.lab import TENANT, Lab, lab

pytestmark = pytest.mark.anyio


class Model:
    """Says what it is told to by the words of the last user message, and remembers what it was
    asked. Told to `break`, it fails for good behind half a sentence, `broken` times."""

    name = "test:retry"

    def __init__(self, broken: int = 1) -> None:
        self.broken = broken
        self.asked: list[list[tuple[str, str]]] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append([(str(m.role), m.text) for m in request.messages])
        words = request.messages[-1].text
        if "tool" in words and request.messages[-1].role is Role.user:
            yield CallStart(id=f"call-{len(self.asked)}", name="note")
            yield CallChunk(id=f"call-{len(self.asked)}", text='{"what": "x"}')
            yield CallEnd(id=f"call-{len(self.asked)}")
            yield Finish(reason="tool_calls")
            return
        if self.broken and ("break" in words or request.messages[-1].role is Role.tool):
            self.broken -= 1
            if "break" in words:
                yield TextChunk(text="Half a ")
            raise Fault("model_not_found", "gone", retryable=False, public=True)
        yield TextChunk(text="Whole.")
        yield Finish(reason="stop")


noted: list[str] = []


@tool
def note(what: str) -> str:
    """Take note."""
    noted.append(what)
    return f"noted {what}"


@pytest.fixture
def model() -> Model:
    noted.clear()
    return Model()


@pytest.fixture
async def here(model: Model) -> AsyncIterator[Lab]:
    async with lab([Agent("echo", model=model, tools=[note])]) as here:
        yield here


class Asking:
    tenant = TENANT
    actor = "ada"
    transport_request_id: str | None = "request-1"
    correlation_id: str | None = None


async def retry(here: Lab, run_id: str) -> Accepted:
    return await here.mailbox.keeper.retry(Asking(), run_id)


async def texts(here: Lab) -> list[tuple[str, str, bool]]:
    page = await here.store.messages(TENANT, "t", MessageFilter(), 99, None)
    return [(str(m.message.role), m.message.text, m.message.interrupted) for m in page.items]


async def test_a_retry_is_shown_its_question_last_and_the_log_has_it_once(
    here: Lab, model: Model
) -> None:
    failed = await here.submit("please break")
    await here.work()
    assert await here.done(failed.run_id) == "error"
    accepted = await retry(here, failed.run_id)
    assert accepted.run_id == retry_id(failed.run_id)
    await here.work()
    assert await here.done(accepted.run_id) == "natural_end"
    assert model.asked[-1] == [
        ("user", "please break"),
        ("assistant", "Half a "),
        ("user", "please break"),
    ]
    assert await texts(here) == [
        ("user", "please break", False),
        ("assistant", "Half a ", True),
        ("assistant", "Whole.", False),
    ]
    run = await here.run(accepted.run_id)
    assert (run.retry_of, run.input.seqs, run.answers.seqs) == (failed.run_id, (), (1,))
    assert run.transport_request_id == "request-1"
    assert await here.types(run.run_id) == [
        "run_queued",
        "run_start",
        "step_start",
        "text_delta",
        "inference_complete",
        "message_committed",
        "step_end",
        "run_finish",
    ]
    await here.check()


async def test_a_question_that_stands_last_is_not_shown_twice(here: Lab, model: Model) -> None:
    model.broken = 0
    failed = await here.submit("tell me")
    claim = await here.claim()
    assert claim is not None
    await here.mailbox.cancel_run(TENANT, failed.run_id, by="ada")
    await here.execute(claim)
    assert await here.done(failed.run_id) == "cancelled"
    with pytest.raises(Refusal) as raised:
        await retry(here, failed.run_id)
    assert raised.value.code == "not_retryable"


async def test_finished_calls_are_gone_on_from_and_not_made_again(here: Lab, model: Model) -> None:
    failed = await here.submit("tool")
    await here.work()
    assert await here.done(failed.run_id) == "error"
    again = await retry(here, failed.run_id)
    await here.work()
    assert await here.done(again.run_id) == "natural_end"
    assert model.asked[-1][-1] == ("tool", "noted x")
    assert noted == ["x"]
    await here.check()


async def test_whoever_asks_again_gets_the_same_run(here: Lab) -> None:
    failed = await here.submit("please break")
    await here.work()
    answers: list[Accepted] = []

    async def ask() -> None:
        answers.append(await retry(here, failed.run_id))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert len({answer.run_id for answer in answers}) == 1
    assert len({answer.cursor for answer in answers}) == 1
    await here.work()
    late = await retry(here, failed.run_id)
    assert (late.run_id, late.cursor, late.status.value) == (
        answers[0].run_id,
        answers[0].cursor,
        "done",
    )
    first = (await here.entries(late.run_id))[0]
    assert first.seq == late.cursor + 1, "a stream that starts behind the cursor sees all of it"
    await here.check()


async def test_a_retry_that_fails_is_tried_again_itself(here: Lab, model: Model) -> None:
    model.broken = 2
    failed = await here.submit("please break")
    await here.work()
    second = await retry(here, failed.run_id)
    await here.work()
    assert await here.done(second.run_id) == "error"
    assert (await retry(here, failed.run_id)).run_id == second.run_id
    third = await retry(here, second.run_id)
    assert third.run_id not in (failed.run_id, second.run_id)
    await here.work()
    assert await here.done(third.run_id) == "natural_end"
    assert model.asked[-1][-1] == ("user", "please break")
    assert (await here.run(third.run_id)).answers.seqs == (1,)
    await here.check()


async def test_a_retry_stands_behind_what_is_queued_and_answers_its_own_question(
    here: Lab, model: Model
) -> None:
    failed = await here.submit("please break")
    await here.work()
    await here.submit("something else", on_busy=OnBusy.enqueue)
    again = await retry(here, failed.run_id)
    assert (again.status.value, again.position) == ("created", 2)
    await here.work()
    assert await here.done(again.run_id) == "natural_end"
    assert [text for _, text in model.asked[-1]] == [
        "please break",
        "Half a ",
        "something else",
        "Whole.",
        "please break",
    ]
    await here.check()


async def test_a_run_that_is_not_there_is_not_tried_again(here: Lab) -> None:
    with pytest.raises(RequestError, match="no run"):
        await retry(here, "none")


async def test_a_retry_is_pinned_to_what_the_agent_is_now(here: Lab, model: Model) -> None:
    failed = await here.submit("please break")
    await here.work()
    newer = Lab(
        here.store,
        here.clock,
        [Agent("echo", model=model, instructions="Be well.")],
        ids=here.ids,
    )
    again = await retry(newer, failed.run_id)
    before, after = await here.run(failed.run_id), await here.run(again.run_id)
    assert before.resolution_id != after.resolution_id
    await newer.work()
    assert await newer.done(again.run_id) == "natural_end"


# --- what is shown, on its own -------------------------------------------------------------------


def said(seq: int, role: Role, run_id: str) -> StoredMessage:
    message = Message(message_id=f"m{seq}", role=role, content=(TextBlock(text=str(seq)),))
    return StoredMessage(
        thread_id="t", message_seq=seq, run_id=run_id, created_at=1, message=message
    )


RETRY: Run = run_of("again", retry_of="failed", answers=MessageRanges().with_seqs(1))
ASKED = said(1, Role.user, "failed")


@pytest.mark.parametrize(
    ("behind", "shown"),
    [
        ([], [1]),
        ([said(2, Role.assistant, "failed")], [1, 2, 1]),
        ([said(2, Role.tool, "failed")], [1, 2]),
        ([said(2, Role.tool, "other")], [1, 2, 1]),
        ([said(2, Role.user, "other")], [1, 2, 1]),
        ([said(2, Role.assistant, "failed"), said(3, Role.assistant, "again")], [1, 2, 1, 3]),
        ([said(2, Role.assistant, "again"), said(3, Role.tool, "again")], [1, 2, 3]),
    ],
    ids=[
        "question last",
        "half an answer",
        "results",
        "results of another run",
        "another question",
        "its own answer",
        "its own results",
    ],
)
def test_a_question_is_shown_again_where_it_would_not_be_answered(
    behind: list[StoredMessage], shown: list[int]
) -> None:
    found = with_answers(RETRY, [ASKED, *behind])
    assert [stored.message_seq for stored in found] == shown


def test_the_history_of_any_other_run_is_shown_as_it_is() -> None:
    history = (ASKED, said(2, Role.assistant, "failed"))
    assert with_answers(run_of("other"), history) == history
