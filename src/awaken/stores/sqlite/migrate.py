"""The schema, as the sum of its migrations.

A migration is a file `schema/NNNN_name.sql`, numbered from 1 without gaps. `PRAGMA user_version` is
the number of the last one that was applied; each is applied in its own transaction, its number with
it.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import NamedTuple

from awaken.errors import StoreFault


class Migration(NamedTuple):
    number: int
    name: str
    script: str


def shipped() -> list[Migration]:
    """The migrations of this version, in order."""
    paths = (path for path in files(__package__).joinpath("schema").iterdir())
    found = sorted(path.name for path in paths if path.name.endswith(".sql"))
    migrations = [
        Migration(
            int(name[:4]),
            name.removesuffix(".sql"),
            files(__package__).joinpath("schema", name).read_text(encoding="utf-8"),
        )
        for name in found
    ]
    assert [m.number for m in migrations] == list(range(1, len(migrations) + 1)), (
        "numbers have gaps"
    )
    return migrations


def version(connection: sqlite3.Connection) -> int:
    """The number of the last migration that was applied."""
    number: int
    (number,) = connection.execute("pragma user_version").fetchone()
    return number


def migrate(connection: sqlite3.Connection, migrations: list[Migration] | None = None) -> None:
    """Apply what is missing.

    Raises:
        StoreFault: `schema_too_new`, the file was written by a later version; it is left as it is.
        sqlite3.Error: a migration failed; those before it stay applied.
    """
    known = shipped() if migrations is None else migrations
    present = version(connection)
    if present > len(known):
        raise StoreFault(
            "schema_too_new",
            f"the store has schema {present}, and this version knows schemas up to {len(known)}",
            retryable=False,
        )
    for migration in known[present:]:
        _apply(connection, migration)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    script = (
        f"begin immediate;\n{migration.script}\npragma user_version = {migration.number};\ncommit;"
    )
    try:
        connection.executescript(script)
    except sqlite3.Error:
        connection.rollback()
        raise
