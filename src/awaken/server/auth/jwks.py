"""The public keys of an issuer: from a file, or fetched through the SSRF guard and kept a while.

A set that cannot be fetched again is used on for an hour, so that a short outage of the issuer is
none of ours. An unknown key id is a reason to fetch again, for the issuer may have rotated its
keys, but not more often than every half minute: anybody can send an unknown key id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import jwt

from awaken.errors import AwakenError, Refusal
from awaken.net.fetch import Fetcher
from awaken.ports.clock import Clock

log = logging.getLogger(__name__)

STALE_SECONDS: Final = 3600.0
PAUSE_SECONDS: Final = 30.0
MAX_JWKS: Final = 100
Load = Callable[[], Awaitable[bytes]]


class KeySet:
    """The keys of one document, by (key id, algorithm)."""

    def __init__(self, document: bytes, algorithms: tuple[str, ...]) -> None:
        """Read a JWKS.

        Raises:
            ValueError: it is none, or has no key for one of `algorithms`.
        """
        content: Any = json.loads(document)
        listed = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise ValueError("expected an object with a list `keys`")
        self._keys: dict[tuple[str | None, str], jwt.PyJWK] = {}
        for value in listed[:MAX_JWKS]:
            for algorithm in algorithms:
                self._add(value, algorithm)
        if not self._keys:
            raise ValueError(f"no key for {', '.join(algorithms)}")

    def _add(self, value: Any, algorithm: str) -> None:
        """Take the key for `algorithm`, unless it is for another one, or for encryption."""
        if not isinstance(value, dict) or value.get("use", "sig") != "sig":
            return
        if value.get("alg", algorithm) != algorithm or value.get("kty") != _KINDS[algorithm[:2]]:
            return
        kid = value.get("kid")
        try:
            key = jwt.PyJWK(value, algorithm)
        except (jwt.PyJWTError, ValueError, TypeError):
            return
        if kid is None or isinstance(kid, str):
            self._keys.setdefault((kid, algorithm), key)

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that is named; without a name, the only one there is for the algorithm."""
        if kid is not None:
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, name), key in self._keys.items() if name == algorithm]
        return fitting[0] if len(fitting) == 1 else None


_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Jwks:
    """The current keys of the issuer."""

    def __init__(
        self, load: Load, algorithms: tuple[str, ...], clock: Clock, *, keep_seconds: float
    ) -> None:
        self._load = load
        self._algorithms = algorithms
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._set: KeySet | None = None
        self._loaded_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = anyio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key to verify with, or None.

        Raises:
            Refusal: `issuer_unavailable` (503): there are no keys to verify with.
        """
        keys = await self._current()
        found = keys.find(kid, algorithm)
        if found is None and self._age(self._tried_at) >= PAUSE_SECONDS:
            await self._refresh()
            found = (self._set or keys).find(kid, algorithm)
        return found

    async def _current(self) -> KeySet:
        if self._age(self._loaded_at) >= self._keep_seconds:
            await self._refresh()
        if self._set is None or self._age(self._loaded_at) >= self._keep_seconds + STALE_SECONDS:
            raise Refusal(
                "issuer_unavailable",
                "the keys to verify tokens with cannot be fetched; try again",
                status=503,
                retry_after_seconds=5,
            )
        return self._set

    async def _refresh(self) -> None:
        """Load the keys, unless somebody just did, or just failed to."""
        async with self._lock:
            pause = PAUSE_SECONDS if self._set is not None else 1.0
            if self._age(self._tried_at) < pause:
                return
            try:
                self._set = KeySet(await self._load(), self._algorithms)
                self._loaded_at = self._clock.monotonic()
            except AwakenError as error:
                log.warning("the issuer's keys cannot be fetched: %s", error.message)
            except ValueError as error:
                log.warning("the issuer's keys cannot be read: %s", error)
            finally:
                self._tried_at = self._clock.monotonic()

    def _age(self, at: float) -> float:
        return self._clock.monotonic() - at


def from_url(url: str, fetcher: Fetcher) -> Load:
    """Load from the issuer."""

    async def load() -> bytes:
        answer = await fetcher.get(url, {"accept": "application/json"})
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return answer.body

    return load


def from_file(path: Path) -> Load:
    """Load from a file, which may be changed while the server runs."""

    async def load() -> bytes:
        try:
            return await anyio.Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error

    return load
