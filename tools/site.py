"""Builds the documentation as a site, in site/; `--check` builds it elsewhere and throws it away.

The pages are those of the repository, in its folders, so that their links hold in both places. The
build fails on a link that leads nowhere, a page that the navigation does not name, and whatever
would load something from another server.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "zensical.toml"
SITE = ROOT / "site"
FRONT = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
# What a browser fetches by itself; a link that somebody has to click is not one.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\s\"'>]+"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|icon|preload|preconnect))[^>]*"
    r"\bhref=[\"']?(?:https?:)?//[^\s\"'>]+"
)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as place:
        problems = build(ROOT, CONFIG, Path(place))
        if problems:
            print(*problems, sep="\n")
        elif "--check" not in arguments:
            shutil.rmtree(SITE, ignore_errors=True)
            shutil.copytree(Path(place) / "site", SITE)
            print(f"{SITE.name}/ written; look at it with: python -m http.server -d {SITE.name}")
    return int(bool(problems))


def build(root: Path, config: Path, place: Path) -> list[str]:
    """Build `place`/site from the pages of `root`; what is wrong with it, one line a problem."""
    pages = place / "pages"
    shutil.copytree(root / "docs", pages / "docs")
    for name in FRONT:
        shutil.copy(root / name, pages / name)
    shutil.copy(config, place / config.name)
    return [
        *navigation_problems(config, pages),
        *build_problems(place / config.name),
        *(f"{page} loads {url}" for page, url in fetched(place / "site")),
    ]


def navigation_problems(config: Path, pages: Path) -> list[str]:
    """Pages that the navigation lacks, and entries of it that are no page."""
    there = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    named = list(named_pages(tomllib.loads(config.read_text(encoding="utf-8"))["project"]["nav"]))
    return [
        *(f"{page} is not in the navigation of {config.name}" for page in sorted(there - {*named})),
        *(f"{config.name} names {page}, which is no page" for page in named if page not in there),
    ]


def named_pages(entry: Any) -> Iterator[str]:
    """The pages below an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from named_pages(part)


def build_problems(config: Path) -> list[str]:
    """What the generator says, if it does not like the pages."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return [_readable(done.stdout + done.stderr)] if done.returncode else []


def _readable(output: str) -> str:
    """Without colours, and without the stack of the generator."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return plain.partition("Traceback (most recent call last)")[0].rstrip()


def fetched(site: Path) -> Iterator[tuple[str, str]]:
    """(page, tag) for each thing that a page would fetch from another server."""
    for page in sorted(site.rglob("*.html")):
        for match in FETCHED.finditer(page.read_text(encoding="utf-8")):
            yield page.relative_to(site).as_posix(), match[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
