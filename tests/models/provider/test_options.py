"""What can be told of a provider's model before it is used, and what that costs."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys

import pytest
from pydantic_ai.models import known_model_names
from pydantic_ai.providers import infer_provider_class

from awaken.models.provider import ProviderModel
from awaken.models.provider_errors import FAULTS
from awaken.models.provider_options import (
    GATEWAY,
    PROVIDERS,
    ProviderOptions,
    prefill_known,
)
from tests.models.provider.aimock import NODE_DIR, install

OTHERS = {"openai-decisions", "google-decisions", "typesafe"}
"""Providers of the library whose models do not answer with text."""


def test_the_client_libraries_are_not_loaded_before_the_first_request() -> None:
    code = (
        "import sys\n"
        "from awaken.models.provider import ProviderModel\n"
        "from awaken.models.retry import RetryingModel\n"
        "ProviderModel('openai:gpt-5')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=15
    ).stdout
    for library in ("pydantic_ai", "openai", "anthropic", "google", "httpx2"):
        assert f"'{library}'" not in loaded


def test_every_provider_is_one_of_the_library() -> None:
    for name in PROVIDERS:
        with contextlib.suppress(ImportError):  # of libraries that are not among our extras
            infer_provider_class(name)


def test_every_provider_of_the_library_is_known_here() -> None:
    prefixes = {name.partition(":")[0] for name in known_model_names()}
    assert {p.removeprefix(GATEWAY) for p in prefixes} - {"test"} <= {*PROVIDERS, *OTHERS}


@pytest.mark.parametrize("name", ["gpt-5", "openai:", ":gpt-5", "opnai:gpt-5", "scripted:demo"])
def test_a_name_that_no_provider_has_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        ProviderModel(name)


def test_a_misspelled_provider_is_asked_about() -> None:
    with pytest.raises(ValueError, match="did you mean 'openai'"):
        ProviderModel("opnai:gpt-5")


def test_models_behind_the_gateway_can_be_named() -> None:
    assert ProviderModel("gateway/openai:gpt-5").name == "gateway/openai:gpt-5"


def test_secrets_are_not_shown() -> None:
    options = ProviderOptions(base_url="http://x", api_key="hush", headers={"a": "hush"})
    assert "hush" not in repr(options)
    assert "hush" not in repr(ProviderModel("openai:gpt-5", api_key="hush"))
    assert options.secrets == ("hush", "hush")


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-haiku-20241022", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-1-20250805", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6", False),
        ("claude-sonnet-5", False),
        ("claude-sonnet-4-50", False),
    ],
)
def test_only_older_claude_models_are_given_a_prefill(model: str, takes: bool) -> None:
    assert prefill_known("anthropic", model) is takes
    assert not prefill_known("openai", model)


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_without_node_the_simulated_providers_are_skipped_and_fail_in_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match="node and npm not found"):
        install()


def test_the_node_package_is_pinned_and_its_lock_names_no_host() -> None:
    lock = (NODE_DIR / "package-lock.json").read_text()
    assert "://" not in lock
    wanted = json.loads((NODE_DIR / "package.json").read_text())["dependencies"]
    packages = json.loads(lock)["packages"]
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
        assert packages[f"node_modules/{name}"]["integrity"]


def test_the_docs_list_every_code_with_whether_it_is_tried_again() -> None:
    page = (NODE_DIR.parents[2] / "docs" / "models.md").read_text()
    trouble = page.partition("## Trouble")[2]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", trouble, re.MULTILINE)
    assert dict(rows) == {code: "yes" if again else "no" for code, (again, _) in FAULTS.items()}


def test_the_docs_list_every_option() -> None:
    page = (NODE_DIR.parents[2] / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page, re.MULTILINE)
    assert {*ProviderOptions.__struct_fields__} <= {*rows}
