"""Server-sent events: from frames to bytes, and nothing else.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from awaken.protocols.encoder import Frame

HEARTBEAT: Final = b": heartbeat\n\n"
"""Sent when nothing else was for 15 s; clients ignore it."""


def render(frames: Iterable[Frame]) -> bytes:
    """The frames, one after the other, for one send.

    Raises:
        ValueError: an id or a name cannot be written down (see `field`).
    """
    return b"".join([_render(frame) for frame in frames])


def render_entry(frames: Sequence[Frame]) -> bytes:
    """All frames of one log entry: only the last may have an id, or a cut would skip the others.

    Raises:
        ValueError: another frame has an id, or as `render`.
    """
    if any(frame.id is not None for frame in frames[:-1]):
        raise ValueError("only the last frame of an entry may have an id")
    return render(frames)


def comment(text: str) -> bytes:
    """A line that clients ignore.

    Raises:
        ValueError: `text` has more than one line.
    """
    return b": %b\n\n" % field("comment", text)


def field(name: str, value: str) -> bytes:
    """`value` as it is written into the one line of field `name`.

    Raises:
        ValueError: it has a CR, LF or NUL, with which it would be another field, or ignored.
    """
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{name} must not contain CR, LF or NUL: {value!r}")
    return value.encode()


def _render(frame: Frame) -> bytes:
    lines = []
    if frame.id is not None:
        lines.append(b"id: " + field("id", frame.id))
    if frame.event is not None:
        lines.append(b"event: " + field("event", frame.event))
    if frame.retry_ms is not None:
        lines.append(b"retry: %d" % frame.retry_ms)
    lines += [b"data: " + line for line in _lines(frame.data)]
    return b"\n".join(lines) + b"\n\n"


def _lines(data: bytes) -> list[bytes]:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data.split(b"\n")
