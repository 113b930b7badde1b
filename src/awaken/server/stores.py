"""From the store's address to an open store. Imported only when it is the one that is used."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import anyio.to_thread

from awaken.ports.clock import Clock
from awaken.ports.store import Store
from awaken.server.settings import Settings, SettingsError

SQLITE: Final = "sqlite://"
MEMORY: Final = ":memory:"


async def open_store(settings: Settings, clock: Clock, worker_id: str) -> Store:
    """The store of `settings`, open.

    Raises:
        SettingsError: the address is none, or its directory cannot be made.
        StoreFault: it cannot be opened; `store_in_use` names the process that has it.
    """
    path = sqlite_path(settings.store_url)
    if path != MEMORY:
        await anyio.to_thread.run_sync(_make_directory, Path(path).parent)
    from awaken.stores.sqlite.store import SqliteStore

    return await SqliteStore.open(path, clock=clock, worker_id=worker_id)


def sqlite_path(url: str) -> str:
    """The file of a `sqlite:` address, or `:memory:`.

    Raises:
        SettingsError: it is another address.
    """
    rest = url.removeprefix(SQLITE)
    if url.startswith(SQLITE) and rest in (MEMORY, f"/{MEMORY}"):
        return MEMORY
    if url.startswith(SQLITE) and rest.startswith("/") and len(rest) > 1:
        return rest[1:]
    raise SettingsError(
        f"AWAKEN_STORE: expected sqlite:///path or sqlite://:memory:, got {_without_secret(url)!r}"
    )


def _without_secret(url: str) -> str:
    """The address without what may be a password (I11)."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"AWAKEN_DATA_DIR: {directory} cannot be made ({error.strerror}); "
            "name a directory this user may write to"
        ) from error
