"""`awaken chat` in a process of its own, in a terminal or between pipes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.harness import AWAKEN

SECONDS = 12


def piped(url: str, *args: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    """A whole conversation whose lines are there from the beginning."""
    return subprocess.run(
        [str(AWAKEN), "chat", *args, "--url", url],
        input=lines,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Terminal:
    """A chat in a terminal of its own: what it shows, and a keyboard."""

    def __init__(self, url: str, *args: str) -> None:
        self._side, inner = pty.openpty()
        self._process = subprocess.Popen(
            [str(AWAKEN), "chat", *args, "--url", url],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "INPUTRC": "/dev/null"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inner)
        self._seen = ""
        self.shown = ""

    def type(self, text: str) -> None:
        """Type, and press Enter."""
        self.press(f"{text}\r")

    def press(self, keys: str) -> None:
        os.write(self._side, keys.encode())

    def interrupt(self, answer: str) -> None:
        """Press Ctrl-C until `answer` is shown.

        Once is not always enough: `input` misses a signal that comes between its prompt and its
        wait (CPython's readline module looks for signals only after something has woken it).
        """
        for _ in range(SECONDS // 3):
            self.press("\x03")
            if self._is_shown(answer, 3):
                break
        self.wait_for(answer)

    def wait_for(self, text: str) -> str:
        """What was shown up to `text`, which must come; the next wait begins behind it."""
        assert self._is_shown(text, SECONDS), f"no {text!r} in:\n{self.shown}"
        before, _, self._seen = self._seen.partition(text)
        return before + text

    def _is_shown(self, text: str, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while text not in self._seen:
            if not self._read(until):
                return False
        return True

    def wait_end(self) -> int:
        """The exit code."""
        until = time.monotonic() + SECONDS
        while self._read(until):
            pass
        return self._process.wait(SECONDS)

    def _read(self, until: float) -> bool:
        left = max(until - time.monotonic(), 0)
        if not select.select([self._side], [], [], left)[0]:
            return False
        try:
            piece = os.read(self._side, 65_536).decode(errors="replace")
        except OSError:  # the other side is closed
            return False
        self._seen += piece
        self.shown += piece
        return bool(piece)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)
        os.close(self._side)


@contextmanager
def terminal(url: str, *args: str) -> Iterator[Terminal]:
    here = Terminal(url, *args)
    try:
        yield here
    finally:
        here.close()
