"""`awaken keys`: what is made is accepted by a server, and what is wrong is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from awaken.server.auth.keys import read_compact, read_file
from tests.cli.support import awaken, process
from tests.e2e.harness import Server

pytestmark = pytest.mark.xdist_group("cli-keys")


def test_a_key_is_shown_once_with_what_the_server_needs(tmp_path: Path) -> None:
    made = awaken("keys", "make", "alice", "--tenant", "acme", "--scopes", "invoke,admin")
    assert made.code == 0
    (key,) = [line for line in made.out.splitlines() if line.startswith("AWAKEN_API_KEY=")]
    secret = key.partition("=")[2]
    assert secret.startswith("awaken-sk-")
    assert made.out.count(secret) == 1
    (setting,) = [line for line in made.out.splitlines() if line.startswith("alice@acme:")]
    (entry,) = read_compact(setting)
    file = tmp_path / "keys.toml"
    file.write_text(made.out[made.out.index("[[keys]]") :])
    assert read_file(file) == [entry]
    assert sorted(entry.scopes) == ["admin", "invoke"]
    assert tomllib.loads(file.read_text())["keys"][0]["tenant"] == "acme"


def test_a_server_takes_the_key_that_was_made_and_no_other(data_dir: Path) -> None:
    alice, bob = (awaken("keys", "make", name, "--json").json for name in ("alice", "bob"))
    setting = alice["setting"]
    with Server(data_dir, env={"AWAKEN_API_KEYS": setting}) as server:
        right = awaken("runs", "ls", "--json", server=server, AWAKEN_API_KEY=alice["key"])
        assert (right.code, right.json) == (0, [])
        wrong = awaken("runs", "ls", server=server, AWAKEN_API_KEY=bob["key"])
        assert (wrong.code, wrong.out) == (11, "")
        assert "does not take the key in AWAKEN_API_KEY" in wrong.err
        assert bob["key"] not in wrong.err
        none = awaken("runs", "ls", server=server)
        assert none.code == 11
        assert "wants a key; put yours into AWAKEN_API_KEY" in none.err
        admin = awaken("dead-letters", "ls", server=server, AWAKEN_API_KEY=alice["key"])
        assert admin.code == 11
        assert "admin" in admin.err
        _doctor_tells_of_keys(server, alice["key"], bob["key"])


def _doctor_tells_of_keys(server: Server, right: str, wrong: str) -> None:
    def key(**named: str) -> tuple[int, str]:
        examined = awaken("doctor", "--json", server=server, env=named)
        found = {finding["check"]: finding for finding in examined.json["findings"]}
        return examined.code, found["key"]["status"]

    assert key(AWAKEN_API_KEY=right) == (1, "warning")
    assert key(AWAKEN_API_KEY=wrong) == (2, "problem")
    assert key() == (2, "problem")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["alice", "--scopes", "invoke,root"], "--scopes: expected some of invoke, approve, admin"),
        (["alice", "--scopes", ""], "--scopes"),
        (["system"], "other than 'system'"),
        (["alice", "--tenant", "a b"], "tenant"),
        (["a,b"], "cannot be written into AWAKEN_API_KEYS"),
    ],
)
def test_a_key_that_could_not_be_used_is_not_made(args: list[str], told: str) -> None:
    refused = awaken("keys", "make", *args)
    assert (refused.code, refused.out) == (1, "")
    assert told in refused.err


def test_the_keys_of_the_settings_are_checked(tmp_path: Path) -> None:
    made = awaken("keys", "make", "alice", "--json").json
    (tmp_path / "keys.toml").write_text(awaken("keys", "make", "bob", "--json").json["file"])
    env = {
        "AWAKEN_API_KEYS": made["setting"],
        "AWAKEN_KEYS_FILE": str(tmp_path / "keys.toml"),
        "AWAKEN_API_KEY": made["key"],
    }
    checked = awaken("keys", "check", "--json", env=env)
    assert checked.code == 0
    assert [(key["name"], key["yours"]) for key in checked.json] == [
        ("alice", True),
        ("bob", False),
    ]
    table = awaken("keys", "check", env=env)
    assert table.out.splitlines()[1].endswith("yours")
    for secret in (made["key"], made["hash"]):
        assert secret not in checked.out + table.out
    stranger = awaken("keys", "check", env={**env, "AWAKEN_API_KEY": "awaken-sk-of-a-stranger"})
    assert stranger.code == 11
    assert "none of these" in stranger.err


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"AWAKEN_API_KEYS": "alice:invoke:short"}, "AWAKEN_API_KEYS: alice: key"),
        ({"AWAKEN_API_KEYS": "alice:root:x"}, "AWAKEN_API_KEYS: entry 1: expected NAME"),
        ({"AWAKEN_KEYS_FILE": "nowhere.toml"}, "AWAKEN_KEYS_FILE: nowhere.toml cannot be read"),
    ],
)
def test_a_wrong_key_is_told_by_check_and_keeps_a_server_from_starting(
    tmp_path: Path, env: dict[str, str], told: str
) -> None:
    checked = awaken("keys", "check", env=env)
    assert checked.code == 1
    started = process("serve", "--port", "0", cwd=tmp_path, env=env)
    assert started.code == 1
    for text in (checked.err, started.err):
        assert told in text
        assert len(text.splitlines()) == 1


def test_without_keys_check_says_who_can_use_the_server() -> None:
    assert "open to this machine" in awaken("keys", "check").out
