"""The signature of webhooks: Standard Webhooks, version 1 (HMAC-SHA256 with a shared secret)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

PREFIX: Final = "whsec_"


def secret_key(secret: str) -> bytes:
    """The key in a secret, `whsec_` and the base64 of 24 to 64 bytes.

    Raises:
        ValueError: it is not one; the text says what was expected, and not what it is.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"expected {PREFIX} and the base64 of 24 to 64 random bytes")
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`; `timestamp` is in seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
