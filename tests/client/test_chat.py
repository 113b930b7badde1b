"""`awaken chat` from outside, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.terminal import SECONDS, piped, terminal
from tests.e2e.harness import AWAKEN, Server, free_port, run_body

pytestmark = pytest.mark.xdist_group("e2e-chat")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("chat")) as server:
        yield server


def test_a_whole_conversation_with_tools(server: Server) -> None:
    done = piped(server.base_url, "assistant", lines="weather in Oslo and 6 * 7\n\n 2 + 2\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "assistant at http://127.0.0.1" in done.stdout
    for text in (
        "Let me look that up.",
        '→ get_weather {"city": "Oslo"}',
        '→ calculate {"expression": "6 * 7"}',
        '← get_weather {"city": "Oslo", "celsius": 7, "sky": "clear"}',
        "← calculate 42",
        'Here is what I found: {"city":"Oslo","celsius":7,"sky":"clear"}; 42.',
        "Here is what I found: 4.",
    ):
        assert text in done.stdout
    (thread,) = [line for line in done.stdout.splitlines() if "--thread" in line]
    thread_id = thread.split("--thread ")[1].split()[0]
    messages = server.get(f"/v1/threads/{thread_id}/messages")["items"]
    assert [m["role"] for m in messages].count("user") == 2, "it was one conversation"


def test_approvals_are_asked_and_kept_to(server: Server) -> None:
    edited = json.dumps({"order": "19", "amount": 3})
    lines = [
        *("refund order 17 amount=20", "what?", "y"),
        *("refund order 18 amount=5", "n too much"),
        *("refund order 19 amount=7", "e", "not json", "e", "[]", "e", edited),
    ]
    done = piped(server.base_url, "clerk", lines="\n".join(lines))
    assert done.returncode == 0, done.stderr
    for text in (
        'May it call refund {"order": "17", "amount": 20}?',
        "y, n or e",
        "I refunded 20.0 for order 17.",
        "I did not refund anything: the user denied this call: too much.",
        "that is not JSON",
        "arguments are a JSON object",
        "I refunded 3.0 for order 19.",
    ):
        assert text in done.stdout


def test_a_front_end_tool_is_answered_as_json_and_can_be_declined(server: Server) -> None:
    lines = ["hi", "red", '{"color": "red"}', "again", "/no not now"]
    done = piped(server.base_url, "helper", lines="\n".join(lines))
    assert (
        'What is the result of pick_color {"question": "Which colour do you like?"}?' in done.stdout
    )
    assert '"required": ["color"]' in done.stdout
    assert "'red' is not of type 'object'" in done.stdout
    assert "You picked red." in done.stdout
    assert "You picked nothing." in done.stdout


def test_a_failed_run_is_told_and_the_conversation_goes_on(server: Server) -> None:
    done = piped(server.base_url, "flaky", lines="fail=permanent\nfail=midstream tokens=4\n")
    assert "failed: this fails every time, as it was asked to (demo_permanent)" in done.stdout
    assert "Once#1 upon#2 a#3 time#4" in done.stdout


def test_without_a_name_somebody_is_chosen(server: Server) -> None:
    done = piped(server.base_url, lines="6 * 7\n")
    assert done.stdout.startswith("assistant at ")
    assert "42" in done.stdout


@pytest.mark.parametrize("args", [["nobody"], []])
def test_without_a_server_it_says_what_to_do(args: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = piped(url, *args, lines="hi\n")
    assert done.returncode == 10
    assert f"there is no server at {url}; start one with: awaken serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_talked_to_is_told(server: Server) -> None:
    done = piped(server.base_url, "nobody", lines="hi\n")
    assert done.returncode == 12
    assert "no agent 'nobody'; there are: assistant, clerk" in done.stderr
    wrong = piped("ftp://somewhere", "echo")
    assert wrong.returncode == 2
    assert "not of the form http://host:port" in wrong.stderr


def test_the_server_of_the_settings_is_the_default(server: Server) -> None:
    done = subprocess.run(
        [str(AWAKEN), "chat", "echo"],
        input="hello\n",
        env={**os.environ, "AWAKEN_PORT": str(server.port)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert "hello" in done.stdout.splitlines()


def test_ctrl_c_stops_the_agent_and_then_leaves(server: Server) -> None:
    with terminal(server.base_url, "storyteller") as here:
        here.wait_for("> ")
        here.type("tokens=2000 delay_ms=10")
        here.wait_for("server#26")
        here.interrupt("stopped; kept: ")
        assert "words of the answer" in here.wait_for("> ")
        here.type("tokens=3 delay_ms=0")
        here.wait_for("Once#1 upon#2 a#3")
        here.wait_for("> ")
        here.interrupt("Go on with: awaken chat --thread ")
        assert here.wait_end() == 0
    (run,) = server.get("/v1/runs", limit=2)["items"][1:]
    assert run["termination"]["type"] == "cancelled"


def test_a_signal_stops_the_agent_without_a_terminal_too(server: Server) -> None:
    process = subprocess.Popen(
        [str(AWAKEN), "chat", "storyteller", "--url", server.base_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"tokens=2000 delay_ms=10\n")
        shown = b""
        while b"story#10" not in shown:
            shown += process.stdout.read(4096)
        process.send_signal(signal.SIGINT)
        while b"stopped; kept" not in shown:
            shown += process.stdout.read(4096)
        process.stdin.close()
        assert process.wait(SECONDS) == 0


def test_in_a_terminal_arguments_can_be_edited_and_questions_left_open(server: Server) -> None:
    with terminal(server.base_url, "clerk") as here:
        here.wait_for("> ")
        here.type("refund order 17 amount=20")
        here.wait_for("y/n/e> ")
        here.type("e")
        here.wait_for('arguments> {"order": "17", "amount": 20}')
        here.press("\x7f\x7f\x7f5}")
        here.press("\r")
        here.wait_for("I refunded 5.0 for order 17.")
        here.wait_for("> ")
        here.type("refund order 18 amount=6")
        here.wait_for("y/n/e> ")
        here.interrupt("The agent waits for an answer")
        thread_id = here.wait_for(" --url").split("--thread ")[1].split()[0]
        assert here.wait_end() == 0
    with terminal(server.base_url, "--thread", thread_id) as here:
        here.wait_for("which is waiting")
        here.wait_for('May it call refund {"order": "18", "amount": 6}?')
        here.type("y")
        here.wait_for("I refunded 6.0 for order 18.")
        here.wait_for("> ")
        here.press("\x04")
        assert here.wait_end() == 0


def test_a_decision_somebody_else_made_is_told_and_the_run_goes_on(server: Server) -> None:
    with terminal(server.base_url, "clerk") as here:
        here.wait_for("> ")
        here.type("refund order 20 amount=8")
        here.wait_for("y/n/e> ")
        (ticket,) = server.get("/v1/tickets", limit=1)["items"]
        server.post(f"/v1/tickets/{ticket['ticket_id']}/decision", {"action": "resume"})
        here.type("n")
        here.wait_for("the ticket is answered already")
        here.wait_for("I refunded 8.0 for order 20.")


def test_a_run_that_was_started_elsewhere_is_taken_up(server: Server) -> None:
    body = run_body("storyteller", "tokens=5000 delay_ms=20", thread_id="elsewhere")
    run_id = server.post("/v1/runs/background", body)["run_id"]
    with terminal(server.base_url, "--thread", "elsewhere") as here:
        here.wait_for(f"taking up run {run_id}")
        here.wait_for("Once#1 upon#2")
        here.wait_for("story#30")
        server.post(f"/v1/runs/{run_id}/cancel")
        here.wait_for("stopped; kept: ")
        here.wait_for("> ")
        here.type("tokens=2 delay_ms=0")
        here.wait_for("Once#1 upon#2")


def test_a_conversation_survives_the_death_of_its_server(data_dir: Path) -> None:
    with Server(data_dir) as server, terminal(server.base_url, "storyteller") as here:
        here.wait_for("> ")
        here.type("tokens=60 delay_ms=20")
        here.wait_for("story#20")
        server.kill()
        here.wait_for("trying again")
        server.start()
        here.wait_for("it is back")
        here.wait_for("endless#59 story#60")
        here.wait_for("> ")


def test_waiting_for_a_server_can_be_given_up(data_dir: Path) -> None:
    with Server(data_dir) as server, terminal(server.base_url, "echo") as here:
        here.wait_for("> ")
        server.kill()
        here.type("hello")
        here.wait_for("trying again")
        here.interrupt("no longer following")
        here.wait_for("> ")
        here.interrupt("Go on with")
        assert here.wait_end() == 0
