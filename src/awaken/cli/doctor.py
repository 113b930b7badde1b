"""`awaken doctor`: tells whether a server is well, and what to do when it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from awaken.cli import show
from awaken.cli.codes import Code
from awaken.cli.options import Json, Url
from awaken.cli.session import server_url

if TYPE_CHECKING:
    from awaken.client.answers import Finding

MARKS: Final = {"ok": "✓", "warning": "!", "problem": "✗"}
_STYLES: Final = {"ok": "green", "warning": "yellow", "problem": "red"}
_CODES: Final = {"ok": Code.done, "warning": Code.failed, "problem": Code.sick}


def doctor(url: Url = None, json: Json = False) -> None:
    """Examine a server, from outside and from inside.

    From inside takes a key with the scope admin. The exit code is 0 when all is well, 1 when there
    are warnings, 2 when there are problems.
    """
    from awaken.cli.examine import examine

    where = server_url(url)
    findings = examine(where)
    status = worst(findings)
    if json:
        show.as_json({"url": where, "status": status, "findings": findings})
    else:
        _tell(where, findings)
    raise typer.Exit(_CODES[status])


def worst(findings: list[Finding]) -> str:
    """The worst status of all."""
    order = list(MARKS)
    return max((finding["status"] for finding in findings), key=order.index, default="ok")


def _tell(url: str, findings: list[Finding]) -> None:
    import sys

    from rich.text import Text

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # the marks, where they cannot be written
    console = show.console_of()
    console.print(Text(url, style="bold"), soft_wrap=True)
    width = max(len(finding["check"]) for finding in findings)
    for finding in findings:
        console.print(_line(finding, width), soft_wrap=True)
        if finding["advice"] is not None and finding["status"] != "ok":
            console.print(Text(f"  {'':{width}}  → {finding['advice']}"), soft_wrap=True)
    bad = [finding for finding in findings if finding["status"] != "ok"]
    console.print(Text("all is well" if not bad else _summary(bad)), soft_wrap=True)


def _line(finding: Finding, width: int) -> Any:
    from rich.text import Text

    mark, style = MARKS[finding["status"]], _STYLES[finding["status"]]
    line = Text(mark, style=style).append(f" {finding['check']:{width}}  ", style="default")
    return line.append(show.harmless_line(finding["message"]), style="default")


def _summary(bad: list[Finding]) -> str:
    problems = sum(finding["status"] == "problem" for finding in bad)
    parts = [show.plural(problems, "problem")] if problems else []
    warnings = len(bad) - problems
    return ", ".join(parts + ([show.plural(warnings, "warning")] if warnings else []))
