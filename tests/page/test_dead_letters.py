"""Dead letters on the page, against the server's own routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.harness import Server
from tests.page.webdriver import Tab

pytestmark = [pytest.mark.xdist_group("page-letters"), pytest.mark.timeout(180)]

At = Callable[[str], Tab]


def test_a_dead_letter_is_requeued_and_discarded(at: At, server: Server) -> None:
    """The row keeps the run that took its place; that one fails too, and has a row of its own."""
    server.run("flaky", "fail=permanent")
    (letter,) = server.get("/v1/mailbox/dead-letters")["items"]
    row = f"[data-dispatch='{letter['dispatch_id']}']"
    tab = at("#/failed")
    tab.wait_text(row, "attempt 1")
    tab.click(f"{row} button", "Requeue")
    tab.wait_text(row, "Tried again")
    tab.wait("return document.querySelectorAll('[data-dispatch]').length === 2")
    again, before = server.get("/v1/mailbox/dead-letters")["items"]
    assert before["retried_by"] == again["run_id"]
    tab.wait_text(f"[data-dispatch='{again['dispatch_id']}']", "attempt 1")
    tab.click(f"{row} button", "Discard")
    tab.wait_gone(row)
    (left,) = server.get("/v1/mailbox/dead-letters")["items"]
    assert left["dispatch_id"] == again["dispatch_id"]
