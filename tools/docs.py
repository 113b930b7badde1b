"""Writes the generated pages of the docs; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from awaken.server.metrics import with_metrics_table
from awaken.server.settings import settings_page

DOCS = Path(__file__).parents[1] / "docs"


def observability_page() -> str:
    """The page as it is, with the table of metrics as it should be."""
    return with_metrics_table((DOCS / "observability.md").read_text(encoding="utf-8"))


PAGES = {"settings.md": settings_page, "observability.md": observability_page}


def main(arguments: list[str]) -> int:
    """Write each page, or compare it; the exit status is the number of pages that differed."""
    stale = 0
    for name, make in PAGES.items():
        page, text = DOCS / name, make()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in arguments:
            print(f"docs/{name} is out of date: run make docs")
        else:
            page.write_text(text, encoding="utf-8")
            print(f"docs/{name} written")
    return stale if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
