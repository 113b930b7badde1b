from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import awaken
from awaken import Agent, AgentError, Limits, ScriptedModel
from awaken.domain.agent import AgentSpec, resolution_id
from awaken.ports.model import Finish, ModelEvent, ModelRequest


class Nameless:
    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield Finish(reason="stop")


class Named(Nameless):
    def __init__(self, name: object) -> None:
        self.name = name


# --- agents ------------------------------------------------------------------------------------


def test_an_agent_becomes_its_specification() -> None:
    agent = Agent(
        "assistant",
        model="openai:gpt-5-mini",
        instructions="Be brief.",
        description="Helps.",
        limits=Limits(max_rounds=3),
    )
    assert agent.spec == AgentSpec(
        agent_id="assistant",
        description="Helps.",
        instructions="Be brief.",
        model="openai:gpt-5-mini",
        limits=Limits(max_rounds=3),
    )
    assert repr(agent) == "Agent('assistant', model='openai:gpt-5-mini')"


def test_a_model_object_goes_by_its_name_else_by_its_agents() -> None:
    assert Agent("a", model=ScriptedModel([], name="poet")).spec.model == "scripted:poet"
    assert Agent("a", model=ScriptedModel([])).spec.model == "custom:a"
    assert Agent("a", model=Nameless()).spec.model == "custom:a"


@pytest.mark.parametrize("agent_id", ["", "two words", "x" * 129, "café", 7, None])
def test_an_id_that_clients_could_not_name_is_refused(agent_id: Any) -> None:
    with pytest.raises(AgentError) as raised:
        Agent(agent_id, model="openai:gpt-5")
    assert repr(agent_id) in str(raised.value)


@pytest.mark.parametrize(
    "model", ["", "gpt-5", ":gpt-5", "openai:", "open ai:gpt-5", Named(""), Named(7), Named("gpt")]
)
def test_an_unusable_model_name_is_refused_and_the_agent_named(model: Any) -> None:
    with pytest.raises(AgentError, match=r"agent 'a': the model name .* 'provider:name'"):
        Agent("a", model=model)


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(AgentError, match="agent 'a': None is neither"):
        Agent("a", model=None)  # type: ignore[arg-type]  # what is tested


def test_a_field_of_another_type_is_refused_and_named() -> None:
    with pytest.raises(AgentError, match=r"agent 'a': Expected `str`.*instructions"):
        Agent("a", model="openai:gpt-5", instructions=None)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(AgentError, match=r"agent 'a': .*max_rounds"):
        Agent("a", model="openai:gpt-5", limits=Limits(max_rounds="x"))  # type: ignore[arg-type]  # what is tested


# --- the hash a run is pinned to ---------------------------------------------------------------


KNOWN_HASH = "sha256:7f0d8110078d10f58dc1cdd5d517f89ff8add6897e6d60bc2fea816a09ccce15"
PRINT_HASH = """
from awaken import Agent, Limits
from awaken.domain.agent import resolution_id
limits = Limits(max_rounds=3, timeout_seconds=1.5)
print(resolution_id(Agent("a", model="p:m", instructions="Hi", limits=limits).spec), end="")
"""
PRINT_PARTS = """
import awaken, sys
print([name for name in sys.modules if name.startswith(("awaken.", "msgspec", "anyio"))], end="")
"""


def printed(code: str, **env: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout


def test_a_known_specification_has_the_hash_it_always_had() -> None:
    limits = Limits(max_rounds=3, timeout_seconds=1.5)
    agent = Agent("a", model="p:m", instructions="Hi", limits=limits)

    assert resolution_id(agent.spec) == KNOWN_HASH


@pytest.mark.slow
def test_the_hash_is_the_same_in_every_process() -> None:
    assert {printed(PRINT_HASH, PYTHONHASHSEED=seed) for seed in "012"} == {KNOWN_HASH}


def test_the_hash_survives_storage_and_tells_specifications_apart() -> None:
    spec = Agent("a", model="p:m", instructions="Hi").spec
    stored = msgspec.json.decode(msgspec.json.encode(spec), type=AgentSpec)

    assert resolution_id(stored) == resolution_id(spec)
    assert resolution_id(Agent("a", model="p:m", instructions="Ho").spec) != resolution_id(spec)


# --- the public names --------------------------------------------------------------------------


def test_every_public_name_can_be_had_and_there_are_few() -> None:
    assert len(awaken.__all__) <= 25
    assert awaken.__all__ == sorted(awaken.__all__)
    for name in awaken.__all__:
        assert getattr(awaken, name) is not None
    assert set(awaken.__all__) <= set(dir(awaken))
    assert awaken.__version__[0].isdigit()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        awaken.Agnet  # type: ignore[attr-defined]  # noqa: B018  (what is tested)


@pytest.mark.slow
def test_importing_the_package_imports_none_of_its_parts() -> None:
    assert printed(PRINT_PARTS) == "[]"
