"""The refusals of the policy point."""

from __future__ import annotations

from collections.abc import Iterable

from awaken.errors import Refusal, RequestError

REALM = 'Bearer realm="awaken"'


class Challenge(RequestError):
    """A refusal that says in `challenge`, the `www-authenticate` header, what would help."""

    challenge: str


class Unauthorized(Challenge):
    """401: the caller did not show who it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, status=401)
        known = code == "missing_credentials"
        self.challenge = REALM if known else f'{REALM}, error="invalid_token"'


class InsufficientScope(Challenge):
    """403: the caller is known, and may not do this."""

    def __init__(self, needed: Iterable[str]) -> None:
        names = sorted(needed)
        super().__init__(
            "insufficient_scope",
            f"this needs the scope {' or '.join(names)}",
            status=403,
            details={"scopes": names},
        )
        self.challenge = f'{REALM}, error="insufficient_scope", scope="{" ".join(names)}"'


def missing_credentials() -> Unauthorized:
    return Unauthorized(
        "missing_credentials",
        "send a key or a token: `authorization: Bearer …`, or `x-api-key: …` for a key",
    )


def invalid_credentials() -> Unauthorized:
    """One text for all that is wrong with a key: which part it was helps only a guesser."""
    return Unauthorized("invalid_credentials", "the key or token is not one that is accepted here")


def over_limit(code: str, message: str, limit: int, retry_after_seconds: int) -> Refusal:
    """429."""
    return Refusal(
        code,
        message,
        status=429,
        details={"limit": limit},
        retry_after_seconds=max(1, retry_after_seconds),
    )
