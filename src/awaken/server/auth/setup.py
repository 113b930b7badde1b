"""From the settings to the parts of the policy point."""

from __future__ import annotations

from typing import NamedTuple

from awaken.net.fetch import Fetcher
from awaken.net.guard import Guard
from awaken.ports.clock import Clock
from awaken.server.auth.cors import Cors
from awaken.server.auth.gate import Gate, TokenVerifier
from awaken.server.auth.keys import BadKey, Key, KeyLimits, Keys, read_compact, read_file
from awaken.server.auth.limits import Accounts
from awaken.server.auth.policy import Policy
from awaken.server.settings import Settings, SettingsError


class Security(NamedTuple):
    """What the front and the services need."""

    gate: Gate
    cors: Cors
    accounts: Accounts


def make_security(settings: Settings, clock: Clock) -> Security:
    """The policy point of `settings`.

    Raises:
        SettingsError: a key cannot be used, or what tokens need is missing.
    """
    keys = read_keys(settings) if settings.has_keys else None
    defaults = KeyLimits(
        settings.key_requests_per_minute,
        settings.key_concurrent_runs,
        settings.key_tokens_per_day,
    )
    own = {key.identity.credential: key.limits for key in keys or ()}
    accounts = Accounts(clock, defaults, own)
    tokens = _make_tokens(settings, clock) if settings.jwt_issuer is not None else None
    gate = Gate(Policy(), None if keys is None else Keys(keys), tokens, accounts)
    return Security(gate, Cors(settings.cors_origins, local=keys is None), accounts)


def make_guard(settings: Settings) -> Guard:
    """What the server may reach."""
    return Guard(settings.outbound_allow)


def read_keys(settings: Settings) -> list[Key]:
    """The keys that the settings name, each and all of them checked.

    Raises:
        SettingsError: one cannot be used; the text says which setting it is of.
    """
    written = settings.api_keys.get_secret_value() if settings.api_keys else ""
    name = "AWAKEN_API_KEYS"
    try:
        keys = [entry.read() for entry in read_compact(written)]
        if settings.keys_file is not None:
            name = "AWAKEN_KEYS_FILE"
            keys += [entry.read() for entry in read_file(settings.keys_file)]
        Keys(keys)  # all of them together
    except BadKey as error:
        raise SettingsError(f"{name}: {error}") from None
    return keys


def _make_tokens(settings: Settings, clock: Clock) -> TokenVerifier:
    try:
        from awaken.server.auth import jwks, tokens
    except ImportError as error:
        raise SettingsError(
            "AWAKEN_JWT_ISSUER: tokens need an extra package: pip install 'awaken-server[jwt]'"
        ) from error
    if settings.jwt_jwks_file is not None:
        load = jwks.from_file(settings.jwt_jwks_file)
    else:
        assert settings.jwt_jwks_url is not None, "the settings saw to it"
        load = jwks.from_url(settings.jwt_jwks_url, Fetcher(make_guard(settings)))
    algorithms = settings.jwt_algorithms
    assert settings.jwt_issuer is not None
    assert settings.jwt_audience is not None
    return tokens.Tokens(
        jwks.Jwks(load, algorithms, clock, keep_seconds=settings.jwt_jwks_seconds),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        algorithms=algorithms,
        leeway_seconds=settings.jwt_leeway_seconds,
        claims=tokens.Claims(
            settings.jwt_tenant_claim,
            settings.jwt_scopes_claim,
            settings.jwt_actor_claim,
            settings.jwt_tenant,
        ),
    )
