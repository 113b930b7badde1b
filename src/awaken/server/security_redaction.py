"""No secret gets into a log line: not in its message, its facts or its stack.

Lines are cleaned when they are whole, behind their formatter, because a secret can come in by any
of these ways. Two things are replaced: the secrets this process knows (its keys, the password of
its store, whatever its environment calls a key, token, secret or password), and what looks like
one.

    protect(handler, known_secrets(settings, os.environ))    # for a handler of your own
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from awaken.server.settings import Settings

HIDDEN: Final = "[hidden]"
MIN_SECRET: Final = 8
"""Characters; what is shorter would be found in words that are no secret."""

_SECRET_NAME: Final = re.compile(r"(KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)$", re.I)
# A client chooses much of what is logged, so nothing here may take time by the square of a line's
# length: no repetition comes before the word that is looked for.
_LOOKS_SECRET: Final = re.compile(
    r"""
    (?P<scheme>\b(?:bearer|basic)\s{1,8})[\w.~+/=-]{8,}     # an authorization
  | \bawaken-sk-[\w-]{8,}                                  # one of our keys
  | \bsk-[\w-]{16,}                                        # a provider's key
  | (?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*             # a token (JWT)
  | (?P<user>://[^/\s:@"']*:)[^/\s@"']+(?=@)               # the password in an address
  | (?P<name>
      (?:(?:api[_-]?keys?|token|secret|password|passwd|authorization|cookie)
        (?:\s*=|["']\s*[:=])                              # name=value, "name": value
        | \b(?:authorization|x-api-key|cookie):            # a header
      )\s*["']?
    )(?!\[hidden\])(?:(?:bearer|basic)\s+)?[^\s"',;&}]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


class Redactor:
    """Replaces secrets in texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= MIN_SECRET for form in _forms(secret)}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def clean(self, text: str) -> str:
        """`text` without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _LOOKS_SECRET.sub(_hide, text)


def _hide(match: re.Match[str]) -> str:
    before = match["scheme"] or match["user"] or match["name"] or ""
    return before + HIDDEN


def _forms(secret: str) -> set[str]:
    """As it is, and as it stands in a JSON line."""
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


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
    password = _password(settings.store or "")
    if password:
        found |= {password, unquote(password)}
    return found


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None
