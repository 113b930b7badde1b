"""The embedded store: one SQLite file in WAL mode, one writer thread with group commit."""

from __future__ import annotations

from awaken.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
