"""API keys: made, written down as hashes, and recognised.

A key is 256 random bits, so one round of SHA-256 is enough to keep it: there is nothing to guess.
Of a key the server holds the hash alone. All are compared, in constant time, whichever fits.

In the environment, entries separated by commas or white space:

    AWAKEN_API_KEYS="alice@acme:invoke+approve:awaken-sk-…, prometheus:admin:sha256:…"

that is `NAME[@TENANT]:SCOPE[+SCOPE…]:KEY`; KEY is the key or its hash. In a file, TOML or JSON:

    [[keys]]
    name = "alice"
    tenant = "acme"
    scopes = ["invoke", "approve"]
    hash = "sha256:…"          # or key = "awaken-sk-…"
    requests_per_minute = 600  # as the settings, for this key alone; 0 is no limit
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from awaken.domain.ids import DEFAULT_TENANT, is_client_id
from awaken.protocols.native.http.identity import Identity, Right

log = logging.getLogger(__name__)

KEY_PREFIX: Final = "awaken-sk-"
HASH_PREFIX: Final = "sha256:"
MIN_KEY: Final = 20
"""Characters; what is shorter was thought up and can be guessed."""
MAX_KEYS: Final = 1_000
"""Every request is compared with all of them."""
RESERVED_ACTORS: Final = frozenset({"system"})
"""Names under which the server itself acts in the records."""

_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")


class BadKey(ValueError):
    """A key cannot be used as it is written; the text says which, and never quotes the key."""


class KeyLimits(NamedTuple):
    """What one key may use; None is what the settings say, 0 no limit."""

    requests_per_minute: int | None = None
    concurrent_runs: int | None = None
    tokens_per_day: int | None = None


class Key(NamedTuple):
    """A key as the server holds it."""

    digest: bytes
    identity: Identity
    limits: KeyLimits = KeyLimits()

    def __repr__(self) -> str:
        return f"Key({self.identity.credential})"


# --- making them ---------------------------------------------------------------------------------


def make_key(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> tuple[str, str]:
    """A new key, and its hash for the keys file. The key is shown once and kept nowhere."""
    key = KEY_PREFIX + _base64url(random_bytes(32))
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """What is written down in the place of `key`."""
    return HASH_PREFIX + _digest(key).hex()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


# --- recognising them ----------------------------------------------------------------------------


class Keys:
    """The keys of a server."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)
        if len(self._keys) > MAX_KEYS:
            raise BadKey(f"there are {len(self._keys)} keys; at most {MAX_KEYS} are possible")
        digests = [key.digest for key in self._keys]
        if len(set(digests)) != len(digests):
            raise BadKey("the same key is there twice")

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, presented: str) -> Key | None:
        """The key that was presented; how long it takes does not tell which one, or how nearly."""
        digest = _digest(presented)
        found: Key | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


# --- reading them --------------------------------------------------------------------------------


class Entry(BaseModel):
    """A key as it is written down."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    tenant: str = DEFAULT_TENANT
    scopes: list[Right] = Field(min_length=1)
    key: str | None = Field(default=None, repr=False)
    hash: str | None = Field(default=None, repr=False)
    requests_per_minute: int | None = Field(default=None, ge=0)
    concurrent_runs: int | None = Field(default=None, ge=0)
    tokens_per_day: int | None = Field(default=None, ge=0)

    def read(self) -> Key:
        """The key.

        Raises:
            BadKey: it cannot be used.
        """
        if not is_client_id(self.name) or self.name in RESERVED_ACTORS:
            raise BadKey("name: expected 1 to 128 visible characters, other than 'system'")
        if not is_client_id(self.tenant):
            raise BadKey(f"{self.name}: tenant: expected 1 to 128 visible ASCII characters")
        digest = self._stored_digest()
        identity = Identity(
            tenant=self.tenant,
            actor=self.name,
            rights=frozenset(self.scopes),
            # The hash tells keys of one name apart; these few bits of it tell nothing of the key.
            credential=f"key:{self.tenant}/{self.name}#{digest.hex()[:8]}",
        )
        limits = KeyLimits(self.requests_per_minute, self.concurrent_runs, self.tokens_per_day)
        return Key(digest, identity, limits)

    def _stored_digest(self) -> bytes:
        if (self.key is None) == (self.hash is None):
            raise BadKey(f"{self.name}: expected either hash or key")
        if self.hash is not None:
            if not _HASH.fullmatch(self.hash):
                raise BadKey(f"{self.name}: hash: expected sha256: and 64 hexadecimal digits")
            return bytes.fromhex(self.hash.removeprefix(HASH_PREFIX))
        assert self.key is not None
        if len(self.key) < MIN_KEY or not self.key.isascii() or not self.key.isprintable():
            raise BadKey(f"{self.name}: key: expected at least {MIN_KEY} visible characters")
        return _digest(self.key)


def read_compact(text: str) -> list[Entry]:
    """The entries of `AWAKEN_API_KEYS`.

    Raises:
        BadKey: one of them is none; it is named by its place, since what it holds is secret.
    """
    found = [part for part in re.split(r"[,\s]+", text) if part]
    return [_compact_entry(part, place) for place, part in enumerate(found, 1)]


def _compact_entry(text: str, place: int) -> Entry:
    who, _, rest = text.partition(":")
    scopes, _, key = rest.partition(":")
    name, _, tenant = who.partition("@")
    known = set(scopes.split("+")) <= set(Right)
    if not (name and known and key):
        scopes_there_are = ", ".join(Right)
        raise BadKey(
            f"entry {place}: expected NAME[@TENANT]:SCOPE[+SCOPE]:KEY with scopes of "
            f"{scopes_there_are}"
        )
    hashed = key.startswith(HASH_PREFIX)
    return Entry(
        name=name,
        tenant=tenant or DEFAULT_TENANT,
        scopes=[Right(scope) for scope in scopes.split("+")],
        hash=key if hashed else None,
        key=None if hashed else key,
    )


def read_file(path: Path) -> list[Entry]:
    """The entries of a keys file; `.json` is JSON, anything else TOML.

    Raises:
        BadKey: it cannot be read, or an entry is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadKey(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    except ValueError as error:  # its text may quote a key
        raise BadKey(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}") from error
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed or set(content) != {"keys"}:
        raise BadKey(f"{path}: expected a list `keys` and nothing else")
    entries = [_file_entry(path, place, value) for place, value in enumerate(listed, 1)]
    if any(entry.key is not None for entry in entries) and path.stat().st_mode & 0o077:
        log.warning("%s holds keys and others may read it; write hashes, or chmod 600", path)
    return entries


def _file_entry(path: Path, place: int, value: Any) -> Entry:
    try:
        return Entry.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadKey(f"{path}: key {place}: {where}: {problem['msg']}") from None
