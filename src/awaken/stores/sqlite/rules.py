"""Approval rules: their parts of the transaction and of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from awaken.domain.rule import ApprovalRule
from awaken.ports.store import Page
from awaken.stores import codec, pages
from awaken.stores.sqlite import queries
from awaken.stores.sqlite import rule_statements as sql
from awaken.stores.sqlite.reader import Read

T = TypeVar("T")


class RuleRows:
    """`ports.rules.RuleRows`, over what `SqliteTransaction` has."""

    __slots__ = ()

    _cursor: sqlite3.Cursor
    _write: Callable[[str, tuple[object, ...]], None]

    async def approval_rules(self, tenant: str, limit: int) -> list[ApprovalRule]:
        found = self._cursor.execute(sql.RULES, (tenant, limit)).fetchall()
        return [codec.RULE.decode(data, rule_id, of) for of, rule_id, data in found]

    def put_approval_rule(self, rule: ApprovalRule) -> None:
        key = (rule.tenant, rule.rule_id)
        self._write(sql.PUT_RULE, (*key, rule.created_at, codec.encode(rule)))

    async def delete_approval_rule(self, tenant: str, rule_id: str) -> bool:
        self._write(sql.DELETE_RULE, (tenant, rule_id))
        return self._cursor.rowcount > 0


class RulesOfStore:
    """`ports.rules.RulesOfStore`, over what `SqliteStore` has."""

    async def _read(self, read: Read[T]) -> T:
        raise AssertionError("the store reads")

    async def approval_rule_page(self, tenant: str, limit: int, key: str | None) -> Page:
        scope = pages.scope("approval_rules", tenant)
        rule_id, created_at = queries.start(scope, key)
        parameters: dict[str, object] = {
            "tenant": tenant,
            "rule_id": rule_id,
            "created_at": created_at,
        }
        read = queries.page(sql.RULE_PAGE, codec.RULE, parameters, limit, scope)
        return await self._read(read)
