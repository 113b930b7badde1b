"""One command's conversation with a server: where it is, asking it, and what its refusals mean."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from awaken.cli.codes import Code
from awaken.cli.show import fail

if TYPE_CHECKING:
    from awaken.client import Client, ClientError
    from awaken.server.settings import Settings

T = TypeVar("T")

URL_VARIABLE: Final = "AWAKEN_URL"
KEY_VARIABLE: Final = "AWAKEN_API_KEY"
"""Has the user's own key, for a server that wants one; others can see a command line."""
ANSWER_SECONDS: Final = 30.0
"""How long a server may take to answer a command that is not a stream."""

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


# --- where ---------------------------------------------------------------------------------------


def server_url(given: str | None) -> str:
    """Where the server is: as given, as `AWAKEN_URL` says, or as the settings here do."""
    named = given or os.environ.get(URL_VARIABLE)
    if named:
        return named
    settings = settings_here()
    if settings.port == 0:
        fail(
            f"the server of the settings takes any free port: name it with --url or {URL_VARIABLE}",
            Code.usage,
        )
    return address_of(settings)


def settings_here() -> Settings:
    """The settings of this directory; ends the command when they are wrong."""
    from awaken.server.settings import SettingsError, load_settings

    try:
        return load_settings(os.environ, Path.cwd())
    except SettingsError as error:
        fail(str(error))


def address_of(settings: Settings) -> str:
    """Where a server with these settings is reached from this machine."""
    host = settings.host.strip("[]")
    host = _ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def api_key() -> str | None:
    """The user's key, if there is one."""
    return os.environ.get(KEY_VARIABLE, "").strip() or None


# --- asking --------------------------------------------------------------------------------------


def ask(
    url: str | None,
    work: Callable[[Client], Awaitable[T]],
    *,
    bounded: bool = True,
) -> T:
    """What `work` comes to; a refusal ends the command with one line and its exit code.

    Unless it is `bounded`, the server may take as long as it likes.
    """
    import anyio

    from awaken.client import Client, ClientError

    where = server_url(url)

    async def run() -> T:
        with anyio.fail_after(ANSWER_SECONDS if bounded else None):
            async with Client(where, give_up_seconds=0, api_key=api_key()) as client:
                return await work(client)

    try:
        return anyio.run(run)
    except TimeoutError:
        fail(
            f"{where} takes connections but does not answer; find out why with: awaken doctor",
            Code.unreachable,
        )
    except ClientError as error:
        refuse(where, error)


def refuse(url: str, error: ClientError) -> NoReturn:
    """End the command as `error` says."""
    fail(*told(url, error))


def told(url: str, error: ClientError) -> tuple[str, Code]:
    """What to do about an error, in one line, and the exit code that tells it to programs."""
    if error.code == "invalid_url":
        return error.message, Code.usage
    if error.code == "unexpected_answer":
        return f"{error.message}; is --url right?", Code.unreachable
    if error.status is None:
        return _about_silence(url, error)
    if error.status == 401:
        return _about_key(url, error), Code.no_access
    if error.status == 403:
        return f"{error.message} ({error.code})", Code.no_access
    if error.code in ("route_not_found", "method_not_allowed"):
        return f"the server at {url} cannot do this: it is of another version", Code.server_error
    if error.status == 404:
        return f"{error.message} ({error.code})", Code.not_found
    if error.status >= 500:
        hint = "its log says more" if error.code == "internal" else "see: awaken doctor"
        return f"the server failed: {error.message} ({error.code}); {hint}", Code.server_error
    return f"{error.message} ({error.code})", Code.refused


def _about_silence(url: str, error: ClientError) -> tuple[str, Code]:
    from httpx import ConnectError, ConnectTimeout, TransportError

    if error.code != "unreachable":
        return f"{error.message} ({error.code})", Code.not_found
    cause = error.__cause__
    if isinstance(cause, TransportError) and not isinstance(cause, ConnectError | ConnectTimeout):
        return f"{url}: {error.message}; find out why with: awaken doctor", Code.unreachable
    return f"there is no server at {url}; start one with: awaken serve", Code.unreachable


def _about_key(url: str, error: ClientError) -> str:
    if api_key() is None:
        return f"{url} wants a key; put yours into {KEY_VARIABLE} ({error.code})"
    return f"{url} does not take the key in {KEY_VARIABLE}: {error.message} ({error.code})"
