"""The stock clients of the AI SDK, and the programs that drive them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from tests.interop.npm import SECONDS, drive, install_in

HERE: Final = Path(__file__).parent
RELEASES: Final = ("5", "6", "7")
"""The major releases that are driven as users use them."""
SCHEMAS: Final = ("5", "6", "6.0.0", "7")
"""The releases whose schema every frame must satisfy; 6.0.0 refuses unknown fields."""


def install() -> None:
    """Install the stock clients, or skip; what should have succeeded fails in CI."""
    install_in(HERE, "--omit=optional")


def releases() -> dict[str, str]:
    """The exact versions, by major release."""
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    return {
        major: f"ai {locked[f'node_modules/ai{major}']['version']}, "
        f"@ai-sdk/react {locked[f'node_modules/react{int(major) - 3}']['version']}"
        for major in RELEASES
    }


def read_streams(
    version: str, streams: Sequence[bytes], mode: Literal["parse", "fold", "cuts"]
) -> list[dict[str, Any]]:
    """What the client makes of the bytes of streams; the modes are those of `frames.mjs`."""
    encoded = [base64.b64encode(stream).decode() for stream in streams]
    done = subprocess.run(
        ["node", "frames.mjs"],
        cwd=HERE,
        input=json.dumps({"version": version, "streams": encoded, "mode": mode}),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def play(
    version: str,
    base_url: str,
    scenarios: Sequence[str],
    asked: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Play scenarios with the stock client; what came of each. `asked` does what one asks for."""
    return drive(HERE, [version, base_url, *scenarios], asked)
