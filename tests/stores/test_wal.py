"""The write-ahead log stays short, and reading does not hold it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event

import anyio
import pytest

from awaken.domain.event import TextDelta
from awaken.stores.sqlite import SqliteStore, wal
from awaken.testing.clock import FakeClock
from awaken.testing.conformance._records import THREAD, A, grow

KIB = 1024


class Watched(wal.Checkpointer):
    """A checkpointer that says when it has done something."""

    def __init__(self, path: str) -> None:
        self.done: list[str] = []
        self.passive = Event()
        super().__init__(path)

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        super()._checkpoint(connection, mode)
        self.done.append(mode)
        self.passive.set()


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(wal.connect(str(path))) as connection:
        connection.execute("create table t (a)")
        yield connection


@pytest.fixture
def checkpointer(path: Path, writer: sqlite3.Connection) -> Iterator[Watched]:
    checkpointer = Watched(str(path))
    yield checkpointer
    checkpointer.close()
    checkpointer.join()


def write(connection: sqlite3.Connection, changes: int, size: int = 1) -> None:
    rows = (("x" * size,) for _ in range(changes))
    connection.execute("begin")
    connection.executemany("insert into t values (?)", rows)
    connection.execute("commit")


def wal_bytes(path: Path) -> int:
    return os.stat(f"{path}-wal").st_size


def test_a_checkpoint_follows_a_number_of_changes(
    path: Path, writer: sqlite3.Connection, checkpointer: Watched
) -> None:
    before = path.stat().st_size
    write(writer, wal.CHECKPOINT_PAGES // 2)
    checkpointer.between(writer)
    assert not checkpointer.passive.wait(0.05)
    write(writer, wal.CHECKPOINT_PAGES)
    checkpointer.between(writer)
    assert checkpointer.passive.wait(5)
    assert checkpointer.done == ["passive"]
    assert path.stat().st_size > before


def test_a_replaced_connection_counts_from_its_own_start(
    path: Path, writer: sqlite3.Connection, checkpointer: Watched
) -> None:
    write(writer, wal.CHECKPOINT_PAGES)
    checkpointer.between(writer)
    assert checkpointer.passive.wait(5)
    with closing(wal.connect(str(path))) as other:
        checkpointer.passive.clear()
        write(other, 1)
        checkpointer.between(other)
        assert checkpointer.passive.wait(5)


def test_a_log_that_has_grown_too_long_is_emptied_by_the_writer(
    path: Path,
    writer: sqlite3.Connection,
    checkpointer: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpointer._limit = 256 * KIB
    monkeypatch.setattr(wal, "MAX_WAL_BYTES", 256 * KIB)
    write(writer, wal.CHECKPOINT_PAGES, size=KIB)
    assert wal_bytes(path) > 256 * KIB
    checkpointer.between(writer)
    assert checkpointer.done == ["truncate"]
    assert wal_bytes(path) == 0
    assert writer.execute("pragma busy_timeout").fetchone() == (wal.BUSY_MS,)


def test_a_reader_that_stays_delays_the_writer_once_until_the_log_has_doubled(
    path: Path,
    writer: sqlite3.Connection,
    checkpointer: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpointer._limit = 256 * KIB
    monkeypatch.setattr(wal, "MAX_WAL_BYTES", 256 * KIB)
    with closing(wal.connect(str(path), reader=True)) as reader:
        write(writer, 1)
        reader.execute("begin")
        reader.execute("select count(*) from t").fetchall()
        write(writer, wal.CHECKPOINT_PAGES, size=KIB)
        checkpointer.between(writer)
        size = wal_bytes(path)
        assert size > 256 * KIB
        write(writer, wal.CHECKPOINT_PAGES // 2, size=KIB)
        checkpointer.between(writer)
        assert "truncate" in checkpointer.done
        assert checkpointer.done.count("truncate") == 1
    write(writer, wal.CHECKPOINT_PAGES, size=KIB)
    checkpointer.between(writer)
    assert wal_bytes(path) == 0


def test_a_checkpoint_that_fails_is_logged_and_no_more(
    writer: sqlite3.Connection, checkpointer: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def execute(self, _: str) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    checkpointer._checkpoint(Broken(), "passive")  # type: ignore[arg-type]  # all that is used
    assert "checkpoint (passive) failed" in caplog.text


@pytest.mark.anyio
async def test_a_store_under_steady_writing_keeps_its_log_short(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "MAX_WAL_BYTES", 512 * KIB)
    monkeypatch.setattr(wal, "CHECKPOINT_PAGES", 50)
    store = await SqliteStore.open(path, clock=clock)
    for _ in range(300):
        await grow(store, events=(TextDelta(delta="x" * 20 * KIB),))
        assert len(await store.segments(A, THREAD, 0, 1)) == 1
    assert wal_bytes(path) < 4 * 512 * KIB
    await store.aclose()
    assert not await anyio.Path(f"{path}-wal").exists()
    assert (await anyio.Path(path).stat()).st_size > 3_000 * KIB
