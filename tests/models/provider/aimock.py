"""Simulated providers: a real HTTP server with real SSE, in a process of its own (aimock, npm).

It is installed from `tests/models/node` when it is first needed, and its journal tells how often it
was asked, and for what.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

NODE_DIR = Path(__file__).parents[1] / "node"
PACKAGE = "@copilotkit/aimock"
KEY = "the-test-key"


class Aimock:
    """The server as a test sees it. What it is to say is matched by the last user message."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False
        )

    def on(self, words: str, response: dict[str, Any], **options: Any) -> None:
        """Answer a request whose last user message has `words` in it."""
        self.match({"userMessage": words}, response, **options)

    def match(self, match: dict[str, Any], response: dict[str, Any], **options: Any) -> None:
        fixture = {"match": match, "response": response, **options}
        answer = self._http.post("/__aimock/fixtures", json={"fixtures": [fixture]})
        assert answer.status_code == 200, answer.text

    def calls(self) -> list[dict[str, Any]]:
        """The requests since the test began: `path`, `body` in OpenAI's form, `response`."""
        answer = self._http.get("/__aimock/journal")
        entries: list[dict[str, Any]] = answer.json()
        return [entry for entry in entries if not entry["path"].startswith("/__aimock")]

    def reset(self) -> None:
        self._http.post("/__aimock/reset").raise_for_status()

    def close(self) -> None:
        self._http.close()


def install() -> None:
    """Install the locked package, once for all workers of a run.

    Where that cannot be done, the tests are skipped; in CI they fail.
    """
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        _without(f"{' and '.join(missing)} not found")
    with _locked():
        if not _installed():
            done = subprocess.run(
                ["npm", "ci"], cwd=NODE_DIR, stdin=subprocess.DEVNULL, check=False, timeout=100
            )
            if done.returncode != 0:
                _without("npm could not install them")


@contextmanager
def serving() -> Iterator[str]:
    """The address of a running server."""
    process = subprocess.Popen(
        ["node", "server.mjs", KEY],
        cwd=NODE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), "the simulated providers did not start"
            yield url
        finally:
            process.stdin.close()


def _without(why: str) -> NoReturn:
    text = f"no simulated providers: {why}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def _installed() -> bool:
    wanted = json.loads((NODE_DIR / "package.json").read_text())["dependencies"][PACKAGE]
    found = NODE_DIR / "node_modules" / PACKAGE / "package.json"
    return found.exists() and json.loads(found.read_text())["version"] == wanted


@contextmanager
def _locked() -> Iterator[None]:
    name = hashlib.sha256(str(NODE_DIR).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"awaken-npm-{name}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
