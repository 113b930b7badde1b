from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.protocols import sse
from awaken.protocols.encoder import Frame

GOLDEN = [
    (Frame(data=b"{}"), b"data: {}\n\n"),
    (Frame(data=b""), b"data: \n\n"),
    (Frame(data=b"x", id="7"), b"id: 7\ndata: x\n\n"),
    (Frame(data=b"x", event="e", id="7"), b"id: 7\nevent: e\ndata: x\n\n"),
    (
        Frame(data=b"{}", event="reconnect", retry_ms=1000),
        b"event: reconnect\nretry: 1000\ndata: {}\n\n",
    ),
    (Frame(data=b"a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
    (Frame(data="ünïcode ".encode()), "data: ünïcode \n\n".encode()),
]


@pytest.mark.parametrize(("frame", "expected"), GOLDEN)
def test_a_frame_has_exactly_these_bytes(frame: Frame, expected: bytes) -> None:
    assert sse.render([frame]) == expected


def test_frames_that_are_ready_together_are_one_piece() -> None:
    frames = [Frame(data=b"1"), Frame(data=b"2", id="2")]
    assert sse.render(frames) == sse.render_entry(frames) == b"data: 1\n\nid: 2\ndata: 2\n\n"
    assert sse.render([]) == sse.render_entry([]) == b""


def test_only_the_last_frame_of_an_entry_may_have_an_id() -> None:
    with pytest.raises(ValueError, match="only the last frame"):
        sse.render_entry([Frame(data=b"1", id="2"), Frame(data=b"2", id="2")])


@pytest.mark.parametrize("bad", ["1\n2", "1\r2", "1\0", "\n", "x\r\ndata: y"])
def test_line_breaks_and_nul_are_refused_in_ids_names_and_comments(bad: str) -> None:
    """Regression list of peers.md, 13."""
    for refused in (Frame(data=b"", id=bad), Frame(data=b"", event=bad)):
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            sse.render([refused])
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        sse.comment(bad)


def test_a_comment_is_a_line_that_clients_ignore() -> None:
    assert sse.comment("hello") == b": hello\n\n"
    assert sse.HEARTBEAT == b": heartbeat\n\n"


def parsed(raw: bytes) -> list[tuple[str | None, str | None, str]]:
    """(id, event, data) of each event, as the specification says it is to be read."""
    found, seen, name, data = list[tuple[str | None, str | None, str]](), None, None, list[str]()
    for line in raw.decode().split("\n"):
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "" and data:
            found.append((seen, name, "\n".join(data)))
            seen, name, data = None, None, []
        elif key == "data":
            data.append(value)
        elif key == "event":
            name = value
        elif key == "id":
            seen = value
    return found


TEXT = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]))
DATA = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, DATA)))
def test_what_is_rendered_is_read_back(frames: list[tuple[str | None, str | None, str]]) -> None:
    rendered = sse.render([Frame(id=i, event=e, data=d.encode()) for i, e, d in frames])
    assert parsed(rendered) == frames
