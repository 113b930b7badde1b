"""Keys for the tests of a server that has some: of two tenants, and with one scope each."""

from __future__ import annotations

from typing import Final

import httpx

from awaken.protocols.native.http.identity import Right
from awaken.server.app import App
from tests.server.conftest import BASE

ALICE: Final = "awaken-sk-alice-of-a-may-do-everything"
BOB: Final = "awaken-sk-bob-of-b-may-do-everything-too"
ONLY: Final[dict[str, str]] = {right: f"awaken-sk-of-a-may-only-{right}-0000" for right in Right}
API_KEYS: Final = ", ".join(
    [
        f"alice@a:invoke+approve+admin:{ALICE}",
        f"bob@b:invoke+approve+admin:{BOB}",
        *(f"only-{right}@a:{right}:{key}" for right, key in ONLY.items()),
    ]
)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def client_of(app: App, key: str | None = None) -> httpx.AsyncClient:
    """A client without a socket; streams are answered when they have ended."""
    transport = httpx.ASGITransport(app=app)
    headers = {} if key is None else bearer(key)
    return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=10)
