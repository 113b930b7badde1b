"""Stock clients from npm, installed once for all workers, and the programs that drive them.

Without Node the tests that need it are skipped, with the reason. Where Node is but the clients
cannot be installed, they fail in CI: what is not tried must not look as if it were.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

SECONDS: Final = 120
NEEDED: Final = "stock clients from npm are needed"


def install_in(folder: Path, *options: str) -> None:
    """Install what the lock in `folder` names, once."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{NEEDED}: {' and '.join(missing)} not found")
    with _locked(folder):
        if _mark(folder).exists():
            return
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode != 0:
            _without("npm could not install them")
        _mark(folder).touch()


def _mark(folder: Path) -> Path:
    """There once this very lock was installed."""
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    return folder / "node_modules" / f".installed-{digest}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    with open(Path(tempfile.gettempdir()) / f"awaken-interop-{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _without(reason: str) -> NoReturn:
    message = f"{NEEDED}: {reason}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def drive(
    folder: Path, arguments: Sequence[str], asked: Callable[[str], None] | None = None
) -> dict[str, dict[str, Any]]:
    """Run `client.mjs` of `folder`; what came of each scenario. `asked` does what one asks for."""
    process = subprocess.Popen(
        ["node", "client.mjs", *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    told: dict[str, dict[str, Any]] = {}
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            value = json.loads(line)
            if "ask" in value:
                assert asked is not None, f"nobody is there to {value['ask']}"
                asked(value["ask"])
                process.stdin.write("done\n")
                process.stdin.flush()
            else:
                told[value["name"]] = value
    assert process.returncode == 0
    return told
