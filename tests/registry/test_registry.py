from __future__ import annotations

import pytest
from msgspec.structs import replace

from awaken.agent import Agent, ForeignAgent
from awaken.domain.agent import AgentSpec, resolution_id
from awaken.domain.outcome import Completed
from awaken.domain.termination import NaturalEnd
from awaken.errors import Fault, RequestError
from awaken.models.scripted import ScriptedModel
from awaken.ports.boundary import Steps
from awaken.ports.events import EventSink
from awaken.ports.resolver import Resolver
from awaken.ports.runner import Activation, Capabilities
from awaken.registry.registry import Registry
from awaken.registry.specs import AgentError
from tests.loop.support import (
    CollectingSink,
    CountingIds,
    LeapingClock,
    LedgerInMemory,
    activation,
    said,
)


class Guest:
    """A runner of somebody else."""

    capabilities = Capabilities()

    async def run(self, activation: Activation, sink: EventSink, steps: Steps) -> Completed:
        return Completed(termination=NaturalEnd(), text="from elsewhere")


def poet(instructions: str = "Rhyme.", says: str = "roses") -> Agent:
    model = ScriptedModel([says], name="poet")
    return Agent("poet", model=model, instructions=instructions)


async def answer(registry: Registry, spec: AgentSpec) -> str:
    outcome = await registry.bind(spec).run(
        activation(spec, said("Go")), CollectingSink(), LedgerInMemory()
    )
    assert isinstance(outcome, Completed)
    return outcome.text


# --- resolving ---------------------------------------------------------------------------------


def test_an_agent_is_resolved_to_its_specification_and_its_hash() -> None:
    resolver: Resolver = Registry([poet()])

    assert resolver.resolve("anyone", "poet") == (resolution_id(poet().spec), poet().spec)


def test_agents_are_listed_by_id() -> None:
    registry = Registry([Agent("b", model=ScriptedModel([])), Agent("a", model=ScriptedModel([]))])

    assert [spec.agent_id for spec in registry.agents("anyone")] == ["a", "b"]


def test_an_unknown_agent_is_a_404_that_names_the_known_ones_and_the_closest() -> None:
    registry = Registry([poet(), Agent("critic", model=ScriptedModel([]))])

    with pytest.raises(RequestError) as raised:
        registry.resolve("anyone", "peot")

    error = raised.value
    assert (error.code, error.status) == ("agent_not_found", 404)
    assert error.message == (
        "no agent with the id 'peot', did you mean 'poet'? available: critic, poet"
    )
    assert error.details == {"agent_id": "peot", "available": ["critic", "poet"]}


def test_the_404_stays_short_whatever_is_asked_and_however_many_agents_there_are() -> None:
    registry = Registry([Agent(f"agent-{n:03}", model=ScriptedModel([])) for n in range(200)])

    with pytest.raises(RequestError) as raised:
        registry.resolve("anyone", "agent " * 10_000)

    assert len(raised.value.message) < 500
    assert raised.value.message.endswith("agent-019 and 180 more")


def test_a_registry_without_agents_says_that_there_are_none() -> None:
    with pytest.raises(RequestError, match="no agent with the id 'poet'; there are none"):
        Registry([]).resolve("anyone", "poet")


# --- binding -----------------------------------------------------------------------------------


async def test_a_current_specification_runs_on_its_model() -> None:
    registry = Registry([poet(says="violets")])
    _, spec = registry.resolve("anyone", "poet")

    assert await answer(registry, spec) == "violets"


async def test_a_pinned_specification_keeps_its_own_instructions() -> None:
    pinned = poet("As it was.").spec
    heard: list[str] = []

    def listening(request: object) -> list[str]:
        heard.append(getattr(request, "instructions", ""))
        return ["ok"]

    newer = Agent("poet", model=ScriptedModel(listening, name="poet"), instructions="As it is.")
    await answer(Registry([newer]), pinned)

    assert heard == ["As it was."]


async def test_runners_get_the_registrys_clock_and_ids() -> None:
    ids = CountingIds()
    registry = Registry([poet()], clock=LeapingClock(), ids=ids)

    await answer(registry, poet().spec)

    assert ids.made == 1


def test_a_foreign_agent_names_its_own_runner_and_no_model() -> None:
    agent = ForeignAgent("guest", runner=Guest(), description="Visits.")

    assert agent.spec == AgentSpec(agent_id="guest", description="Visits.", runner="custom:guest")
    assert repr(agent) == "ForeignAgent('guest')"


async def test_a_foreign_agent_runs_on_its_own_runner() -> None:
    registry = Registry([ForeignAgent("guest", runner=Guest()), poet()])
    _, spec = registry.resolve("anyone", "guest")

    assert await answer(registry, spec) == "from elsewhere"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"agent_id": "critic"}, "agent_not_found"),
        ({"model": "scripted:older"}, "model_not_found"),
        ({"model": ""}, "model_not_found"),
        ({"runner": "custom:poet"}, "runner_not_found"),
    ],
)
def test_a_pinned_specification_whose_code_is_gone_fails_closed(
    changes: dict[str, str], code: str
) -> None:
    registry = Registry([poet()])

    with pytest.raises(Fault) as raised:
        registry.bind(replace(poet().spec, **changes))

    fault = raised.value
    assert (fault.code, fault.retryable, fault.public) == (code, False, True)
    assert next(iter(changes.values())) in fault.message


def test_a_run_of_our_loop_is_not_given_to_the_foreign_agent_that_took_the_name() -> None:
    registry = Registry([ForeignAgent("poet", runner=Guest())])

    with pytest.raises(Fault) as raised:
        registry.bind(poet().spec)

    assert raised.value.code == "runner_not_found"


# --- start -------------------------------------------------------------------------------------


def test_two_agents_with_one_id_are_refused() -> None:
    with pytest.raises(AgentError, match="agent 'poet': there are two agents with this id"):
        Registry([poet(), poet()])


def test_a_model_that_is_not_known_is_refused_and_the_known_ones_named() -> None:
    agents = [poet(), Agent("critic", model="scripted:peot")]

    with pytest.raises(AgentError) as raised:
        Registry(agents)

    assert str(raised.value) == (
        "agent 'critic': there is no model 'scripted:peot', did you mean 'scripted:poet'?"
        " available: scripted:poet"
    )


def test_where_no_model_is_known_it_is_told_how_one_is_named() -> None:
    with pytest.raises(AgentError, match=r"no model .nosuch:gpt.; one of a provider is written"):
        Registry([Agent("critic", model="nosuch:gpt")])


async def test_an_agent_may_use_a_model_that_another_one_brought() -> None:
    registry = Registry([Agent("reader", model="scripted:poet"), poet(says="violets")])
    _, spec = registry.resolve("anyone", "reader")

    assert await answer(registry, spec) == "violets"


def test_one_model_may_serve_two_agents_but_one_name_not_two_models() -> None:
    model = ScriptedModel(["roses"], name="poet")
    Registry([Agent("a", model=model), Agent("b", model=model)])

    with pytest.raises(AgentError, match="agent 'poet': model 'scripted:poet' is already the name"):
        Registry([Agent("a", model=model), poet()])
