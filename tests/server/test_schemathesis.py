"""Requests made up from the OpenAPI document, good ones and bad ones, against a real server.

Every answer must be one that the document describes, with the headers and body it describes, and
never a 500. Streams without an end are left out, since a request for one is not answered until it
ends. The number of examples keeps the sweep below a minute.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import hypothesis
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr
from schemathesis import Case
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig

from awaken import Agent, ScriptedModel
from awaken.server.api import make_api
from awaken.server.app import create_app
from awaken.server.settings import Settings
from tests.server.keys import ALICE, API_KEYS, bearer
from tests.server.live import serving

EXAMPLES = 6
ENDLESS = "/v1/threads/{thread_id}/stream"

pytestmark = [
    pytest.mark.xdist_group("schemathesis"),
    # It draws from `random` inside its own strategies.
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning"),
]

# We send a key ourselves: several at a time are refused.
CONFIG = SchemathesisConfig.from_dict(
    {"generation": {"with-security-parameters": False, "deterministic": True}}
)
DOCUMENT = make_api("0").openapi()

schema = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG).exclude(path=ENDLESS)

EXCLUDED: Any = [
    # No document tells which cursors were given out, or which threads there are to be parents.
    CHECKS.get_one("positive_data_acceptance"),
    # It does not see that the key comes from us; test_walk.py asks every route without one.
    CHECKS.get_one("ignored_auth"),
]


@asynccontextmanager
async def swept() -> AsyncIterator[str]:
    """A server with keys, whose agent answers at once; its address."""
    settings = Settings(store="sqlite://:memory:", drain_seconds=0, api_keys=SecretStr(API_KEYS))
    agent = Agent("default", model=ScriptedModel(lambda request: ["yes"], name="yes"))
    app = create_app([agent], settings)
    async with app.lifespan(), serving(app) as live:
        yield live.base_url


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The server in a thread of its own: those who ask it wait for the answer."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(swept()) as url:
        yield url


@schema.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_every_answer_is_one_that_the_document_describes(case: Case[Any], base_url: str) -> None:
    case.call_and_validate(
        base_url=base_url, headers=bearer(ALICE), timeout=10, excluded_checks=EXCLUDED
    )


def test_the_checks_that_matter_are_made() -> None:
    wanted = {
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "negative_data_rejection",
        "unsupported_method",
    }
    assert wanted <= set(CHECKS.get_all_names())
