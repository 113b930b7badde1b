"""What docs/tutorial.md lets a reader do on the page; the rest of it is run by tests/docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.harness import Server
from tests.page.webdriver import Tab

pytestmark = [pytest.mark.xdist_group("page-tutorial"), pytest.mark.timeout(180)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
ANSWER = "Order 17: 20 paid back. Is there anything else that I can do for you?"


def agent_of_the_tutorial(place: Path) -> Path:
    """`my_agent.py` as it is printed, but for where its effect is written."""
    block = re.search(r"```python\n(# my_agent\.py\n.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert block is not None
    path = place / "my_agent.py"
    path.write_text(block[1].replace('"refunds.log"', repr(str(place / "refunds.log"))))
    return path


def test_a_refund_is_asked_for_approved_and_told_over_two_deaths_of_the_server(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    effects = tmp_path / "refunds.log"
    agent = agent_of_the_tutorial(tmp_path)
    with Server(tmp_path / "data", target=str(agent)) as server:
        tab.open(f"{server.base_url}/")
        tab.click(".card", "shop")
        tab.type(".composer textarea", "Please refund order 17.")
        tab.click(".composer button", "Send")
        tab.wait_text(".ticket", "refund")
        server.kill()
        tab.wait_text(".away", "does not answer")
        server.start()
        tab.wait_gone(".away")
        assert not effects.exists()
        tab.click(".ticket button", "Approve")
        tab.wait_text(".answer", "Order 17")
        server.kill()
        server.start()
        tab.wait_text(".answer", ANSWER)
        assert tab.count(".answer") == 1
        assert tab.text(".answer").strip() == ANSWER, "a word is missing, or came twice"
    assert effects.read_text() == "order 17: 20\n"
