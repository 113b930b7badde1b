"""No secret gets into a log line: not in its message, its facts or its stack.

Lines are cleaned when they are whole, behind their formatter, because a secret can come in by any
of these ways. What is replaced, and by what, is `awaken.redaction`; here is what this process
knows: its keys, the password of its store, whatever its environment calls a key, token, secret or
password.

    protect(handler, known_secrets(settings, os.environ))    # for a handler of your own
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from awaken.redaction import HIDDEN, Redactor
from awaken.server.settings import Settings

__all__ = ["HIDDEN", "CleanFormatter", "Redactor", "known_secrets", "protect"]

_SECRET_NAME: Final = re.compile(r"(KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)$", re.I)


class CleanFormatter(logging.Formatter):
    """The line that another formatter makes, without secrets."""

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.clean(self._inner.format(record))


def protect(handler: logging.Handler, secrets: Iterable[str] = ()) -> None:
    """Let `handler` write no secret, neither these nor what looks like one."""
    inner = handler.formatter or logging.Formatter()
    if not isinstance(inner, CleanFormatter):
        handler.setFormatter(CleanFormatter(inner, Redactor(secrets)))


def known_secrets(settings: Settings, environ: Mapping[str, str]) -> set[str]:
    """The secrets of a process."""
    found = {value for name, value in environ.items() if _SECRET_NAME.search(name)}
    if settings.api_keys is not None:
        written = re.split(r"[,\s]+", settings.api_keys.get_secret_value())
        found |= {entry.rpartition(":")[2] for entry in written}
    if settings.webhook_secret is not None:
        found.add(settings.webhook_secret.get_secret_value())
    password = _password(settings.store or "")
    if password:
        found |= {password, unquote(password)}
    return found


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None
