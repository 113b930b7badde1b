"""Identifiers and what clients may choose as one.

Ids that we mint are UUIDv7 strings. Ids that clients name (threads, messages, dedupe and
idempotency keys, run aliases) are 1 to 128 visible ASCII characters. Every key begins with the
tenant (I10).
"""

from __future__ import annotations

import re
from typing import Final

MAX_CLIENT_ID: Final = 128
DEFAULT_TENANT: Final = "default"

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")


def is_client_id(value: str) -> bool:
    """Whether a client may use `value` as an id."""
    return _VISIBLE.fullmatch(value) is not None
