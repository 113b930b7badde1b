"""The settings that say who may reach the server, and what it may reach."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from awaken.domain.ids import is_client_id
from awaken.net.guard import parse_exception
from awaken.server.webhook_signature import secret_key

PREFIX: Final = "AWAKEN_"
ALGORITHMS: Final = frozenset(
    [f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]
)
"""Signatures by a private key. With a shared secret, whoever checks a token could make one."""

_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", re.ASCII)


def _split(value: Any) -> Any:
    """A list in the file, or a text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]


class SecuritySettings(BaseModel):
    """What of the settings is about security."""

    # Values may be secrets, and an error is logged.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    api_keys: SecretStr | None = Field(
        default=None,
        description="Keys, separated by commas or white space, each "
        "`NAME[@TENANT]:SCOPE[+SCOPE]:KEY` with the scopes `invoke`, `approve`, `admin`; KEY may "
        "be its hash, `sha256:…`. See [security](security.md).",
    )
    keys_file: Path | None = Field(
        default=None, description="A TOML or JSON file with keys, in addition to those above."
    )
    key_requests_per_minute: int = Field(
        default=0, ge=0, description="Requests a key may send in a minute; 0 is no limit."
    )
    key_concurrent_runs: int = Field(
        default=0, ge=0, description="Queued and running runs a key may have; 0 is no limit."
    )
    key_tokens_per_day: int = Field(
        default=0, ge=0, description="Model tokens a key may use in a UTC day; 0 is no limit."
    )
    jwt_issuer: str | None = Field(
        default=None,
        description="The `iss` of tokens that are accepted; it turns bearer tokens (JWT) on.",
    )
    jwt_audience: str | None = Field(
        default=None, description="The `aud` that tokens must be meant for."
    )
    jwt_jwks_url: str | None = Field(
        default=None, description="Where the issuer's public keys are, https."
    )
    jwt_jwks_file: Path | None = Field(
        default=None, description="A file with the issuer's public keys, instead of the URL."
    )
    jwt_jwks_seconds: int = Field(
        default=300, ge=30, le=86_400, description="How long the public keys are kept."
    )
    jwt_algorithms: Texts = Field(
        default=("RS256", "ES256"), description="Signature algorithms that are accepted."
    )
    jwt_leeway_seconds: int = Field(
        default=30, ge=0, le=300, description="How far the issuer's clock may be off."
    )
    jwt_tenant_claim: str = Field(
        default="tenant",
        description="The claim that holds the tenant; of this and the next two, `a.b` is a path.",
    )
    jwt_scopes_claim: str = Field(
        default="scope", description="The claim that holds the scopes, a text or a list."
    )
    jwt_actor_claim: str = Field(
        default="sub", description="The claim that holds the name of the actor."
    )
    jwt_tenant: str | None = Field(
        default=None, description="The tenant of tokens without that claim; by default refused."
    )
    cors_origins: Texts = Field(
        default=(),
        description="Origins of web pages that may use the server, such as "
        "`https://app.example.com`; without keys, of this machine only.",
    )
    outbound_allow: Texts = Field(
        default=(),
        description="What the server may fetch from although it is not on the public internet: "
        "`host`, `host:port` or a network such as `10.1.0.0/16`.",
    )

    webhook_url: str | None = Field(
        default=None,
        repr=False,  # it may hold a token
        description="Where webhooks are sent, https: tickets that are opened and runs that end. "
        "See [webhooks](webhooks.md).",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="What webhooks are signed with: `whsec_` and the base64 of 24 to 64 random "
        "bytes.",
    )

    @property
    def has_keys(self) -> bool:
        """Whether callers must show who they are."""
        written = self.api_keys is not None and bool(self.api_keys.get_secret_value().strip())
        return written or self.keys_file is not None or self.jwt_issuer is not None

    @field_validator("jwt_algorithms")
    @classmethod
    def _known_algorithms(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not set(names) <= ALGORITHMS:
            raise ValueError(f"expected some of {', '.join(sorted(ALGORITHMS))}")
        return names

    @field_validator("cors_origins")
    @classmethod
    def _explicit_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "expected origins as browsers send them, https://app.example.com; there is no "
                    "wildcard, each is named"
                )
        return origins

    @field_validator("outbound_allow")
    @classmethod
    def _hosts_and_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            parse_exception(entry)
        return entries

    @field_validator("jwt_tenant")
    @classmethod
    def _is_tenant(cls, tenant: str | None) -> str | None:
        if tenant is not None and not is_client_id(tenant):
            raise ValueError("expected 1 to 128 visible ASCII characters")
        return tenant

    @field_validator("webhook_secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            secret_key(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _signed_webhooks(self) -> Self:
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError(f"{PREFIX}WEBHOOK_SECRET: expected, since there is a webhook URL")
        return self

    @model_validator(mode="after")
    def _complete_issuer(self) -> Self:
        sources = [self.jwt_jwks_url, self.jwt_jwks_file]
        given = [name for name in (self.jwt_audience, *sources) if name is not None]
        if self.jwt_issuer is None and given:
            raise ValueError(f"{PREFIX}JWT_ISSUER: expected the `iss` of the tokens to accept")
        if self.jwt_issuer is not None:
            if not self.jwt_audience:
                raise ValueError(f"{PREFIX}JWT_AUDIENCE: expected, since there is an issuer")
            if sources.count(None) != 1:
                raise ValueError(f"expected either {PREFIX}JWT_JWKS_URL or {PREFIX}JWT_JWKS_FILE")
        return self


def is_loopback(host: str) -> bool:
    """Whether `host` (no port) is this machine and nothing else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
