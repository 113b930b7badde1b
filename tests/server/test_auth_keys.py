"""Keys: made, written down, recognised."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from awaken.protocols.native.http.identity import Right
from awaken.server.auth.keys import BadKey, Keys, hash_of, make_key, read_compact, read_file
from awaken.server.auth.setup import make_security
from awaken.server.settings import Settings, SettingsError, load_settings
from awaken.testing.clock import FakeClock

KEY = "awaken-sk-0123456789abcdefghij"


def test_a_made_key_is_random_and_its_hash_finds_it() -> None:
    key, hashed = make_key()
    other, _ = make_key()
    assert key != other
    assert key.startswith("awaken-sk-")
    assert len(key) == len("awaken-sk-") + 43, "256 bits"
    assert hashed == hash_of(key)
    (entry,) = read_compact(f"alice:invoke:{hashed}")
    found = Keys([entry.read()]).find(key)
    assert found is not None
    assert found.identity.actor == "alice"


def test_the_compact_form_holds_name_tenant_scopes_and_key() -> None:
    text = f"alice@acme:invoke+approve:{KEY}, prom:admin:{hash_of('x' * 20)}\nbob:invoke:{KEY}x:y"
    alice, prom, bob = (entry.read().identity for entry in read_compact(text))
    assert (alice.tenant, alice.actor) == ("acme", "alice")
    assert alice.rights == {Right.invoke, Right.approve}
    assert prom.tenant == "default"
    assert prom.rights == {Right.admin}
    assert bob.actor == "bob", "a key may hold a colon"


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"alice:{KEY}",
        f":invoke:{KEY}",
        f"alice:fly:{KEY}",
        f"alice:invoke+:{KEY}",
        f"alice::{KEY}",
        "alice:invoke:",
        f"alice:invoke:{KEY[:19]}",
        f"system:invoke:{KEY}",
        f"alice:invoke:sha256:{KEY}",
        f"alice:invoke:{KEY}ü",
        f"alice:invoke:{KEY},bob:invoke:{KEY}",
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start_and_is_not_quoted(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"^AWAKEN_API_KEYS: ") as caught:
        make_security(load_settings({"AWAKEN_API_KEYS": text}, tmp_path), FakeClock())
    assert KEY[10:19] not in str(caught.value)


@given(st.text(max_size=40))
def test_whatever_is_written_it_is_keys_or_a_refusal(text: str) -> None:
    try:
        entries = read_compact(text)
        for entry in entries:
            entry.read()
    except BadKey:
        return
    assert len(entries) <= text.count(":") // 2


def test_every_key_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def count(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", count)
    names = [f"{KEY}{number}" for number in range(5)]
    keys = Keys(read_compact(f"n{n}:invoke:{key}")[0].read() for n, key in enumerate(names))
    for presented in (names[0], names[4], "nothing of the kind"):
        compared.clear()
        found = keys.find(presented)
        assert len(compared) == 5
        assert (found is None) == (presented not in names)


# --- files ---------------------------------------------------------------------------------------

TOML = f"""
[[keys]]
name = "alice"
tenant = "acme"
scopes = ["invoke", "approve"]
hash = "{hash_of(KEY)}"
requests_per_minute = 600

