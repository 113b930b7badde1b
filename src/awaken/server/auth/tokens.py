"""JWT bearer tokens: verified against the issuer's keys, and their claims turned into an identity.

Imported only when an issuer is configured: it needs the extra `awaken-server[jwt]`.

A token must be signed by one of the allowed algorithms, name the issuer and the audience, and have
an end (`exp`); `nbf` and `iat` are obeyed. Which claims hold tenant, scopes and actor is
configured; a name may be a path (`realm_access.roles`). Scopes that are none of ours are passed
over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import jwt

from awaken.domain.ids import MAX_CLIENT_ID, is_client_id
from awaken.protocols.native.http.identity import Identity, Right
from awaken.server.auth.errors import Unauthorized, invalid_credentials
from awaken.server.auth.jwks import Jwks
from awaken.server.auth.keys import RESERVED_ACTORS

_REQUIRED: Final = ("exp", "iss", "aud")


class Claims(NamedTuple):
    """Where a token says who its bearer is; `fixed_tenant` is that of tokens that do not."""

    tenant: str
    scopes: str
    actor: str
    fixed_tenant: str | None


class Tokens:
    """Verifies the tokens of one issuer."""

    def __init__(
        self,
        jwks: Jwks,
        *,
        issuer: str,
        audience: str,
        algorithms: tuple[str, ...],
        leeway_seconds: float,
        claims: Claims,
    ) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._algorithms = algorithms
        self._leeway_seconds = leeway_seconds
        self._claims = claims

    async def identify(self, token: str) -> Identity:
        """Who bears `token`.

        Raises:
            Unauthorized: nobody whom the issuer vouches for now.
            Refusal: `issuer_unavailable`.
        """
        kid, algorithm = self._head(token)
        key = await self._jwks.find(kid, algorithm)
        if key is None:
            raise invalid_credentials()
        return identity_from(self._verified(token, key), self._claims, self._issuer)

    def _head(self, token: str) -> tuple[str | None, str]:
        """Which key the token says it is signed with. Nothing of it is trusted."""
        try:
            head = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise invalid_credentials() from None
        kid, algorithm = head.get("kid"), head.get("alg")
        if algorithm not in self._algorithms or not isinstance(kid, str | None):
            raise invalid_credentials()
        return kid, algorithm

    def _verified(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_seconds,
                options={"require": list(_REQUIRED), "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:  # the signature was good, so its bearer may be told
            raise Unauthorized("token_expired", "the token has expired") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise invalid_credentials() from None


def identity_from(claims: Mapping[str, Any], names: Claims, issuer: str) -> Identity:
    """The identity that verified claims give.

    Raises:
        Unauthorized: they give none; the text names the claim, for whoever sets up the issuer.
    """
    tenant = claim(claims, names.tenant)
    if tenant is None:
        tenant = names.fixed_tenant
    if not isinstance(tenant, str) or not is_client_id(tenant):
        raise _unfit(names.tenant, "the tenant, 1 to 128 visible ASCII characters")
    actor = claim(claims, names.actor)
    if not _is_actor(actor):
        raise _unfit(names.actor, "the actor, 1 to 128 printable characters")
    subject, scopes = claims.get("sub", actor), _scopes(claims, names.scopes)
    return Identity(
        tenant=tenant,
        actor=actor,
        rights=frozenset(right for right in Right if right in scopes),
        credential=f"jwt:{issuer} {tenant}/{subject}"[:512],
    )


def _is_actor(value: object) -> bool:
    if not isinstance(value, str) or value in RESERVED_ACTORS:
        return False
    return 0 < len(value) <= MAX_CLIENT_ID and value.isprintable()


def _scopes(claims: Mapping[str, Any], name: str) -> Sequence[str]:
    """A text with the scopes separated by spaces (RFC 8693), or a list."""
    found = claim(claims, name)
    if isinstance(found, str):
        return found.split()
    if isinstance(found, list):
        return [each for each in found if isinstance(each, str)]
    return []


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim `name`, else what the path `a.b` leads to, else None."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _unfit(name: str, expected: str) -> Unauthorized:
    return Unauthorized("invalid_credentials", f"the token's claim {name!r} must hold {expected}")
