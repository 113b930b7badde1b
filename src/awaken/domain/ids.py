"""Identifiers and what clients may choose as one.

Ids that we mint are UUIDv7 strings. Ids that clients name (threads, messages, dedupe and
idempotency keys, run aliases) are 1 to 128 visible ASCII characters. Every key begins with the
tenant (I10).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

MAX_CLIENT_ID: Final = 128
DEFAULT_TENANT: Final = "default"

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_client_id(value: str) -> bool:
    """Whether a client may use `value` as an id."""
    return _VISIBLE.fullmatch(value) is not None


def derived_id(origin: str, *parts: str) -> str:
    """An id that follows from the id `origin` and `parts`, for what must be made only once.

    The same arguments give the same id, in every process and for ever. It has the form of a UUIDv7,
    and the time of `origin` if that is one.
    """
    digest = hashlib.sha256("\0".join((origin, *parts)).encode()).hexdigest()
    time = origin.replace("-", "")[:12] if _UUID.fullmatch(origin) else digest[52:]
    variant = "89ab"[int(digest[3], 16) % 4]
    return f"{time[:8]}-{time[8:]}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"
