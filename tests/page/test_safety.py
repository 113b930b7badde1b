"""What agents, tools and users write is text and stays text, wherever it is shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.e2e.harness import Server
from tests.page.agents import LINK, ONERROR, PAYLOAD, SCRIPT
from tests.page.webdriver import Tab

pytestmark = [pytest.mark.xdist_group("page-safety"), pytest.mark.timeout(180)]


def assert_inert(tab: Tab) -> None:
    """Nothing ran, and nothing of it became an element."""
    assert tab.run("return window.pwned ?? null") is None
    assert tab.count("main script, main img, main svg[onload], main [onerror]") == 0
    for href in tab.run("return [...document.querySelectorAll('a')].map((a) => a.href)"):
        assert href.startswith(("http://127.0.0.1", "https://example.com/")), href


def say(tab: Tab, text: str) -> None:
    tab.type(".composer textarea", text)
    tab.click(".composer button", "Send")


def test_markup_of_an_agent_is_shown_and_does_nothing(tab: Tab, evil_server: Server) -> None:
    tab.open(f"{evil_server.base_url}/#/chat/mallory")
    tab.wait_text(".about", PAYLOAD)
    say(tab, PAYLOAD)
    tab.wait_text(".bubble.user", PAYLOAD)
    tab.wait_text(".answer a", "out")
    tab.wait_text(".answer", "window.pwned = 'split'</script>")
    for summary in ("Reasoning", "spill"):
        tab.click("summary", summary)
    tab.wait_text(".reasoning", PAYLOAD)
    tab.wait_text(".call-more", "window.pwned = 'onerror'")
    for css, text in (
        (".answer .heading", ONERROR),
        (".answer li", SCRIPT),
        (".answer pre", PAYLOAD),
        (".answer strong", SCRIPT),
        (".answer code", ONERROR),
        (".answer p", LINK.split(" and ")[0]),
    ):
        tab.wait_text(css, text)
    assert_inert(tab)
    tab.reload()
    tab.wait_text(".answer pre", PAYLOAD)
    assert_inert(tab)


def test_markup_in_a_question_is_shown_and_does_nothing(tab: Tab, evil_server: Server) -> None:
    tab.open(f"{evil_server.base_url}/#/chat/mallory")
    say(tab, "ask me")
    tab.wait_text(".ticket .json", "window.pwned = 'onerror'")
    tab.open(f"{evil_server.base_url}/#/inbox")
    tab.wait_text(".ticket .json", "window.pwned = 'svg'")
    tab.click(".ticket button", "Edit arguments")
    assert_inert(tab)


def test_markup_is_inert_in_every_view(tab: Tab, evil_server: Server) -> None:
    server = evil_server
    events = server.run("mallory", PAYLOAD, thread_id="evil")
    run_id = events[0].entry["run_id"]
    response = server.http.patch("/v1/threads/evil", json={"title": PAYLOAD})
    assert response.status_code == 200
    for view, css, text in (
        ("#/", ".card", PAYLOAD),
        ("#/runs", ".words", SCRIPT),
        ("#/threads", ".words", SCRIPT),
        (f"#/runs/{run_id}", ".timeline .said", PAYLOAD),
        (f"#/chat/{quote(SCRIPT, safe='')}", "h1", SCRIPT),
        (f"#/runs?agent={ONERROR}&status={SCRIPT}", "h1", "Runs"),
    ):
        tab.open("about:blank")
        tab.open(f"{server.base_url}/{view}")
        tab.wait_text(css, text)
        assert_inert(tab)
    tab.errors()  # a status that there is none of is refused


def test_the_browser_refuses_scripts_styles_and_markup_from_text(tab: Tab, server: Server) -> None:
    tab.open(f"{server.base_url}/#/")
    tab.wait_text(".card", "echo")
    refused = tab.run_async(
        """
        const refusal = (name, act) => { try { act(); return null; } catch { return name; } };
        const inline = document.createElement('script');
        inline.append("window.pwned = 'inline'");
        refusal('', () => document.body.append(inline));
        const outside = new Promise((resolve) => {
          document.addEventListener('securitypolicyviolation', (event) =>
            event.violatedDirective === 'connect-src' && resolve('connect'));
        });
        fetch('http://127.0.0.1:9/').catch(() => {});
        return [
          refusal('innerHTML', () => { document.body.innerHTML = '<b>x</b>'; }),
          refusal('policy', () => trustedTypes.createPolicy('mine', {})),
          await outside,
          window.pwned ?? null,
        ];
        """
    )
    assert refused == ["innerHTML", "policy", "connect", None]
    tab.errors()  # the refusals


def test_nothing_is_asked_of_another_server(tab: Tab, server: Server) -> None:
    server.run("assistant", "weather in Paris and 6 * 7")
    for view in ("#/", "#/runs", "#/threads", "#/inbox", "#/failed", "#/system", "#/chat/echo"):
        tab.open(f"{server.base_url}/{view}")
        tab.wait_text("h1", "")
    tab.wait("return performance.getEntriesByType('resource').length > 30")
    asked = tab.run("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert all(url.startswith(server.base_url) for url in asked)


def test_an_id_with_a_slash_stays_an_id(tab: Tab, server: Server) -> None:
    server.run("echo", "in a strange thread", thread_id="a/b?c#d%2F..")
    tab.open(f"{server.base_url}/#/threads")
    tab.click(".line", "in a strange thread")
    tab.wait_text(".answer", "in a strange thread")
    say(tab, "again")
    tab.wait_text(".answer", "again")
    assert len(server.get("/v1/threads/a%2Fb%3Fc%23d%252F../messages")["items"]) == 4
