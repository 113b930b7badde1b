"""The examples in README.md and docs/ run.

A fenced `python` or `bash` block is run when the line before it is `<!-- run -->`. Each block is a
process of its own in an empty directory, so it must be complete; it passes when it exits with 0.

The blocks of a page behind `<!-- run: NAME -->` with one NAME are steps of a walk: they share a
directory and a shell, one after the other. A `python` block whose first line is `# FILE.py` is
written there. After a step that starts a server the next one waits until it answers; what is left
running is ended with the walk. Port 8080 is a free one, in the code and as AWAKEN_PORT.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.e2e.harness import free_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^<!-- run(?:: (?P<walk>[a-z-]+))? -->\n```(?P<language>python|bash)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"^<!-- run\b.*$", re.MULTILINE)
FILE = re.compile(r"# ([\w-]+\.py)\n")
PORT = "8080"
SECONDS = 120
READY = (
    "curl -sS --retry 60 --retry-delay 1 --retry-all-errors -o ready.txt "
    f"http://127.0.0.1:{PORT}/health\n"
)


class Example(NamedTuple):
    """A block, or the blocks of a walk as one script."""

    place: str
    language: str
    code: str

    def command(self) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-c", self.code]
        return ["bash", "-euo", "pipefail", "-c", self.code]


def examples(text: str, page: str) -> list[Example]:
    """All marked blocks of a page, each with the line at which its code starts; walks as one."""
    found: dict[str, Example] = {}
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        example = Example(f"{page}:{line}", match["language"], match["code"])
        walk = match["walk"]
        if walk is None:
            found[example.place] = example
        elif walk not in found:
            found[walk] = Example(f"{page}:{walk}", "bash", step(example))
        else:
            before = found[walk]
            found[walk] = before._replace(code=before.code + step(example))
    return list(found.values())


def step(example: Example) -> str:
    """A block as a part of the script of its walk."""
    if example.language == "bash":
        return example.code + (READY if "awaken serve" in example.code else "")
    named = FILE.match(example.code)
    if named:
        return f"printf %s {shlex.quote(example.code)} > {named[1]}\n"
    return f"python -c {shlex.quote(example.code)}\n"


def all_examples() -> list[Example]:
    return [
        example
        for path in PAGES
        if path.exists()
        for example in examples(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


def run(example: Example, place: Path) -> tuple[int, str]:
    """The exit code and what was said. Whatever the example has started is ended with it."""
    port = str(free_port())
    bin_dir = str(Path(sys.executable).parent)
    env = os.environ | {
        "PATH": os.pathsep.join([bin_dir, os.environ["PATH"]]),
        "AWAKEN_PORT": port,
    }
    env.pop("OPENAI_API_KEY", None)  # an example must not cost anything
    said = place / "said.txt"
    with said.open("w") as out:
        process = subprocess.Popen(
            example._replace(code=example.code.replace(PORT, port)).command(),
            cwd=place,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            _end(process)
    logs = [said, *place.glob("*.log")]
    return code, "\n".join(f"--- {log.name}\n{log.read_text()}" for log in logs)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the example's process group, which is its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.place)
def test_example_runs(example: Example, tmp_path: Path) -> None:
    code, said = run(example, tmp_path)
    assert code == 0, f"{example.place}\n{said}"


def test_every_mark_stands_before_a_block_that_can_run() -> None:
    for path in PAGES:
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert len(MARK.findall(text)) == len(BLOCK.findall(text)), path


def test_only_marked_blocks_are_collected() -> None:
    text = "```python\n0\n```\n<!-- run -->\n```bash\ntrue\n```\n<!-- run -->\n```python\n1\n```\n"
    assert examples(text, "p.md") == [
        Example("p.md:6", "bash", "true\n"),
        Example("p.md:10", "python", "1\n"),
    ]


WALK = """<!-- run: way -->
```python
# one.py
print("it's")
```
<!-- run -->
```bash
test ! -e one.py
```
<!-- run: way -->
```bash
HERE=$(python one.py)
sleep 1000 &
```
<!-- run: way -->
```python
import os; assert os.environ["AWAKEN_PORT"] == "8080" != "80" + "80"
```
<!-- run: way -->
```bash
test "$HERE" = "it's"
echo $! > pid
```
"""


def test_the_blocks_of_a_walk_share_a_directory_and_a_shell(tmp_path: Path) -> None:
    walk, alone = examples(WALK, "p.md")
    assert (walk.place, alone.place) == ("p.md:way", "p.md:8")
    code, said = run(walk, tmp_path)
    assert code == 0, said
    left = int((tmp_path / "pid").read_text())
    while psutil.pid_exists(left):  # killed; the time limit of the test is the bound
        pass


def test_a_walk_ends_at_the_first_step_that_fails(tmp_path: Path) -> None:
    text = "".join(f"<!-- run: w -->\n```bash\n{code}\n```\n" for code in ("false", "touch late"))
    (walk,) = examples(text, "p.md")
    code, _ = run(walk, tmp_path)
    assert code == 1
    assert not (tmp_path / "late").exists()


def test_a_step_that_starts_a_server_is_followed_by_waiting_for_it() -> None:
    assert step(Example("p.md:1", "bash", "awaken serve &\n")).endswith(READY)
    assert step(Example("p.md:1", "bash", "echo\n")) == "echo\n"
