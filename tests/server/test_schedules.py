"""Schedules over HTTP: what is refused, whose they are, and a tick from end to end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from awaken import demo
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.server.keys import ALICE, API_KEYS, BOB, ONLY, client_of
from tests.server.support import assert_refused

HELLO = {"role": "user", "content": "hello"}


def body(**fields: Any) -> dict[str, Any]:
    return {"cron": "30 9 * * MON-FRI", "agent_id": "echo", "messages": [HELLO], **fields}


async def made(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/schedules", json=body(**fields))
    assert response.status_code == 201, response.text
    schedule: dict[str, Any] = response.json()
    return schedule


async def test_a_schedule_is_made_read_listed_changed_and_deleted(
    client: httpx.AsyncClient,
) -> None:
    schedule = await made(client, timezone="Europe/Berlin", metadata={"a": 1}, onBusy="reject")
    url = f"/v1/schedules/{schedule['schedule_id']}"
    assert schedule["next_at"] > schedule["created_at"]
    assert schedule["created_by"] == "user"
    assert schedule["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    ]
    assert (schedule["on_busy"], schedule["missed"], schedule["enabled"]) == (
        "reject",
        "once",
        True,
    )
    assert (await client.get(url)).json() == schedule

    changed = (await client.patch(url, json={"cron": "0 10 * * *", "missed": "all"})).json()
    assert (changed["cron"], changed["missed"]) == ("0 10 * * *", "all")
    assert changed["timezone"] == "Europe/Berlin"
    assert changed["metadata"] == {"a": 1}

    other = await made(client)
    page = (await client.get("/v1/schedules", params={"limit": 1})).json()
    assert [each["schedule_id"] for each in page["items"]] == [other["schedule_id"]]
    rest = await client.get("/v1/schedules", params={"limit": 1, "cursor": page["next_cursor"]})
    assert [each["schedule_id"] for each in rest.json()["items"]] == [schedule["schedule_id"]]

    assert (await client.delete(url)).status_code == 204
    assert_refused(await client.get(url), 404, "schedule_not_found")
    assert_refused(await client.delete(url), 404, "schedule_not_found")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron": "every day"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": ""}, "cron"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"messages": []}, "messages"),
        ({"messages": [{**HELLO, "id": "m"}]}, "messages[0].id"),
        ({"missed": "twice"}, "missed"),
        ({"on_busy": "wait"}, "on_busy"),
        ({"thread_id": ""}, "thread_id"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    response = await client.post("/v1/schedules", json=body(**fields))
    assert_refused(response, 422, "invalid_field", field)
    schedule = await made(client)
    url = f"/v1/schedules/{schedule['schedule_id']}"
    assert_refused(await client.patch(url, json=fields), 422, "invalid_field", field)
    assert (await client.get(url)).json() == schedule


async def test_what_does_not_exist_is_refused(client: httpx.AsyncClient) -> None:
    for fields, code in (
        ({"agent_id": "nobody"}, "agent_not_found"),
        ({"thread_id": "t"}, "thread_not_found"),
    ):
        assert_refused(await client.post("/v1/schedules", json=body(**fields)), 404, code)
    response = await client.post("/v1/schedules", json=body(every="day"))
    assert_refused(response, 422, "unknown_field", "every")


async def test_a_trigger_is_a_run_and_a_repeated_one_is_the_same(
    client: httpx.AsyncClient,
) -> None:
    schedule = await made(client, enabled=False)
    url = f"/v1/schedules/{schedule['schedule_id']}/trigger"
    key = {"idempotency-key": "once"}
    first = await client.post(url, headers=key)
    again = await client.post(url, headers=key)
    assert first.status_code == again.status_code == 202
    assert first.json()["run_id"] == again.json()["run_id"]
    run = (await client.get(f"/v1/runs/{first.json()['run_id']}")).json()
    assert run["origin"] == "schedule"
    assert run["metadata"]["schedule_id"] == schedule["schedule_id"]
    other = await client.post(url)
    assert other.json()["run_id"] != first.json()["run_id"]


# --- whose they are ------------------------------------------------------------------------------


@pytest.fixture
async def keyed() -> AsyncIterator[App]:
    settings = Settings(store="sqlite://:memory:", drain_seconds=0, api_keys=SecretStr(API_KEYS))
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


async def test_a_schedule_is_of_its_tenant_and_runs_there(keyed: App) -> None:
    async with client_of(keyed, ALICE) as alice, client_of(keyed, BOB) as bob:
        await alice.post("/v1/threads", json={"thread_id": "t"})
        # a thread of another tenant is not there: neither to name it, nor to move to it
        assert_refused(
            await bob.post("/v1/schedules", json=body(thread_id="t")), 404, "thread_not_found"
        )
        theirs = await made(bob)
        url = f"/v1/schedules/{theirs['schedule_id']}"
        assert_refused(await bob.patch(url, json={"thread_id": "t"}), 404, "thread_not_found")

        schedule = await made(alice, thread_id="t")
        assert schedule["created_by"] == "alice"
        url = f"/v1/schedules/{schedule['schedule_id']}"
        for response in (
            await bob.get(url),
            await bob.patch(url, json={"enabled": False}),
            await bob.post(f"{url}/trigger"),
            await bob.delete(url),
        ):
            assert_refused(response, 404, "schedule_not_found")
        assert [s["schedule_id"] for s in (await bob.get("/v1/schedules")).json()["items"]] == [
            theirs["schedule_id"]
        ]
        accepted = (await alice.post(f"{url}/trigger")).json()
        assert_refused(await bob.get(f"/v1/runs/{accepted['run_id']}"), 404, "run_not_found")
        assert (await alice.get(f"/v1/runs/{accepted['run_id']}")).json()["thread_id"] == "t"


async def test_who_may_only_approve_reads_schedules_and_changes_none(keyed: App) -> None:
    async with client_of(keyed, ALICE) as alice, client_of(keyed, ONLY["approve"]) as approver:
        schedule = await made(alice)
        url = f"/v1/schedules/{schedule['schedule_id']}"
        assert (await approver.get(url)).status_code == 200
        for response in (
            await approver.post("/v1/schedules", json=body()),
            await approver.patch(url, json={"enabled": False}),
            await approver.delete(url),
            await approver.post(f"{url}/trigger"),
        ):
            assert_refused(response, 403, "insufficient_scope")
