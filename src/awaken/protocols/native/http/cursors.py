"""Opaque page cursors: a store's key, bound to the list and the filters it came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec

from awaken.errors import RequestError

_Token = tuple[str, str]


def seal(key: str | None, *filters: Any) -> str | None:
    """The cursor for the next page; None when there is none."""
    if key is None:
        return None
    token = msgspec.json.encode((_mark(filters), key))
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def unseal(cursor: str | None, *filters: Any) -> str | None:
    """The store's key in `cursor`.

    Raises:
        RequestError: `invalid_cursor` (400): not one of ours, or of other filters.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        token: tuple[str, str] = msgspec.json.decode(raw, type=_Token)
    except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _invalid("cursor is not one that this server gave out") from error
    mark, key = token
    if mark != _mark(filters):
        raise _invalid("cursor belongs to another list or to other filters")
    return key


def _mark(filters: tuple[Any, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(filters)).hexdigest()[:12]


def _invalid(message: str) -> RequestError:
    return RequestError("invalid_cursor", message, details={"field": "cursor"})
