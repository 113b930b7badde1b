"""Every error that leaves a module, in three families.

* `RequestError`: the caller sent something that cannot be carried out as sent.
* `Refusal`: the request was fine, the state of the system says no (busy, closed, too late,
  draining).
* `Fault`: something outside our control failed; `retryable` says whether trying again can help.

All carry a stable `code` (snake_case, part of the public API), a text that is safe to show to
clients (no SQL, DSN, path, stack or secret: invariant I11) and the HTTP status that fits.
Programmer errors are assertions, not members of these families.
"""

from __future__ import annotations

from collections.abc import Mapping


class AwakenError(Exception):
    """Base of the three families; never raised itself.

    Args:
        code: stable identifier of the situation.
        message: text for people, safe for clients.
        status: HTTP status that a protocol without its own mapping should use.
        details: further JSON-encodable facts, e.g. `{"field": "messages[0].role"}`.
    """

    status = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})
        if status is not None:
            self.status = status


class RequestError(AwakenError):
    """The request itself is wrong: it will fail again if it is repeated unchanged."""

    status = 400


class Refusal(AwakenError):
    """The request is well formed, but not possible now.

    `retry_after_seconds` is set when waiting helps (draining, full, disk full).
    """

    status = 409

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(code, message, status=status, details=details)
        self.retry_after_seconds = retry_after_seconds


class Fault(AwakenError):
    """An operational failure that knows whether a retry helps.

    `retry_after_ms` is the wait the failing side asked for, if it named one. `public` tells whether
    the message was written for clients; otherwise clients are shown the code only.
    """

    status = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        retry_after_ms: int | None = None,
        status: int | None = None,
        public: bool = False,
    ) -> None:
        super().__init__(code, message, status=status)
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.public = public


class StoreFault(Fault):
    """The store could not carry out an operation.

    `unknown` is true when the outcome of COMMIT is unknown: the caller repeats the same named call
    and is answered from the record (dispatch design, section 3).
    """

    def __init__(self, code: str, message: str, *, retryable: bool = True, unknown: bool = False):
        super().__init__(code, message, retryable=retryable, status=503)
        self.unknown = unknown


class UndecodableRecord(StoreFault):
    """A stored record that cannot be read, and which one; no other row is affected.

    `tenant` is None where the read was not about one tenant's row.
    """

    def __init__(self, kind: str, identifier: object, tenant: str | None = None):
        message = f"the stored {kind} {identifier} cannot be read"
        super().__init__("undecodable_record", message, retryable=False)
        self.kind = kind
        self.identifier = str(identifier)
        self.tenant = tenant


def not_found(kind: str, identifier: str) -> RequestError:
    """The 404 of all lookups; also given for objects of another tenant (I10)."""
    return RequestError(
        f"{kind}_not_found",
        f"no {kind} with the id {identifier!r}",
        status=404,
        details={f"{kind}_id": identifier},
    )
