"""The examples in README.md and docs/ run.

A fenced `python` or `bash` block is run when the line before it is `<!-- run -->`. Each block is a
process of its own in an empty directory, so it must be complete; it passes when it exits with 0.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^<!-- run -->\n```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^<!-- run -->$", re.MULTILINE)
SECONDS = 15


class Example(NamedTuple):
    place: str
    language: str
    code: str

    def command(self) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-c", self.code]
        return ["bash", "-euo", "pipefail", "-c", self.code]


def examples(text: str, page: str) -> list[Example]:
    """All marked blocks of a page, each with the line at which its code starts."""
    return [
        Example(f"{page}:{text.count(chr(10), 0, match.start(2)) + 1}", match[1], match[2])
        for match in BLOCK.finditer(text)
    ]


def all_examples() -> list[Example]:
    return [
        example
        for path in PAGES
        if path.exists()
        for example in examples(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


@pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.place)
def test_example_runs(example: Example, tmp_path: Path) -> None:
    bin_dir = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": os.pathsep.join([bin_dir, os.environ["PATH"]])}
    done = subprocess.run(
        example.command(),
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{example.place}\n{done.stdout}{done.stderr}"


def test_every_mark_stands_before_a_block_that_can_run() -> None:
    for path in PAGES:
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert len(MARK.findall(text)) == len(examples(text, path.name)), path


def test_only_marked_blocks_are_collected() -> None:
    text = "```python\n0\n```\n<!-- run -->\n```bash\ntrue\n```\n<!-- run -->\n```python\n1\n```\n"
    assert examples(text, "p.md") == [
        Example("p.md:6", "bash", "true\n"),
        Example("p.md:10", "python", "1\n"),
    ]
