"""sqlite3's errors as faults of the store: a stable code, and a text without path or SQL."""

from __future__ import annotations

import sqlite3
from typing import Final

from awaken.errors import StoreFault, UndecodableRecord

# Primary result code: (code, text, whether a retry can help).
_KNOWN: Final[dict[int, tuple[str, str, bool]]] = {
    sqlite3.SQLITE_FULL: ("store_full", "the disk of the store is full", True),
    sqlite3.SQLITE_IOERR: ("store_io", "the store's disk failed to read or write", True),
    sqlite3.SQLITE_BUSY: ("store_busy", "another process holds the store", True),
    sqlite3.SQLITE_LOCKED: ("store_busy", "another connection holds the store", True),
    sqlite3.SQLITE_NOMEM: ("store_memory", "the store has no memory left", True),
    sqlite3.SQLITE_INTERRUPT: ("store_interrupted", "the store was interrupted", True),
    sqlite3.SQLITE_CANTOPEN: ("store_unavailable", "the store's file cannot be opened", True),
    sqlite3.SQLITE_CORRUPT: ("store_corrupt", "the store's file is damaged", False),
    sqlite3.SQLITE_NOTADB: ("store_corrupt", "the store's file is not a database", False),
    sqlite3.SQLITE_READONLY: ("store_readonly", "the store's file cannot be written", False),
    sqlite3.SQLITE_CONSTRAINT: ("store_constraint", "the store refuses contradictory rows", False),
    sqlite3.SQLITE_TOOBIG: ("store_too_big", "a value is too big for the store", False),
}
_OTHER: Final = ("store_error", "the store failed", False)


def _result_code(error: BaseException) -> int | None:
    """SQLite's primary result code; None for what the module itself refuses."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_full(error: BaseException) -> bool:
    return _result_code(error) == sqlite3.SQLITE_FULL


def for_caller(error: BaseException) -> BaseException:
    """What the caller gets for an error after which nothing was committed."""
    if isinstance(error, UndecodableRecord):
        return UndecodableRecord(error.kind, error.identifier, error.tenant)
    if isinstance(error, StoreFault):  # one for each caller: each adds its own traceback
        return StoreFault(error.code, error.message, retryable=error.retryable)
    if not isinstance(error, sqlite3.Error):
        return error
    code, text, retryable = _KNOWN.get(_result_code(error) or 0, _OTHER)
    return _because(StoreFault(code, text, retryable=retryable), error)


def of_commit(error: BaseException) -> StoreFault:
    """What the caller gets when COMMIT failed: the change may be kept all the same."""
    code = "store_full" if is_full(error) else "commit_unknown"
    text = "it is not known whether the store kept the change"
    return _because(StoreFault(code, text, retryable=True, unknown=True), error)


def unavailable() -> StoreFault:
    code, text, retryable = _KNOWN[sqlite3.SQLITE_CANTOPEN]
    return StoreFault(code, text, retryable=retryable)


def closed() -> StoreFault:
    return StoreFault("store_closed", "the store is closed", retryable=False)


def _because(fault: StoreFault, error: BaseException) -> StoreFault:
    fault.__cause__ = error
    return fault
