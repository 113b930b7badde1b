"""One request, and what its answer means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import msgspec

from awaken.client.errors import ClientError
from awaken.client.patience import Patience

_TRANSIENT: Final = frozenset({429, 502, 503, 504})
"""Statuses of a server, or of a proxy before it, that will do better in a while."""

SILENCE_SECONDS: Final = 45.0
"""A stream that is silent for three heartbeats is opened anew: its connection may be dead."""

_TIMEOUT: Final = httpx.Timeout(SILENCE_SECONDS, connect=5.0, pool=None)
_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class Http:
    """Requests to one server. All of them may be repeated: that is the caller's duty."""

    def __init__(
        self,
        base_url: str,
        *,
        patience: Callable[[], Patience],
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.patience = patience
        url = _checked(base_url)
        self._http = httpx.AsyncClient(
            base_url=url,
            verify=url.scheme == "https",  # loading certificates takes its time
            headers=dict(headers or {}),
            transport=transport,
            timeout=_TIMEOUT,
            limits=_LIMITS,
            trust_env=not is_local(url.host),  # no proxy leads to this machine
        )

    async def json(
        self, method: str, path: str, *, body: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        """The JSON value of the answer, None without one; the request is repeated while that helps.

        Raises:
            ClientError: the server refused, or patience was over.
        """
        patience = self.patience()
        while True:
            try:
                response = await self.open(method, path, body=body, params=params)
                return await _json_of(response)
            except ClientError as error:
                await patience.wait_after(error)

    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One try; a good answer comes back unread, and must be closed.

        Raises:
            ClientError: as the answer says, or `unreachable`.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        request = self._http.build_request(
            method, path, json=body, params=given or None, headers=dict(headers or {})
        )
        try:
            response = await self._http.send(request, stream=True)
            if response.is_success:
                return response
            await response.aread()
        except httpx.TransportError as error:
            raise unreachable(error) from error
        raise _refusal(response)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


@asynccontextmanager
async def streamed(http: Http, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes of a long answer, in pieces.

    Raises:
        ClientError: as `Http.open`; `unreachable` when the answer breaks off.
    """
    response = await http.open("GET", path)
    try:
        yield response.aiter_bytes()
    except httpx.TransportError as error:
        raise unreachable(error) from error
    finally:
        await response.aclose()


def unreachable(error: Exception | str) -> ClientError:
    """There was no answer, or it broke off."""
    reason = str(error) or type(error).__name__
    return ClientError("unreachable", f"the server does not answer: {reason}", retryable=True)


def unexpected(response: httpx.Response, problem: str) -> ClientError:
    """Somebody else answered."""
    return ClientError(
        "unexpected_answer",
        f"{response.url} does not answer as an Awaken server does: {problem}",
        status=response.status_code,
    )


async def _json_of(response: httpx.Response) -> Any:
    try:
        await response.aread()
        return msgspec.json.decode(response.content) if response.status_code != 204 else None
    except httpx.TransportError as error:
        raise unreachable(error) from error
    except msgspec.DecodeError as error:
        raise unexpected(response, "that is no JSON") from error
    finally:
        await response.aclose()


def _refusal(response: httpx.Response) -> ClientError:
    try:
        told = msgspec.json.decode(response.content)["error"]
        code, message, details = told["code"], told["message"], told.get("details")
    except (msgspec.DecodeError, KeyError, TypeError):
        code, message, details = "", "", None
    transient = response.status_code in _TRANSIENT
    if not code and not transient:
        return unexpected(response, f"status {response.status_code}")
    return ClientError(
        str(code or "unreachable"),
        str(message or f"status {response.status_code}"),
        status=response.status_code,
        details=details,
        retryable=transient,
        retry_after_seconds=_retry_after(response),
    )


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() and len(text) < 6 else 0.0


def _checked(base_url: str) -> httpx.URL:
    """The address.

    Raises:
        ClientError: `invalid_url`.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ClientError("invalid_url", f"{base_url!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ClientError("invalid_url", f"{base_url!r} is not of the form http://host:port")
    return url


def is_local(host: str) -> bool:
    """Whether `host` is this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")
