"""What the chat shows of each event, and what it keeps from the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest

from awaken.cli.screen import MAX_SHOWN, Screen, exactly, harmless, shortened
from awaken.cli.session import told as what_to_do
from awaken.cli.talk import meaning
from awaken.client import ClientError, Event, Fold


def shown(*events: tuple[str, dict[str, Any]]) -> str:
    """What a screen shows of the events of a run."""
    file, fold = io.StringIO(), Fold()
    screen = Screen(file)
    for seq, (kind, fields) in enumerate(events, start=1):
        data = {"event_type": kind, **fields}
        event = Event(kind, data, str(seq), seq, "t", "r", 0)
        fold.add(event)
        screen.show(event, fold.run("r"))
    screen.end_line()
    return file.getvalue()


def text(delta: str) -> tuple[str, dict[str, Any]]:
    return "text_delta", {"delta": delta}


def thought(delta: str) -> tuple[str, dict[str, Any]]:
    return "reasoning_delta", {"delta": delta}


def ready(call_id: str, name: str, arguments: Any) -> tuple[str, dict[str, Any]]:
    return "tool_call_ready", {"id": call_id, "name": name, "arguments": arguments}


def done(call_id: str, outcome: str, result: Any) -> tuple[str, dict[str, Any]]:
    return "tool_call_done", {"id": call_id, "outcome": outcome, "result": result}


def end(kind: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "run_finish", {"termination": {"type": kind, **fields}}


def kept(words: str) -> tuple[str, dict[str, Any]]:
    content = [{"type": "text", "text": words}]
    message = {"message_id": "m", "role": "assistant", "content": content, "interrupted": True}
    return "message_committed", {"message": message}


STEP = ("step_start", {"message_id": "m"})


def test_pieces_of_a_kind_stand_on_one_line_however_they_come() -> None:
    assert shown(thought("Let "), thought("me"), text("a "), text(" b\n\n"), text("c")) == (
        "Let me\na  b\n\nc\n"
    )


def test_calls_and_results_stand_on_lines_of_their_own() -> None:
    told = shown(
        text("I look"),
        ready("c", "find", {"what": "it"}),
        ("tool_call_stream_delta", {"id": "c", "name": "find", "delta": "looking…"}),
        done("c", "succeeded", {"there": True}),
        ready("d", "say", {}),
        done("d", "failed", "no"),
    )
    assert told == (
        'I look\n→ find {"what": "it"}\nlooking…\n← find {"there": true}\n→ say {}\n← say no\n'
    )


def test_progress_is_told() -> None:
    content = {"tool_name": "copy", "message": "half of it", "progress": 0.5}
    assert shown(("activity_snapshot", {"message_id": "a", "content": content})) == (
        "  copy: 50 % half of it\n"
    )
    assert shown(("activity_snapshot", {"message_id": "a", "content": {"x": 1}})) == ""


def test_text_that_does_not_count_is_said_to_if_there_was_any() -> None:
    reset = ("stream_reset", {"from_seq": 1, "reason": "broken"})
    assert shown(STEP, reset) == ""
    assert "does not count" in shown(STEP, thought("hm"), reset, thought("ah"))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([end("natural_end")], ""),
        ([end("suspended")], ""),
        ([end("cancelled", by="user")], "stopped; there was nothing to keep\n"),
        (
            [kept("one two three"), end("cancelled", by="user")],
            "stopped; kept: 3 words of the answer\n",
        ),
        (
            [ready("c", "a", {}), done("c", "succeeded", 1), end("cancelled", by="user")],
            "→ a {}\n← a 1\nstopped; kept: the results of 1 calls\n",
        ),
        ([end("superseded", by_run_id="x")], "another message took the thread;"),
        ([end("stopped", code="max_rounds")], "stopped by a limit: max_rounds\n"),
        ([end("error", code="c", message="broken")], "failed: broken (c)\n"),
        ([end("blocked", reason="x")], "ended: blocked\n"),
        ([("error", {"code": "c", "message": "hm"})], "hm (c)\n"),
        ([("run_retry", {"reason": "retry", "attempt": 1})], "(taken up again: retry)\n"),
        ([("run_interrupted", {"by_run_id": "x"})], "(a newer message takes the thread)\n"),
        ([("state_snapshot", {"snapshot": {}})], ""),
    ],
)
def test_how_it_goes_and_ends_is_told(events: list[Any], told: str) -> None:
    text = shown(*events)
    assert text == told if told.endswith("\n") or not told else text.startswith(told)


def test_a_stop_that_came_too_late_is_told() -> None:
    late = end("natural_end")
    late[1]["cancel"] = "too_late"
    assert "too late" in shown(late)


def test_nothing_reaches_the_terminal_as_a_command() -> None:
    evil = "a\x1b[2Jb\x07\x9b31mc\rd\u202ee\n\tf"
    assert harmless(evil) == "a[2Jb31mcde\n\tf"
    told = shown(text(evil), ready("c", evil, {evil: evil}), done("c", "failed", evil))
    assert not set("\x1b\x07\x9b\r\u202e") & set(told)
    assert harmless("é 👩‍👧 日本") == "é 👩‍👧 日本"


def test_what_is_approved_is_shown_to_the_last_character() -> None:
    hidden = {"to": "ann\u200b\u202e\x1b\u00a0", "text": "x" * 2 * MAX_SHOWN}
    line = exactly(hidden)
    assert "ann\\u200b\\u202e\\u001b\\xa0" in line
    assert "x" * 2 * MAX_SHOWN in line
    assert "\n" not in exactly({"a": "b\nc"})
    assert shortened(line).endswith("more characters)")
    assert len(shortened(line)) < MAX_SHOWN + 40


@pytest.mark.parametrize(
    ("mode", "schema", "typed", "meant"),
    [
        ("pass_decision_to_tool", None, "5", "5"),
        ("pass_decision_to_tool", {"type": "string"}, "5", "5"),
        ("pass_decision_to_tool", {"type": "integer"}, "5", 5),
        ("pass_decision_to_tool", {"type": "integer"}, "five", "five"),
        ("use_decision_as_tool_result", None, "5", 5),
        ("use_decision_as_tool_result", None, "five", "five"),
        ("use_decision_as_tool_result", {"type": "object"}, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_typed_answer_means_what_was_asked_for(
    mode: str, schema: Any, typed: str, meant: Any
) -> None:
    assert meaning({"resume_mode": mode, "response_schema": schema}, typed) == meant


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ClientError("unreachable", "refused"), "start one with: awaken serve"),
        (ClientError("missing_credentials", "no", status=401), "AWAKEN_API_KEY"),
        (ClientError("forbidden_host", "only loopback", status=403), "only loopback"),
    ],
)
def test_why_there_is_no_conversation_is_told(error: ClientError, told: str) -> None:
    assert told in what_to_do("http://127.0.0.1:8080", error)[0]
