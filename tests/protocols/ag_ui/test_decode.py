"""What of a posted history is new, and what its answers decide."""

from __future__ import annotations

from typing import Any

import pytest
from ag_ui.core import RunAgentInput as Official
from msgspec import to_builtins
from pydantic import TypeAdapter

from awaken.domain.agent import AgentSpec, ToolSpec, resolution_id, with_client_tools
from awaken.domain.message import MessageVisibility, Role, StoredMessage
from awaken.domain.submission import Submission
from awaken.domain.ticket import ResumeMode, Ticket, WaitingReason
from awaken.errors import RequestError
from awaken.protocols.ag_ui import decode
from awaken.protocols.ag_ui.history import DEVELOPER, ag_ui_messages
from awaken.protocols.ag_ui.wire import ResumeEntry, RunAgentInput
from awaken.protocols.native.decode import Caller

USER = {"id": "u1", "role": "user", "content": "hello"}
SAID = {"id": "a1", "role": "assistant", "content": "hi"}


def posted(*messages: dict[str, Any], **fields: Any) -> RunAgentInput:
    """A request that the official models accept too."""
    body = {"threadId": "t", "runId": "r", "messages": list(messages), **fields}
    Official.model_validate(body)
    return RunAgentInput.model_validate(body)


def submitted(request: RunAgentInput) -> Submission:
    decode.check_ids(request)
    return decode.submission(
        request, Caller(tenant="a"), lambda: "new", thread_id="t", agent_id=None
    )


def refused_field(request: RunAgentInput) -> str:
    with pytest.raises(RequestError) as caught:
        submitted(request)
    return str(caught.value.details["field"])


def ids(sub: Submission) -> list[str]:
    return [message.message_id for message in sub.messages]


def test_only_what_is_behind_the_last_answer_is_new() -> None:
    later = {"id": "u2", "role": "user", "content": "more"}
    assert ids(submitted(posted(USER, SAID, later))) == ["u2"]
    assert ids(submitted(posted(USER))) == ["u1"]


def test_roles_that_are_not_said_by_the_client_are_no_messages() -> None:
    activity = {"id": "x", "role": "activity", "activityType": "a", "content": {}}
    reasoning = {"id": "y", "role": "reasoning", "content": "hm"}
    developer = {"id": "d", "role": "developer", "content": "be brief"}
    sub = submitted(posted(developer, activity, reasoning, USER))
    assert ids(sub) == ["d", "u1"]
    assert sub.messages[0].role is Role.system
    assert sub.messages[0].metadata == {DEVELOPER: "developer"}


def test_names_tools_and_what_is_forwarded_are_kept_with_the_run() -> None:
    tool = {"name": "pick", "description": "Pick.", "parameters": {"type": "object"}}
    sub = submitted(
        posted(USER, tools=[tool], forwardedProps={"a": 1}, parentRunId="p", state={"n": 1})
    )
    assert sub.client_run_id == "r"
    assert sub.state == {"n": 1}
    assert sub.metadata == {"ag_ui": {"forwardedProps": {"a": 1}, "parentRunId": "p"}}
    assert decode.parent_of(sub.metadata) == "p"
    (spec,) = sub.tools
    assert (spec.name, spec.frontend, spec.parameters) == ("pick", True, {"type": "object"})


def test_tools_of_the_client_are_pinned_and_do_not_replace_those_of_the_agent() -> None:
    own = ToolSpec(name="pay", approval=True)
    agent = AgentSpec(agent_id="x", tools=(own,))
    theirs = (ToolSpec(name="pay", frontend=True), ToolSpec(name="pick", frontend=True))
    extended = with_client_tools(agent, theirs)
    assert extended.tools == (own, theirs[1])
    assert resolution_id(extended) != resolution_id(agent)


def test_context_is_for_the_model_alone_and_is_not_told_twice() -> None:
    context = [{"description": "page", "value": "cart"}]
    first, again = (submitted(posted(USER, context=context)) for _ in range(2))
    told, asked = first.messages
    assert told.visibility is MessageVisibility.internal
    assert "page: cart" in told.text
    assert asked.message_id == "u1"
    assert ids(first) == ids(again)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "text", "text": "a"}, "text"),
        ({"type": "image", "source": {"type": "url", "value": "https://a/b.png"}}, "image"),
        (
            {"type": "audio", "source": {"type": "data", "value": "AAAA", "mimeType": "audio/wav"}},
            "audio",
        ),
        (
            {"type": "video", "source": {"type": "url", "value": "https://a", "mimeType": "v/x"}},
            "video",
        ),
        (
            {
                "type": "document",
                "source": {"type": "data", "value": "AAAA", "mimeType": "application/pdf"},
            },
            "document",
        ),
    ],
)
def test_parts_are_kept_and_come_back_as_they_were(part: dict[str, Any], kind: str) -> None:
    other = {"type": "text", "text": "look:"}
    sub = submitted(posted({**USER, "content": [other, part]}))
    block = sub.messages[0].content[1]
    assert to_builtins(block)["type"] == kind
    if kind != "text":
        stored = StoredMessage(
            thread_id="t", message_seq=1, run_id=None, created_at=0, message=sub.messages[0]
        )
        assert ag_ui_messages([stored])[0]["content"] == [other, part]


