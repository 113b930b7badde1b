"""The description of the API at /docs, in a browser: under the policy, and alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.page.webdriver import Tab

pytestmark = [pytest.mark.xdist_group("page-docs"), pytest.mark.timeout(180)]


def test_the_description_needs_no_other_server(at: Callable[[str], Tab]) -> None:
    tab = at("docs")
    tab.wait_text("h1", "API")
    asked = tab.run("return performance.getEntriesByType('resource').map((each) => each.name)")
    origin = tab.run("return location.origin")
    assert len(asked) >= 2
    assert [url for url in asked if not url.startswith(f"{origin}/page/")] == []
    display = tab.run("return getComputedStyle(document.querySelector('summary')).display")
    assert display == "flex", "the sheet was not taken"


def test_a_link_opens_what_it_leads_to(at: Callable[[str], Tab]) -> None:
    tab = at("docs")
    tab.click("summary", "/v1/runs/background")
    tab.click("#post-v1-runs-background a", "BackgroundRequest")
    tab.wait_text("#schema-BackgroundRequest", "dedupe_key")
