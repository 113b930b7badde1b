"""The SQL of approval rules; the rules are those of `statements`."""

from __future__ import annotations

from typing import Final

# Rules of a tenant, newest first.
RULES: Final = """
select tenant, rule_id, data from approval_rules where tenant = ?
order by created_at desc, rule_id desc limit ?"""

PUT_RULE: Final = """
insert into approval_rules (tenant, rule_id, created_at, data) values (?, ?, ?, ?)
on conflict (tenant, rule_id) do update set data = excluded.data"""

DELETE_RULE: Final = "delete from approval_rules where tenant = ? and rule_id = ?"

# The same, a page of them.
RULE_PAGE: Final = """
select rule_id, created_at, data from approval_rules
where tenant = :tenant and (created_at, rule_id) < (:created_at, :rule_id)
order by created_at desc, rule_id desc limit :limit"""
