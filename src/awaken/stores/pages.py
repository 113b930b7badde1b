"""Page keys: where a list goes on. Opaque to clients, good for one list with one set of filters."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from awaken.errors import RequestError

T = TypeVar("T")


def scope(*parts: object) -> str:
    """A short name for a list and its filters."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:12]


def encode(list_scope: str, position: tuple[object, ...]) -> str:
    """The key that goes on behind `position` of the list."""
    return urlsafe_b64encode(msgspec.json.encode((list_scope, position))).decode()


def decode(list_scope: str, key: str, type_: type[T]) -> T:
    """The position in `key`.

    Raises:
        RequestError: `invalid_page_key`: not a key, or one of another list or other filters.
    """
    try:
        given, position = msgspec.json.decode(
            urlsafe_b64decode(key.encode()), type=tuple[str, msgspec.Raw]
        )
        found = msgspec.json.decode(position, type=type_)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _invalid("the page key is not one of ours") from error
    if given != list_scope:
        raise _invalid("the page key belongs to another list or to other filters")
    return found


def _invalid(text: str) -> RequestError:
    return RequestError("invalid_page_key", text)
