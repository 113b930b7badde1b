"""`awaken migrate`: the schema of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from awaken.cli import show
from awaken.cli.options import Json
from awaken.cli.serve import DataDir, Store, read_settings, store_trouble
from awaken.cli.show import fail

if TYPE_CHECKING:
    from awaken.server.settings import Settings


class Schema(NamedTuple):
    """The schema of a store: its number (None: there is no store yet), and the newest known."""

    present: int | None
    newest: int

    @property
    def is_current(self) -> bool:
        return self.present == self.newest


def migrate(
    store: Store = None,
    data_dir: DataDir = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only show it; exit code 1 if it has to be migrated.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring the schema of the store up to date, or show it.

    A server does this by itself when it starts, so this is for who wants to do it before.
    """
    from awaken.errors import StoreFault
    from awaken.server.settings import SettingsError

    settings = read_settings(store=store, data_dir=data_dir)
    try:
        _migrate(settings, check=check, json=json)
    except SettingsError as error:
        fail(str(error))
    except StoreFault as fault:
        fail(store_trouble(fault, settings))


def _migrate(settings: Settings, *, check: bool, json: bool) -> None:
    from awaken.server.stores import MEMORY, sqlite_path

    path = sqlite_path(settings.store_url)
    if path == MEMORY:
        fail("a store in memory has no schema to migrate: it is made anew at each start")
    before, holder = _look(path)
    if not check and not before.is_current:
        _refuse_held(holder, before)
        _apply(settings)
    after = _look(path)[0]
    if json:
        show.as_json(_document(settings, before, after, holder))
    else:
        show.say(_sentence(settings, before, after, holder))
    if not after.is_current:
        raise typer.Exit(1)


def _look(path: str) -> tuple[Schema, Any]:
    """The schema of the file, and who holds it.

    Raises:
        StoreFault: `schema_too_new`, or it cannot be read.
    """
    from awaken.errors import StoreFault
    from awaken.stores.sqlite.inspect import holder_of, schema_of
    from awaken.stores.sqlite.migrate import shipped

    schema = Schema(schema_of(path), len(shipped()))
    if schema.present is not None and schema.present > schema.newest:
        raise StoreFault(
            "schema_too_new",
            f"the store has schema {schema.present}, and this version knows schemas up to "
            f"{schema.newest}",
            retryable=False,
        )
    return schema, holder_of(path)


def _refuse_held(holder: Any, schema: Schema) -> None:
    if holder is not None:
        fail(
            f"the store has schema {schema.present} and is in use by process {holder.pid} "
            f"(worker {holder.worker}); stop that process first: the new version migrates when it "
            "starts"
        )


def _apply(settings: Settings) -> None:
    """Open the store as a server does: under its lock, and with every migration that is missing."""
    import anyio

    from awaken.ports.clock import SystemClock, SystemIds
    from awaken.server.stores import open_store

    async def apply() -> None:
        store = await open_store(settings, SystemClock(), f"migrate:{SystemIds().new()}")
        await store.aclose()

    anyio.run(apply)


def _document(settings: Settings, before: Schema, after: Schema, holder: Any) -> dict[str, Any]:
    held = None if holder is None else {"pid": holder.pid, "worker": holder.worker}
    return {
        "store": settings.store_told,
        "before": before.present,
        "schema": after.present,
        "newest": after.newest,
        "holder": held,
    }


def _sentence(settings: Settings, before: Schema, after: Schema, holder: Any) -> str:
    used = f"; process {holder.pid} (worker {holder.worker}) has it" if holder else ""
    if after.present is None:
        return f"{settings.store_told}: there is no store yet; migrate or serve makes it"
    if not after.is_current:
        return f"{settings.store_told}: schema {after.present}, to become {after.newest}{used}"
    if before.present == after.present:
        return f"{settings.store_told}: schema {after.present}, up to date{used}"
    return f"{settings.store_told}: schema {after.present}, was {before.present or 'not there'}"
