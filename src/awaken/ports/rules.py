"""What a store does for approval rules; a part of `ports/store.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from awaken.domain.rule import ApprovalRule

if TYPE_CHECKING:
    from awaken.ports.store import Page


class RuleRows(Protocol):
    """The part of a transaction."""

    async def approval_rules(self, tenant: str, limit: int) -> list[ApprovalRule]:
        """Rules of the tenant, newest first, those that are over among them.

        Raises:
            UndecodableRecord: of any of them: a rule that denies must not be overlooked.
        """
        ...

    def put_approval_rule(self, rule: ApprovalRule) -> None:
        """Insert or replace."""
        ...

    async def delete_approval_rule(self, tenant: str, rule_id: str) -> bool:
        """Delete the rule, without reading it; whether there was one."""
        ...


class RulesOfStore(Protocol):
    """The part of a store."""

    async def approval_rule_page(self, tenant: str, limit: int, key: str | None) -> Page:
        """Rules of the tenant, newest first (by created_at, then id)."""
        ...
