"""The SQL of messages to others; the rules are those of `statements`."""

from __future__ import annotations

from typing import Final

# A message.
OUTGOING: Final = "select data from outbox where tenant = ? and message_id = ?"

PUT_OUTGOING: Final = """
insert into outbox (tenant, message_id, due_at, given_up, data) values (?, ?, ?, ?, ?)
on conflict (tenant, message_id) do update set
    due_at = excluded.due_at, given_up = excluded.given_up, data = excluded.data"""

DELETE_OUTGOING: Final = "delete from outbox where tenant = ? and message_id = ?"

# Messages whose time has come, earliest first.
DUE_OUTGOING: Final = """
select tenant, message_id from outbox where due_at <= ? order by due_at limit ?"""

NEXT_OUTGOING_AT: Final = "select min(due_at) from outbox"

# How many messages wait (0) or were given up (1), counted to a limit.
COUNT_OUTGOING: Final = """
select count(*) from (select 1 from outbox where given_up = ? limit ?)"""
