"""A browser for each worker, a server for each module.

Without a browser these tests are skipped, but not in CI: there they fail. AWAKEN_NO_BROWSER=1 skips
them everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.harness import Server
from tests.page.webdriver import Driver, Tab, missing

AGENTS = Path(__file__).with_name("agents.py")


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    require_browser(missing(), os.environ)
    with Driver() as driver:
        yield driver


def require_browser(absent: str | None, environ: Mapping[str, str]) -> None:
    """Skip where no browser is wanted or to be expected; fail where one is expected and absent."""
    if environ.get("AWAKEN_NO_BROWSER"):
        pytest.skip("AWAKEN_NO_BROWSER is set")
    if absent is None:
        return
    advice = f"{absent} not found: run tools/install_browser.sh"
    if environ.get("CI") == "true":
        pytest.fail(f"{advice}, or set AWAKEN_NO_BROWSER=1", pytrace=False)
    pytest.skip(advice)


@pytest.fixture
def tab(driver: Driver) -> Iterator[Tab]:
    with driver.tab() as tab:
        yield tab


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo, for all tests of a module: each uses threads of its own."""
    with Server(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def evil_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The agents of `agents.py`."""
    with Server(tmp_path_factory.mktemp("data"), target=str(AGENTS)) as server:
        yield server


@pytest.fixture
def at(tab: Tab, server: Server) -> Callable[[str], Tab]:
    """Goes to a view of the page."""

    def go(view: str) -> Tab:
        tab.open(f"{server.base_url}/{view}")
        return tab

    return go
