from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.client import sse
from awaken.client.sse import Decoder, Frame, FrameTooLarge

STREAM = (
    b": a comment\n\n"
    b'id: 1\nevent: text_delta\ndata: {"a":1}\n\n'
    b"data: one\ndata: two\ndata\n\n"
    b"id: 2\r\ndata:no space\r\n\r\n"
    b"event: nothing\n\n"
    b"event: reconnect\nretry: 1000\ndata: {}\n\n"
    + "data: \u2028 \x85 ü\n\n".encode()
    + b"id: 9\ndata: incomplete\n"
)
FRAMES = [
    Frame(b'{"a":1}', "text_delta", "1"),
    Frame(b"one\ntwo\n"),
    Frame(b"no space", "message", "2"),
    Frame(b"{}", "reconnect", None, 1000),
    Frame("\u2028 \x85 ü".encode()),
]


def test_frames_are_what_stands_between_blank_lines() -> None:
    assert Decoder().feed(STREAM) == FRAMES


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_where_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    decoder = Decoder()
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(places)]
    assert [frame for chunk in chunks for frame in decoder.feed(chunk)] == FRAMES


def test_a_frame_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME_BYTES", 100)
    decoder = Decoder()
    for _ in range(3):
        decoder.feed(b"data: " + b"x" * 50 + b"\n\n")
    decoder.feed(b"data: " + b"x" * 90 + b"\n")
    with pytest.raises(FrameTooLarge):
        decoder.feed(b"data: ")


@pytest.mark.parametrize("value", [b"-1", b"1.5", b"soon", b"", b"9" * 30])
def test_advice_that_is_no_number_is_none(value: bytes) -> None:
    (frame,) = Decoder().feed(b"retry: " + value + b"\ndata: x\n\n")
    assert frame.retry_ms is None
