"""The example in examples/chat, built and used in a browser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.harness import Server, free_port
from tests.interop.npm import install_in
from tests.page.conftest import require_browser
from tests.page.webdriver import Driver, Tab, missing

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "chat"
STORY: Final = "tokens=120 delay_ms=25"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page, with a server behind it."""
    require_browser(missing(), os.environ)
    install_in(EXAMPLE)
    with Server(tmp_path_factory.mktemp("data")) as server:
        port = free_port()
        vite = subprocess.Popen(
            ["node", "node_modules/vite/bin/vite.js", "--port", str(port), "--strictPort"],
            cwd=EXAMPLE,
            env={**os.environ, "AWAKEN_URL": server.base_url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"http://localhost:{port}/"
            transport = httpx.HTTPTransport(retries=8)
            with httpx.Client(transport=transport, trust_env=False) as client:
                assert client.get(url, timeout=60).status_code == 200
            yield url
        finally:
            vite.terminate()
            vite.wait(20)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        yield driver


@pytest.fixture
def tab(page: str, driver: Driver) -> Iterator[Tab]:
    with driver.tab() as tab:
        tab.open(page)
        tab.find("button", "Send", seconds=60)
        yield tab


def say(tab: Tab, agent: str, text: str) -> None:
    tab.choose("select", agent)
    tab.type("input", text)
    tab.click("button", "Send")


def test_it_builds(tmp_path: Path) -> None:
    install_in(EXAMPLE)
    for command in (
        ["node", "node_modules/typescript/bin/tsc", "--noEmit"],
        ["node", "node_modules/vite/bin/vite.js", "build", "--outDir", str(tmp_path / "dist")],
    ):
        done = subprocess.run(
            command, cwd=EXAMPLE, capture_output=True, text=True, check=False, timeout=150
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "dist" / "index.html").exists()


def test_a_call_is_allowed(tab: Tab) -> None:
    say(tab, "clerk", "refund order 17 amount=20")
    tab.click("button", "Allow")
    tab.wait_text("section.assistant", "I refunded 20.0 for order 17.")


def test_a_story_goes_on_behind_a_reload(tab: Tab) -> None:
    say(tab, "storyteller", STORY)
    tab.wait_text("section.assistant", "#10")
    tab.reload()
    tab.wait_text("section.assistant", "#120", seconds=30)
    assert tab.count("section.assistant") == 1
    assert tab.text("section.assistant").count("Once#1 ") == 1


def test_an_answer_is_stopped_and_made_anew(tab: Tab) -> None:
    say(tab, "storyteller", STORY)
    tab.wait_text("section.assistant", "#10")
    tab.click("button", "Stop")
    tab.click("button", "Again")
    tab.wait_text("section.assistant", "#120", seconds=30)
    assert tab.count("section") == 2
