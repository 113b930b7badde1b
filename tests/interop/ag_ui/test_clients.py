"""The stock client is the referee: `HttpAgent` as it comes from its registry, with only a `url`.

What it gets passes its verifier and its schemas, or its run fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Server
from tests.interop.ag_ui import node

SCENARIOS = (
    "text",
    "reasoning",
    "tools",
    "parallel",
    "state",
    "context",
    "frontend",
    "granted",
    "edited",
    "denied",
    "question",
    "mixed",
    "error",
    "cancel",
)
pytestmark = [pytest.mark.timeout(150), pytest.mark.xdist_group("ag_ui_client")]

Told = dict[str, Any]
Played = Callable[[str], Told]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    node.install()
    agents = str(node.HERE / "agents.py")
    with Server(tmp_path_factory.mktemp("data"), target=agents) as running:
        yield running


@pytest.fixture(scope="module")
def all_told(server: Server) -> dict[str, Told]:
    return node.play(server.base_url, SCENARIOS)


@pytest.fixture
def played(all_told: dict[str, Told]) -> Played:
    """What came of a scenario."""

    def of(name: str) -> Told:
        told = all_told[name]
        assert "failed" not in told, told["failed"]
        return told

    return of


def plain(messages: list[Told]) -> list[Told]:
    """Messages without what is empty; a client has its order, so they are by id."""
    told = [{k: v for k, v in each.items() if v not in (None, "", [])} for each in messages]
    return sorted((each for each in told if each["role"] != "activity"), key=lambda m: m["id"])


def assert_whole(told: Told) -> None:
    """No error, an end, and the same messages as in the history."""
    assert told["errors"] == []
    assert told["last"]["type"] == "RUN_FINISHED"
    assert plain(told["messages"]) == plain(told["history"])


def roles(told: Told) -> list[str]:
    return [each["role"] for each in told["messages"]]


def text_of(told: Told) -> str:
    return str(told["messages"][-1]["content"]).strip()


def test_a_text_is_streamed_and_a_posted_history_is_not_doubled(played: Played) -> None:
    told = played("text")
    assert_whole(told)
    assert roles(told) == ["user", "assistant", "user", "assistant"]
    assert text_of(told) == "and once more"
    assert told["started"]["runId"] == "run-of-the-client"
    assert told["last"]["outcome"] == {"type": "success"}
    assert told["last"]["usage"][0]["outputTokens"] > 0


def test_reasoning_is_a_message_of_its_own_with_what_is_sealed(played: Played) -> None:
    told = played("reasoning")
    assert_whole(told)
    assert roles(told) == ["user", "reasoning", "assistant"]
    assert told["messages"][1]["content"] == "Let me see. "
    assert told["messages"][1]["encryptedValue"] == "sealed"


def test_a_tool_is_called_and_answered(played: Played) -> None:
    told = played("tools")
    assert_whole(told)
    assert roles(told) == ["user", "assistant", "tool", "assistant"]
    assert "STEP_STARTED" in told["types"]


def test_parallel_calls_stand_in_one_message(played: Played) -> None:
    told = played("parallel")
    assert_whole(told)
    assert roles(told) == ["user", "assistant", "tool", "tool", "assistant"]
    assert len(told["messages"][1]["toolCalls"]) == 2


def test_state_is_shared_with_the_agent(played: Played) -> None:
    told = played("state")
    assert_whole(told)
    assert told["state"] == {"count": 6, "page": "cart"}


def test_context_reaches_the_model_and_nobody_else(played: Played) -> None:
    told = played("context")
    assert_whole(told)
    assert "the page: the cart" in text_of(told)
    assert roles(told) == ["user", "assistant"]


def test_a_tool_of_the_client_is_answered_by_it(played: Played) -> None:
    told = played("frontend")
    assert told["outcome"]["type"] == "success"
    assert len(told["outcome"]["pendingToolCallIds"]) == 1
    assert "TOOL_CALL_RESULT" not in told["resumed"]
    assert_whole(told)
    assert roles(told) == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert '"color":"red"' in told["messages"][3]["content"]


def test_all_interrupts_are_told_and_granted(played: Played) -> None:
    told = played("granted")
    assert len(told["asked"]) == 2
    assert {each["reason"] for each in told["asked"]} == {"tool_call"}
    assert told["before"][-3:] == ["STATE_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert "TOOL_CALL_START" not in told["types"]
    assert told["types"].count("TOOL_CALL_RESULT") == 2
    assert_whole(told)
    assert text_of(told).count('"refunded":true') == 2


def test_arguments_can_be_edited(played: Played) -> None:
    told = played("edited")
    assert_whole(told)
    assert '"amount":3' in text_of(told)


def test_a_denied_call_is_not_made(played: Played) -> None:
    told = played("denied")
    assert_whole(told)
    assert "too much" in text_of(told)
    assert '"refunded":true' not in text_of(told)


def test_a_question_is_answered(played: Played) -> None:
    told = played("question")
    assert told["asked"]["reason"] == "input_required"
    assert told["asked"]["responseSchema"] == {"type": "string"}
    assert_whole(told)
    assert text_of(told) == "It came to: Ada"


def test_a_step_that_asks_for_different_things_tells_all_and_keeps_what_it_has(
    played: Played,
) -> None:
    told = played("mixed")
    assert {each["metadata"]["toolName"] for each in told["asked"]} == {"refund", "pick_color"}
    assert_whole(told)
    assert roles(told) == ["user", "assistant", "tool", "tool", "tool", "assistant"]


def test_a_failed_run_says_so(played: Played) -> None:
    told = played("error")
    assert told["last"]["type"] == "RUN_ERROR"
    assert told["last"]["code"] == "no_luck"


def test_a_cancelled_run_is_no_success(played: Played) -> None:
    told = played("cancel")
    assert told["errors"] == []
    assert told["last"]["outcome"] == {"type": "cancelled"}
    assert plain(told["messages"]) == plain(told["history"])


def killed(data_dir: Path, scenario: str) -> Told:
    """What a client has that lost its server in the middle of a run, and came back."""
    node.install()
    with Server(data_dir, target=str(node.HERE / "agents.py")) as server:
        act = {"kill": server.kill, "start": server.start}
        told = node.play(server.base_url, [scenario], lambda what: act[what]())[scenario]
    assert "failed" not in told, told["failed"]
    assert told["broke"], "the stream that was cut off was taken for a whole one"
    assert_whole(told)
    assert plain(told["fresh"]) == plain(told["history"])
    return told


def test_a_killed_server_goes_on_where_its_clients_were(tmp_path: Path) -> None:
    told = killed(tmp_path, "restart")
    assert text_of(told).split() == [str(number) for number in range(60)]


def test_what_was_thought_before_a_kill_is_not_told_twice(tmp_path: Path) -> None:
    told = killed(tmp_path, "restart_in_thought")
    thought = [each["content"] for each in told["messages"] if each["role"] == "reasoning"]
    assert [each.split() for each in thought] == [[str(number) for number in range(30)]]
