"""Opening a store: its lock, its schema, and the SQLite it needs."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import msgspec
import pytest

from awaken.errors import StoreFault
from awaken.stores.sqlite import SqliteStore, migrate, wal
from awaken.stores.sqlite.lock import FileLock, Holder
from awaken.stores.sqlite.migrate import Migration, shipped, version
from awaken.testing.clock import START_MS, FakeClock
from awaken.testing.conformance._records import (
    A,
    claim_of,
    dispatch_of,
    grow,
    head_of,
    save_dispatches,
)

HOLDER = Holder(pid=1, started_at=2, worker="w")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(wal.connect(":memory:")) as connection:
        yield connection


# --- the lock -----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_second_store_on_a_file_is_told_who_has_it(path: Path, clock: FakeClock) -> None:
    first = await SqliteStore.open(path, clock=clock, worker_id="first")
    with pytest.raises(StoreFault) as raised:
        await SqliteStore.open(path)
    assert (raised.value.code, raised.value.retryable) == ("store_in_use", False)
    assert f"process {os.getpid()} (worker first)" in raised.value.message
    assert str(path) not in raised.value.message
    await first.aclose()
    second = await SqliteStore.open(path)
    await second.aclose()


def holder_of(path: Path) -> Holder:
    return msgspec.json.decode(Path(f"{path}.lock").read_bytes(), type=Holder)


@pytest.mark.anyio
async def test_the_lock_file_says_who_has_it_since_when(path: Path, clock: FakeClock) -> None:
    store = await SqliteStore.open(path, clock=clock, worker_id="first")
    assert holder_of(path) == Holder(pid=os.getpid(), started_at=START_MS, worker="first")
    await store.abandon()
    again = await SqliteStore.open(path, clock=clock, worker_id="a longer name than before")
    assert holder_of(path).worker == "a longer name than before"
    await again.aclose()


def test_a_lock_file_that_cannot_be_read_still_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = FileLock.take(str(path), HOLDER)
    path.write_text("not json")
    with pytest.raises(StoreFault, match="in use by another process"):
        FileLock.take(str(path), HOLDER)
    held.release()
    held.release()
    FileLock.take(str(path), HOLDER).release()


@pytest.mark.anyio
async def test_a_store_that_cannot_be_opened_leaves_the_lock(path: Path) -> None:
    await anyio.Path(path).write_bytes(b"no database, but long enough to be taken for one" * 100)
    for _ in range(2):
        with pytest.raises(StoreFault) as raised:
            await SqliteStore.open(path)
        assert raised.value.code == "store_corrupt"


@pytest.mark.anyio
async def test_a_directory_that_does_not_exist_is_a_fault(tmp_path: Path) -> None:
    for lock in (False, True):
        with pytest.raises(StoreFault) as raised:
            await SqliteStore.open(tmp_path / "none" / "store.db", lock=lock)
        assert raised.value.code == "store_unavailable"
        assert "none" not in raised.value.message


@pytest.mark.anyio
async def test_what_other_workers_claimed_is_of_the_dead(path: Path, clock: FakeClock) -> None:
    first = await SqliteStore.open(path, clock=clock, worker_id="first")
    await save_dispatches(
        first,
        dispatch_of("of-first", claim_of(9, "first")),
        dispatch_of("of-second", claim_of(9, "second")),
    )
    assert [d.dispatch_id for d in await first.claims_of_the_dead()] == ["of-second"]
    await first.abandon()
    second = await SqliteStore.open(path, clock=clock, worker_id="second")
    assert [d.dispatch_id for d in await second.claims_of_the_dead()] == ["of-first"]
    await second.aclose()
    unlocked = await SqliteStore.open(path, clock=clock, worker_id="third", lock=False)
    assert await unlocked.claims_of_the_dead() == []
    await unlocked.aclose()


@pytest.mark.anyio
async def test_each_life_of_a_store_has_a_worker_id_of_its_own(path: Path) -> None:
    ids = set()
    for _ in range(2):
        store = await SqliteStore.open(path)
        ids.add(store.worker_id)
        await store.aclose()
    assert len(ids) == 2


@pytest.mark.anyio
async def test_what_was_committed_is_there_after_a_restart(path: Path, clock: FakeClock) -> None:
    for seq in range(1, 4):
        store = await SqliteStore.open(path, clock=clock)
        await grow(store)
        assert await store.head(A, "thread-1") == head_of(seq=seq)
        await (store.aclose() if seq % 2 else store.abandon())


@pytest.mark.anyio
async def test_nobody_else_may_read_the_files(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.check()
    for suffix in ("", "-wal", "-shm", ".lock"):
        mode = (await anyio.Path(f"{path}{suffix}").stat()).st_mode
        assert stat.S_IMODE(mode) == 0o600, suffix
    await store.aclose()


# --- the schema ---------------------------------------------------------------------------------


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("select name, sql from sqlite_master order by name").fetchall()


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [m.number for m in shipped()] == list(range(1, len(shipped()) + 1))


def test_the_schema_is_the_sum_of_the_migrations(connection: sqlite3.Connection) -> None:
    migrate.migrate(connection)
    with closing(wal.connect(":memory:")) as step_by_step:
        for count in range(1, len(shipped()) + 1):
            migrate.migrate(step_by_step, shipped()[:count])
            assert version(step_by_step) == count
        assert schema(step_by_step) == schema(connection)


def test_migrating_twice_changes_nothing(connection: sqlite3.Connection) -> None:
    migrate.migrate(connection)
    before = schema(connection)
    migrate.migrate(connection)
    assert schema(connection) == before


def test_a_later_schema_is_refused_by_its_number(connection: sqlite3.Connection) -> None:
    migrate.migrate(connection)
    connection.execute("pragma user_version = 99")
    with pytest.raises(StoreFault, match=f"schema 99, and .* up to {len(shipped())}") as raised:
        migrate.migrate(connection)
    assert (raised.value.code, raised.value.retryable) == ("schema_too_new", False)
    assert version(connection) == 99


def test_a_migration_that_fails_leaves_the_ones_before_it(connection: sqlite3.Connection) -> None:
    good = Migration(1, "0001_good", "create table one (a);")
    bad = Migration(2, "0002_bad", "create table two (a); insert into nowhere values (1);")
    with pytest.raises(sqlite3.OperationalError):
        migrate.migrate(connection, [good, bad])
    assert version(connection) == 1
    assert [name for name, _ in schema(connection)] == ["one"]
    assert not connection.in_transaction
    mended = bad._replace(script="create table two (a);")
    migrate.migrate(connection, [good, mended])
    assert version(connection) == 2


def test_keys_begin_with_the_tenant(connection: sqlite3.Connection) -> None:
    migrate.migrate(connection)
    tables = connection.execute(
        "select name from sqlite_master where type = 'table' and name <> 'probe'"
    ).fetchall()
    for (table,) in tables:
        columns = connection.execute(f"pragma table_info({table})").fetchall()
        key = [name for _, name, _, _, _, place in columns if place == 1]
        assert key == ["tenant"], table
        for _, index, unique, *_ in connection.execute(f"pragma index_list({table})").fetchall():
            first = connection.execute(f"pragma index_info({index})").fetchone()
            assert not unique or first[2] == "tenant", index


# --- the connection -----------------------------------------------------------------------------


def test_an_old_sqlite_is_refused_by_its_version() -> None:
    wal.refuse_old_sqlite((3, 35, 0))
    with pytest.raises(StoreFault, match=r"SQLite 3\.34\.1 is too old: 3\.35 is needed"):
        wal.refuse_old_sqlite((3, 34, 1))


def test_a_connection_is_set_up_for_durability(tmp_path: Path) -> None:
    with closing(wal.connect(str(tmp_path / "x.db"))) as connection:
        settings = {
            name: connection.execute(f"pragma {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
        "foreign_keys": 0,
    }


def test_a_reading_connection_cannot_write(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    wal.connect(path).close()
    with closing(wal.connect(path, reader=True)) as reader, pytest.raises(sqlite3.OperationalError):
        reader.execute("create table t (a)")


def test_a_file_that_cannot_be_in_wal_mode_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "MEMORY", "not memory")
    with pytest.raises(StoreFault) as raised:
        wal.connect(":memory:")
    assert raised.value.code == "store_without_wal"
