"""`awaken keys`: making keys, and looking at those of the settings, without any server."""

from __future__ import annotations

import json as json_
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awaken.cli import show
from awaken.cli.codes import Code
from awaken.cli.options import Json, group
from awaken.cli.session import KEY_VARIABLE, api_key, settings_here
from awaken.cli.show import Column, fail

if TYPE_CHECKING:
    from awaken.server.auth.keys import Entry, Key

app = group()


@app.command()
def make(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Whose key it is: stops and decisions are told by it."),
    ],
    tenant: Annotated[str, typer.Option(metavar="TENANT", help="Whose data it opens.")] = "default",
    scopes: Annotated[
        str, typer.Option(metavar="SCOPES", help="Some of invoke, approve, admin, by commas.")
    ] = "invoke,approve",
    json: Json = False,
) -> None:
    """Make a key, which is shown once.

    The server is given its hash only.
    """
    from awaken.server.auth.keys import make_key

    key, hashed = make_key()
    entry = _entry(name, tenant, scopes, hashed)
    written = {"setting": _setting(entry), "file": _table(entry)}
    if json:
        facts = {"name": name, "tenant": tenant, "scopes": list(entry.scopes)}
        show.as_json({**facts, "key": key, "hash": hashed, **written})
        return
    show.block("The key, for its owner. It is not shown again.", f"{KEY_VARIABLE}={key}\n")
    show.block("For the server: one more entry of AWAKEN_API_KEYS,", f"{written['setting']}\n")
    show.block("or of the file that AWAKEN_KEYS_FILE names.", written["file"])


def _entry(name: str, tenant: str, scopes: str, hashed: str) -> Entry:
    from pydantic import ValidationError

    from awaken.server.auth.keys import BadKey, Entry

    named = [scope for scope in scopes.replace("+", ",").split(",") if scope.strip()]
    try:
        entry = Entry.model_validate(
            {
                "name": name,
                "tenant": tenant,
                "scopes": [scope.strip() for scope in named],
                "hash": hashed,
            }
        )
        entry.read()
    except ValidationError:
        fail(f"--scopes: expected some of invoke, approve, admin, got {scopes!r}")
    except BadKey as error:
        fail(str(error))
    if set(name + tenant) & set("@:,"):
        fail("a name and a tenant with '@', ':' or ',' cannot be written into AWAKEN_API_KEYS")
    return entry


def _setting(entry: Entry) -> str:
    return f"{entry.name}@{entry.tenant}:{'+'.join(entry.scopes)}:{entry.hash}"


def _table(entry: Entry) -> str:
    quoted = json_.dumps  # for these characters TOML's strings are JSON's
    scopes = ", ".join(quoted(scope) for scope in entry.scopes)
    return "\n".join(
        [
            "[[keys]]",
            f"name = {quoted(entry.name)}",
            f"tenant = {quoted(entry.tenant)}",
            f"scopes = [{scopes}]",
            f"hash = {quoted(entry.hash)}",
        ]
    )


@app.command()
def check(json: Json = False) -> None:
    """Check the keys of the settings here.

    And say whose key AWAKEN_API_KEY is.
    """
    from awaken.server.auth.keys import Keys
    from awaken.server.auth.setup import read_keys
    from awaken.server.settings import SettingsError

    try:
        keys = read_keys(settings_here())
    except SettingsError as error:
        fail(str(error))
    presented = api_key()
    own = Keys(keys).find(presented or "")
    if json:
        show.as_json([_told(key, own) for key in keys])
    else:
        show.table([_told(key, own) for key in keys], _COLUMNS, empty=_NO_KEYS)
    if presented is not None and own is None and keys:
        fail(f"the key in {KEY_VARIABLE} is none of these", Code.no_access)


def _told(key: Key, own: Key | None) -> dict[str, Any]:
    identity = key.identity
    return {
        "name": identity.actor,
        "tenant": identity.tenant,
        "scopes": sorted(identity.rights),
        "id": identity.credential.rpartition("#")[2],
        "yours": key == own,
        "limits": {name: value for name, value in key.limits._asdict().items() if value},
    }


_COLUMNS = [
    Column("NAME", lambda key: key["name"]),
    Column("TENANT", lambda key: key["tenant"]),
    Column("SCOPES", lambda key: ", ".join(key["scopes"])),
    Column("ID", lambda key: key["id"]),
    Column("", lambda key: "yours" if key["yours"] else ""),
]
_NO_KEYS = "there are no keys: the server is open to this machine, and to no other"
