"""Every route of the OpenAPI document, and what it answers to whom it should not.

A route that is added is walked too: without a scope in `awaken/server/auth/policy.py` it is not
answered at all, which fails here; with one it must refuse as all others do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.routing import Match, Route

from awaken import demo
from awaken.protocols.ag_ui.http.routes import STREAMS as AG_UI_STREAMS
from awaken.protocols.ai_sdk.http.chat import STREAMS
from awaken.protocols.native.http.identity import Right
from awaken.protocols.native.http.streams import JOIN_RUN, JOIN_THREAD, START_RUN
from awaken.server.api import ROUTERS, make_api
from awaken.server.app import App, create_app
from awaken.server.auth.policy import ANY, OPEN, ROUTES, Policy
from awaken.server.settings import Settings
from tests.server.keys import ALICE, API_KEYS, BOB, ONLY, bearer, client_of
from tests.server.live import wait_until
from tests.server.support import assert_refused, finished

API = make_api("0")
DOCUMENT = API.openapi()
UNDESCRIBED = {"/docs", "/openapi.json"}
"""What describes the server itself; a key with any scope opens it."""
ENDLESS = {"/v1/threads/{thread_id}/stream"}


class Operation(NamedTuple):
    method: str
    path: str

    @property
    def described(self) -> dict[str, Any]:
        operation: dict[str, Any] = DOCUMENT["paths"][self.path][self.method.lower()]
        return operation

    @property
    def rights(self) -> frozenset[Right]:
        """The scopes that open it."""
        found = ROUTES[self.path][self.method]
        assert found is not None
        return found


OPERATIONS = [
    Operation(method.upper(), path)
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
]
OPEN_OPERATIONS = [each for each in OPERATIONS if each.path.startswith("/health")]
CLOSED = [each for each in OPERATIONS if each not in OPEN_OPERATIONS]
OF_EVERYBODY = {
    "/v1/ai-sdk/agents/{agent_id}/runs",
    "/v1/ai-sdk/agents/{agent_id}/runs/{thread_id}/stream",
    "/v1/ag-ui/agents/{agent_id}/runs",
    "/v1/ai-sdk/chat/{thread_id}/messages",
    "/v1/ai-sdk/chat/{thread_id}/stream",
}
"""Agents are the same for all, and a chat that is not there is a new one: 204, its own or not."""
OF_AN_OBJECT = [each for each in CLOSED if "{" in each.path and each.path not in OF_EVERYBODY]

DELETING = [
    Operation("DELETE", "/v1/threads/{thread_id}"),
    Operation("DELETE", "/v1/resources/{resource_id}"),
    Operation("DELETE", "/v1/schedules/{schedule_id}"),
    Operation("DELETE", "/v1/approval-rules/{rule_id}"),
]

every = pytest.mark.parametrize("operation", CLOSED, ids=lambda each: f"{each.method} {each.path}")
every_of_an_object = pytest.mark.parametrize(
    "operation", OF_AN_OBJECT, ids=lambda each: f"{each.method} {each.path}"
)


@pytest.fixture(scope="module")
async def app() -> AsyncIterator[App]:
    """One for all tests: nearly all of them are refused, and the others get in nobody's way."""
    settings = Settings(store="sqlite://:memory:", drain_seconds=0, api_keys=SecretStr(API_KEYS))
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


@pytest.fixture(scope="module")
async def alice(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, ALICE) as client:
        yield client


