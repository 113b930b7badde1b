"""Approval rules over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.support import assert_refused, finished

REFUND = "refund order 17 amount=20"


async def test_a_rule_is_made_listed_and_deleted(client: httpx.AsyncClient) -> None:
    body = {
        "tool": "refund",
        "effect": "allow",
        "arguments": {"order": {"glob": "1?"}, "amount": {"equals": 20}, "note": {"equals": None}},
        "agentId": "clerk",
        "expires_at": 4_000_000_000_000,
    }
    made = (await client.post("/v1/approval-rules", json=body)).json()
    assert made["arguments"] == body["arguments"]
    assert (made["agent_id"], made["created_by"], made["others"]) == ("clerk", "user", True)
    page = (await client.get("/v1/approval-rules")).json()
    assert page["items"] == [made]
    url = f"/v1/approval-rules/{made['rule_id']}"
    assert (await client.delete(url)).status_code == 204
    assert_refused(await client.delete(url), 404, "approval_rule_not_found")
    assert (await client.get("/v1/approval-rules")).json()["items"] == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"effect": "maybe"}, "effect"),
        ({"tool": ""}, "tool"),
        ({"arguments": {"a": {}}}, "arguments.a"),
        ({"arguments": {"a": {"prefix": "x", "glob": "y"}}}, "arguments.a"),
        ({"arguments": {"a": {"glob": ""}}}, "arguments.a.glob"),
        ({"expires_at": -1}, "expires_at"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    body = {"tool": "refund", "effect": "allow", **fields}
    assert_refused(await client.post("/v1/approval-rules", json=body), 422, "invalid_field", field)


async def test_a_decision_is_remembered_and_nobody_is_asked_again(
    client: httpx.AsyncClient,
) -> None:
    run = await finished(client, "clerk", REFUND)
    (ticket,) = run["waiting"]["tickets"]
    url = f"/v1/tickets/{ticket['ticket_id']}/decision"
    wrong = await client.post(url, json={"action": "cancel", "remember": "allow"})
    assert_refused(wrong, 422, "invalid_decision", "remember")
    done = await client.post(url, json={"action": "resume", "remember": "allow"})
    assert done.status_code == 202, done.text
    again = await finished(client, "clerk", REFUND)
    assert (again["status"], again["waiting"]) == ("done", None)
    (rule,) = (await client.get("/v1/approval-rules")).json()["items"]
    events = (await client.get(f"/v1/runs/{again['run_id']}/events")).json()["items"]
    told = [
        e["event"]["content"] for e in events if e["event"]["event_type"] == "activity_snapshot"
    ]
    assert [each["rule_id"] for each in told if "rule_id" in each] == [rule["rule_id"]]
    other = await finished(client, "clerk", "refund order 18 amount=20")
    assert other["status"] == "waiting"
