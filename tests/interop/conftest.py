"""Says at the end what the stock clients came to: a line for each client and release."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.interop.ai_sdk import node


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Told where something was tried; with xdist too, since reports carry their properties."""
    tried: dict[str, dict[str, str]] = defaultdict(dict)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            _note(tried, report, outcome)
    if not tried:
        return
    terminalreporter.section("stock clients")
    named = node.releases()
    for release in sorted(tried):
        terminalreporter.write_line(_line(named[release], tried[release]))


def _note(tried: dict[str, dict[str, str]], report: pytest.TestReport, outcome: str) -> None:
    properties: dict[str, Any] = dict(report.user_properties)
    if report.when != "call" or "ai_sdk" not in properties:
        return
    release, scenario = properties["ai_sdk"]
    expected = "ai_sdk_expected" in properties and outcome == "passed"
    worst = tried[release].get(scenario)
    if worst != "failed":
        tried[release][scenario] = "expected failure" if expected else outcome


def _line(client: str, outcomes: dict[str, str]) -> str:
    def named(outcome: str) -> list[str]:
        return sorted(name for name, got in outcomes.items() if got == outcome)

    parts = [f"{len(named('passed'))} scenarios passed"]
    others = ("expected failure", "failed")
    parts += [f"{each}: {', '.join(named(each))}" for each in others if named(each)]
    return f"{client}: {'; '.join(parts)}"
