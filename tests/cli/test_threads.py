"""`awaken threads` and `awaken resources`, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import awaken, begin, process, settled
from tests.e2e.harness import Server

pytestmark = pytest.mark.xdist_group("cli-threads")


def owned(server: Server, thread_id: str, resource_id: str, **fields: str) -> str:
    """A thread of a resource, with a conversation."""
    body = {"thread_id": thread_id, "resource_id": resource_id, **fields}
    server.post("/v1/threads", body)
    settled(server, "echo", f"hello from {thread_id}", thread_id=thread_id)
    return thread_id


def test_threads_are_listed_and_filtered_by_their_resource(server: Server) -> None:
    owned(server, "mine", "ann", title="A title")
    owned(server, "theirs", "bob")
    listed = awaken("threads", "ls", "--resource", "ann", server=server)
    lines = listed.out.splitlines()
    assert lines[0].split() == ["THREAD", "AGENT", "CHANGED", "TITLE"]
    assert len(lines) == 2
    assert lines[1].startswith("mine ")
    assert lines[1].endswith("A title")
    everything = awaken("threads", "ls", "--json", server=server).json
    assert {"mine", "theirs"} <= {thread["thread_id"] for thread in everything}


def test_a_thread_is_shown_with_its_messages(server: Server) -> None:
    run = settled(server, "assistant", "6 * 7")
    shown = awaken("threads", "show", run["thread_id"], server=server)
    assert shown.code == 0
    for text in ("[1] user\n6 * 7", "→ calculate", "tool\n42"):
        assert text in shown.out
    document = awaken("threads", "show", run["thread_id"], "--json", server=server).json
    assert document["messages"][0]["role"] == "user"
    assert document["thread_id"] == run["thread_id"]


def test_a_message_cannot_command_the_terminal(server: Server) -> None:
    run = settled(server, "echo", "red \x1b[31m alert\x07")
    shown = awaken("threads", "show", run["thread_id"], server=server)
    assert "red [31m alert" in shown.out
    assert "\x1b" not in shown.out


def test_all_that_goes_on_in_a_thread_is_stopped(server: Server) -> None:
    for _ in range(2):
        begin(server, "storyteller", "tokens=5000 delay_ms=20", thread_id="busy")
    stopped = awaken("threads", "cancel", "busy", server=server)
    assert (stopped.code, stopped.out) == (0, "stopping 2 runs of busy\n")
    idle = settled(server, "echo", "x")["thread_id"]
    nothing = awaken("threads", "cancel", idle, "--json", server=server).json
    assert nothing["status"] == "nothing_to_stop"


def test_a_thread_is_deleted_only_when_it_is_said_so(server: Server) -> None:
    thread_id = settled(server, "echo", "x")["thread_id"]
    unsure = process("threads", "rm", thread_id, AWAKEN_URL=server.base_url)
    assert (unsure.code, unsure.out) == (2, "")
    assert "--yes" in unsure.err
    assert server.get(f"/v1/threads/{thread_id}")["thread_id"] == thread_id
    deleted = awaken("threads", "rm", thread_id, "--yes", server=server)
    assert deleted.code == 0, deleted.err
    assert deleted.out.startswith(f"thread {thread_id} is deleted: 1 thread, 1 run,")
    gone = awaken("threads", "show", thread_id, server=server)
    assert (gone.code, gone.out) == (12, "")
    assert "thread_not_found" in gone.err


def test_what_becomes_of_the_threads_below_can_be_said(server: Server) -> None:
    server.post("/v1/threads", {"thread_id": "above"})
    server.post("/v1/threads", {"thread_id": "below", "parent_thread_id": "above"})
    refused = awaken("threads", "rm", "above", "--yes", server=server)
    assert refused.code == 13
    done = awaken("threads", "rm", "above", "--yes", "--children", "detach", server=server)
    assert done.code == 0, done.err
    assert server.get("/v1/threads/below")["parent_thread_id"] is None


def test_an_export_goes_to_standard_output_or_whole_to_a_file(
    server: Server, tmp_path: Path
) -> None:
    thread_id = settled(server, "echo", "hello")["thread_id"]
    printed = process("threads", "export", thread_id, AWAKEN_URL=server.base_url)
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert printed.code == 0
    assert lines[-1]["type"] == "end"
    file = tmp_path / "thread.jsonl"
    saved = awaken("threads", "export", thread_id, "-o", str(file), server=server)
    assert saved.out == f"{file.stat().st_size} bytes written to {file}\n"
    assert file.read_text() == printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["thread.jsonl"]


def test_an_export_that_fails_leaves_no_file(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "thread.jsonl"
    missing = awaken("threads", "export", "nowhere", "-o", str(file), server=server)
    assert missing.code == 12
    assert list(tmp_path.iterdir()) == []
    nowhere = tmp_path / "no" / "where.jsonl"
    thread_id = settled(server, "echo", "hello")["thread_id"]
    failed = awaken("threads", "export", thread_id, "-o", str(nowhere), server=server)
    assert failed.code == 1
    assert f"{nowhere} cannot be written: No such file or directory" in failed.err


def test_all_of_a_resource_is_exported_and_deleted(server: Server, tmp_path: Path) -> None:
    for thread_id in ("carol-1", "carol-2"):
        owned(server, thread_id, "carol")
    owned(server, "dave-1", "dave")
    file = tmp_path / "carol.jsonl"
    exported = awaken("resources", "export", "carol", "-o", str(file), "--json", server=server)
    assert exported.json == {"file": str(file), "bytes": file.stat().st_size}
    assert "hello from carol-1" in file.read_text()
    assert "dave" not in file.read_text()
    deleted = awaken("resources", "rm", "carol", "--yes", "--json", server=server)
    assert deleted.json["resource_id"] == "carol"
    assert deleted.json["deleted"]["threads"] == 2
    left = awaken("threads", "ls", "--json", server=server).json
    ids = {thread["thread_id"] for thread in left}
    assert "dave-1" in ids
    assert not {"carol-1", "carol-2"} & ids
    missing = awaken("resources", "export", "carol", server=server)
    assert missing.code == 12
