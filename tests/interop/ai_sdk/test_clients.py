"""The stock client is the referee: `Chat` as it comes from its registry, nothing set but `api`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Server
from tests.interop.ai_sdk import node

SCENARIOS = (
    "text",
    "tools",
    "client_tool",
    "granted",
    "denied",
    "error",
    "cancel",
    "regenerate",
    "edit",
    "stop_and_regenerate",
    "reload",
    "cut",
    "new_chat",
)
EXPECTED_FAILURES: dict[str, dict[str, str]] = {
    "5": {
        "granted": "ai 5 does not know approvals: it refuses the chunk `tool-approval-request`",
        "denied": "ai 5 does not know approvals: it refuses the chunk `tool-approval-request`",
        "cut": "ai 5 keeps its state after an in-page cut, and doubles what is replayed",
    },
}
"""What a release cannot do. May only shrink: a scenario that is here and works fails its test."""

pytestmark = [pytest.mark.timeout(150), pytest.mark.xdist_group("ai_sdk_clients")]

Told = dict[str, Any]
Played = Callable[[str], Told]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    node.install()
    with Server(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module", params=node.RELEASES, ids=lambda version: f"ai-{version}")
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def all_told(server: Server, release: str) -> dict[str, Told]:
    return node.play(release, server.base_url, SCENARIOS)


@pytest.fixture
def played(
    all_told: dict[str, Told], release: str, record_property: Callable[[str, object], None]
) -> Played:
    """What came of a scenario. One that the release cannot do must fail, or the list is wrong."""

    def of(name: str) -> Told:
        told = all_told[name]
        record_property("ai_sdk", (release, name))
        assert "failed" not in told, told["failed"]
        return told

    return of


@pytest.fixture
def expected(release: str, record_property: Callable[[str, object], None]) -> Callable[..., bool]:
    """Whether this release is known to fail in the scenario."""

    def is_expected(name: str) -> bool:
        why = EXPECTED_FAILURES.get(release, {}).get(name)
        if why:
            record_property("ai_sdk_expected", why)
        return why is not None

    return is_expected


def parts(message: Told, kind: str) -> list[Told]:
    return [part for part in message["parts"] if part["type"] == kind]


def plain(messages: list[Told]) -> list[Told]:
    """Messages without what a reload does not give back: usage, and ids of parts."""
    return [
        {
            "id": each["id"],
            "role": each["role"],
            "parts": [_plain(part) for part in each["parts"]],
        }
        for each in messages
    ]


def _plain(part: Told) -> Told:
    return {
        key: value
        for key, value in part.items()
        if not (part["type"] == "text" and key == "state")
        and not (part["type"] == "reasoning" and key == "id")
        and not key.startswith(("raw", "approval"))
        and value is not None
    }


def assert_same_as_history(told: Told) -> None:
    assert plain(told["messages"]) == plain(told["history"])


def test_two_turns_are_one_thread_and_nothing_is_doubled(played: Played, server: Server) -> None:
    told = played("text")
    assert told["texts"] == ["hello there", "hello there", "and once more", "and once more"]
    assert (told["status"], told["errors"]) == ("ready", [])
    assert_same_as_history(told)
    stored = server.get(f"/v1/threads/{told['id']}/messages")["items"]
    assert [each["message_id"] for each in stored if each["role"] == "user"] == [
        each["id"] for each in told["messages"] if each["role"] == "user"
    ]
    metadata = told["messages"][1]["metadata"]
    assert metadata["threadId"] == told["id"]
    assert metadata["runId"] == told["messages"][1]["id"]
    assert metadata["usage"]["totalTokens"] > 0
    assert metadata["model"]
    assert metadata["termination"] == {"type": "natural_end"}


def test_reasoning_and_parallel_tools_are_parts(played: Played) -> None:
    told = played("tools")
    answer = told["messages"][-1]
    (reasoning,) = parts(answer, "reasoning")
    assert reasoning["text"] == "Let me look that up. "
    (weather,) = parts(answer, "tool-get_weather")
    (sum_,) = parts(answer, "tool-calculate")
    assert (weather["state"], sum_["state"]) == ("output-available", "output-available")
    assert weather["input"] == {"city": "Paris"}
    assert weather["output"]["celsius"] == 18
    assert sum_["output"] == 42
    assert len(parts(answer, "step-start")) == 2
    assert_same_as_history(told)


def test_a_tool_of_the_client_is_called_once_and_its_output_goes_back(played: Played) -> None:
    told = played("client_tool")
    assert told["calls"] == ["pick_color"]
    assert told["texts"] == ["pick", "You picked green."]
    (call,) = parts(told["messages"][-1], "tool-pick_color")
    assert call["output"] == {"color": "green"}
    assert not call.get("providerExecuted")
    assert_same_as_history(told)


@pytest.mark.parametrize("name", ["granted", "denied"])
def test_an_approval_is_asked_for_and_answered(
    played: Played, expected: Callable[[str], bool], name: str
) -> None:
    told = played(name)
    if expected(name):
        assert told["asked"] is None
        assert "tool-approval-request" in told["errors"][0]
        return
    (call,) = parts(told["messages"][-1], "tool-refund")
    if name == "granted":
        assert call["state"] == "output-available"
        assert call["output"] == {"order": "17", "amount": 20, "refunded": True}
        assert told["texts"][-1] == "I refunded 20.0 for order 17."
    else:
        assert call["state"] == "output-denied"
        assert told["texts"][-1].endswith("the user denied this call: not now.")
    assert told["errors"] == []
    assert_same_as_history(told)


@pytest.mark.parametrize("name", ["granted", "denied"])
def test_what_waits_for_an_approval_is_there_after_a_reload(
    played: Played, expected: Callable[[str], bool], name: str
) -> None:
    told = played(name)
    if expected(name):
        return
    (call,) = parts(told["waiting"][-1], "tool-refund")
    assert (call["state"], call["approval"]) == ("approval-requested", {"id": told["asked"]})
    assert plain(told["reloaded"]) == plain(told["waiting"]), "nothing is under way"


def test_an_error_is_told_without_internals(played: Played) -> None:
    told = played("error")
    assert told["status"] == "error"
    assert told["errors"] == ["this fails every time, as it was asked to"]
    assert told["messages"][-1]["metadata"]["termination"]["type"] == "error"


def test_a_stop_ends_the_run_and_keeps_what_was_said(played: Played) -> None:
    told = played("cancel")
    assert (told["status"], told["errors"]) == ("ready", [])
    assert told["messages"][-1]["metadata"]["termination"]["type"] == "cancelled"
    assert told["texts"][-1]
    assert_same_as_history(told)


def test_an_answer_is_made_anew(played: Played) -> None:
    told = played("regenerate")
    assert told["first"]["texts"] == ["one", "one"]
    assert told["texts"] == ["one", "one"]
    assert told["messages"][0]["id"] == told["before"][0]
    answers = {told["before"][1], told["first"]["messages"][1]["id"], told["messages"][1]["id"]}
    assert len(answers) == 3
    assert_same_as_history(told)


def test_a_message_is_edited(played: Played) -> None:
    told = played("edit")
    assert told["texts"] == ["one", "one", "other", "other", "three", "three"]
    assert told["messages"][2]["id"] == told["messageId"]
    assert_same_as_history(told)


def test_an_answer_that_is_still_being_given_is_made_anew(played: Played) -> None:
    told = played("stop_and_regenerate")
    assert len(told["messages"]) == 2
    assert told["texts"][1].endswith("story#40")
    assert_same_as_history(told)


def test_a_page_that_is_reloaded_goes_on(played: Played) -> None:
    told = played("reload")
    assert plain(told["messages"]) == plain(told["uncut"]["messages"])
    assert told["texts"][-1].endswith("story#60")
    assert plain(told["idle"]["messages"]) == plain(told["messages"]), "204, and nothing changes"
    assert_same_as_history(told)


def test_a_page_that_lost_its_network_goes_on(
    played: Played, expected: Callable[[str], bool]
) -> None:
    told = played("cut")
    assert told["cut"]["status"] == "error"
    assert told["cut"]["texts"][-1]
    assert not told["cut"]["texts"][-1].endswith("story#60")
    if expected("cut"):
        assert plain(told["messages"]) != plain(told["history"])
        return
    assert_same_as_history(told)


def test_attaching_to_a_chat_that_is_new_is_no_error(played: Played) -> None:
    told = played("new_chat")
    assert (told["status"], told["errors"], told["messages"]) == ("ready", [], [])


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_goes_on(
    release: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    node.install()
    record_property("ai_sdk", (release, "killed"))
    with Server(tmp_path) as server:

        def restart(_: str) -> None:
            server.kill()
            server.start()

        told = node.play(release, server.base_url, ["killed"], restart)["killed"]
    assert "failed" not in told, told["failed"]
    assert told["cut"]["status"] == "error", "half an answer is no answer"
    assert told["texts"][-1].startswith(told["seen"])
    assert told["texts"][-1].endswith("story#60")
    assert_same_as_history(told)
