"""The SSRF guard: from a URL somebody gave us to addresses that may be connected to, or a refusal.

    target = await guard.check("https://example.com/hook")

`target.addresses` are what the name resolved to, all of them checked. A connection is made to one
of these, and never by the name again: a name can resolve to something else the next time (DNS
rebinding). `fetch.Fetcher` does that.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import anyio

from awaken.errors import RequestError
from awaken.net.addresses import Address, Network, is_public, unwrapped

SCHEMES: Final = ("https",)
PORTS: Final = (443,)
MAX_URL: Final = 2048
RESOLVE_SECONDS: Final = 5.0
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of (host, port), as texts."""


class Forbidden(RequestError):
    """The URL may not be reached from here: `url_forbidden`. The text names no address inside."""

    def __init__(self, problem: str) -> None:
        super().__init__("url_forbidden", problem, status=422)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: connect to one of `addresses`, and speak to `host`."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator lets through: a host, with or without a port, or a network."""

    host: str | None = None
    port: int | None = None
    network: Network | None = None


async def resolve(host: str, port: int) -> list[str]:
    """The machine's own resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Guard:
    """The rules for outbound requests.

    Args:
        allowed: exceptions, each `host`, `host:port` or a network such as `10.1.0.0/16`. What they
            name may be private, plain http, and on any port (or the one they name).
        schemes: what a URL may begin with.
        ports: where public hosts may be reached.
        resolve: the resolver.
    """

    def __init__(
        self,
        allowed: Sequence[str] = (),
        *,
        schemes: Sequence[str] = SCHEMES,
        ports: Sequence[int] = PORTS,
        resolve: Resolve = resolve,
    ) -> None:
        self._allowed = tuple(parse_exception(text) for text in allowed)
        self._schemes = schemes
        self._ports = ports
        self._resolve = resolve

    async def check(self, url: str) -> Target:
        """Where `url` leads.

        Raises:
            Forbidden: it is no URL for us, or one of its addresses is not public.
        """
        parts, port = _split(url)
        host = parts.hostname or ""
        addresses = await self._addresses(host, port)
        if not self._is_excepted(host, port, addresses):
            self._check_public(parts.scheme, port, addresses)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port, path, tuple(str(each) for each in addresses))

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            with anyio.fail_after(RESOLVE_SECONDS):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise Forbidden("the host of the URL cannot be resolved") from error
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in dict.fromkeys(found)]
        if not addresses:
            raise Forbidden("the host of the URL has no address")
        return addresses

    def _check_public(self, scheme: str, port: int, addresses: Sequence[Address]) -> None:
        if scheme not in self._schemes:
            raise Forbidden(f"the URL must begin with {' or '.join(self._schemes)}")
        if port not in self._ports:
            raise Forbidden(f"the port must be {' or '.join(map(str, self._ports))}")
        if not all(is_public(address) for address in addresses):
            raise Forbidden("the host of the URL is not on the public internet")

    def _is_excepted(self, host: str, port: int, addresses: Sequence[Address]) -> bool:
        """Whether the operator let this host through, or all of its addresses."""
        named = (each for each in self._allowed if each.host == host.lower())
        if any(each.port in (None, port) for each in named):
            return True
        networks = [each.network for each in self._allowed if each.network is not None]
        return all(
            any(unwrapped(address) in network for network in networks) for address in addresses
        )


def _split(url: str) -> tuple[SplitResult, int]:
    """The parts of a URL that has only the parts we use."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Forbidden("this is no URL") from error
    if len(url) > MAX_URL or not url.isascii() or any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise Forbidden("this is no URL: at most 2048 visible ASCII characters")
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "%" in parts.hostname:
        raise Forbidden("the URL must be https://host/…")
    if "@" in parts.netloc or "\\" in url:
        raise Forbidden("the URL must not contain a user or a backslash")
    return parts, DEFAULT_PORTS[parts.scheme] if port is None else port


def parse_exception(text: str) -> Allowed:
    """One entry of the allow-list.

    Raises:
        ValueError: it is none.
    """
    try:
        return Allowed(network=ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_exception(text) from None
    if not host or parts.netloc != text or set("@*") & set(text):
        raise _no_exception(text)
    return Allowed(host=host.lower(), port=port)


def _no_exception(text: str) -> ValueError:
    return ValueError(f"expected host, host:port or a network such as 10.1.0.0/16, got {text!r}")
