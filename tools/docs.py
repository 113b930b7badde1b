"""Writes the generated pages of the docs; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from awaken.protocols.ag_ui.mapping import MAPPING as AG_UI
from awaken.protocols.ai_sdk.mapping import MAPPING as AI_SDK
from awaken.protocols.mapping import Mapping, markdown
from awaken.server.metrics import with_metrics_table
from awaken.server.settings import settings_page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MAPPING_BEGIN, MAPPING_END = "<!-- mapping: begin -->", "<!-- mapping: end -->"
sys.path.insert(0, str(ROOT))  # as a script it finds its neighbours only so

from tools.commands import with_reference  # noqa: E402  # behind the line above
from tools.errors import errors_page  # noqa: E402  # behind the line above
from tools.reference import events_page, python_page  # noqa: E402  # behind the line above


def observability_page() -> str:
    """The page as it is, with the table of metrics as it should be."""
    return with_metrics_table((DOCS / "observability.md").read_text(encoding="utf-8"))


def cli_page() -> str:
    """The page as it is, with the reference of the commands as it should be."""
    return with_reference((DOCS / "cli.md").read_text(encoding="utf-8"))


def with_mapping(name: str, mapping: Mapping) -> str:
    """The page of a protocol as it is, with its table of events as it should be."""
    page = (DOCS / name).read_text(encoding="utf-8")
    before, _, rest = page.partition(MAPPING_BEGIN)
    _, _, after = rest.partition(MAPPING_END)
    return f"{before}{MAPPING_BEGIN}\n{markdown(mapping)}{MAPPING_END}{after}"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "observability.md": observability_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "python.md": python_page,
    "ai-sdk.md": partial(with_mapping, "ai-sdk.md", AI_SDK),
    "ag-ui.md": partial(with_mapping, "ag-ui.md", AG_UI),
}


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
