"""Talking to agents: what is streamed, what survives, what is asked on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import Server, run_body
from tests.page.webdriver import WAIT_SECONDS, Tab

pytestmark = [pytest.mark.xdist_group("page-chat"), pytest.mark.timeout(180)]

At = Callable[[str], Tab]
WORDS = ("Once", "upon", "a", "time", "a", "server", "told", "an", "endless", "story")
ENTER = "\ue007"
ANSWERS = "[...document.querySelectorAll('.answer')].map((each) => each.innerText.trim())"


def story(tokens: int) -> str:
    """What the storyteller says."""
    return " ".join(f"{WORDS[n % 10]}#{n + 1}" for n in range(tokens))


def say(tab: Tab, text: str, button: str = "Send") -> None:
    tab.type(".composer textarea", text)
    tab.click(".composer button", button)


def thread_of(tab: Tab) -> str:
    """The thread in the address, once there is one."""
    url = tab.wait("return /#\\/chat\\/[^/]+\\/./.test(location.hash) && location.href")
    return str(url).rsplit("/", 1)[1]


def wait_answer(tab: Tab, text: str, *, seconds: float = WAIT_SECONDS) -> None:
    """Until the last answer is exactly that."""
    tab.wait(f"return ({ANSWERS}).at(-1) === arguments[0]", text, seconds=seconds)


def test_an_answer_is_streamed(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=60 delay_ms=100")
    tab.wait_text(".answer", "Once#1 upon#2")
    assert "story#60" not in tab.text(".answer"), "it was drawn at once, not as it came"
    wait_answer(tab, story(60))
    tab.wait_gone(".composer button", "Stop")
    assert tab.text(".bubble.user") == "tokens=60 delay_ms=100"


def test_a_killed_server_goes_on_in_the_same_answer_each_token_once(
    tab: Tab, data_dir: Path
) -> None:
    with Server(data_dir) as server:
        tab.open(f"{server.base_url}/#/chat/storyteller")
        say(tab, "tokens=120 delay_ms=60")
        tab.wait_text(".answer", "#12 ")
        server.kill()
        tab.wait_text(".connection", "reconnecting")
        tab.wait_text(".away", "does not answer")
        assert "#120" not in tab.text(".answer")
        server.start()
        tab.wait_text(".connection", "live")
        wait_answer(tab, story(120))
        tab.wait_gone(".away")
        tab.wait_text(".within", "Attempt")
        server_side = server.get(f"/v1/threads/{thread_of(tab)}/messages")["items"]
        assert [message["role"] for message in server_side] == ["user", "assistant"]


def test_a_stopped_server_goes_on_too(tab: Tab, data_dir: Path) -> None:
    with Server(data_dir, env={"AWAKEN_DRAIN_SECONDS": "0.2"}) as server:
        tab.open(f"{server.base_url}/#/chat/storyteller")
        say(tab, "tokens=100 delay_ms=60")
        tab.wait_text(".answer", "#12 ")
        server.stop()
        server.start()
        wait_answer(tab, story(100))


def test_a_reload_goes_on_with_the_running_answer(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=80 delay_ms=60")
    tab.wait_text(".answer", "#8 ")
    tab.reload()
    tab.wait_text(".answer", "#8 ")
    wait_answer(tab, story(80))
    assert tab.count(".bubble.user") == 1
    assert tab.count(".answer") == 1


def test_a_log_that_is_another_one_is_read_from_its_beginning(tab: Tab, data_dir: Path) -> None:
    with Server(data_dir) as server:
        server.run("storyteller", "tokens=60 delay_ms=0", thread_id="again")
        tab.open(f"{server.base_url}/#/chat/storyteller/again")
        wait_answer(tab, story(60))
        server.kill()
        for path in data_dir.glob("awaken.db*"):
            path.unlink()
        with no_page_in_between(tab):
            server.start()
            server.run("echo", "short", thread_id="again")
        wait_answer(tab, "short")
        assert tab.count(".answer") == 1
        tab.errors()  # the refusal of the old cursor


@contextmanager
def no_page_in_between(tab: Tab) -> Iterator[None]:
    """Keep the page from asking before the server has what is to be found."""
    tab.devtools("Network.enable")
    tab.devtools("Network.setBlockedURLs", urls=["*/v1/threads/*"])
    yield
    tab.devtools("Network.setBlockedURLs", urls=[])


def test_a_tab_that_nobody_looks_at_comes_back_when_it_is_seen(tab: Tab, data_dir: Path) -> None:
    hide = """
    Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
    """
    with Server(data_dir) as server:
        tab.open(f"{server.base_url}/#/chat/storyteller")
        say(tab, "tokens=100 delay_ms=60")
        tab.wait_text(".answer", "#8 ")
        tab.run(hide, True)
        server.kill()
        tab.wait_text(".connection", "paused")
        server.start()
        tab.run(hide, False)
        wait_answer(tab, story(100))


def test_a_story_without_an_end_does_not_stop_the_page(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=20000 delay_ms=0")
    tab.wait_text(".answer", "#500 ")
    # A page that does nothing but draw would not answer.
    late = "const began = performance.now(); await new Promise((r) => setTimeout(r)); "
    assert tab.run_async(late + "return performance.now() - began") < 15_000
    tab.wait("return (document.querySelector('.answer')?.textContent ?? '').endsWith('#20000')")
    tab.wait_gone(".composer button", "Stop")


def test_an_old_thread_is_read_and_continued(at: At) -> None:
    tab = at("#/chat/echo")
    say(tab, "first words")
    wait_answer(tab, "first words")
    tab.reload()
    wait_answer(tab, "first words")
    say(tab, "second words")
    wait_answer(tab, "second words")
    texts = tab.run(
        "return [...document.querySelectorAll('.log .said, .answer')].map(e => e.innerText)"
    )
    assert [text.strip() for text in texts] == [
        "first words",
        "first words",
        "second words",
        "second words",
    ]


def test_a_long_thread_shows_its_end_and_the_rest_on_demand(at: At, server: Server) -> None:
    messages = [{"role": "user", "content": f"message {n}"} for n in range(230)]
    body = {"agent_id": "echo", "thread_id": "long", "messages": messages}
    server.post("/v1/runs/wait", body)
    tab = at("#/chat/echo/long")
    tab.wait_text(".said", "message 229")
    assert tab.count(".bubble.user") == 199
    tab.click("button", "Earlier messages")
    tab.wait_text(".said", "message 0")
    tab.wait_gone("button", "Earlier messages")
    assert tab.count(".bubble.user") == 230
    first = "return document.querySelector('.said').innerText"
    assert tab.run(first) == "message 0"


def test_what_others_do_in_the_thread_is_seen(at: At, server: Server) -> None:
    tab = at("#/chat/echo")
    say(tab, "mine")
    wait_answer(tab, "mine")
    server.run("echo", "of somebody else", thread_id=thread_of(tab))
    wait_answer(tab, "of somebody else")


def test_a_message_that_the_server_misses_is_sent_once_it_is_back(tab: Tab, data_dir: Path) -> None:
    with Server(data_dir) as server:
        tab.open(f"{server.base_url}/#/chat/echo")
        tab.wait_text(".about", "Repeats")
        server.kill()
        say(tab, "into the dark")
        tab.wait_text(".entry small", "sending…: the server does not answer")
        server.start()
        wait_answer(tab, "into the dark")
        tab.wait_gone(".entry")
        messages = server.get(f"/v1/threads/{thread_of(tab)}/messages")["items"]
        assert len(messages) == 2


def test_a_message_outlives_a_reload_while_the_server_is_away(tab: Tab, data_dir: Path) -> None:
    with Server(data_dir) as server:
        tab.open(f"{server.base_url}/#/chat/echo")
        say(tab, "one")
        wait_answer(tab, "one")
        # The page cannot be loaded from a server that is away, so only its requests are lost.
        tab.devtools("Network.enable")
        tab.devtools("Network.setBlockedURLs", urls=["*/v1/runs"])
        say(tab, "two")
        tab.wait_text(".entry small", "does not answer")
        tab.reload()
        tab.wait_text(".entry .said", "two")
        tab.devtools("Network.setBlockedURLs", urls=[])
        wait_answer(tab, "two")
        tab.wait_gone(".entry")


def test_stopping(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=1000 delay_ms=50")
    tab.wait_text(".answer", "Once#1")
    tab.click(".composer button", "Stop")
    tab.wait_text(".end", "Stopped by")
    tab.wait_gone(".composer button", "Stop")
    before = tab.text(".answer")
    assert re.fullmatch(r"(\S+#\d+\s*)+", before)
    tab.reload()
    tab.wait_text(".end", "Stopped by")
    assert tab.text(".answer").split() == before.split()


def test_a_message_for_a_busy_agent_waits_its_turn(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=60 delay_ms=100")
    tab.wait_text(".answer", "Once#1")
    say(tab, "tokens=3", "Queue")
    tab.wait_text(".entry", "its turn comes")
    tab.wait("return document.querySelectorAll('.log .bubble.user').length === 2")
    wait_answer(tab, story(3))
    answers = tab.run(
        "return [...document.querySelectorAll('.answer')].map(e => e.innerText.trim())"
    )
    assert answers == [story(60), story(3)]


def test_a_queued_message_whose_run_is_stopped_is_given_back(at: At, server: Server) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=1000 delay_ms=40")
    tab.wait_text(".answer", "Once#1")
    say(tab, "never read", "Queue")
    tab.wait_text(".entry", "its turn comes")
    server.post(f"/v1/threads/{thread_of(tab)}/cancel")
    tab.wait_text(".entry", "not sent: its run was ended before it began")
    tab.click(".entry button", "Remove")
    tab.wait_gone(".entry")


def test_a_queued_message_outlives_an_interruption_and_a_reload(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=1000 delay_ms=40")
    tab.wait_text(".answer", "Once#1")
    say(tab, "tokens=7", "Queue")
    tab.wait_text(".entry", "its turn comes")
    tab.reload()
    tab.wait_text(".entry .said", "tokens=7")
    tab.type(".composer textarea", "tokens=3")
    tab.click(".composer button", "Interrupt")
    tab.wait_gone(".entry")
    said = "return [...document.querySelectorAll('.log .said')].map((each) => each.innerText)"
    assert tab.run(said)[0] == "tokens=1000 delay_ms=40"
    assert sorted(tab.run(said)[1:]) == ["tokens=3", "tokens=7"]


def test_a_message_may_interrupt(at: At) -> None:
    tab = at("#/chat/storyteller")
    say(tab, "tokens=1000 delay_ms=40")
    tab.wait_text(".answer", "#5 ")
    tab.type(".composer textarea", "tokens=3")
    tab.click(".composer button", "Interrupt")
    wait_answer(tab, story(3))
    tab.wait_text(".end", "A newer message took its place")


def test_failures_and_attempts_are_told(at: At) -> None:
    tab = at("#/chat/flaky")
    say(tab, "fail=permanent")
    tab.wait_text(".end", "this fails every time, as it was asked to")
    say(tab, "fail=transient:1 tokens=2")
    tab.wait_text(".within", "Attempt 2")
    wait_answer(tab, story(2))
    tab.reload()
    tab.wait_text(".end", "this fails every time")


# --- tools and questions -------------------------------------------------------------------------


def test_tools_are_shown_with_arguments_and_results(at: At) -> None:
    tab = at("#/chat/assistant")
    say(tab, "weather in Paris and 6 * 7")
    tab.wait_text(".answer", "42.")
    assert tab.count(".call") == 2
    tab.wait_text(".call", '{"city":"Paris"}')
    tab.click(".call summary")
    tab.wait_text(".call-more", '"celsius": 18')
    assert "Let me look" not in tab.run("return document.body.innerText"), "reasoning is folded"
    tab.click(".reasoning summary")
    tab.wait_text(".reasoning", "Let me look that up.")


def test_an_approval_in_the_conversation(at: At) -> None:
    tab = at("#/chat/clerk")
    say(tab, "refund order 17 amount=20")
    tab.wait_text(".ticket", "Allow refund?")
    tab.reload()
    tab.click(".ticket button", "Approve")
    wait_answer(tab, "I refunded 20.0 for order 17.")
    tab.wait_text(".ticket", "answered")
    assert tab.count(".ticket button:not([hidden])") == 0 or not tab.run(
        "return document.querySelector('.ticket .actions').checkVisibility()"
    )


def test_a_tool_of_the_client_is_answered_with_a_form(at: At) -> None:
    tab = at("#/chat/helper")
    say(tab, "hello")
    tab.type(".ticket .field input", "teal")
    tab.click(".ticket button", "Send the result")
    wait_answer(tab, "You picked teal.")


def test_a_question_is_answered_with_a_form_made_from_its_schema(
    tab: Tab, evil_server: Server
) -> None:
    tab.open(f"{evil_server.base_url}/#/chat/waiter")
    say(tab, "a table for one")
    tab.wait_text(".ticket", "What will it be?")
    tab.click(".ticket button", "Answer")
    tab.wait_text(".ticket .trouble", "dish is required")
    tab.choose(".ticket .field select", "fish")
    tab.type(".ticket .field input[type=number]", "12")
    tab.choose(".ticket .field:nth-of-type(3) select", "yes")
    tab.click(".ticket button", "Answer")
    tab.wait_text(".ticket .trouble", "count must be at most 9")
    tab.clear(".ticket .field input[type=number]")
    tab.type(".ticket .field input[type=number]", "2")
    tab.wait_gone(".ticket .trouble")
    tab.click(".ticket button", "Answer")
    wait_answer(tab, "It gave: 2 fish, sharp")


def test_a_question_is_answered_with_json_and_by_a_message(tab: Tab, evil_server: Server) -> None:
    tab.open(f"{evil_server.base_url}/#/chat/waiter")
    say(tab, "a table for two")
    tab.click(".ticket button", "Write JSON instead")
    tab.clear(".ticket textarea.code")
    tab.type(".ticket textarea.code", '{"dish": "soup", "count": 0, "sharp": false}')
    tab.wait_text(".ticket .trouble", "count must be at least 1")
    tab.clear(".ticket textarea.code")
    tab.type(".ticket textarea.code", '{"dish": "soup", "count": 1, "sharp": false}')
    tab.click(".ticket button", "Answer")
    wait_answer(tab, "It gave: 1 soup, mild")
    say(tab, "and again")
    tab.wait_text(".ticket.open", "What will it be?")
    order = json.dumps({"dish": "fish", "count": 3, "sharp": False})
    say(tab, order, "Answer")
    wait_answer(tab, "It gave: 3 fish, mild")


def test_progress_and_output_of_a_tool_are_seen_while_it_works(
    tab: Tab, evil_server: Server
) -> None:
    tab.open(f"{evil_server.base_url}/#/chat/digger")
    say(tab, "dig")
    tab.wait_text(".progress", "m deep")
    tab.wait_text(".output", "stone 2")
    wait_answer(tab, "It gave: water")
    assert not tab.run("return document.querySelector('.progress').checkVisibility()")


# --- with the keyboard ---------------------------------------------------------------------------


def test_enter_sends_and_shift_enter_makes_a_line(at: At) -> None:
    tab = at("#/chat/echo")
    tab.type(".composer textarea", "one\ue008\ue007\ue008two" + ENTER)
    wait_answer(tab, "one\ntwo")
    assert tab.run("return document.activeElement.tagName") == "TEXTAREA"


def test_an_example_is_offered_and_can_be_changed(at: At) -> None:
    tab = at("#/chat/clerk")
    tab.click(".hints button", "refund order 17")
    assert tab.run("return document.activeElement.value") == "refund order 17 amount=20"
    tab.press(ENTER)
    tab.wait_text(".ticket", "refund")


def test_a_run_already_under_way_is_joined(at: At, server: Server) -> None:
    run = server.post("/v1/runs/background", run_body("storyteller", "tokens=60 delay_ms=30"))
    tab = at(f"#/chat/storyteller/{run['thread_id']}")
    tab.wait_text(".composer button", "Stop")
    wait_answer(tab, story(60))
