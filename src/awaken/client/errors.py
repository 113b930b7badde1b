"""The one error of the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """The server refused, or could not be talked to.

    Args:
        code: the server's own code, or one of ours: `unreachable` (no answer, or one that broke
            off), `unexpected_answer` (whoever answers there is no Awaken server), `invalid_url`.
        message: text for people.
        status: the HTTP status; None when there was no answer.
        details: further facts of the server, e.g. `{"field": "payload"}`.
        retryable: whether the same request may succeed later. The client has tried until its
            patience was over.
        retry_after_seconds: when the server wants to be asked again.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool = False,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.status = status
        self.details: dict[str, Any] = dict(details or {})
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
