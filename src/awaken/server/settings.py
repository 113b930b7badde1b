"""The settings: one typed class, read from the environment and `awaken.toml`.

A value given on the command line wins over `AWAKEN_*`, that over the file, that over the default.
The page `docs/settings.md` is made from this class by `settings_page`.
"""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from awaken.leftovers import CANCEL_GRACE_SECONDS
from awaken.server.security_settings import PREFIX, SecuritySettings, Texts, is_loopback

log = logging.getLogger(__name__)

FILE_NAME: Final = "awaken.toml"
OF_CLIENTS: Final = frozenset({f"{PREFIX}API_KEY", f"{PREFIX}URL"})
"""Variables that programs which use a server read; they may stand in its environment too."""

_HOUR_MS = 3_600_000


class SettingsError(ValueError):
    """The server cannot start with these settings; the text says which, and what was expected."""


class Settings(SecuritySettings):
    """What can be set. Times are in the unit of their name."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; without keys, a loopback address.",
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path("awaken-data"), description="Where the server keeps what it writes."
    )
    store: str | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="`sqlite:///path` or `sqlite://:memory:`; without one, the file `awaken.db` in "
        "the data directory.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How log lines are written."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log lines that are written."
    )
    access_log: bool = Field(default=False, description="Log every HTTP request.")
    tracing: bool = Field(
        default=False,
        description="Send OpenTelemetry traces to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; needs "
        "the extra `otel`. See [observability](observability.md).",
    )
    heartbeat_seconds: int = Field(
        default=15,
        ge=1,
        le=300,
        description="After how long an idle stream is sent a comment, a waiting request a space.",
    )
    flush_ms: int = Field(
        default=25,
        ge=0,
        le=1_000,
        description="How long a stream's writer gathers events after a write.",
    )
    max_concurrent_runs: int = Field(
        default=256, ge=1, le=10_000, description="Runs this process executes at a time."
    )
    foreground_slots: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="Of these, kept for runs that a client waits for; by default an eighth.",
    )
    max_queued: int = Field(
        default=10_000,
        ge=0,
        le=10_000_000,
        description="Runs that may wait in all; more are refused with 429. 0 is no limit.",
    )
    max_queued_per_thread: int = Field(
        default=1_000,
        ge=0,
        le=1_000_000,
        description="Runs that may wait on one thread; more are refused with 429. 0 is no limit.",
    )
    max_attempts: int = Field(
        default=5, ge=1, le=1_000, description="Failed attempts after which a run fails for good."
    )
    lease_ms: int = Field(
        default=30_000,
        ge=1_000,
        le=_HOUR_MS,
        description="How long a worker that says nothing keeps its runs.",
    )
    lease_renewal_ms: int = Field(
        default=10_000, ge=100, le=_HOUR_MS, description="How often a worker renews its leases."
    )
    sweep_ms: int = Field(
        default=5_000, ge=100, le=_HOUR_MS, description="How often lost runs are looked for."
    )
    poll_ms: int = Field(
        default=1_000,
        ge=10,
        le=60_000,
        description="How often work is looked for that no hint told of.",
    )
    gc_ms: int = Field(
        default=60_000,
        ge=1_000,
        le=24 * _HOUR_MS,
        description="How often what nobody needs is deleted.",
    )
    finished_retention_ms: int = Field(
        default=24 * _HOUR_MS,
        ge=0,
        description="How long finished dispatches are kept; 0 is for ever.",
    )
    dead_letter_retention_ms: int = Field(
        default=30 * 24 * _HOUR_MS,
        ge=0,
        description="How long dead letters are kept; 0 is for ever.",
    )
    ticket_retention_ms: int = Field(
        default=30 * 24 * _HOUR_MS,
        ge=0,
        description="How long closed tickets of runs that are done are kept; 0 is for ever.",
    )
    event_retention_ms: int = Field(
        default=30 * 24 * _HOUR_MS,
        ge=0,
        description="How long after its end the events of a run are kept; its messages stay. 0 is "
        "for ever. See [data](data.md).",
    )
    run_retention_ms: int = Field(
        default=90 * 24 * _HOUR_MS,
        ge=0,
        description="How long after its end a run is kept, with its events and tickets; its "
        "messages stay. 0 is for ever.",
    )
    delta_retention_ms: int = Field(
        default=24 * _HOUR_MS,
        ge=0,
        description="How long after its end the deltas of a run stay apart; then they are merged.",
    )
    interrupt_grace_ms: int = Field(
        default=2_000, ge=0, le=60_000, description="How long an interrupted run may take to end."
    )
    cancel_grace_seconds: float = Field(
        default=CANCEL_GRACE_SECONDS,
        ge=0.1,
        le=60,
        description="How long a stop waits for a tool or model that ignores it; then it is left "
        "behind.",
    )
    unattended_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3_600,
        description="How long a run with `on_disconnect: cancel` goes on without a reader.",
    )
    drain_seconds: float = Field(
        default=20.0,
        ge=0,
        le=3_600,
        description="How long runs may take to end when the server is stopped; the rest is handed "
        "over.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lease_renewal_ms * 2 > self.lease_ms:
            raise ValueError(
                f"{PREFIX}LEASE_RENEWAL_MS: expected at most half of {PREFIX}LEASE_MS "
                f"({self.lease_ms}), got {self.lease_renewal_ms}"
            )
        if self.kept_slots >= self.max_concurrent_runs:
            raise ValueError(
                f"{PREFIX}FOREGROUND_SLOTS: expected less than {PREFIX}MAX_CONCURRENT_RUNS "
                f"({self.max_concurrent_runs}), got {self.kept_slots}: no other run would start"
            )
        return self

    @property
    def kept_slots(self) -> int:
        """How many slots are kept for foreground runs."""
        given = self.foreground_slots
        return self.max_concurrent_runs // 8 if given is None else given

    @model_validator(mode="after")
    def _safe_to_reach(self) -> Self:
        """Without keys whoever reaches the server can use it, so only this machine may."""
        if self.has_keys:
            return self
        if not is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST: expected a loopback address such as 127.0.0.1, got {self.host!r}: "
                f"without keys, whoever reaches the server can use it. Set {PREFIX}API_KEYS or "
                f"{PREFIX}KEYS_FILE (docs/security.md)"
            )
        for origin in self.cors_origins:
            if not is_loopback(urlsplit(origin).hostname or ""):
                raise ValueError(
                    f"{PREFIX}CORS_ORIGINS: expected pages of this machine, got {origin!r}: "
                    f"without keys, any page there could use the server"
                )
        return self

    @property
    def store_url(self) -> str:
        """The store's address, with its default."""
        return self.store or f"sqlite:///{self.data_dir / 'awaken.db'}"

    @property
    def store_told(self) -> str:
        """The same for people and logs: without what may be a password (I11)."""
        scheme, separator, rest = self.store_url.partition("://")
        hidden = separator and "@" in rest
        return f"{scheme}://…@{rest.rpartition('@')[2]}" if hidden else self.store_url

    @property
    def reach(self) -> str:
        """Who can use the server, in words."""
        if not self.has_keys:
            return "open to this machine only: there are no keys"
        where = "this machine" if is_loopback(self.host) else "the network"
        return f"open to {where}, with a key: -H 'authorization: Bearer …'"


