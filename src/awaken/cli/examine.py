"""Examining a server: what can be seen from outside, and then what it says of itself."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import httpx

from awaken import __version__
from awaken.cli import processes
from awaken.cli.session import KEY_VARIABLE, api_key
from awaken.client.answers import Finding
from awaken.client.http import is_local
from awaken.errors import StoreFault
from awaken.ports.clock import SystemClock
from awaken.server.settings import SettingsError, load_settings
from awaken.server.stores import MEMORY, sqlite_path
from awaken.stores.sqlite.inspect import holder_of
from awaken.stores.sqlite.lock import Holder

CONNECT_SECONDS: Final = 3.0
SILENT_SECONDS: Final = 5.0
"""A server that takes a connection and says nothing for so long hangs."""
EXAMINATION_SECONDS: Final = 30.0
TICK_SECONDS: Final = 1.2
CLOCKS_APART_SECONDS: Final = 5.0
CLOCKS_FAR_APART_SECONDS: Final = 60.0


def examine(url: str) -> list[Finding]:
    """All findings about the server at `url`. What cannot be reached is not asked any further."""
    return list(Examination(url).findings())


def finding(
    check: str, status: Any, message: str, advice: str | None = None, **details: Any
) -> Finding:
    """What one check has found."""
    return {
        "check": check,
        "status": status,
        "message": message,
        "advice": advice,
        "details": details,
    }


class Examination:
    """One examination of one server."""

    def __init__(self, url: str) -> None:
        key = api_key()
        self._url = url
        self._clock = SystemClock()
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._has_key = key is not None

    def findings(self) -> Iterator[Finding]:
        """One after the other; the first that makes the rest pointless is the last."""
        try:
            address = httpx.URL(self._url)
            if address.scheme not in ("http", "https") or not address.host:
                raise httpx.InvalidURL("not of the form http://host:port")
        except httpx.InvalidURL as error:
            yield finding("address", "problem", f"{self._url!r}: {error}", "give another --url")
            return
        refusal = _connect(address)
        if refusal is not None:
            yield _nobody(address, refusal)
            return
        yield finding("port", "ok", f"{address.host}:{_port(address)} takes connections")
        with httpx.Client(base_url=address, trust_env=not is_local(address.host)) as http:
            yield from self._ask(http, address)

    def _ask(self, http: httpx.Client, address: httpx.URL) -> Iterator[Finding]:
        try:
            began = self._clock.now()
            alive = http.get("/health/live", timeout=SILENT_SECONDS)
            ended = self._clock.now()
        except httpx.TimeoutException:
            yield _hanging(address)
            return
        except httpx.TransportError as error:
            advice = "is it HTTP that is spoken there? is --url right?"
            yield finding("answer", "problem", f"the answer broke off: {error}", advice)
            return
        if alive.status_code != 200:
            advice = "somebody else listens there: is --url right?"
            yield finding("answer", "problem", f"status {alive.status_code}: no Awaken", advice)
            return
        yield finding("answer", "ok", f"it answers in {ended - began} ms", ms=ended - began)
        yield self._compare_clocks(http, alive, began, ended)
        yield self._readiness(http)
        info = self._info(http)
        yield from _key_and_version(info, has_key=self._has_key)
        if info is not None and info.status_code == 200:
            yield from self._inside(http)

    def _compare_clocks(
        self, http: httpx.Client, alive: httpx.Response, began: int, ended: int
    ) -> Finding:
        found = _clocks(alive, began, ended)
        if found["status"] == "ok":
            return found
        # A server writes its header once a second: one that stood still until now told an old time.
        time.sleep(TICK_SECONDS)
        with suppress(httpx.TransportError):
            began = self._clock.now()
            again = http.get("/health/live", timeout=SILENT_SECONDS)
            return _clocks(again, began, self._clock.now())
        return found

    def _readiness(self, http: httpx.Client) -> Finding:
        try:
            answer = http.get("/health/ready", timeout=2 * SILENT_SECONDS)
            body: dict[str, Any] = answer.json()
            components = body["components"]
        except (httpx.TransportError, ValueError, KeyError, TypeError):
            return finding("ready", "problem", "it does not say whether it is ready")
        if answer.status_code == 200:
            return finding("ready", "ok", "it takes work", **components)
        if body["status"] == "draining":
            advice = "it is being stopped: wait for its successor"
            return finding("ready", "warning", "it takes no new work", advice, **components)
        message = f"it takes no work: its store says {components.get('store')}"
        return finding("ready", "problem", message, "see the checks of the store", **components)

    def _info(self, http: httpx.Client) -> httpx.Response | None:
        with suppress(httpx.TransportError):
            return http.get("/v1/system/info", headers=self._headers, timeout=SILENT_SECONDS)
        return None

    def _inside(self, http: httpx.Client) -> Iterator[Finding]:
        """What the server says of itself."""
        try:
            answer = http.get(
                "/v1/system/doctor", headers=self._headers, timeout=EXAMINATION_SECONDS
            )
            if answer.status_code == 404:
                yield finding(
                    "inside", "warning", "it cannot examine itself: it is of an older version"
                )
                return
            yield from answer.json()["findings"]
        except (httpx.TransportError, ValueError, KeyError, TypeError) as error:
            message = f"it could not be examined from inside: {type(error).__name__}: {error}"
            yield finding("inside", "problem", message, "look at its log")


# --- whether somebody is there -------------------------------------------------------------------


def _port(address: httpx.URL) -> int:
    return address.port or {"https": 443}.get(address.scheme, 80)


def _connect(address: httpx.URL) -> str | None:
    """Why the port cannot be reached; None when it can."""
    try:
        socket.create_connection((address.host, _port(address)), CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _nobody(address: httpx.URL, refusal: str) -> Finding:
    message = f"nobody listens at {address.host}:{_port(address)} ({refusal})"
    holder = _holder() if is_local(address.host) else None
    if holder is None:
        return finding("port", "problem", message, "start a server with: awaken serve")
    message += f"; process {holder.pid} has the store of this directory"
    if processes.state(holder.pid) == "stopped":
        return finding("port", "problem", message, _wake(holder.pid), pid=holder.pid)
    advice = "it is a worker, it has just begun, or it listens elsewhere: look at its log"
    return finding("port", "problem", message, advice, pid=holder.pid)


def _hanging(address: httpx.URL) -> Finding:
    """It takes the connection and says nothing."""
    message = f"it takes connections but says nothing for {SILENT_SECONDS:.0f} s: the process hangs"
    pid = _culprit(address) if is_local(address.host) else None
    if pid is None:
        advice = "on its machine, look at the process that listens there; kill -9 loses nothing"
        return finding("answer", "problem", message, advice)
    state = processes.state(pid)
    message += f" (process {pid}{f', {state}' if state else ''})"
    advice = _wake(pid) if state == "stopped" else _end(pid)
    return finding("answer", "problem", message, advice, pid=pid, state=state)


def _culprit(address: httpx.URL) -> int | None:
    """The process that listens there; where the system does not tell, the one that has the store.

    Where it does tell, the other is not believed: it may be a healthy server on another port.
    """
    if processes.are_known():
        return processes.listener(_port(address))
    holder = _holder()
    return None if holder is None else holder.pid


def _wake(pid: int) -> str:
    return f"it was stopped by a signal: kill -CONT {pid} lets it go on"


def _end(pid: int) -> str:
    return f"end it with kill -9 {pid} and start it again: what it had accepted goes on"


def _holder() -> Holder | None:
    """The process that has the store of this directory's settings, if that is a file."""
    with suppress(SettingsError, StoreFault):
        path = sqlite_path(load_settings(os.environ, Path.cwd()).store_url)
        return None if path == MEMORY else holder_of(path)
    return None