def test_the_file_part_of_old_clients_is_read() -> None:
    part = {"type": "binary", "mimeType": "image/png", "data": "AAAA"}
    body = {"threadId": "t", "runId": "r", "messages": [{**USER, "content": [part]}]}
    sub = submitted(TypeAdapter(RunAgentInput).validate_python(body))
    assert to_builtins(sub.messages[0].content[0])["type"] == "image"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({**USER, "content": ""}, "messages[0].content"),
        ({**USER, "id": "a b"}, "messages[0].id"),
        ({**USER, "content": [{"type": "x"}]}, "messages[0].content[0].type"),
        (
            {
                **USER,
                "content": [
                    {"type": "image", "source": {"type": "data", "value": "?", "mimeType": "a/b"}}
                ],
            },
            "messages[0].content[0].source.value",
        ),
        (
            {
                **USER,
                "content": [{"type": "image", "source": {"type": "url", "value": "file:///etc"}}],
            },
            "messages[0].content[0].source.value",
        ),
    ],
)
def test_what_is_wrong_is_named(message: dict[str, Any], field: str) -> None:
    body = {"threadId": "t", "runId": "r", "messages": [message]}
    assert refused_field(RunAgentInput.model_validate(body)) == field


def test_a_request_that_says_nothing_new_is_refused() -> None:
    assert refused_field(posted(USER, SAID)) == "messages"


def test_a_state_that_is_too_large_is_refused() -> None:
    assert refused_field(posted(USER, state={"a": "x" * 300_000})) == "state"


# --- answers -------------------------------------------------------------------------------------


def tool_message(**fields: Any) -> dict[str, Any]:
    return {"id": "tm", "role": "tool", "toolCallId": "c1", "content": "red", **fields}


def test_results_of_the_clients_tools_are_read_by_call() -> None:
    found = decode.tool_results(posted(USER, SAID, tool_message()))
    assert found["c1"] == decode.Choice(action="resume", payload="red", message_id="tm")


def test_a_result_that_is_json_is_its_value_and_an_error_denies() -> None:
    found = decode.tool_results(posted(USER, SAID, tool_message(content='{"a": 1}')))
    assert found["c1"].payload == {"a": 1}
    failed = decode.tool_results(posted(USER, SAID, tool_message(error="no camera")))
    assert failed["c1"].action == "cancel"
    assert failed["c1"].payload == {"reason": "no camera"}


def test_results_before_the_last_answer_are_history() -> None:
    assert decode.tool_results(posted(USER, tool_message(), SAID)) == {}


def asked(mode: ResumeMode = ResumeMode.replay_tool_call) -> Ticket:
    return Ticket(
        ticket_id="k",
        thread_id="t",
        run_id="r",
        tool_call_id="c",
        tool_name="pay",
        arguments={},
        arguments_hash="h",
        reason=WaitingReason.tool_permission,
        opened_at=0,
        resume_mode=mode,
    )


def entry(payload: Any = None, status: str = "resolved") -> ResumeEntry:
    body = {"interruptId": "k", "status": status, "payload": payload}
    return ResumeEntry.model_validate(body)


@pytest.mark.parametrize(
    ("given", "action", "payload"),
    [
        (entry({"approved": True}), "resume", None),
        (entry(True), "resume", None),
        (entry({"approved": True, "editedArgs": {"n": 1}}), "resume", {"arguments": {"n": 1}}),
        (entry({"approved": False, "reason": "no"}), "cancel", {"reason": "no"}),
        (entry(status="cancelled"), "cancel", {"reason": "the question was abandoned"}),
    ],
)
def test_an_entry_decides(given: ResumeEntry, action: str, payload: Any) -> None:
    made = decode.choice(given, asked(), "resume[0]")
    assert (made.action, made.payload) == (action, payload)


@pytest.mark.parametrize("payload", [None, {}, "yes", {"approved": "true"}, 1])
def test_nothing_is_approved_by_silence(payload: Any) -> None:
    with pytest.raises(RequestError) as caught:
        decode.choice(entry(payload), asked(), "resume[0]")
    assert caught.value.details["field"] == "resume[0].payload.approved"


def test_an_answer_to_a_question_is_what_was_sent() -> None:
    made = decode.choice(entry("Ada"), asked(ResumeMode.pass_decision_to_tool), "resume[0]")
    assert made.payload == "Ada"


def test_the_same_answer_is_the_same_decision() -> None:
    one, same = decode.Choice(action="resume", payload=1), decode.Choice(action="resume", payload=1)
    other = decode.Choice(action="resume", payload=2)
    assert one.decision_id("k") == same.decision_id("k") != other.decision_id("k")
    assert one.decision_id("k") != one.decision_id("k2")
