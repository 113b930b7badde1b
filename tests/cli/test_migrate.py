"""`awaken migrate`: the schema of a file, whoever has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from awaken.stores.sqlite.migrate import migrate, shipped
from tests.cli.support import awaken
from tests.e2e.harness import Server

pytestmark = pytest.mark.xdist_group("cli-migrate")

NEWEST = len(shipped())


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute("pragma user_version").fetchone()[0]
    return number


def older(path: Path) -> None:
    """A store of the first version."""
    with closing(sqlite3.connect(path)) as connection:
        migrate(connection, shipped()[:1])


def run(path: Path, *args: str) -> tuple[int, str, str]:
    return awaken("migrate", "--store", f"sqlite:///{path}", *args)


def test_a_store_is_made_and_is_then_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "new" / "awaken.db"
    checked = run(path, "--check")
    assert checked[0] == 1
    assert "there is no store yet" in checked[1]
    assert not path.parent.exists()
    assert run(path) == (0, f"sqlite:///{path}: schema {NEWEST}, was not there\n", "")
    assert run(path, "--check") == (0, f"sqlite:///{path}: schema {NEWEST}, up to date\n", "")
    assert sorted(each.name for each in path.parent.iterdir()) == ["awaken.db", "awaken.db.lock"]


def test_an_older_store_is_migrated_but_not_by_a_check(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    older(path)
    checked = run(path, "--check")
    assert (checked[0], version(path)) == (1, 1)
    assert f"schema 1, to become {NEWEST}" in checked[1]
    assert run(path)[:2] == (0, f"sqlite:///{path}: schema {NEWEST}, was 1\n")
    assert version(path) == NEWEST


def test_a_newer_store_is_refused_with_what_to_do_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")
    code, out, err = run(path)
    assert (code, out, version(path)) == (1, "", 99)
    assert f"schema 99, and this version knows schemas up to {NEWEST}" in err
    assert "Install the version that wrote it" in err


def test_it_says_which_server_has_the_store(data_dir: Path) -> None:
    path = data_dir / "awaken.db"
    with Server(data_dir) as server:
        code, out, _ = run(path)
        assert code == 0
        assert f"up to date; process {server.pid} (worker " in out
        held = awaken("migrate", "--store", f"sqlite:///{path}", "--json").json
        assert (held["schema"], held["newest"], held["holder"]["pid"]) == (
            NEWEST,
            NEWEST,
            server.pid,
        )
        server.kill()
    assert awaken("migrate", "--store", f"sqlite:///{path}", "--json").json["holder"] is None


def test_a_store_that_has_to_be_migrated_is_not_while_a_server_has_it(tmp_path: Path) -> None:
    import fcntl
    import os

    path = tmp_path / "old.db"
    older(path)
    lock = tmp_path / "old.db.lock"
    lock.write_text(f'{{"pid": {os.getpid()}, "started_at": 1, "worker": "older-server"}}')
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, out, err = run(path)
    assert (code, out, version(path)) == (1, "", 1)
    assert f"process {os.getpid()} (worker older-server); stop that process first" in err


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("this is no database, however long one looks at it" * 10)
    assert "is not a database" in run(path)[2]
    memory = awaken("migrate", "--store", "sqlite://:memory:")
    assert (memory.code, memory.out) == (1, "")
