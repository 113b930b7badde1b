"""No secret gets into a text that leaves the process: a log line, a tool's error, a run's failure.

Two things are replaced: the secrets this process knows, and what looks like one.

    clean(text)                     # with all that was made known by `know`
    Redactor(secrets).clean(text)   # with these
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "[hidden]"
MIN_SECRET: Final = 8
"""Characters; what is shorter would be found in words that are no secret."""

# Others choose much of what is cleaned, so nothing here may take time by the square of a text's
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


_known: set[str] = set()
_process = Redactor()


def know(secrets: Iterable[str]) -> None:
    """Let `clean` hide these secrets too, from now on, in this process."""
    global _process
    new = set(secrets) - _known
    if new:
        _known.update(new)
        _process = Redactor(_known)


def clean(text: str) -> str:
    """`text` without the secrets of this process, and without what looks like one."""
    return _process.clean(text)
