"""A server with keys: the page asks for one, keeps it in the tab, and takes no for an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Server
from tests.page.webdriver import Driver, Tab

pytestmark = [pytest.mark.xdist_group("page-key"), pytest.mark.timeout(180)]

KEY = "awaken-sk-0123456789abcdefghijklmnopqrstuv"
READER = "awaken-sk-readeronly0123456789abcdefghijkl"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = f"alice:invoke+approve+admin:{KEY}, bob:approve:{READER}"
    server = Server(tmp_path_factory.mktemp("data"), env={"AWAKEN_API_KEYS": keys})
    server.http.headers["authorization"] = f"Bearer {KEY}"
    with server:
        yield server


def enter(tab: Tab, key: str) -> None:
    tab.clear("dialog input")
    tab.type("dialog input", key)
    tab.click("dialog button", "Use it")


def test_the_page_opens_without_a_key_and_asks_for_one(tab: Tab, locked: Server) -> None:
    tab.open(f"{locked.base_url}/")
    tab.wait_text("dialog .trouble", "This server asks for a key")
    assert tab.count(".card") == 0
    enter(tab, KEY)
    tab.wait_text(".card", "storyteller")
    tab.wait_gone("dialog")
    tab.reload()
    tab.wait_text(".card", "storyteller")
    tab.errors()  # the first refusals


def test_a_bad_key_is_refused_and_can_be_put_right(tab: Tab, locked: Server) -> None:
    tab.open(f"{locked.base_url}/#/runs")
    enter(tab, "awaken-sk-thisoneiswrong0000000000000000")
    tab.wait_text("dialog .trouble", "This key was refused")
    tab.wait_text("main .trouble", "")
    enter(tab, KEY)
    tab.wait_gone("dialog")
    tab.wait_gone("main .trouble")
    tab.wait_text("h1", "Runs")
    tab.errors()


def test_a_chat_waits_for_the_key_and_goes_on(tab: Tab, locked: Server) -> None:
    locked.run("echo", "was here before", thread_id="keyed")
    tab.open(f"{locked.base_url}/#/chat/echo/keyed")
    tab.find("dialog input")
    enter(tab, KEY)
    tab.wait_text(".answer", "was here before")
    tab.type(".composer textarea", "with a key")
    tab.click(".composer button", "Send")
    tab.wait_text(".answer", "with a key")
    tab.errors()


def test_a_key_belongs_to_one_tab(driver: Driver, locked: Server) -> None:
    with driver.tab() as tab:
        tab.open(f"{locked.base_url}/")
        enter(tab, KEY)
        tab.wait_text(".card", "echo")
        assert tab.run("return Object.keys(localStorage).length") == 0
        assert tab.run("return document.cookie") == ""
        tab.errors()
    with driver.tab() as tab:
        tab.open(f"{locked.base_url}/")
        tab.find("dialog input")
        assert tab.run("return document.querySelector('dialog input').value") == ""
        tab.errors()


def test_a_key_can_be_forgotten(tab: Tab, locked: Server) -> None:
    tab.open(f"{locked.base_url}/")
    enter(tab, KEY)
    tab.wait_text(".card", "echo")
    tab.click(".key")
    tab.click("dialog button", "Forget")
    tab.wait_text("dialog .trouble", "asks for a key")
    assert tab.run("return sessionStorage.length") == 0
    tab.errors()


def test_a_key_that_may_not_do_it_is_told_so(tab: Tab, locked: Server) -> None:
    tab.open(f"{locked.base_url}/#/chat/echo")
    enter(tab, READER)
    tab.type(".composer textarea", "may I?")
    tab.click(".composer button", "Send")
    tab.wait_text(".entry", "not sent")
    tab.click(".entry button", "Remove")
    tab.wait_gone(".entry")
    tab.open(f"{locked.base_url}/#/system")
    tab.wait_text("main .trouble", "")
    tab.wait_text(".chip", "tickets")
    assert tab.count("dialog[open]") == 0
    tab.errors()
