"""What is stored can be read back, and what cannot is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import msgspec
import pytest

from awaken.domain.dispatch import Dispatch
from awaken.errors import RequestError, StoreFault
from awaken.ports.store import RunFilter, Transaction
from awaken.stores import codec, pages
from awaken.stores.sqlite import SqliteStore
from awaken.testing.conformance._records import (
    THREAD,
    A,
    grow,
    head_of,
    queued,
    run_of,
    save,
    stored_of,
)


def test_a_record_survives_its_codec() -> None:
    dispatch = queued("d-1", last_error='quote " and \u00e9', dedupe_key=None)
    assert codec.DISPATCH.decode(codec.encode(dispatch), "d-1") == dispatch


def test_a_field_that_is_not_known_yet_is_ignored() -> None:
    later = msgspec.to_builtins(queued("d-1")) | {"added_later": 1}
    assert codec.DISPATCH.decode(msgspec.json.encode(later), "d-1") == queued("d-1")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'"\xff"', b'{"body": {"type": "new"}}'])
def test_a_record_that_cannot_be_read_is_named(data: bytes) -> None:
    with pytest.raises(StoreFault) as raised:
        codec.DISPATCH.decode(data, "d-1")
    assert (raised.value.code, raised.value.retryable) == ("undecodable_record", False)
    assert raised.value.message == "the stored dispatch d-1 cannot be read"


def spoil(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update runs set data = '{' where run_id = 'run-1'")
        connection.execute("update messages set data = x'00' where message_seq = 1")
        connection.execute("update events set data = '[[1]]' where last_seq = 1")
        connection.execute("update dispatches set data = '{}' where dispatch_id = 'd-1'")


@pytest.mark.anyio
async def test_an_undecodable_row_spoils_no_other(file_store: SqliteStore, path: Path) -> None:
    store = file_store
    await save(
        store,
        *(lambda tx, n=n: tx.put_run(run_of(f"run-{n}")) for n in (1, 2)),
        *(lambda tx, n=n: tx.put_dispatch(queued(f"d-{n}", rank=n)) for n in (1, 2)),
        lambda tx: tx.put_message(A, stored_of(1)),
    )
    await grow(store)
    await grow(store)
    await anyio.to_thread.run_sync(spoil, path)

    async def first(tx: Transaction) -> Dispatch | None:
        tx.put_head(head_of(seq=9))
        return await tx.first_due(A, THREAD)

    for read, name in (
        (store.run(A, "run-1"), "run run-1"),
        (store.checkpoint(A, "run-2"), "message 1"),
        (store.segments(A, THREAD, 0, 10), "segment thread-1/1"),
        (store.transact(first), "dispatch d-1"),
    ):
        with pytest.raises(StoreFault, match=f"the stored {name} cannot be read"):
            await read
    assert await store.run(A, "run-2") is not None
    runs = await store.runs(A, RunFilter(), 10, None)
    assert [run.run_id for run in runs.items] == ["run-2"], "left out, not in the way"
    assert [s.last_seq for s in await store.segments(A, THREAD, 1, 10)] == [2]
    assert await store.head(A, THREAD) == head_of(seq=2)


@pytest.mark.anyio
async def test_a_value_that_json_cannot_hold_fails_its_operation_alone(store: SqliteStore) -> None:
    with pytest.raises(TypeError):
        await save(store, lambda tx: tx.put_run(run_of(state={"x": object()})))
    assert await store.run(A, "run-1") is None
    await store.check()


def test_a_page_key_leads_back_to_its_place() -> None:
    scope = pages.scope("runs", A, RunFilter())
    key = pages.encode(scope, ("run-1", 5))
    assert pages.decode(scope, key, tuple[str, int]) == ("run-1", 5)
    assert key.isascii()


@pytest.mark.parametrize("key", ["", "x", "====", "bm9uZQ==", "\u00e9", "W10="])
def test_a_made_up_page_key_is_refused(key: str) -> None:
    with pytest.raises(RequestError, match="not one of ours"):
        pages.decode("scope", key, tuple[str, int])


def test_a_page_key_of_another_list_is_refused() -> None:
    key = pages.encode(pages.scope("runs", A), ("run-1", 5))
    with pytest.raises(RequestError, match="another list or to other filters"):
        pages.decode(pages.scope("runs", "B"), key, tuple[str, int])