@pytest.fixture(scope="module")
async def nobody(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture(scope="module")
async def ids(alice: httpx.AsyncClient) -> dict[str, str]:
    """What the parameters of paths are called, and such objects of tenant a."""
    await alice.post("/v1/threads", json={"thread_id": "t", "resource_id": "ada"})
    run = await finished(alice, "clerk", "refund order 17 amount=20", thread_id="t")
    (ticket,) = run["waiting"]["tickets"]
    failed = await finished(alice, "flaky", "fail=permanent")
    return {
        "run_id": run["run_id"],
        "thread_id": "t",
        "ticket_id": ticket["ticket_id"],
        "dispatch_id": failed["dispatch_id"],
        "resource_id": "ada",
        "agent_id": "echo",
        "message_id": "waiting",
        "schedule_id": await a_schedule(alice),
        "rule_id": await a_rule(alice),
    }


async def to_be_lost(alice: httpx.AsyncClient, operation: Operation) -> dict[str, str]:
    """Objects that an operation may delete; the others are needed again."""
    if "{message_id}" in operation.path:
        return await a_pending_message(alice)
    if operation not in DELETING:
        return {}
    thread = await alice.post("/v1/threads", json={"resource_id": "doomed"})
    return {
        "thread_id": thread.json()["thread_id"],
        "resource_id": "doomed",
        "schedule_id": await a_schedule(alice),
        "rule_id": await a_rule(alice),
    }


async def a_rule(alice: httpx.AsyncClient) -> str:
    """A rule about a tool that nobody has."""
    made = await alice.post("/v1/approval-rules", json={"tool": "none", "effect": "deny"})
    return str(made.json()["rule_id"])


async def a_schedule(alice: httpx.AsyncClient) -> str:
    """A schedule that does not come up while the tests run."""
    message = {"role": "user", "content": "hello"}
    body = {"cron": "0 0 1 1 *", "agent_id": "echo", "messages": [message]}
    made = await alice.post("/v1/schedules", json=body)
    return str(made.json()["schedule_id"])


async def a_pending_message(alice: httpx.AsyncClient) -> dict[str, str]:
    """A message that waits for a run of tomorrow."""
    message = {"role": "user", "content": "later", "id": "waiting"}
    body = {"agent_id": "echo", "messages": [message], "available_at": 4_000_000_000_000}
    accepted = await alice.post("/v1/runs/background", json=body)
    return {"thread_id": accepted.json()["thread_id"], "message_id": "waiting"}


async def ask(
    client: httpx.AsyncClient,
    operation: Operation,
    ids: dict[str, str],
    key: str | None = None,
    *,
    head: bool = False,
) -> httpx.Response:
    """A request that is right but for who sends it; streams without an end have a head."""
    return await client.request(
        "HEAD" if head else operation.method,
        operation.path.format(**ids),
        json=body_of(operation.described),
        headers={**(bearer(key) if key else {}), **preconditions(operation)},
    )


def preconditions(operation: Operation) -> dict[str, str]:
    """The revision that a new object has, where one is asked for."""
    named = [each["name"].lower() for each in operation.described.get("parameters", ())]
    return {"if-match": "1"} if "if-match" in named else {}


# --- bodies from the document --------------------------------------------------------------------


def body_of(described: dict[str, Any]) -> Any:
    """A body with what is required, and an agent that there is; or None."""
    content = described.get("requestBody", {}).get("content", {})
    body = example(content["application/json"]["schema"]) if content else None
    return {**body, "agent_id": "echo"} if body and "messages" in body else body


def example(schema: dict[str, Any]) -> Any:
    """The smallest value that fits."""
    match schema:
        case {"$ref": str(name)}:
            return example(DOCUMENT["components"]["schemas"][name.rpartition("/")[2]])
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return example(first)
        case {"type": "object"}:
            properties = schema.get("properties", {})
            return {name: example(properties[name]) for name in schema.get("required", [])}
        case {"type": "array"}:
            return [example(schema["items"])] * schema.get("minItems", 0)
        case {"type": "string"}:
            return "x" * max(1, schema.get("minLength", 1))
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 0)
        case _:
            return None


# --- the walk ------------------------------------------------------------------------------------


def all_routes() -> list[Route]:
    """Everything the routers know, in the order in which they look."""
    listed = chain(API.routes, *(router.routes for router in ROUTERS))
    return [route for route in listed if isinstance(route, Route)]


def answered() -> Iterator[tuple[str, str]]:
    """(path, method) of everything that a router or the front answers."""
    for route in all_routes():
        yield from ((route.path, method) for method in route.methods or ())
    for stream in (START_RUN, JOIN_RUN, JOIN_THREAD, *STREAMS, *AG_UI_STREAMS):
        yield from ((stream.pattern, method) for method in stream.methods)


def test_every_route_states_its_scope_and_every_statement_has_a_route() -> None:
    stated = {(path, method) for path, methods in ROUTES.items() for method in methods}
    assert stated == {(path, method) for path, method in answered() if method != "HEAD"}


def test_only_health_and_the_page_are_open() -> None:
    opened = {path for path, methods in ROUTES.items() if OPEN in methods.values()}
    assert {path for path in opened if not path.startswith("/page/")} == {
        "/",
        "/health",
        "/health/live",
        "/health/ready",
    }


