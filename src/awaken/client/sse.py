"""Server-sent events: from bytes to frames, and nothing else.

https://html.spec.whatwg.org/multipage/server-sent-events.html, for streams whose lines end with LF
or CRLF. A text layer must not split the lines: to it, U+2028 inside JSON ends one too.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""More than any event of a server can have, whose requests have at most 16 MiB."""


class Frame(NamedTuple):
    """One event of the wire; `retry_ms` is the server's advice when to come back."""

    data: bytes
    event: str = "message"
    id: str | None = None
    retry_ms: int | None = None


class FrameTooLarge(ValueError):
    """A frame has more than `MAX_FRAME_BYTES`: this is no stream of ours."""


class Decoder:
    """Decodes one connection; what is incomplete when that breaks is dropped with it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._fields: dict[bytes, bytes] = {}
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes.

        Raises:
            FrameTooLarge: it grows without end.
        """
        self._size += len(chunk)
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            self._pieces.append(chunk)
            frames = []
        else:
            lines = b"".join([*self._pieces, head]).split(b"\n")
            self._pieces = [tail]
            frames = [frame for line in lines if (frame := self._line(line)) is not None]
        if self._size > MAX_FRAME_BYTES:
            raise FrameTooLarge(f"a frame has more than {MAX_FRAME_BYTES} bytes")
        return frames

    def _line(self, line: bytes) -> Frame | None:
        line = line.removesuffix(b"\r")
        if not line:
            return self._end_frame()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name:  # without a name it is a comment
            self._fields[name] = value
        return None

    def _end_frame(self) -> Frame | None:
        fields, data = self._fields, self._data
        self._fields, self._data, self._size = {}, [], 0
        if not data:
            return None
        retry = fields.get(b"retry", b"")
        return Frame(
            data=b"\n".join(data),
            event=fields.get(b"event", b"message").decode(errors="replace"),
            id=fields[b"id"].decode(errors="replace") if b"id" in fields else None,
            retry_ms=int(retry) if retry.isdigit() and len(retry) < 10 else None,
        )
