"""Going back in a conversation: what is hidden, what stays, and what is answered (B1 to B4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from awaken.domain.event import MessagesReplaced
from awaken.domain.run import RunStatus
from awaken.domain.submission import Accepted, Branch
from awaken.domain.termination import NaturalEnd, Superseded
from awaken.errors import RequestError
from awaken.loop.context import model_messages
from awaken.mailbox.retry import with_answers
from awaken.ports.store import MessageFilter
from awaken.testing.faulty import Fault as Way

from .agents import AGENTS
from .lab import TENANT, Lab, lab
from .test_faults import LONG, ONCE, SHORT, Scenario, World, enumerate_faults, names

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def here() -> AsyncIterator[Lab]:
    async with lab(AGENTS) as made:
        yield made


async def shown(here: Lab) -> list[str]:
    """The texts that readers see, in order."""
    page = await here.store.messages(TENANT, "t", MessageFilter(), 200, None)
    return [stored.message.text for stored in page.items]


async def asked(here: Lab, accepted: Accepted) -> list[str]:
    """What the model of a run is sent before it says anything."""
    checkpoint = await here.store.checkpoint(TENANT, accepted.run_id)
    assert checkpoint is not None
    before = [each for each in checkpoint.messages if each.run_id != accepted.run_id]
    own = [each for each in checkpoint.messages if each.message_seq in checkpoint.run.input.seqs]
    history = with_answers(checkpoint.run, [*before, *own])
    return [message.text for message in model_messages(history)]


async def again(here: Lab, message_id: str) -> Accepted:
    return await here.submit("", branch=Branch(kind="regenerate", message_id=message_id))


async def edit(here: Lab, text: str, message_id: str) -> Accepted:
    branch = Branch(kind="edit", message_id=message_id)
    return await here.submit(text, message_id=message_id, branch=branch)


async def test_an_answer_is_made_anew_and_what_followed_is_hidden(here: Lab) -> None:
    await here.submit("one", message_id="m1")
    await here.work()
    first = await shown(here)
    await here.submit("two", message_id="m2")
    await here.work()
    accepted = await again(here, "m1")
    await here.work()
    assert await shown(here) == first == ["one", first[1]]
    assert await asked(here, accepted) == ["one"]
    run = await here.run(accepted.run_id)
    assert run.answers.seqs == (1,)
    replaced = await here.store.messages(
        TENANT, "t", MessageFilter(visibility="everything"), 200, None
    )
    assert [each.replaced_by for each in replaced.items] == [
        None,
        *[accepted.run_id] * 3,
        None,
    ]
    await here.check()


async def test_the_last_answer_may_be_named_by_its_run(here: Lab) -> None:
    first = await here.submit("one", message_id="m1")
    await here.work()
    second = await again(here, first.run_id)
    await here.work()
    third = await again(here, second.run_id)
    await here.work()
    assert (await here.run(third.run_id)).answers.seqs == (1,)
    assert len(await shown(here)) == 2
    await here.check()


@pytest.mark.parametrize("times", [1, 3])
async def test_a_message_is_said_differently_as_often_as_wanted(here: Lab, times: int) -> None:
    await here.submit("zero", message_id="m0")
    await here.work()
    await here.submit("one", message_id="m1")
    await here.work()
    accepted = await edit(here, "one, take 0", "m1")
    await here.work()
    for number in range(1, times):
        accepted = await edit(here, f"one, take {number}", "m1")
        await here.work()
    texts = await shown(here)
    assert texts[0] == "zero"
    assert texts[2] == f"one, take {times - 1}"
    assert len(texts) == 4
    assert await asked(here, accepted) == texts[:3]
    page = await here.store.messages(TENANT, "t", MessageFilter(), 200, None)
    assert [each.message.client_id for each in page.items] == [None, None, "m1", None]
    await here.check()


async def test_an_edited_message_can_be_answered_anew(here: Lab) -> None:
    await here.submit("one", message_id="m1")
    await here.work()
    await edit(here, "other", "m1")
    await here.work()
    accepted = await again(here, "m1")
    await here.work()
    assert await asked(here, accepted) == ["other"]
    await here.check()


async def test_a_run_that_is_stopped_for_it_leaves_nothing_behind_but_the_question(
    here: Lab,
) -> None:
    old = await here.submit("one", message_id="m1")
    claim = await here.claim()
    assert claim is not None
    new = await again(here, "m1")
    await here.execute(claim)
    await here.work()
    ended = await here.run(old.run_id)
    assert ended.outcome is not None
    assert ended.outcome.termination == Superseded(by_run_id=new.run_id)
    assert (await shown(here))[0] == "one"
    assert len(await shown(here)) == 2
    assert await asked(here, new) == ["one"]
    await here.check()


async def test_so_it_is_when_the_user_stopped_it_first(here: Lab) -> None:
    old = await here.submit("one", message_id="m1")
    claim = await here.claim()
    assert claim is not None
    await here.mailbox.cancel_run(TENANT, old.run_id, by="ada")
    await again(here, "m1")
    await here.execute(claim)
    await here.work()
    assert (await shown(here))[0] == "one"
    assert len(await shown(here)) == 2
    await here.check()


async def test_so_it_is_when_another_message_stopped_it_first(here: Lab) -> None:
    old = await here.submit("break:2", message_id="m1")
    await here.work()  # it says two words, and waits to be tried again
    here.clock.advance(60)
    await here.sweeper.sweep()
    claim = await here.claim()
    assert claim is not None
    await here.submit("two", message_id="m2")
    new = await again(here, "m1")
    await here.execute(claim)  # what it has said becomes a message only now
    assert (await here.run(old.run_id)).output.seqs
    assert await shown(here) == ["break:2"]
    assert await asked(here, new) == ["break:2"]
    await here.settle_down()
    assert len(await shown(here)) == 2
    await here.check()


async def test_what_nobody_has_read_yet_is_answered_or_replaced(here: Lab) -> None:
    await here.submit("one", message_id="m1")
    await here.submit("two", message_id="m2")  # takes the first one along
    await again(here, "m2")
    changed = await edit(here, "other", "m2")
    await here.work()
    assert (await shown(here))[:2] == ["one", "other"]
    assert len(await shown(here)) == 3
    run = await here.run(changed.run_id)
    assert run.status is RunStatus.done
    assert run.outcome is not None
    assert run.outcome.termination == NaturalEnd()
    await here.check()


async def test_there_must_be_something_to_answer(here: Lab) -> None:
    with pytest.raises(RequestError) as refused:
        await again(here, "m1")
    assert (refused.value.code, refused.value.status) == ("message_not_found", 404)
    await here.submit("one", message_id="m1")
    await here.work()
    page = await here.store.messages(TENANT, "t", MessageFilter(), 200, None)
    with pytest.raises(RequestError):
        await again(here, page.items[1].message.message_id)  # an answer is no question
    assert len(await shown(here)) == 2


async def test_an_edit_of_what_never_came_is_a_message(here: Lab) -> None:
    await edit(here, "one", "m1")
    await here.work()
    assert (await shown(here))[0] == "one"
    await here.check()


async def test_readers_are_told_what_is_hidden(here: Lab) -> None:
    await here.submit("one", message_id="m1")
    await here.work()
    accepted = await again(here, "m1")
    (told,) = [
        entry.event
        for entry in await here.entries(accepted.run_id)
        if isinstance(entry.event, MessagesReplaced)
    ]
    assert told.by_run_id == accepted.run_id
    assert len(told.message_ids) == 1


# --- whatever call of the store fails ------------------------------------------------------------


async def branch_off(world: World, kind: str) -> None:
    """A branch that the checks know of: its message has another name, or there is none."""
    branch = Branch(kind=kind, message_id="question-run-1")  # type: ignore[arg-type]  # one of two
    world.client.rolled_back.add(f"run-{len(world.client.sent) + 1}")
    if kind == "edit":  # what nobody has read yet is not read any more
        world.client.rolled_back.update(world.client.sent)
    with suppress(RequestError):  # there is nothing to answer anew where the first one failed
        await world.client.submit("hi", branch=branch)


async def answer_anew(world: World) -> None:
    await world.client.submit()
    await world.hands.work()
    await branch_off(world, "regenerate")
    await world.hands.work()


async def answer_anew_while_it_is_answered(world: World) -> None:
    await world.client.submit()
    claim = await world.hands.claim()
    await branch_off(world, "regenerate")
    await world.hands.execute(claim)
    await world.hands.work()


async def say_differently(world: World) -> None:
    await world.client.submit()
    await world.hands.work()
    await branch_off(world, "edit")
    await world.hands.work()


async def say_differently_while_it_is_answered(world: World) -> None:
    await world.client.submit()
    claim = await world.hands.claim()
    await branch_off(world, "edit")
    await world.hands.execute(claim)
    await world.hands.work()


SCENARIOS: list[Scenario] = [
    answer_anew,
    answer_anew_while_it_is_answered,
    say_differently,
    say_differently_while_it_is_answered,
]
each = pytest.mark.parametrize("scenario", SCENARIOS, ids=names(SCENARIOS))


@pytest.mark.parametrize("way", list(Way))
@each
async def test_any_one_write_may_fail(scenario: Scenario, way: Way) -> None:
    await enumerate_faults(scenario, way, ONCE)


@each
async def test_any_one_read_may_fail(scenario: Scenario) -> None:
    await enumerate_faults(scenario, Way.before, ONCE, reads=True)


@each
async def test_the_store_may_be_away(scenario: Scenario) -> None:
    await enumerate_faults(scenario, Way.before, SHORT, reads=True)
    await enumerate_faults(scenario, Way.lost_reply, LONG)
