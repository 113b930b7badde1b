"""What commands print: for people in a terminal, for pipes, for programs; and how errors look."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest

from awaken.cli import show
from awaken.cli.codes import Code
from awaken.cli.session import address_of, told
from awaken.cli.show import Column
from awaken.client import ClientError
from awaken.server.settings import Settings
from tests.cli.support import SECONDS, awaken, process, settled
from tests.e2e.harness import AWAKEN, Server, free_port

pytestmark = pytest.mark.xdist_group("cli-output")

LONG_NAME = "an-agent-with-a-name-that-is-much-longer-than-any-column-of-a-table-should-ever-be"


def in_terminal(*args: str, columns: int = 80, **env: str) -> str:
    """What a terminal of that width is shown."""
    mine, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    not_kept = ("COLUMNS", "NO_COLOR")
    kept = {name: value for name, value in os.environ.items() if name not in not_kept}
    with subprocess.Popen(
        [str(AWAKEN), *args],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **env},
    ) as command:
        os.close(theirs)
        shown = b""
        while piece := _read(mine):
            shown += piece
        command.wait(SECONDS)
    os.close(mine)
    return shown.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other side is closed
        return b""


def plain(text: str) -> str:
    """The text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("what", ["runs", "threads", "tickets", "dead-letters"])
def test_tables_fit_80_columns_and_keep_ids_whole(server: Server, what: str) -> None:
    settled(server, "clerk", "refund order 17 amount=20 " + "x" * 300)
    settled(server, "flaky", "fail=permanent")
    shown = in_terminal(what, "ls", "--url", server.base_url)
    lines = plain(shown).splitlines()
    assert len(lines) >= 2
    assert max(map(len, lines)) <= 80
    known = json.loads(awaken(what, "ls", "--json", server=server).out)
    key = {"runs": "run_id", "threads": "thread_id", "tickets": "ticket_id"}
    for item in known:
        assert item[key.get(what, "dispatch_id")] in plain(shown)


def test_nothing_is_cut_for_a_pipe(server: Server) -> None:
    long_id = "thread-" + "y" * 100
    settled(server, "echo", "x", thread_id=long_id)
    listed = process("threads", "ls", AWAKEN_URL=server.base_url, COLUMNS="40")
    assert any(line.startswith(f"{long_id}  echo") for line in listed.out.splitlines())
    assert "\x1b" not in listed.out
    shown = in_terminal("threads", "ls", "--url", server.base_url)
    folded = plain(shown).replace("\n", "")
    assert "…" not in folded.split("CHANGED")[0]


def test_a_wide_column_is_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("ID", lambda row: row[0], whole=True), Column("NAME", lambda row: row[1])]
    show.table([("0" * 36, LONG_NAME)], columns, empty="")
    assert capsys.readouterr().out.splitlines()[1] == f"{'0' * 36}  {LONG_NAME}"


def test_no_colour_where_none_is_wanted(server: Server) -> None:
    settled(server, "echo", "x")
    assert "\x1b[" in in_terminal("runs", "ls", "--url", server.base_url)
    assert "\x1b[" not in in_terminal("runs", "ls", "--url", server.base_url, NO_COLOR="1")
    refused = in_terminal("runs", "show", "nowhere", "--url", server.base_url, NO_COLOR="1")
    assert "run_not_found" in refused
    assert "\x1b[" not in refused


def test_a_pipe_that_is_closed_early_is_no_error(server: Server) -> None:
    for _ in range(3):
        settled(server, "storyteller", "tokens=400 delay_ms=0")
    command = f"{AWAKEN} runs ls --all --json --url {server.base_url} | head -c 10"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.stdout == '[{"run_id"'
    assert done.stderr == ""


# --- errors --------------------------------------------------------------------------------------


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Somebody who gives this answer to everybody, or, if it is empty, none."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer:
                    connection.recv(65_536)
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(SECONDS)
    for connection in kept:
        connection.close()


