"""Whose request it is: what the policy point found out, left in the ASGI scope for the routes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from awaken.domain.ids import DEFAULT_TENANT
from awaken.domain.record import Record
from awaken.protocols.native.http.asgi import Scope

IDENTITY_KEY: Final = "awaken.identity"


class Right(StrEnum):
    """The scopes a caller may have; none includes another.

    invoke: start, steer, stop and read runs and threads. approve: decide tickets, and read what
    they are about. admin: operate the server.
    """

    invoke = "invoke"
    approve = "approve"
    admin = "admin"


class Identity(Record):
    """A caller. `actor` is the name that stops and decisions are recorded under.

    `credential` tells one key, or one subject of an issuer, from another; limits are counted by it.
    It is no secret, and empty where nothing is counted.
    """

    tenant: str
    actor: str
    rights: frozenset[Right]
    credential: str = ""


LOCAL: Final = Identity(tenant=DEFAULT_TENANT, actor="user", rights=frozenset(Right))
"""Whoever uses this machine, where there are no keys."""


def identity_of(scope: Scope) -> Identity:
    """What the policy point left; a request that did not pass it has none, and gets no further."""
    found: Any = scope[IDENTITY_KEY]
    assert isinstance(found, Identity)
    return found
