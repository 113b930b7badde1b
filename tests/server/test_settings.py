from __future__ import annotations

import re
from pathlib import Path

import pytest

from awaken.server.settings import Settings, SettingsError, load_settings, settings_page
from awaken.server.stores import sqlite_path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "awaken.toml").write_text('port = 1\nlease_ms = 4000\nlog_format = "json"\n')
    environ = {"AWAKEN_PORT": "2", "AWAKEN_LEASE_MS": "5000", "HOME": "/"}
    environ["AWAKEN_LEASE_RENEWAL_MS"] = "1000"
    settings = load_settings(environ, tmp_path, {"port": 3, "host": None})
    assert (settings.port, settings.lease_ms, settings.log_format) == (3, 5000, "json")
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWAKEN_PORT", "web", "a whole number from 0 to 65535"),
        ("AWAKEN_PORT", "70000", "a whole number from 0 to 65535"),
        ("AWAKEN_LOG_FORMAT", "xml", "`text` or `json`"),
        ("AWAKEN_DRAIN_SECONDS", "-1", "a number from 0 to 3600"),
        ("AWAKEN_ACCESS_LOG", "perhaps", "`true` or `false`"),
        ("AWAKEN_HOST", "0.0.0.0", "a loopback address such as 127.0.0.1"),
        ("AWAKEN_HOST", "example.com", "a loopback address such as 127.0.0.1"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value}, tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{name}: expected {expected}")
    assert repr(value) in text


def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AWAKEN_LEASE_RENEWAL_MS: expected at most half"):
        load_settings({"AWAKEN_LEASE_MS": "10000", "AWAKEN_LEASE_RENEWAL_MS": "6000"}, tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1\n", "no setting 'prot'; did you mean 'port'"),
        ("port = \n", "awaken.toml"),
        ("port = 'x'\n", "AWAKEN_PORT: expected a whole number"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "awaken.toml").write_text(text)
    with pytest.raises(SettingsError, match=re.escape(told)):
        load_settings({}, tmp_path)


def test_a_variable_that_is_no_setting_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_settings({"AWAKEN_PROT": "1"}, tmp_path)
    assert "AWAKEN_PROT is not a setting; did you mean AWAKEN_PORT?" in caplog.text


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////var/b.db", "/var/b.db"),
        ("sqlite://:memory:", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
    ],
)
def test_a_store_is_named_by_an_address(url: str, path: str) -> None:
    assert sqlite_path(url) == path


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "mysql://u:secret@h/db", "awaken.db", "", "sqlite://a.db"]
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="AWAKEN_STORE: expected sqlite:///path") as caught:
        sqlite_path(url)
    assert "secret" not in str(caught.value)


def test_the_store_is_in_the_data_directory_by_default() -> None:
    assert Settings(data_dir=Path("/data")).store_url == "sqlite:////data/awaken.db"


def test_every_setting_is_described_and_the_page_is_up_to_date() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings_page()