# --- what its answers tell -----------------------------------------------------------------------


def _clocks(answer: httpx.Response, began: int, ended: int) -> Finding:
    """How far its clock is from ours; its header has whole seconds."""
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp() * 1000
    except (KeyError, ValueError):
        return finding("clock_difference", "ok", "it does not tell its time")
    apart = max(theirs - ended, began - (theirs + 1_000), 0) / 1000
    message = f"its clock and the one here are {apart:.0f} s apart"
    if apart < CLOCKS_APART_SECONDS:
        return finding("clock_difference", "ok", "its clock and the one here agree", seconds=apart)
    status = "warning" if apart < CLOCKS_FAR_APART_SECONDS else "problem"
    advice = "set both by a time server: leases, due times and tokens depend on it"
    return finding("clock_difference", status, message, advice, seconds=apart)


def _key_and_version(info: httpx.Response | None, *, has_key: bool) -> Iterator[Finding]:
    if info is None:
        yield finding("key", "problem", "it did not answer who may ask")
    elif info.status_code == 200:
        yield finding("key", "ok", "the key is taken" if has_key else "it wants no key")
        yield _version(info)
    elif info.status_code == 403:
        advice = f"put a key with the scope admin into {KEY_VARIABLE} to look inside"
        yield finding("key", "warning", _refusal(info), advice, scope="admin")
    elif info.status_code == 401:
        advice = f"put a key of yours into {KEY_VARIABLE}" + (
            "; this one is wrong" if has_key else ""
        )
        yield finding("key", "problem", _refusal(info), advice)
    else:
        advice = "look at its log"
        yield finding("key", "problem", f"it answers with {info.status_code}", advice)


def _refusal(answer: httpx.Response) -> str:
    with suppress(ValueError, KeyError, TypeError):
        error = answer.json()["error"]
        return f"{error['message']} ({error['code']})"
    return f"it answers with {answer.status_code}"


def _version(info: httpx.Response) -> Finding:
    with suppress(ValueError, KeyError, TypeError):
        theirs = info.json()["version"]
        if theirs == __version__:
            return finding("version", "ok", str(theirs), server=theirs, here=__version__)
        message = f"the server has version {theirs}, this command {__version__}"
        advice = "use the same version, or some commands may not fit"
        return finding("version", "warning", message, advice, server=theirs, here=__version__)
    return finding("version", "problem", "it is no Awaken server", "is --url right?")
