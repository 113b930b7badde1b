"""Every frame against the schema of each release, and every cut against its reducer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awaken.domain import event as events
from awaken.domain.event import Event, Segment
from awaken.domain.termination import Termination
from awaken.domain.ticket import ResumeMode
from awaken.protocols import sse
from awaken.protocols.ai_sdk.encode import AiSdkEncoder
from awaken.protocols.ai_sdk.mapping import MAPPING
from awaken.protocols.encoder import CloseReason
from awaken.protocols.mapping import Told
from tests.interop.ai_sdk import node
from tests.protocols.ai_sdk.test_encode import (
    ENDS,
    EVERY,
    START,
    entries,
    finish,
    own,
    stream,
    ticket,
    written,
)
from tests.streams.runs import RUN, logs

pytestmark = [pytest.mark.timeout(150), pytest.mark.xdist_group("ai_sdk_frames")]

every_schema = pytest.mark.parametrize("version", node.SCHEMAS, ids=lambda v: f"ai-{v}")
every_release = pytest.mark.parametrize("version", node.RELEASES, ids=lambda v: f"ai-{v}")


def _ending(termination: Termination) -> list[Event]:
    return [events.TextDelta(delta="a"), finish(termination)]


WITH_APPROVALS: list[list[Event]] = [
    [
        events.ToolCallReady(id="c1", name="refund", arguments={}),
        events.TicketOpened(ticket=ticket()),
        events.ToolCallDone(
            id="c1", message_id="m", outcome="failed", result={"error": {"code": "denied"}}
        ),
    ]
]
ASKED = ticket(resume_mode=ResumeMode.pass_decision_to_tool, message="Which?")
OTHERS: list[list[Event]] = [
    [
        events.ToolCallReady(id="c1", name="refund", arguments="no object"),
        events.TicketOpened(ticket=ASKED),
        events.TicketClosed(ticket_id="k1", status="expired"),
        events.ToolCallDone(id="c1", message_id="m", outcome="failed", result="[interrupted]"),
    ],
    *(_ending(termination) for termination, _, _ in ENDS),
    *(told for told, _ in EVERY),
]


@pytest.fixture(scope="module", autouse=True)
def clients() -> None:
    node.install()


def bytes_of(*told: Event, close: CloseReason = CloseReason.finished) -> bytes:
    encoder = AiSdkEncoder(RUN)
    pieces = [frames for e in entries(START, *told) if (frames := encoder.encode(e))]
    return written([*pieces, encoder.close(close)])


def test_the_examples_make_every_chunk_that_there_is() -> None:
    """So that the next test is about all of them."""
    whole = b"".join(bytes_of(*told) for told in (*OTHERS, *WITH_APPROVALS))
    data = [line.removeprefix(b"data: ") for line in whole.split(b"\n") if line[:6] == b"data: "]
    made = {json.loads(each)["type"] for each in data if each != b"[DONE]"}
    named = {f for each in MAPPING.values() if isinstance(each, Told) for f in each.frames}
    assert named <= made


@every_schema
def test_every_chunk_satisfies_the_schema(version: str) -> None:
    told = OTHERS if version == "5" else [*OTHERS, *WITH_APPROVALS]
    deleted = bytes_of(events.TextDelta(delta="a"), close=CloseReason.deleted)
    answers = node.read_streams(version, [*(bytes_of(*each) for each in told), deleted], "parse")
    assert [answer for answer in answers if "error" in answer] == []
    assert all(answer["count"] >= 2 for answer in answers)


def test_ai_5_does_not_know_approvals() -> None:
    """The expected failure is one: when 5 learns of them, the docs are to be changed."""
    (answer,) = node.read_streams("5", [bytes_of(*WITH_APPROVALS[0])], "parse")
    assert "error" in answer


def test_a_cut_in_a_frame_is_a_cut_before_it() -> None:
    """At every byte: the client never takes half a frame for one."""
    whole = bytes_of(events.TextDelta(delta='a "b"\n'), events.TextDelta(delta="ü"))
    parts = [whole[:at] for at in range(len(whole) + 1)]
    answers = node.read_streams("7", parts, "parse")
    frames = [part.count(b"\n\n") for part in parts]
    done = [1 if part.endswith(b"[DONE]\n\n") else 0 for part in parts]
    assert [answer["count"] for answer in answers] == [
        count - mark for count, mark in zip(frames, done, strict=True)
    ]


@every_schema
def test_heartbeats_are_nothing_to_a_client(version: str) -> None:
    whole = bytes_of(events.TextDelta(delta="a"), events.TextDelta(delta="b"))
    calm, beating = node.read_streams(
        version, [whole, sse.HEARTBEAT + whole.replace(b"\n\n", b"\n\n" + sse.HEARTBEAT)], "fold"
    )
    assert beating == calm
    assert calm["message"]["parts"][-1]["text"] == "ab"


@every_release
@given(many=st.lists(logs(), min_size=8, max_size=8))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_cut_anywhere_and_attached_again_it_is_the_same_message(
    version: str, many: list[list[Segment]]
) -> None:
    """I7, by the reducer of the client itself: a page that is reloaded, and one that is not."""
    streams = [written(stream(own(log))) for log in many]
    for answer in node.read_streams(version, streams, "cuts"):
        assert "error" not in answer, answer["error"]
        assert answer["wrong"] == []


@every_release
@given(many=st.lists(logs(), min_size=30, max_size=30))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_folded_is_what_the_log_says(version: str, many: list[list[Segment]]) -> None:
    streams = [written(stream(own(log))) for log in many]
    answers = node.read_streams(version, streams, "fold")
    for log, answer in zip(many, answers, strict=True):
        assert answer["errors"] == []
        assert answer["message"]["id"] == RUN
        assert _texts(answer["message"]) == _published(log)


def _texts(message: dict[str, Any]) -> dict[str, str]:
    """Text and reasoning, joined."""
    return {
        kind: "".join(part["text"] for part in message["parts"] if part["type"] == kind)
        for kind in ("text", "reasoning")
    }


def _published(log: list[Segment]) -> dict[str, str]:
    told = [entry.event for entry in own(log)]
    return {
        "text": "".join(e.delta for e in told if isinstance(e, events.TextDelta)),
        "reasoning": "".join(e.delta for e in told if isinstance(e, events.ReasoningDelta)),
    }