def test_only_what_describes_the_server_is_open_to_every_key() -> None:
    assert {path for path, methods in ROUTES.items() if ANY in methods.values()} == UNDESCRIBED


@every
def test_the_document_tells_the_scopes(operation: Operation) -> None:
    scopes = sorted(operation.rights)
    assert operation.described["security"] == [{"bearer": scopes}, {"key": scopes}]


@every
async def test_without_a_key_it_is_401(
    nobody: httpx.AsyncClient, ids: dict[str, str], operation: Operation
) -> None:
    response = await ask(nobody, operation, ids)
    assert_refused(response, 401, "missing_credentials")
    assert response.headers["www-authenticate"] == 'Bearer realm="awaken"'


@every
async def test_with_a_wrong_key_it_is_401(
    nobody: httpx.AsyncClient, ids: dict[str, str], operation: Operation
) -> None:
    response = await ask(nobody, operation, ids, ALICE[:-1])
    assert_refused(response, 401, "invalid_credentials")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


@every
async def test_with_another_scope_it_is_403(
    nobody: httpx.AsyncClient, ids: dict[str, str], operation: Operation
) -> None:
    wrong = frozenset(Right) - operation.rights
    assert wrong, "one scope at least must not open it"
    for right in wrong:
        response = await ask(nobody, operation, ids, ONLY[right])
        details = assert_refused(response, 403, "insufficient_scope")
        assert details["scopes"] == sorted(operation.rights)
        assert 'error="insufficient_scope"' in response.headers["www-authenticate"]


@every
async def test_with_each_of_its_scopes_it_is_answered(
    alice: httpx.AsyncClient,
    nobody: httpx.AsyncClient,
    ids: dict[str, str],
    operation: Operation,
) -> None:
    """So the refusals above are about the caller, and not about the request."""
    for right in sorted(operation.rights):
        of = {**ids, **await to_be_lost(alice, operation)}
        response = await ask(nobody, operation, of, ONLY[right], head=operation.path in ENDLESS)
        assert response.status_code not in (401, 403, 404, 405, 500), response.text
    while (await alice.get("/v1/mailbox/stats")).json()["in_line"]:
        pass  # what a retry has put in line is not begun yet
    await wait_until(lambda: not any(t.get_name().startswith("run ") for t in asyncio.all_tasks()))


@every_of_an_object
async def test_for_another_tenant_it_is_404(
    nobody: httpx.AsyncClient, ids: dict[str, str], operation: Operation
) -> None:
    theirs = await ask(nobody, operation, ids, BOB)
    none = await ask(nobody, operation, dict.fromkeys(ids, "none"), BOB)
    details = assert_refused(theirs, 404, none.json()["error"]["code"])
    assert set(details.values()) <= set(ids.values()), "as if it did not exist"


@pytest.mark.parametrize("operation", OPEN_OPERATIONS, ids=lambda each: each.path)
async def test_health_asks_for_no_key(nobody: httpx.AsyncClient, operation: Operation) -> None:
    assert (await nobody.get(operation.path)).status_code == 200


async def test_what_is_not_there_needs_a_key_too(
    nobody: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    for method, path in (("GET", "/nope"), ("DELETE", "/v1/runs"), ("POST", "/health/live")):
        assert_refused(await nobody.request(method, path), 401, "missing_credentials")
    assert_refused(await alice.get("/nope"), 404, "route_not_found")
    response = await alice.delete("/v1/runs")
    assert_refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


# --- the policy and the routers see the same route -----------------------------------------------

WORDS = sorted({part for path in ROUTES for part in path.split("/") if "{" not in part})
SEGMENT = st.sampled_from([*WORDS, "x", "%2F", "%77ait", "..", ".", "a.b", "wait%0A", "ü", ";"])


def routed(method: str, path: str) -> str | None:
    """The pattern of the route that the routers would take."""
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    full = (route.path for route in all_routes() if route.matches(scope)[0] is Match.FULL)
    return next(full, None)


@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "OPTIONS"]),
    segments=st.lists(SEGMENT, min_size=1, max_size=6),
)
def test_no_path_means_another_route_to_the_routers(method: str, segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    match = Policy().find(method, path)
    if match is not None:
        assert routed(method, path) in (match.pattern, None)
