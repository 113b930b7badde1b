"""Approval rules: decisions that stand, so that nobody is asked again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Path, Query
from pydantic import BeforeValidator

from awaken.domain import rule as rules
from awaken.domain.rule import ApprovalRule, Effect
from awaken.protocols.native import wire_rules as wire
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.params import ERRORS, JsonRoute, PageQuery
from awaken.protocols.native.http.services import Asking, Served

router = APIRouter(
    prefix="/v1/approval-rules", tags=["tickets"], route_class=JsonRoute, responses=ERRORS
)

RuleId = Annotated[str, BeforeValidator(unquote), Path(description="The rule's id.")]


@router.post("", status_code=201)
async def make_rule(request: wire.RuleRequest, services: Served, caller: Asking) -> wire.Rule:
    """Allow or deny calls of a tool from now on; open tickets stay open."""
    wanted = ApprovalRule(
        tenant=caller.tenant,
        rule_id="",
        tool=request.tool,
        effect=Effect(request.effect),
        agent_id=request.agent_id,
        arguments={name: _pattern(given) for name, given in request.arguments.items()},
        others=request.others,
        created_by=caller.actor,
        created_at=0,
        expires_at=request.expires_at,
    )
    return _view(await services.mailbox.make_rule(wanted))


@router.get("")
async def list_rules(
    query: Annotated[PageQuery, Query()], services: Served, caller: Asking
) -> wire.RulePage:
    """Rules, newest first; those that are over too."""
    key = cursors.unseal(query.cursor, "approval_rules")
    page = await services.store.approval_rule_page(caller.tenant, query.limit, key)
    return wire.RulePage(
        items=[_view(each) for each in page.items],
        next_cursor=cursors.seal(page.next_key, "approval_rules"),
        has_more=page.next_key is not None,
    )


@router.delete("/{rule_id}", status_code=204)
async def delete_rule(rule_id: RuleId, services: Served, caller: Asking) -> None:
    """Ask again from now on."""
    await services.mailbox.delete_rule(caller.tenant, rule_id)


def _pattern(given: wire.Pattern) -> rules.Pattern:
    if given.prefix is not None:
        return rules.Prefix(text=given.prefix)
    if given.glob is not None:
        return rules.Glob(text=given.glob)
    return rules.Equals(value=given.equals)


def _view(record: ApprovalRule) -> wire.Rule:
    return wire.Rule(
        rule_id=record.rule_id,
        tool=record.tool,
        effect=record.effect.value,
        agent_id=record.agent_id,
        arguments={name: _told(pattern) for name, pattern in record.arguments.items()},
        others=record.others,
        created_by=record.created_by,
        created_at=record.created_at,
        expires_at=record.expires_at,
    )


def _told(pattern: rules.Pattern) -> dict[str, object]:
    kind = str(pattern.__struct_config__.tag)
    value = pattern.value if isinstance(pattern, rules.Equals) else pattern.text
    return {kind: value}
