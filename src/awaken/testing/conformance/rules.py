"""What approval rules need of a store."""

from __future__ import annotations

from typing import Any

from awaken.domain.rule import ApprovalRule, Effect, Equals, Glob, Prefix
from awaken.ports.store import Store, Transaction
from awaken.testing.conformance._records import A, B, PassTime, save


def _rule_of(rule_id: str = "r", tenant: str = A, **fields: Any) -> ApprovalRule:
    given = {
        "tool": "pay",
        "effect": Effect.allow,
        "created_by": "ann",
        "created_at": 1,
        **fields,
    }
    return ApprovalRule(tenant=tenant, rule_id=rule_id, **given)


async def _rules(store: Store, tenant: str = A, limit: int = 10) -> list[ApprovalRule]:
    async def read(tx: Transaction) -> list[ApprovalRule]:
        return await tx.approval_rules(tenant, limit)

    return await store.transact(read)


async def approval_rules_are_kept_by_tenant_newest_first(store: Store, _: PassTime) -> None:
    """They are read as they were written, no more than asked for, and by no other tenant."""
    patterns = {"a": Equals(value={"n": [1, None]}), "b": Prefix(text="/x"), "c": Glob(text="*.py")}
    rules = [_rule_of(f"r{n}", created_at=n // 2, arguments=patterns) for n in range(4)]
    theirs = _rule_of(tenant=B, effect=Effect.deny, agent_id="a", others=False, expires_at=9)
    puts = (lambda tx, r=r: tx.put_approval_rule(r) for r in (*rules, theirs))
    await save(store, *puts)
    assert await _rules(store) == rules[::-1]
    assert await _rules(store, limit=2) == rules[:1:-1]
    assert await _rules(store, B) == [theirs]
    page = await store.approval_rule_page(A, 3, None)
    rest = await store.approval_rule_page(A, 3, page.next_key)
    assert [*page.items, *rest.items] == rules[::-1]
    assert rest.next_key is None


async def an_approval_rule_can_be_deleted_once(store: Store, _: PassTime) -> None:
    """Whether there was one is told; that of another tenant stays."""
    mine, theirs = _rule_of(), _rule_of(tenant=B)
    await save(
        store, lambda tx: tx.put_approval_rule(mine), lambda tx: tx.put_approval_rule(theirs)
    )

    async def delete(tx: Transaction) -> bool:
        return await tx.delete_approval_rule(A, "r")

    assert await store.transact(delete) is True
    assert await store.transact(delete) is False
    assert await _rules(store) == []
    assert await _rules(store, B) == [theirs]


CASES = (
    approval_rules_are_kept_by_tenant_newest_first,
    an_approval_rule_can_be_deleted_once,
)