[[keys]]
name = "bob"
scopes = ["admin"]
key = "{KEY}-of-bob"
"""
JSON = f'{{"keys": [{{"name": "alice", "scopes": ["invoke"], "hash": "{hash_of(KEY)}"}}]}}'


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_holds_hashes_and_limits(tmp_path: Path) -> None:
    alice, bob = (entry.read() for entry in read_file(written(tmp_path / "keys.toml", TOML)))
    assert alice.identity.tenant == "acme"
    assert alice.limits.requests_per_minute == 600
    assert bob.identity.rights == {Right.admin}
    assert bob.limits.requests_per_minute is None
    (entry,) = read_file(written(tmp_path / "keys.json", JSON))
    assert Keys([entry.read()]).find(KEY) is not None


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("k.toml", "keys = [", "is not TOML"),
        ("k.json", f'{{"keys": "{KEY}', "is not JSON"),
        ("k.toml", "", "expected a list `keys`"),
        ("k.toml", "keys = []", "expected a list `keys`"),
        ("k.json", "[]", "expected a list `keys`"),
        ("k.toml", f'{TOML}\nrole = "x"', "key 2: role"),
        ("k.toml", TOML.replace('"admin"', '"boss"'), "key 2: scopes.0"),
        ("k.toml", TOML.replace('["admin"]', "[]"), "key 2: scopes"),
        ("k.toml", TOML.replace("sha256:", ""), "alice: hash: expected sha256:"),
        ("k.toml", f'[[keys]]\nname = "n"\nscopes = ["admin"]\nkey = 5{KEY[10:14]}', "key 1: key"),
        ("k.toml", '[[keys]]\nname = "n"\nscopes = ["admin"]', "n: expected either hash or key"),
    ],
)
def test_a_wrong_file_is_named_and_its_keys_are_not(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(SettingsError) as caught:
        make_security(Settings(keys_file=path), FakeClock())
    assert told in str(caught.value)
    assert str(caught.value).startswith("AWAKEN_KEYS_FILE: ")
    assert KEY[10:] not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        make_security(Settings(keys_file=tmp_path / "none.toml"), FakeClock())


def test_a_file_with_keys_that_others_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    read_file(written(tmp_path / "a.toml", TOML, 0o644))
    assert "others may read it" in caplog.text
    caplog.clear()
    read_file(written(tmp_path / "b.json", JSON, 0o644))
    read_file(written(tmp_path / "c.toml", TOML, 0o600))
    assert caplog.text == "", "hashes may be read"


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"AWAKEN_HOST": "0.0.0.0"}, "AWAKEN_HOST: expected a loopback address"),
        ({"AWAKEN_HOST": "0.0.0.0", "AWAKEN_API_KEYS": " "}, "AWAKEN_HOST: expected a loopback"),
        ({"AWAKEN_CORS_ORIGINS": "https://a.example"}, "AWAKEN_CORS_ORIGINS: expected pages of"),
        ({"AWAKEN_CORS_ORIGINS": "*"}, "AWAKEN_CORS_ORIGINS: expected origins as browsers"),
        ({"AWAKEN_CORS_ORIGINS": "https://a.example/"}, "AWAKEN_CORS_ORIGINS: expected origins"),
        ({"AWAKEN_JWT_ISSUER": "https://i"}, "AWAKEN_JWT_AUDIENCE: expected"),
        ({"AWAKEN_JWT_AUDIENCE": "a"}, "AWAKEN_JWT_ISSUER: expected"),
        ({"AWAKEN_JWT_ISSUER": "i", "AWAKEN_JWT_AUDIENCE": "a"}, "expected either AWAKEN_JWT_JWKS"),
        ({"AWAKEN_JWT_ALGORITHMS": "HS256"}, "AWAKEN_JWT_ALGORITHMS: expected some of ES256"),
        ({"AWAKEN_JWT_ALGORITHMS": "none"}, "AWAKEN_JWT_ALGORITHMS: expected some of ES256"),
        ({"AWAKEN_OUTBOUND_ALLOW": "http://x/"}, "AWAKEN_OUTBOUND_ALLOW: expected host, host:port"),
        ({"AWAKEN_KEY_TOKENS_PER_DAY": "-1"}, "AWAKEN_KEY_TOKENS_PER_DAY: expected a whole number"),
    ],
)
def test_settings_that_are_not_safe_are_refused(
    tmp_path: Path, environ: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, tmp_path)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "opened",
    [
        {"AWAKEN_API_KEYS": f"alice:invoke:{KEY}"},
        {"AWAKEN_KEYS_FILE": "keys.toml"},
        {
            "AWAKEN_JWT_ISSUER": "https://i",
            "AWAKEN_JWT_AUDIENCE": "awaken",
            "AWAKEN_JWT_JWKS_URL": "https://i/jwks",
        },
    ],
)
def test_with_keys_another_address_and_other_pages_are_possible(
    tmp_path: Path, opened: dict[str, str]
) -> None:
    environ: dict[str, Any] = {
        "AWAKEN_HOST": "0.0.0.0",
        "AWAKEN_CORS_ORIGINS": "https://a.example, https://b.example:8443",
        **opened,
    }
    settings = load_settings(environ, tmp_path)
    assert settings.host == "0.0.0.0"
    assert settings.cors_origins == ("https://a.example", "https://b.example:8443")


def test_the_key_of_a_client_is_no_setting_and_no_mistake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not load_settings({"AWAKEN_API_KEY": KEY}, tmp_path).has_keys
    assert caplog.text == ""


def test_lists_may_be_lists_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "awaken.toml").write_text('cors_origins = ["http://localhost:3000"]\n')
    assert load_settings({}, tmp_path).cors_origins == ("http://localhost:3000",)