# --- reading -------------------------------------------------------------------------------------


def load_settings(
    environ: Mapping[str, str], directory: Path, given: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of a process.

    Args:
        environ: its environment.
        directory: where `awaken.toml` is looked for.
        given: what the command line says, by field; None is not given.

    Raises:
        SettingsError: a value is wrong, or the file cannot be read.
    """
    named = {key: value for key, value in (given or {}).items() if value is not None}
    values = {**_from_file(directory / FILE_NAME), **_from_environment(environ), **named}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_told(problem) for problem in error.errors())) from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    for key in values:
        if key not in Settings.model_fields:
            raise SettingsError(f"{path}: there is no setting {key!r}{_meant(key)}")
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in OF_CLIENTS:
            continue
        key = name.removeprefix(PREFIX).lower()
        if key in Settings.model_fields:
            values[key] = value
        else:
            log.warning("%s is not a setting%s", name, _meant(key, of=_variable))
    return values


def _meant(key: str, of: Callable[[str], str] = repr) -> str:
    close = difflib.get_close_matches(key, Settings.model_fields, n=1)
    return f"; did you mean {of(close[0])}?" if close else ""


def _variable(key: str) -> str:
    return f"{PREFIX}{key.upper()}"


def _told(problem: Any) -> str:
    """One wrong value: which, what was expected, what was there."""
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    key = str(problem["loc"][0])
    field = Settings.model_fields[key]
    if problem["type"] == "value_error":
        expected = str(problem["msg"]).removeprefix("Value error, ")
    else:
        expected = f"expected {kind_of(field)}"
    if not field.repr or field.annotation == SecretStr | None:
        return f"{PREFIX}{key.upper()}: {expected}"  # what it is may be a secret
    return f"{PREFIX}{key.upper()}: {expected}, got {str(problem['input'])[:100]!r}"


# --- describing ----------------------------------------------------------------------------------


def kind_of(field: FieldInfo) -> str:
    """What a setting's value must be, in words."""
    if get_origin(field.annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(field.annotation))
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "`true` or `false`",
        Path: "a path",
        Path | None: "a path",
        Texts: "texts, separated by commas",
        tuple[str, ...]: "texts, separated by commas",
    }
    name = names.get(field.annotation, "a text")
    low = next((m.ge for m in field.metadata if getattr(m, "ge", None) is not None), None)
    high = next((m.le for m in field.metadata if getattr(m, "le", None) is not None), None)
    if low is not None and high is not None:
        return f"{name} from {low} to {high}"
    return f"{name}, at least {low}" if low is not None else name


def settings_page() -> str:
    """The text of `docs/settings.md`."""
    rows = [
        f"| `{PREFIX}{key.upper()}` | {_default(field)} | {kind_of(field)} | {field.description} |"
        for key, field in sorted(Settings.model_fields.items(), key=_is_security)
    ]
    return "\n".join([*_PAGE_HEAD, *rows, ""])


def _is_security(item: tuple[str, FieldInfo]) -> bool:
    """What everybody sets comes first."""
    return item[0] in SecuritySettings.model_fields


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


_PAGE_HEAD: Final = (
    "# Settings",
    "",
    "Each setting is an environment variable, or a key of `awaken.toml` in the directory where the",
    f"server is started: there without `{PREFIX}` and in lower case (`port = 8081`). What the",
    "command line says wins over the environment, and that over the file. A wrong value stops the",
    "start with a message that names it.",
    "",
    "This page is made from `awaken/server/settings.py`.",
    "",
    "| Setting | Default | Value | |",
    "|---|---|---|---|",
)
