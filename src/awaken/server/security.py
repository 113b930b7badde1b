"""What is safe without keys: only this machine is answered, and no web page it shows.

A page can send requests to 127.0.0.1, and a name it controls can be pointed there (DNS rebinding).
So the Host must be a loopback name, and so must the Origin if there is one.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from awaken.errors import RequestError
from awaken.protocols.native.http.asgi import Scope, header
from awaken.server.security_settings import is_loopback


def check_caller(scope: Scope) -> None:
    """Refuse a request that does not come from this machine's own programs.

    Raises:
        RequestError: `forbidden_host` or `forbidden_origin`, status 403.
    """
    host = header(scope, b"host")
    if host is None or not _is_loopback_authority(host):
        raise RequestError(
            "forbidden_host",
            "without keys, only requests to a loopback name such as 127.0.0.1 are answered",
            status=403,
            details={"host": host},
        )
    origin = header(scope, b"origin")
    if origin is not None and not _is_loopback_origin(origin):
        raise RequestError(
            "forbidden_origin",
            "without keys, only pages of this machine may use the server",
            status=403,
            details={"origin": origin},
        )


def _is_loopback_authority(authority: str) -> bool:
    """Whether `host[:port]` names this machine."""
    try:
        parts = urlsplit(f"//{authority}")
        port_is_one = parts.port is None or parts.port >= 0
    except ValueError:
        return False
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return plain and port_is_one and is_loopback(parts.hostname or "")


def _is_loopback_origin(origin: str) -> bool:
    scheme, separator, authority = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and _is_loopback_authority(authority)
