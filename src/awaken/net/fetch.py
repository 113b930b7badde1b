"""Requests to a URL that somebody gave us: checked by the guard, pinned, limited.

The connection goes to an address that the guard has checked; the name is only what TLS verifies and
`Host` says. Redirects are followed for GET alone, a few, and each through the guard again.
Credentials do not go along to another origin. No proxy of the environment is used.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

import anyio
import anyio.to_thread
import httpcore

from awaken.errors import Fault
from awaken.net.guard import DEFAULT_PORTS, Guard, Target

SECONDS: Final = 10.0
MAX_BYTES: Final = 1024 * 1024
MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


class Unreachable(Fault):
    """The other side did not answer as it should: `outbound_failed`. Not for clients."""

    def __init__(self, problem: str) -> None:
        super().__init__("outbound_failed", problem, retryable=True, status=502)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is whole, as it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Sends requests through `guard`.

    Args:
        guard: says what may be reached.
        seconds: how long one request may take, redirects included.
        max_bytes: how large an answer may be.
        context: whom TLS trusts; by default whom the machine does.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        seconds: float = SECONDS,
        max_bytes: int = MAX_BYTES,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._context = context

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET `url`.

        Raises:
            Forbidden: it, or what it redirects to, may not be reached.
            Unreachable: there was no answer in time, or none that fits.
        """
        sent = dict(headers or {})
        with _deadline(self._seconds):
            for _ in range(MAX_REDIRECTS + 1):
                target = await self._guard.check(url)
                answer = await self._send("GET", target, sent, b"")
                if answer.status not in _REDIRECTS or "location" not in answer.headers:
                    return answer
                url, before = urljoin(url, answer.headers["location"]), url
                if _origin(url) != _origin(before):
                    sent = {k: v for k, v in sent.items() if k.lower() not in _CREDENTIALS}
        raise Unreachable(f"more than {MAX_REDIRECTS} redirects")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST `body` to `url`; a redirect is an answer like any other.

        Raises:
            Forbidden, Unreachable: as `get`.
        """
        with _deadline(self._seconds):
            return await self._send("POST", await self._guard.check(url), headers or {}, body)

    async def _send(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        request = _request(method, target, headers, body)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=await self._trust() if target.scheme == "https" else None,
            network_backend=_Pinned(target),
            max_keepalive_connections=0,
        )
        try:
            async with pool:
                response = await pool.handle_async_request(request)
                try:
                    return await self._read(response)
                finally:
                    await response.aclose()
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise Unreachable(f"{target.host}: {type(error).__name__}") from error

    async def _read(self, response: httpcore.Response) -> Answer:
        body = bytearray()
        assert isinstance(response.stream, AsyncIterable)
        async for piece in response.stream:
            body += piece
            if len(body) > self._max_bytes:
                raise Unreachable(f"the answer has more than {self._max_bytes} bytes")
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
        return Answer(response.status, headers, bytes(body))

    async def _trust(self) -> ssl.SSLContext:
        if self._context is None:  # reads the certificates of the machine
            self._context = await anyio.to_thread.run_sync(ssl.create_default_context)
        return self._context


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the addresses of `target`, whatever host is asked for."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is the library's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in self._target.addresses:
            try:
                return await self._inner.connect_tcp(
                    address, self._target.port, timeout, local_address, socket_options
                )
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failed = error
        raise failed or httpcore.ConnectError("no address")


def _request(
    method: str, target: Target, headers: Mapping[str, str], body: bytes
) -> httpcore.Request:
    given = {name.lower(): value for name, value in headers.items()}
    host = f"[{target.host}]" if ":" in target.host else target.host
    plain = target.port == DEFAULT_PORTS[target.scheme]
    whole = {"host": host if plain else f"{host}:{target.port}", **given}
    whole |= {"accept-encoding": "identity", "connection": "close"}
    if method != "GET":
        whole["content-length"] = str(len(body))
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore.Request(method, url, headers=list(whole.items()), content=body)


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}".lower()


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Make the end of the time an `Unreachable`."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise Unreachable(f"no answer within {seconds} s") from error