def http(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nconnection: close\r\n\r\n{body}".encode()


BROKEN = http("500 Oops", '{"error": {"code": "internal", "message": "unexpected"}}')


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (BROKEN, Code.server_error, "the server failed: unexpected (internal); its log says more"),
        (http("200 OK", "hello"), Code.unreachable, "is --url right?"),
        (http("404 Not Found", "nothing"), Code.unreachable, "does not answer as an Awaken server"),
        (b"", Code.unreachable, "takes connections but does not answer"),
    ],
    ids=["broken", "somebody-else", "no-such-page", "silent"],
)
def test_every_error_is_one_line_on_standard_error_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, code: Code, text: str
) -> None:
    monkeypatch.setattr("awaken.cli.session.ANSWER_SECONDS", 0.5)
    with answering(answer) as url:
        failed = awaken("runs", "ls", "--json", "--url", url)
    assert (failed.code, failed.out) == (code, "")
    assert len(failed.err.splitlines()) == 1
    assert text in failed.err


def test_without_a_server_every_command_says_how_to_start_one() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in (
        ["runs", "ls"],
        ["runs", "tail", "x"],
        ["threads", "export", "x"],
        ["tickets", "approve", "x"],
        ["dead-letters", "requeue", "x"],
        ["resources", "rm", "x", "--yes"],
    ):
        failed = awaken(*command, "--url", url)
        assert (failed.code, failed.out) == (Code.unreachable, ""), command
        assert f"there is no server at {url}; start one with: awaken serve" in failed.err


def test_a_wrong_setting_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    failed = process("runs", "ls", cwd=tmp_path, AWAKEN_PORT="many")
    assert (failed.code, failed.out) == (1, "")
    assert "AWAKEN_PORT: expected a whole number" in failed.err


def test_a_server_of_another_version_is_told() -> None:
    error = ClientError("route_not_found", "no such route", status=404)
    assert told("http://x", error)[1] is Code.server_error


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9"),
        ("::1", "http://[::1]:9"),
        ("[::1]", "http://[::1]:9"),
        ("localhost", "http://localhost:9"),
    ],
)
def test_the_server_of_the_settings_is_found(host: str, url: str) -> None:
    assert address_of(Settings(host=host, port=9)) == url


def test_a_server_on_any_free_port_has_to_be_named(tmp_path: Path) -> None:
    failed = process("runs", "ls", cwd=tmp_path, AWAKEN_PORT="0")
    assert failed.code == Code.usage
    assert "--url or AWAKEN_URL" in failed.err


def test_every_exit_code_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    told = {int(number) for number in re.findall(r"^\| (\d+) \| ", page, re.MULTILINE)}
    assert told == {code.value for code in Code}


def test_a_server_that_listens_everywhere_is_asked_here() -> None:
    settings = Settings.model_construct(host="0.0.0.0", port=9)
    assert address_of(settings) == "http://127.0.0.1:9"


# --- the command itself --------------------------------------------------------------------------


def test_every_group_and_command_has_help_of_one_line() -> None:
    for args in ([], ["runs"], ["threads"], ["tickets"], ["dead-letters"], ["resources"], ["keys"]):
        helped = awaken(*args, "--help")
        assert helped.code == 0
        assert "Commands:" in helped.out
        assert "..." not in helped.out.partition("Commands:")[2], helped.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['awaken', '--help']\n"
        "from awaken.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'fastapi', 'httpx', 'pydantic', 'anyio', 'uvicorn', 'rich', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def completed(words: str, place: str) -> list[str]:
    """What bash is told."""
    done = process(_AWAKEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place)
    return done.out.split()


def test_the_shell_can_complete_commands() -> None:
    assert completed("awaken dead", "1") == ["dead-letters"]
    assert completed("awaken runs ta", "2") == ["tail"]
    assert "--install-completion" in awaken("--help").out


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "awaken.cli", "--version"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout.startswith("awaken ")


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_900, "59.9 s"),
        (60_000, "1 min"),
        (7_200_000, "2 h"),
        (172_800_000, "2 d"),
    ],
)
def test_durations_are_told_in_the_unit_that_fits(ms: int, text: str) -> None:
    assert show.duration(ms) == text
