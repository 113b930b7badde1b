"""The policy point: below it are all routes, raw streams included, and nothing gets past it.

In this order: is there such a route, who asks, has the caller requests left, may the caller do
this, can the ids in the path be ids. Without an identity nobody is told what exists: an unknown
path is 401 too. What the policy does not list is refused, whatever the routers know.
"""

from __future__ import annotations

from typing import Final, Protocol

from awaken.domain.ids import MAX_CLIENT_ID, is_client_id
from awaken.errors import RequestError, not_found
from awaken.protocols.native.http.asgi import (
    Scope,
    method_not_allowed,
    route_not_found,
    route_path,
)
from awaken.protocols.native.http.identity import IDENTITY_KEY, LOCAL, Identity
from awaken.server.auth.errors import (
    InsufficientScope,
    Unauthorized,
    invalid_credentials,
    missing_credentials,
)
from awaken.server.auth.keys import Keys
from awaken.server.auth.limits import Accounts
from awaken.server.auth.policy import Match, Policy
from awaken.server.measure import ROUTE_KEY

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 32 * 1024
MAX_URL_BYTES: Final = 8 * 1024
NOBODY: Final = Identity(tenant="", actor="", rights=frozenset())
"""Who asks for an open route: a tenant that has nothing, and no rights."""


class TokenVerifier(Protocol):
    """The second provider of identities, after keys."""

    async def identify(self, token: str) -> Identity:
        """Who bears `token`; raises Unauthorized, or Refusal when that cannot be found out."""
        ...


class Gate:
    """Lets a request pass, with its identity in its scope, or refuses it.

    Args:
        policy: which scopes open which route.
        keys: the API keys; None where there is no authentication, and everyone is `LOCAL`.
        tokens: the verifier of bearer tokens, if an issuer is configured.
        accounts: what callers may use.
    """

    def __init__(
        self,
        policy: Policy,
        keys: Keys | None,
        tokens: TokenVerifier | None,
        accounts: Accounts,
    ) -> None:
        self._policy = policy
        self._keys = keys
        self._tokens = tokens
        self._accounts = accounts

    async def admit(self, scope: Scope) -> None:
        """Check a request before it reaches a route.

        Raises:
            Unauthorized: 401. InsufficientScope: 403. Refusal: 429, or 503 from the issuer.
            RequestError: 404, 405: nothing is at that path, or not for that method.
        """
        path, method = route_path(scope), scope["method"]
        match = self._policy.find(method, path)
        if match is not None:
            scope[ROUTE_KEY] = match.pattern
        if match is not None and match.rights is None:
            scope[IDENTITY_KEY] = NOBODY
            return
        identity = await self._identify(scope)
        if identity.credential:
            self._accounts.take_request(identity.credential)
        if match is None:
            raise self._nothing(method, path)
        if not identity.rights & (match.rights or frozenset()):
            raise InsufficientScope(match.rights or ())
        _check_ids(match)
        scope[IDENTITY_KEY] = identity

    async def _identify(self, scope: Scope) -> Identity:
        if self._keys is None:
            return LOCAL
        presented = credentials(scope)
        key = self._keys.find(presented)
        if key is not None:
            return key.identity
        if self._tokens is not None and presented.count(".") == 2:
            return await self._tokens.identify(presented)
        raise invalid_credentials()

    def _nothing(self, method: str, path: str) -> RequestError:
        there = self._policy.methods(path)
        return method_not_allowed(method, there) if there else route_not_found()


def _check_ids(match: Match) -> None:
    """Answer for an id that is none, before anything looks for it."""
    for name, value in match.parameters.items():
        if name.endswith("_id") and not is_client_id(value):
            raise not_found(name.removesuffix("_id"), value[:MAX_CLIENT_ID])


def check_size(scope: Scope) -> None:
    """Refuse a head that is larger than any of ours.

    Raises:
        RequestError: `url_too_long` (414), `headers_too_large` (431).
    """
    url = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    if url > MAX_URL_BYTES:
        raise RequestError(
            "url_too_long", f"path and query may have at most {MAX_URL_BYTES} bytes", status=414
        )
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise RequestError(
            "headers_too_large",
            f"there may be at most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} bytes",
            status=431,
        )


def credentials(scope: Scope) -> str:
    """The key or token of a request; there must be exactly one.

    Raises:
        Unauthorized: there is none, or what is there cannot be one.
    """
    found = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            found.append(_bearer(value.decode("latin-1")))
        elif name == b"x-api-key":
            found.append(value.decode("latin-1").strip())
    if not found:
        raise missing_credentials()
    if len(found) > 1:
        raise Unauthorized("invalid_credentials", "send one key or token, not several")
    if not found[0]:
        raise invalid_credentials()
    return found[0]


def _bearer(value: str) -> str:
    scheme, _, token = value.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("invalid_credentials", "the authorization must begin with Bearer")
    return token.strip()
